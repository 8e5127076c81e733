"""summary.json of a run of either kind, read and checked: what figures and tables are made from."""

import contextlib
import dataclasses
import math
import re
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from data_generators.errors import UserError
from maml.runs import files

KINDS = ("supervised", "rl")
UNITS = ("accuracy", "mse", "return")


@dataclass(frozen=True)
class Reference:
    """A published result that an evaluation stands beside.

    values, errors: {inner step: value}, {inner step: ± of it, None where none is printed}.
    error_is: what the ± is. source: where it is printed. interval: as an Evaluation's.
    """

    values: dict
    errors: dict
    error_is: str
    source: str
    interval: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """One test of a run.

    file: the table it is written to, in the run folder. split, tasks: which tasks, and how many.
    checkpoint, iteration: the weights that were tested, "best", "latest", or a name of one; and their iteration.
    members: of an ensemble, the iterations of its checkpoints.
    transductive: whether the queries of a task were normalised together; None where nothing is normalised.
    step: the inner step whose result is read. values, errors: after 0, 1, … inner steps, NaN where they diverged, which
    is null in the file. error_is: what the ± is.
    published: the Reference beside it, or None.
    Supervised alone: ways N, in the file only where it is not that of the training, None of a regression; shots K and
    queries Q of a class, inner_lr, measures, {name: (mean, its ±)}, of what a method's test has beside its curve.
    Reinforcement learning alone: rollouts K, learning_rates of the steps, diverged simulations, interval: half the
    95 % interval of what is read, 1.96 errors.
    """

    file: str
    split: str
    tasks: int
    checkpoint: str
    iteration: int
    transductive: bool | None
    step: int
    values: tuple
    errors: tuple
    error_is: str
    published: Reference | None
    ways: int | None = None
    shots: int | None = None
    queries: int | None = None
    inner_lr: float | None = None
    measures: dict | None = None
    members: tuple | None = None
    rollouts: int | None = None
    learning_rates: tuple | None = None
    diverged: int | None = None
    interval: float | None = None

    @property
    def value(self):
        """What is quoted: the value after the step that is read."""
        return self.values[self.step]

    @property
    def is_chosen(self):
        """Whether its weights were chosen from all of the training, which is then behind them."""
        return self.checkpoint in ("best", "weights") or bool(self.members)

    @property
    def error(self):
        """The ± of `value`."""
        return self.errors[self.step]


@dataclass(frozen=True)
class Iterations:
    """trained: the highest iteration of the training. paper: the paper's, None where there is no such paper."""

    trained: int
    paper: int | None


@dataclass(frozen=True)
class Summary:
    """A run that was tested.

    experiment: the name of its folder, for people alone. title: the same, readable. kind: "supervised" or "rl".
    method, method_title: its name, and as tables show it. datasource: where its tasks come from. dataset: what they
    are, where the source may hold several; elsewhere the source's name. num_classes, num_shots: N, K of the training.
    variant: {setting: value} in which it differs from its method's preset.
    unit: "accuracy" as a fraction, "mse" or "return". headline: the file of the evaluation that is quoted.
    folder: where it lies. cut: what the data were too few for in its training, and what was done; None for nothing.
    replicas: how many trained it together, each number there was.
    """

    experiment: str
    title: str
    kind: str
    method: str
    method_title: str
    datasource: str
    dataset: str
    num_classes: int | None
    num_shots: int | None
    variant: dict
    unit: str
    seed: int
    command: str
    iterations: Iterations
    wall_time_seconds: float
    commit: str
    versions: dict
    hardware: str
    headline: str
    evaluations: tuple
    folder: Path
    cut: str | None = None
    replicas: tuple = (1,)

    @property
    def quoted(self):
        """The evaluation that is the headline."""
        return next(evaluation for evaluation in self.evaluations if evaluation.file == self.headline)

    @property
    def trained(self):
        """Iterations behind the headline's weights: of all the training, where validation chose among checkpoints."""
        return self.trained_for(self.quoted)

    def trained_for(self, evaluation):
        """Iterations behind the weights that an evaluation tested."""
        total = self.iterations.trained
        return total if evaluation.is_chosen else min(evaluation.iteration, total)

    def tested_with(self, shots, ways=None):
        """The evaluation with that K on test tasks that is most like the headline, with Q = K if possible; or None.

        ways: N; None: that of the training.
        """
        ways = self.num_classes if ways is None else ways

        def difference(entry):
            how = ("checkpoint", "iteration", "transductive")
            other = [getattr(entry, name) != getattr(self.quoted, name) for name in how]
            return other, entry.queries != shots, entry.inner_lr != self.quoted.inner_lr, entry.file

        wanted = "test", ways, shots
        found = [entry for entry in self.evaluations if (entry.split, entry.ways, entry.shots) == wanted]
        return min(found, key=difference, default=None)

    @property
    def is_short(self):
        """Whether the headline's weights were trained for less than the paper's."""
        return self.iterations.paper is not None and self.trained < self.iterations.paper


def load(folder):
    """The Summary of a run folder. UserError names the file, and of it the field that is missing or wrong."""
    path = Path(folder) / "summary.json"
    fields = _fields(Summary, {**files.read_json(path), "folder": Path(folder)}, path, "")
    evaluations = [_evaluation(entry, path, f"evaluations[{i}]") for i, entry in enumerate(fields["evaluations"])]
    of_training = fields["num_classes"]
    evaluations = [dataclasses.replace(entry, ways=entry.ways or of_training) for entry in evaluations]
    fields["evaluations"] = tuple(evaluations)
    fields["iterations"] = Iterations(**_fields(Iterations, fields["iterations"], path, "iterations."))
    for name, known in (("kind", KINDS), ("unit", UNITS), ("headline", [entry.file for entry in evaluations])):
        _expect(fields[name] in known, path, name, fields[name], f"one of {', '.join(known)}")
    return Summary(**fields)


def load_all(results_dir):
    """The Summaries of the run folders <results_dir>/*/seed_*, by experiment and seed."""
    return sorted(map(load, _folders(results_dir)), key=_order)


def load_readable(logdir):
    """As `load_all`, without those that are damaged: for a figure of one run, which another's damage is not to stop."""
    found = []
    for folder in _folders(logdir):
        with contextlib.suppress(UserError):
            found.append(load(folder))
    return sorted(found, key=_order)


def _folders(results_dir):
    """Those of runs; not of one that was set aside, seed_1.old-1."""
    found = [path.parent for path in Path(results_dir).glob("*/seed_*/summary.json")]
    return [folder for folder in found if re.fullmatch(r"seed_\d+", folder.name)]


def _order(summary):
    return summary.experiment, summary.seed, str(summary.folder)


def _evaluation(record, path, name):
    fields = _fields(Evaluation, record, path, f"{name}.")
    values, errors = fields["values"], fields["errors"]
    _expect(values and _are_numbers(values, none=True), path, f"{name}.values", values, "numbers, one or more")
    _expect(_are_numbers(errors, none=True), path, f"{name}.errors", errors, "numbers")
    _expect(len(errors) == len(values), path, f"{name}.errors", errors, f"{len(values)}, as many as values")
    _expect(0 <= fields["step"] < len(values), path, f"{name}.step", fields["step"], f"0 to {len(values) - 1}")
    for which in ("values", "errors"):
        fields[which] = tuple(math.nan if value is None else value for value in fields[which])
    if fields["published"] is not None:
        fields["published"] = _reference(fields["published"], path, f"{name}.published")
    for measure, pair in (fields.get("measures") or {}).items():
        right = isinstance(pair, list) and len(pair) == 2 and _are_numbers(pair)
        _expect(right, path, f"{name}.measures.{measure}", pair, "two numbers, a mean and its ±")
    return Evaluation(**fields)


def _reference(record, path, name):
    fields = _fields(Reference, record, path, f"{name}.")
    for which in ("values", "errors"):
        of_steps = fields[which]
        right = all(step.isdecimal() for step in of_steps) and _are_numbers(of_steps.values(), none=which == "errors")
        _expect(right, path, f"{name}.{which}", of_steps, "{inner step: number}")
        fields[which] = {int(step): of_steps[step] for step in sorted(of_steps, key=int)}
    return Reference(**fields)


# What a field's type is in json, and what it is called.
_IN_JSON = {tuple: list, Reference: dict, Iterations: dict}
_WORDS = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "an object",
    type(None): "null", Path: "a path",
}  # fmt: skip


def _fields(kind, record, path, prefix):
    """{field: value} of a dataclass, from an object of json; UserError unless it has these fields, of their types."""
    _expect(isinstance(record, dict), path, prefix.rstrip("."), record, "an object")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(record.keys() - fields.keys()):
        raise UserError(f"{path}: damaged, {prefix}{unknown[0]} is no field of a summary, expected {', '.join(fields)}")
    for name, field in fields.items():
        if name not in record:
            _expect(field.default is not dataclasses.MISSING, path, f"{prefix}{name}", "missing", "it to be there")
            continue
        kinds = [_IN_JSON.get(one, one) for one in get_args(field.type) or (field.type,)]
        right = type(record[name]) in kinds or isinstance(record[name], Path) and Path in kinds
        right = right or (float in kinds and type(record[name]) is int)
        _expect(right, path, f"{prefix}{name}", record[name], " or ".join(_WORDS[one] for one in kinds))
    return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}


def _are_numbers(values, none=False):
    return all(type(value) in (int, float) or (none and value is None) for value in values)


def _expect(right, path, name, got, expected):
    if not right:
        got = got if got == "missing" else reprlib.repr(got)
        raise UserError(f"{path}: damaged, {name} is {got}, expected {expected}")
