"""The published results on the methods' cards, and which runs stand beside them.

Runs are found by what their summaries say: task, method, settings. A name of a folder is never read.
"""

from collections.abc import Iterable

from data_generators import sources
from maml import methods
from maml.methods.card import Published, Task, keys
from maml.reports.summaries import Evaluation, Summary
from maml.reports.tables import Result


def cells(dataset: str | None = None, measured_here: bool = True) -> list[tuple[str, Published]]:
    """(method, cell) of the published results, on one data set or all.

    measured_here: False for those that MAML's paper compares with, and that have no command.
    """
    return [
        (name, cell)
        for name in methods.names()
        for cell in methods.get(name).published
        if cell.measured_here == measured_here and dataset in (None, cell.dataset)
    ]


def datasets() -> list[str]:
    """The data sets with published results, in the order in which MAML and the other methods have them."""
    return list(dict.fromkeys(cell.dataset for _, cell in cells()))


def by_dataset() -> list[tuple[str, Published]]:
    """All `cells`, data set by data set."""
    order = datasets()
    return sorted(cells(), key=lambda pair: order.index(pair[1].dataset))


def is_papers(name: str) -> bool:
    """Whether a method is of MAML's paper: MAML, and what was trained there to compare it with."""
    return methods.get(name).paper == methods.get("maml").paper


def trained_shots(cell: Published) -> int:
    """K of the training behind a cell; where any will do, that of the test."""
    return cell.trained_shots or cell.num_shots


def training_task(name: str, cell: Published) -> tuple[int | None, int]:
    """(N, K) to train with for a cell: the usual ones where it doesn't depend on them, else those of its training."""
    any_n = methods.get(name).same_for_every_n and cell.num_classes is not None
    num_shots = Task.num_shots if cell.trained_shots == 0 else trained_shots(cell)
    return Task.num_classes if any_n else cell.num_classes, num_shots


def settings_of(name: str, cell: Published) -> dict:
    """{setting: value} of the training behind a cell: the method's preset, and what differs from it."""
    num_classes, num_shots = training_task(name, cell)
    task = Task(cell.dataset, num_classes=num_classes or Task.num_classes, num_shots=num_shots)
    return {**methods.get(name).preset(task), **cell.variant}


def trained_as(name: str, cell: Published, runs: Iterable[Summary]) -> list[Summary]:
    """The runs of a method by a cell's settings on its task, whatever the length and the test."""
    variants = [cell.variant, *({**cell.variant, **other} for other in cell.also)]
    found = [run for run in runs if (run.method, run.dataset) == (name, cell.dataset) and run.variant in variants]
    if not methods.get(name).same_for_every_n:
        found = [run for run in found if run.num_classes == cell.num_classes]
    if cell.trained_shots != 0:  # 0: the training doesn't depend on it
        found = [run for run in found if run.num_shots == trained_shots(cell)]
    return found


def standing_beside(name: str, cell: Published, runs: Iterable[Summary]) -> list[Result]:
    """The runs of a method by a cell's settings on its task, each with its test of the cell's N, K and steps."""
    tests = [Result(run, run.tested_with(cell.num_shots, cell.num_classes)) for run in trained_as(name, cell, runs)]
    return [result for result in tests if result.evaluation is not None and _is_read_as(name, result.evaluation, cell)]


def _is_read_as(name, evaluation, cell):
    """After a step that the cell has; after any, where the number of steps is chosen."""
    same = methods.get(name).tunes_length or evaluation.step in cell.values
    return same and max(cell.values) < len(evaluation.values)


def all_beside(runs: Iterable[Summary]) -> list[Summary]:
    """The runs that stand beside something published, in the order of what is."""
    return [result.run for name, cell in cells() for result in standing_beside(name, cell, runs)]


def both_ways(group: list[Result]) -> tuple[list[Result], list[Result]]:
    """(queries together, one query at a time): the results of a group, and the tests like them but for that."""
    other = [Result(run, twin) for run, evaluation in group if (twin := _twin(run, evaluation))]
    return (other, group) if group[0].evaluation.transductive is False else (group, other)


def _twin(run, evaluation):
    """The evaluation that differs only in whether a query sees the others of its task, or None."""
    others = [other for other in run.evaluations if other.transductive != evaluation.transductive]
    # Where α is chosen on validation tasks, it is for each way by itself: then any will do where there is no same.
    is_chosen = run.method is not None and bool(methods.get(run.method).step_sizes)
    for but in ((), ("inner_lr",)) if is_chosen else ((),):
        for other in others:
            if how_tested(other, but) == how_tested(evaluation, but):
                return other
    return None


def how_tested(evaluation: Evaluation, but: tuple = ()) -> tuple:
    """What two tests of a run have in common that differ only in whether a query sees the others of its task.

    but: names of what they need not have in common.
    """
    names = ("split", "ways", "shots", "queries", "inner_lr", "checkpoint", "iteration", "tasks")
    return tuple(getattr(evaluation, name) for name in names if name not in but)


# As text


def size(cell: Published) -> str:
    """'5-way 1-shot' or '5 points'; of a classifier that was trained with another K, with that."""
    if cell.num_classes is None:
        return f"{cell.num_shots} points"
    other = trained_shots(cell) != cell.num_shots
    return f"{cell.num_classes}-way {cell.num_shots}-shot" + f", trained with {cell.trained_shots}" * other


def method_title(name: str, cell: Published) -> str:
    """The method's title, or the row that the cell has in its paper."""
    return cell.label or methods.get(name).title


def title(name: str, cell: Published) -> str:
    """'Omniglot, 5-way 1-shot: MAML'."""
    return f"{sources.title(cell.dataset)}, {size(cell)}: {method_title(name, cell)}"


def variant(name: str, cell: Published) -> list[str]:
    """The flags of the settings in which a cell's run differs from the method's preset: ['--conv=False']."""
    return as_flags(name, cell.variant)


def command(name: str, cell: Published, trained_with: tuple | None = None) -> str:
    """The command that runs the training behind a cell; trained_with: as in `flags`."""
    return " ".join(["python main.py", *flags(name, cell, trained_with)])


def flags(name: str, cell: Published, trained_with: tuple | None = None) -> list[str]:
    """The flags of `command`.

    trained_with: (N, K) of the training; None: those of `training_task`.
    """
    num_classes, num_shots = trained_with or training_task(name, cell)
    given = {"datasource": cell.dataset} | ({} if name == "maml" else {"method": name})
    given |= {} if num_classes in (None, Task.num_classes) else {"num_classes": num_classes}
    usual = 10 if cell.num_classes is None else Task.num_shots  # as runs.settings.resolve
    given |= {} if num_shots == usual else {"num_shots": num_shots}
    return [*as_flags(name, given), *variant(name, cell)]


def flags_of_test(cell: Published, trained_with: tuple) -> list[str]:
    """The further flags of a test on a cell's N and K, where those of the training, (N, K), are others."""
    names, words = keys(Task), []
    for field, trained in zip(("num_classes", "num_shots"), trained_with, strict=True):
        if trained != getattr(cell, field):
            words += [f"--train_{names[field]}={trained}", f"--{names[field]}={getattr(cell, field)}"]
    return words


def as_flags(name: str, given: dict) -> list[str]:
    """['--stop_grad', '--conv=False'] of a method's {field: value}."""
    names = keys(Task) | keys(methods.get(name).Settings)
    return [f"--{names.get(field, field)}" + ("" if value is True else f"={value}") for field, value in given.items()]
