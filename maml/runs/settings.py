"""The settings of a supervised run: five records, the paper's value for each, and what follows from them.

A run's record is flat: config.json holds {flag: value}, and the method's name.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from data_generators import image_folder, sources
from data_generators.errors import UserError
from data_generators.sources import SOURCES
from maml import methods
from maml.meta_training import OPTIMIZERS
from maml.methods import card
from maml.methods.card import Card, Published, Record, Task, keys, setting
from maml.networks import MOMENTUM, NORMS
from maml.runs.schedules import OF_SCHEDULES, SCHEDULES


@dataclass(frozen=True)
class Network(Record):
    """The network, of which a method makes what it needs."""

    num_filters: int = setting(64, "filters of each convolution", at_least=1)
    conv: bool = setting(
        True, "convolutional classifier, or a dense one", tag={False: "dense"}, words={False: "no conv"}
    )
    norm: str = setting(
        "batch_norm",
        "normalisation of each layer",
        choices=NORMS,
        tag={"batch_norm": "batch_norm", "layer_norm": "layer_norm", "None": "no_norm"},
    )
    max_pool: bool = setting(
        False, "max-pooling instead of strided convolutions", tag={True: "max_pool", False: "strided"}
    )
    norm_scale: bool = setting(False, "γ: batch norm has a factor beside its offset", added=True)
    norm_averages: bool = setting(False, "batch norm keeps running averages, for examples by themselves", added=True)
    norm_epsilon: float = setting(0.001, "ε: added to the variance by batch norm", positive=True, added=True)
    norm_momentum: float = setting(
        MOMENTUM, "part of a running average that a batch replaces", positive=True, added=True
    )


@dataclass(frozen=True)
class Training(Record):
    """The outer loop."""

    pretrain_iterations: int = setting(
        0,
        "before the meta-training: of images steps of a classifier of all classes, else on the un-adapted loss",
        at_least=0,
    )
    pretrain_batch: int = setting(64, "images of a step of that classifier", at_least=1, added=True)
    pretrain_lr: float = setting(0.001, "step size of Adam for that classifier", positive=True, added=True)
    metatrain_iterations: int = setting(60000, "meta-updates", at_least=0, free=True)
    num_tasks: int = setting(32, "M: tasks of a meta-update", flag="meta_batch_size", at_least=1)
    meta_lr: float = setting(0.001, "β: step size of the outer loop", positive=True)
    optimizer: str = setting("adam", "optimiser of the outer loop", choices=OPTIMIZERS, added=True)
    schedule: str = setting(
        "constant",
        "of β over the training; linear: to 0; averaging: β/t at update t; halving: every --halve_every; decaying: by "
        "1 % every --decay_every; cosine: to --final_lr",
        choices=tuple(SCHEDULES),
        added=True,
    )
    halve_every: int | None = setting(None, "meta-updates after which β is halved", at_least=1, added=True)
    decay_every: int | None = setting(None, "meta-updates after which β is 1 % smaller", at_least=1, added=True)
    final_lr: float | None = setting(None, "β at the end of a cosine", positive=True, added=True)
    clip: float | None = setting(None, "cut each entry of the meta-gradient to ± this; 0: not at all", at_least=0)
    clip_norm: float | None = setting(
        None, "shrink the meta-gradient to this norm, over all weights", positive=True, added=True
    )
    skip_not_finite: bool = setting(
        False, "leave out an update that is not finite, instead of stopping there", added=True
    )
    seed: int = setting(1, "of the initial weights and the training tasks", at_least=0)

    def __post_init__(self):
        super().__post_init__()
        self.expect(self.seed < 2**31, "seed", "0 to 2147483647")
        for name, schedule in OF_SCHEDULES.items():
            given, expected = getattr(self, name) is not None, f"a number with schedule={schedule}, or nothing"
            self.expect(given == (self.schedule == schedule), name, expected)


@dataclass(frozen=True)
class Engine(Record):
    """How fast it runs, not what comes out."""

    tasks_per_chunk: int = setting(2, "tasks whose meta-gradient is computed together", at_least=1, free=True)
    iterations_per_call: int = setting(1, "meta-updates in one call of a compiled loop", at_least=1, free=True)
    jit: bool = setting(True, "compile with XLA", free=True)


# Settings that only images have, and those that only the user's own images have, with their values.
IMAGES_ONLY = ("num_classes", "num_filters", "conv", "max_pool", "pretrain_batch", "pretrain_lr")
FOLDER_ONLY = dict(  # ours: as miniImagenet has them
    image_size=84, channels=3, split=",".join(map(str, image_folder.SPLIT)), split_seed=image_folder.SPLIT_SEED
)
UNPUBLISHED = ("glyphs", "folder")  # data sources that no paper has
# What a run folder's name begins with, or what the data settle.
IDENTITY = ("datasource", "num_classes", "num_shots", "dataset", "train_classes", "seed")


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes. `own` are the method's own settings. UserError for what can't be."""

    method: str
    task: Task
    network: Network
    own: Record
    training: Training
    engine: Engine

    def __post_init__(self):
        task, network = self.task, self.network
        task.expect(task.datasource in SOURCES, "datasource", "one of " + ", ".join(SOURCES))
        task.expect(task.split is None or task_fractions(task), "split", "three fractions that sum to 1: 0.64,0.16,0.2")
        kind = "classification" if task.classification else "regression"
        if kind not in self.card.learns:
            learns = " and ".join(self.card.learns)
            raise UserError(f"method {self.method} learns {learns}, got datasource {task.datasource}")
        if network.max_pool and not network.conv:
            raise UserError("max_pool goes with conv, got max_pool=True and conv=False")
        if network.max_pool and task.image_size is not None and task.image_size < 16:
            raise UserError(
                f"image_size is {task.image_size}, expected at least 16 for four max-pools, or --max_pool=False"
            )

    @property
    def card(self) -> Card:
        return methods.get(self.method)

    @property
    def records(self) -> tuple[Record, ...]:
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple(value for value in values if isinstance(value, Record))

    @property
    def seed(self) -> int:
        return self.training.seed

    @property
    def of_all_classes(self) -> bool:
        """Whether the training begins with a classifier of all training classes."""
        return bool(self.card.pretraining) or (self.task.classification and self.training.pretrain_iterations > 0)

    @property
    def total_iterations(self) -> int:
        return self.training.pretrain_iterations + self.training.metatrain_iterations

    # As text: config.json, the folder, the title

    def to_dict(self) -> dict[str, Any]:
        """{flag: value} of all settings, and "method"."""
        flat = {"method": self.method}
        for record in self.records:
            flat |= {key: getattr(record, name) for name, key in keys(type(record)).items()}
        return flat

    @classmethod
    def from_dict(cls, record, origin):
        """The settings written by `to_dict`. UserError, naming `origin`, for names or values that are wrong."""
        flat = _as_written_today(record)
        method = flat.pop("method")
        try:
            types = record_types(method)
            fields = {key: field for kind in types.values() for field, key in _fields(kind)}
            about = {key: (f.metadata["free"], f.metadata["added"], f.default is None) for key, f in fields.items()}
            may_lack = {key for key, reasons in about.items() if any(reasons)}
            if odd := sorted(set(flat) - set(fields) | set(fields) - may_lack - set(flat)):
                raise UserError(f"these settings are unknown or missing: {', '.join(odd)}")
            return cls(method, **{name: _make(kind, flat) for name, kind in types.items()})
        except UserError as error:
            raise UserError(f"{origin}: {error}") from error

    def differences(self) -> dict[str, Any]:
        """{field: value} of what is neither free nor the seed and not the value of the method's preset."""
        paper = _paper(self.method, self.task, self.network.conv)
        of_others = (name for name, whose in OF_SCHEDULES.items() if whose != self.training.schedule)
        return card.differences(self.records, paper, (*IDENTITY, *self._lengths(), *of_others))

    def _lengths(self):
        """The settings that say how long the training is."""
        only_pretrained = "metatrain_iterations" in self.card.unused
        return ("metatrain_iterations", "pretrain_iterations") if only_pretrained else ("metatrain_iterations",)

    def _tags(self, what):
        return card.tags(self.records, self.differences(), what)

    @property
    def name(self) -> str:
        """Of the run folder, for people: data, task, method, and what differs from the method's preset."""
        task = self.task
        parts = [task.dataset or task.datasource]
        parts += [f"{task.num_classes}way"] if task.classification else []
        parts += [f"{task.num_shots}shot"]
        parts += [self.method] if self.method != "maml" else []
        return "_".join([*parts, *self._tags("tag")])

    @property
    def title(self) -> str:
        """'Omniglot, 5-way 1-shot, no conv'."""
        return self._title([] if self.method == "maml" else [self.card.title])

    @property
    def full_title(self) -> str:
        """The title with the method, whichever it is: 'Omniglot, 5-way 1-shot, MAML, no conv'."""
        return self._title([self.card.title])

    def _title(self, method):
        task = self.task
        size = [f"{task.num_classes}-way"] if task.classification else []
        size += [f"{task.num_shots}-shot"]
        parts = [sources.title(task.dataset or task.datasource), " ".join(size)]
        return ", ".join([*parts, *method, *(tag.replace("_", " ") for tag in self._tags("words"))])

    # Beside others

    def cells(self, num_shots=None, transductive=None, num_classes=None) -> tuple[Published, ...]:
        """The published results that a run of these settings stands beside.

        Its task is theirs, and what differs from the method's preset is what differs in theirs.
        num_shots: K of the test; None: that of the training.
        transductive: whether the queries of the test are normalised together, as theirs then were; None: either way.
        num_classes: N of the test; None: that of the training.
        """
        task, variant = self.task, self.differences()
        if num_classes not in (None, task.num_classes) and not self.card.same_for_every_n:
            return ()
        num_shots = task.num_shots if num_shots is None else num_shots
        num_classes = task.num_classes if num_classes is None else num_classes
        where = (task.dataset or task.datasource, num_classes if task.classification else None, num_shots)
        return tuple(
            cell
            for cell in self.card.published
            if cell.measured_here
            and (cell.dataset, cell.num_classes, cell.num_shots) == where
            and _trained_shots(cell, task) == task.num_shots
            and variant in (cell.variant, *({**cell.variant, **other} for other in cell.also))
            and transductive in (None, self.card.column(cell) == card.TOGETHER)
        )

    def compared(self) -> dict[str, tuple]:
        """{flag: (value, the preset's)} of the differences; {} where nothing is published for the data and N."""
        paper = _paper(self.method, self.task, self.network.conv)
        named = {name: key for record in self.records for name, key in keys(type(record)).items()}
        where = (self.task.dataset or self.task.datasource, self.task.num_classes if self.task.classification else None)
        if where not in {(cell.dataset, cell.num_classes) for cell in self.card.published if cell.measured_here}:
            return {}
        return {named[name]: (value, paper[name]) for name, value in self.differences().items()}

    @property
    def paper_iterations(self) -> int | None:
        """Iterations of the preset, after as long a pretraining as here; None for data that no paper trained on."""
        if self.task.datasource in UNPUBLISHED:
            return None
        paper = _paper(self.method, self.task, self.network.conv)
        own = 0 if "metatrain_iterations" in self.card.unused else self.training.pretrain_iterations
        return max(own, paper["pretrain_iterations"]) + paper["metatrain_iterations"]

    def check_same(self, recorded, folder, expected):
        """Raises UserError if these would compute something else than those recorded in `folder`."""
        free = card.free_keys(self.records) | set(self._lengths())
        if SCHEDULES[self.training.schedule].by_length or self.card.stages:  # which is fixed then
            free -= set(self._lengths())
        card.check_same(self.to_dict(), recorded.to_dict(), free, folder, expected)


def _trained_shots(cell, task):
    """K of the training of a published cell: where it does not depend on K, that of the task."""
    if cell.trained_shots is None:
        return cell.num_shots
    return cell.trained_shots or task.num_shots


def task_fractions(task):
    """`task.split` as (train, val, test); None where it is not three positive numbers that sum to 1."""
    try:
        parts = tuple(float(part) for part in task.split.split(","))
    except (AttributeError, ValueError):
        return None
    return parts if len(parts) == 3 and min(parts) > 0 and abs(sum(parts) - 1) < 1e-6 else None


def record_types(method) -> dict[str, type]:
    """{field of Settings: Record type} for a method."""
    own = methods.get(method).Settings
    return {"task": Task, "network": Network, "own": own, "training": Training, "engine": Engine}


def resolve(datasource, method=None, baseline=None, **given) -> Settings:
    """The Settings: what is given, by flag, and the method's preset for whatever is None.

    baseline: the method's name as the authors spell the sinusoid's comparisons, oracle; ours: pretrained.
    Unknown names raise TypeError. UserError for a value that can't be, and for a setting that means nothing for the
    data source or the network.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if datasource not in SOURCES:
        raise UserError(f"datasource is {datasource!r}, expected one of {', '.join(SOURCES)}")
    method = _method(datasource, method, baseline, given)
    known = {key: field.name for kind in record_types(method).values() for field, key in _fields(kind)}
    if unknown := sorted(set(given) - set(known)):
        raise TypeError(f"unknown settings: {', '.join(unknown)}")
    _check_sense(datasource, given)
    _check_used(method, known, given)
    named = {known[key]: value for key, value in given.items()}
    defaults = {"num_shots": 1 if datasource != "sinusoid" else 10}  # [P] 5.1 for the sinusoid
    task = Task(datasource, **{n: v for n, v in {**defaults, **named}.items() if n in ("num_classes", "num_shots")})
    values = {**_paper(method, task, named.get("conv", True)), **named, "datasource": datasource}
    values |= {n: None for n, whose in OF_SCHEDULES.items() if n not in named and values.get("schedule") != whose}
    if method in _baselines():  # all of their training is without adaptation
        values["metatrain_iterations"] += values["pretrain_iterations"]
        values["pretrain_iterations"] = 0
    kinds = record_types(method).items()
    return Settings(
        method, **{n: kind(**{f.name: values[f.name] for f in dataclasses.fields(kind)}) for n, kind in kinds}
    )


def _baselines():
    """The methods that are the authors' --baseline."""
    return [name for name in methods.names() if methods.get(name).is_baseline]


def _method(datasource, method, baseline, given):
    """The method's name from --method, --baseline and the authors' way to ask for the pretrained network.

    That is of the sinusoid: of images `pretrain_iterations` are of a classifier of all training classes.
    """
    if baseline is not None:
        if method not in (None, "maml", baseline):
            raise UserError(f"method is {method!r} and baseline {baseline!r}, expected one of them")
        if baseline not in _baselines():
            raise UserError(f"baseline is {baseline!r}, expected {' or '.join(_baselines())}, or nothing")
        method = baseline
    method = method or "maml"
    methods.get(method)
    only_pretrained = given.get("metatrain_iterations") == 0 and given.get("pretrain_iterations", 0) > 0
    if datasource == "sinusoid" and method == "maml" and only_pretrained:
        method, given["metatrain_iterations"] = "pretrained", given.pop("pretrain_iterations")
    return method


def _check_sense(datasource, given):
    """UserError for a setting that means nothing for the data source or the network."""
    if datasource == "sinusoid" and (odd := [name for name in IMAGES_ONLY if name in given]):
        raise UserError(
            f"{', '.join(odd)} given, but sinusoid tasks have no classes or images; expected a data source of images"
        )
    if datasource != "folder" and (odd := [name for name in FOLDER_ONLY if name in given]):
        raise UserError(f"{', '.join(odd)} given, but {datasource} settles that itself; expected --datasource=folder")
    if given.get("conv") is False and "num_filters" in given:
        raise UserError("num_filters goes with conv, got num_filters and conv=False")


def _check_used(method, known, given):
    """UserError for a setting that means nothing to the method. known: {flag: field}."""
    card = methods.get(method)
    if odd := [name for name in given if known[name] in card.unused]:
        own = ", ".join(keys(card.Settings).values())
        expected = f"of its own settings {own}" if own else "none: it has no settings of its own"
        raise UserError(f"{', '.join(odd)} given, which {method} does not use; expected {expected}")


def _paper(method, task, conv):
    """{field: value} of all settings in the method's preset for a task; of a dense network, those that it has."""
    types = record_types(method)
    values = {field.name: field.default for kind in types.values() for field in dataclasses.fields(kind)}
    values |= {name: getattr(task, name) for name in ("datasource", "num_classes", "num_shots")}
    values |= FOLDER_ONLY if task.datasource == "folder" else {}
    values |= methods.get(method).preset(task)
    return values | ({} if conv else {"max_pool": False, "num_filters": Network.num_filters})


def _as_written_today(record):
    """{flag: value} of a config.json of any age.

    Methods once were a baseline, or a training without meta-updates; relation networks had one name for two clips.
    """
    flat = dict(record)
    if "method" not in flat:
        baseline = flat.pop("baseline", None)
        alone = bool(flat.get("pretrain_iterations")) and flat.get("metatrain_iterations") == 0
        flat["method"] = baseline or ("pretrained" if alone else "maml")
        if alone:
            flat["metatrain_iterations"], flat["pretrain_iterations"] = flat["pretrain_iterations"], 0
    if flat["method"] == "relation" and "part_clip_norm" not in flat and "clip_norm" in flat:
        flat["part_clip_norm"] = flat.pop("clip_norm")
    return flat


def _fields(kind):
    """[(field, key)] of a Record's type."""
    named = keys(kind)
    return [(field, named[field.name]) for field in dataclasses.fields(kind)]


def _make(kind, flat):
    """The Record with the values that `flat` has by key, and defaults for the others."""
    return kind(**{field.name: flat[key] for field, key in _fields(kind) if key in flat})
