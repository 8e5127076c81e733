"""The records that settings are made of, and the card that every method carries."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from data_generators.errors import UserError

LARGEST = 2**53  # of whole numbers that all have a float64 of their own: iterations are counted, and divided


def setting(  # noqa: PLR0913  (keyword-only, and what a field may say of itself)
    default,
    help,
    *,
    flag=None,
    tag=None,
    words=None,
    choices=None,
    at_least=None,
    positive=False,
    free=False,
    added=False,
):
    """A field of a Record.

    default: its value where nobody gives one.
    help: a sentence for the command line, the paper's symbol first where it has one.
    flag: its name on the command line and in config.json, where it isn't the field's own. False: the command line
        doesn't have it, as the data or the method settle it.
    tag: what names a run folder whose value isn't the preset's: {value: text}, or a text with {} for the value;
        None: the flag and the value.
    words: the same for a title, where the tag's own words won't do.
    choices, at_least, positive: what values may be.
    free: it changes how fast a run is, or how long, but not what it computes; it may differ when the run is resumed.
    added: it is younger than the first run folders, and may be missing in theirs.
    """
    limits = {"choices": choices, "at_least": at_least, "positive": positive}
    about = {"help": help, "flag": flag, "tag": tag, "words": words, "free": free, "added": added, **limits}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class Record:
    """Base of a frozen dataclass of settings. UserError for a value of another type than declared, or out of limits."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            self._check(field)

    def _check(self, field):
        value, kinds, about = getattr(self, field.name), get_args(field.type) or (field.type,), field.metadata
        whole_for_float = float in kinds and type(value) is int
        if type(value) not in kinds and not whole_for_float:
            self.expect(False, field.name, " or ".join(kind.__name__ for kind in kinds))
        if value is None:
            return
        if type(value) is int:
            self.expect(abs(value) < LARGEST, field.name, f"a whole number below {LARGEST:,}")
        if about.get("choices"):
            self.expect(value in about["choices"], field.name, "one of " + ", ".join(map(str, about["choices"])))
        if about.get("at_least") is not None:
            self.expect(value >= about["at_least"], field.name, f"at least {about['at_least']}")
        if about.get("positive"):
            self.expect(0 < value < float("inf"), field.name, "a positive number")

    def expect(self, ok, name, expected):
        """UserError unless `ok`, which says what the field `name` is and what was expected."""
        if not ok:
            raise UserError(f"{keys(type(self))[name]} is {getattr(self, name)!r}, expected {expected}")


def keys(record):
    """{field: its name on the command line and in config.json} of a Record's type."""
    return {field.name: field.metadata.get("flag") or field.name for field in dataclasses.fields(record)}


def free_keys(records):
    """The flags of what may be another value when a run of these records goes on."""
    kinds = map(type, records)
    return {keys(kind)[f.name] for kind in kinds for f in dataclasses.fields(kind) if f.metadata["free"]}


def differences(records, paper, aside=()):
    """{field: value} of what in these records is neither free nor in `aside` and not as in `paper`, {field: value}."""
    fields = [(record, field) for record in records for field in dataclasses.fields(record)]
    kept = [(record, field.name) for record, field in fields if not field.metadata["free"] and field.name not in aside]
    return {name: getattr(record, name) for record, name in kept if getattr(record, name) != paper[name]}


def tags(records, different, what):
    """The differences of these records as texts for a folder's name, what="tag", or for a title, what="words"."""
    texts = []
    for record in records:
        for field in dataclasses.fields(record):
            if field.name in different:
                value, tag = different[field.name], field.metadata[what] or field.metadata["tag"]
                text = tag.get(value) if isinstance(tag, dict) else tag
                shown = f"{value:g}" if isinstance(value, float) else str(value)
                texts.append((text or f"{keys(type(record))[field.name]}_{{}}").format(shown))
    return texts


def check_same(ours, theirs, free, folder, expected):
    """UserError if settings, {flag: value}, would compute something else than those recorded in `folder`.

    free: the flags whose values may differ. expected: what would do instead, for the message.
    """
    different = [name for name in {**theirs, **ours} if name not in free and ours.get(name) != theirs.get(name)]
    if different:
        details = ", ".join(f"{name}={theirs.get(name)} there and {ours.get(name)} here" for name in different)
        raise UserError(f"{folder} holds a run with other settings: {details}; expected {expected}")


@dataclass(frozen=True)
class Task(Record):
    """What is to be learnt: a data source, and the tasks drawn from it."""

    datasource: str = setting("omniglot", "where the tasks come from", flag=False)
    num_classes: int = setting(5, "N: classes of a task", at_least=2)
    num_shots: int = setting(1, "K: examples a class to learn from", flag="update_batch_size", at_least=1)
    num_queries: int = setting(1, "Q: query examples a class in training", flag="query_batch_size", at_least=1)
    dataset: str | None = setting(None, "what the images are, where not as the data source", flag=False)
    image_size: int | None = setting(None, "of a folder: images are resized to this many pixels square", at_least=1)
    channels: int | None = setting(None, "of a folder: 1 grey, 3 colour", choices=(1, 3))
    split: str | None = setting(None, "of a folder without train, val and test: fractions of the classes")
    split_seed: int | None = setting(None, "of a folder: of the order in which classes are divided")
    train_classes: int | None = setting(None, "classes there are to train on", flag=False, added=True)

    @property
    def classification(self) -> bool:
        return self.datasource != "sinusoid"

    @property
    def photographs(self) -> bool:
        """Whether the network is the paper's for miniImagenet, which keeps the last map whole ([C] maml.py)."""
        return self.datasource in ("miniimagenet", "folder")


class Published(NamedTuple):
    """A published result.

    dataset, num_classes, num_shots: its task; num_shots is K at test. num_classes: None for a regression.
    unit: "accuracy" as a fraction, or "mse".
    values, errors: {inner step it is read after: value}, {the same: half the width of its interval, or None}.
    error_is: what that interval is.
    source: its place in the paper.
    variant: {setting: value} in which its run differs from the method's preset.
    also: other settings by which it counts as the same, a dict each.
    label: its row in the paper, where that isn't the method's title.
    measured_here: whether this project has a command for it; the others are context.
    trained_shots: K of the training, where not that of the test; 0: any, as the training does not depend on it.
    normalisation: the column it belongs to, where not the card's.
    digits: of a percentage, after the point; None: as many as its numbers have, and 2 for miniImagenet.
    measure: which of the `measures` of a test it is, where that isn't its curve.
    """

    dataset: str
    num_classes: int | None
    num_shots: int
    unit: str
    values: dict
    errors: dict
    error_is: str
    source: str
    variant: dict = {}
    also: tuple = ()
    label: str | None = None
    measured_here: bool = True
    trained_shots: int | None = None
    normalisation: str | None = None
    digits: int | None = None
    measure: str | None = None

    def __str__(self):
        """The numbers as printed: '98.7 ± 0.4 %', '0.67, 0.38, 0.35'."""
        return ", ".join(self.number(step) for step in self.values)

    def number(self, step):
        """One of them as printed."""
        value, error = self.values[step], self.errors.get(step)
        if self.unit == "mse":
            return f"{value:.2f}"
        return self._percent(value) + ("" if error is None else f" ± {self._percent(error)}") + " %"

    def _percent(self, fraction):
        numbers = [number for number in (*self.values.values(), *self.errors.values()) if number is not None]
        two = self.dataset == "miniimagenet" or any(round(number, 3) != round(number, 6) for number in numbers)
        return f"{100 * fraction:.{self.digits or 1 + two}f}"


TOGETHER, ALONE = "queries together", "one query at a time"  # how the queries of a test are normalised
OVER_TASKS = "95 % interval over tasks"
AS_PRINTED = "as printed, of what is not known here"


def accuracy(task, printed, step, source, error_is=OVER_TASKS, **more):
    """The Published of an accuracy printed in percent.

    task: (data set, N, K). printed: the percentage, or with half its interval behind it: (percent, percent or None).
    step: that it is read after.
    Others as in `Published`.
    """
    percent, error = printed if isinstance(printed, tuple) else (printed, None)
    values = {step: round(percent / 100, 6)}
    errors = {step: None if error is None else round(error / 100, 6)}
    return Published(*task, "accuracy", values, errors, error_is, source, **more)


def not_run(label, source, cells, error_is=OVER_TASKS):
    """Published beside the method and not run here: {(data set, N, K): as `accuracy` takes it}, in a row `label`."""
    return tuple(
        accuracy(task, printed, None, source, error_is, label=label, measured_here=False)
        for task, printed in cells.items()
    )


class Reading(NamedTuple):
    """How many inner steps a curve has at test, and after which of them the headline is read."""

    num_steps: int
    step: int


class Episodes(NamedTuple):
    """The tasks of training: N, K, Q; whether a support set comes shuffled instead of class by class; and by which of
    `data_generators.distortions` each image is distorted, if it is."""

    num_ways: int
    num_shots: int
    num_queries: int
    shuffled: bool = False
    distorted: str | None = None


def tasks_as_tested(task, own):
    """Episodes of the N, K and Q of the task itself."""
    return Episodes(task.num_classes, task.num_shots, task.num_queries)


class Card(NamedTuple):
    """What the house knows of a method, at the end of the method's file.

    title: its name in tables. paper: authors, year, arXiv number, and the short name its sources are cited by.
    Settings: the type of its own settings, a Record.
    preset: Task -> {setting: value} of all records, each with its source on its line.
    build: (Settings, Problem) -> Method.
    published: of Published.
    learns: "classification", "regression".
    reading: (Task, Settings) -> Reading.
    episodes: (Task, Settings) -> Episodes of training, before they are cut to what the data has.
    pretraining: (Settings, Problem) -> an objective on a Batch over all training classes: phase 1; None: no such phase.
        The Settings then have the number of its examples, `batch_size`.
    unused: settings outside its own that mean nothing to it: who gives one is told so.
    told_the_task: its inputs carry what makes the task, where the data source can say it.
    step_sizes: candidates among which α is chosen on validation tasks, where the training doesn't settle it.
    tunes_length: whether how many inner steps are taken is chosen there too.
    tuning_tasks: on how many of these, at most; never more than are tested on.
    validation_tasks: how many a checkpoint is judged by; fewer where learning a task takes as long as much training.
    stages: (Settings, Problem) -> (progress, objective) pairs: what is minimised before that progress of the
        meta-training, instead of the method's own objective; in ascending order. None: there are no such stages.
    curve: which loss and accuracy its learning curve shows: "query" for query_loss and query_accuracy, …
    curve_title: what these are of.
    curve_loss: what that loss is of a classifier, where it is not the one that validation has.
    measures: whether what the objective returns of tasks like those of training is measured on test classes too.
    same_for_every_n: whether its training is the same whatever N of the test, so that one is behind the results of all.
    normalisation: the column that its own paper belongs to, TOGETHER or ALONE.
    is_baseline: the authors' --baseline may name it; all of its training is without adaptation.
    differs: sentences on what differs here from its paper.
    """

    title: str
    paper: str
    Settings: type
    preset: Callable[[Task], dict[str, Any]]
    build: Callable
    published: tuple
    learns: tuple
    reading: Callable[[Task, Any], Reading]
    episodes: Callable[[Task, Any], Episodes] = tasks_as_tested
    pretraining: Callable | None = None
    unused: tuple = ()
    told_the_task: bool = False
    step_sizes: tuple = ()
    tunes_length: bool = False
    tuning_tasks: int = 600
    validation_tasks: int = 600
    stages: Callable | None = None
    curve: str = "query"
    curve_title: str = "query points, after adaptation"
    curve_loss: str | None = None
    measures: bool = False
    same_for_every_n: bool = False
    normalisation: str = TOGETHER
    is_baseline: bool = False
    differs: str = ""

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to train."""
        return not {"pretrain_iterations", "metatrain_iterations"} <= set(self.unused)

    def column(self, cell: Published) -> str:
        """TOGETHER or ALONE: how the queries were normalised for one of the published results."""
        return cell.normalisation or self.normalisation
