"""The tables of the page: what the paper says beside ours, a table for each data set, and what else was run."""

from collections.abc import Iterable
from statistics import fmean

from data_generators import sources
from maml import methods
from maml.methods.card import ALONE, TOGETHER
from maml.reports.cells import (
    all_beside,
    both_ways,
    by_dataset,
    cells,
    command,
    datasets,
    flags_of_test,
    how_tested,
    is_papers,
    method_title,
    settings_of,
    size,
    standing_beside,
    title,
    trained_as,
    trained_shots,
    training_task,
    variant,
)
from maml.reports.summaries import Summary
from maml.reports.tables import (
    BETWEEN_SEEDS,
    Result,
    Row,
    about,
    between_seeds,
    bold,
    groups,
    iterations,
    mean,
    number,
    quoted,
    representative,
    table,
    with_checkpoint,
)

STAND_IN = """The paper's experiments on other photographs in the format of its own: comparable with each other, not
with the published numbers. Tiny ImageNet's are 64×64 pixels, 500 or 300 a class, and most of its classes are others.
"""


# The opening table


def beside_ours(runs: Iterable[Summary]) -> list[Row]:
    """A Row for each published result of MAML's paper, run or not."""
    return [beside(name, cell, runs) for name, cell in by_dataset() if is_papers(name)]


def beside(name, cell, runs) -> Row:
    """The Row of a published result, and beside it the seeds that speak for ours."""
    steps = f", after {', '.join(map(str, cell.values))} steps" if len(cell.values) > 1 else ""
    text = f"{sources.title(cell.dataset)}, {size(cell)}{steps}: {method_title(name, cell)}"
    text += f", {ALONE}" if methods.get(name).column(cell) == ALONE else ""
    group = representative(in_its_column(name, cell, standing_beside(name, cell, runs)))
    if not group:
        return Row(text, str(cell), spread=cell.error_is)
    return Row(text, str(cell), *_measured(group, cell), **about(group), front=name == "maml")


def in_its_column(name, cell, results):
    """The results of tests in which queries were normalised as for the published one."""
    if cell.unit != "accuracy" or not results:
        return results
    alone = methods.get(name).column(cell) == ALONE
    return [test for result in results for test in both_ways([result])[alone]]


def _measured(group, cell):
    """(numbers, what their ± are): what a group of seeds has at the steps that are published."""
    if cell.unit == "accuracy":
        return bold(mean(group), not group[0].is_short), group[0].evaluation.error_is
    numbers = [_over_seeds(group, step) for step in cell.values]
    texts = [bold(number(value, cell.unit, error), not group[0].is_short) for value, error in numbers]
    return ", ".join(texts), _spread(group)


def _over_seeds(group, step):
    """(mean over seeds after a step, its ±): what `_spread` says."""
    tests = [evaluation for _, evaluation in group]
    error = between_seeds([test.values[step] for test in tests])
    return fmean(test.values[step] for test in tests), tests[0].errors[step] if error is None else error


def _spread(group):
    return BETWEEN_SEEDS if len(group) > 1 else group[0].evaluation.error_is


# A table for each data set


def section(dataset: str, runs: Iterable[Summary]) -> str:
    """The heading of a data set, its methods published and measured, and what its paper compares with."""
    of_dataset = cells(dataset)
    tables = _images(of_dataset, runs) if _is_classified(of_dataset) else _regression(dataset, of_dataset, runs)
    return f"\n## {sources.title(dataset)}\n{tables}{_differences(dataset, runs)}{_context(dataset, runs)}"


def _is_classified(of_dataset):
    return any(cell.num_classes is not None for _, cell in of_dataset)


_MEASURED = [f"{way}, measured ± 95 % interval over tasks" for way in (TOGETHER, ALONE)]
_HOW = ["tasks", "queries", "step", "iterations (checkpoint)", "seeds, each ± 95 % interval over tasks"]


def _images(of_dataset, runs):
    """Rows of every method: one for each experiment, or one for each length of training it was run with."""
    rows, unused = [], []
    for name, published in _experiments(of_dataset):
        cell = published[0]
        found = groups(standing_beside(name, cell, runs))
        if not found and cell.variant and not is_papers(name):
            unused.append((name, cell))
            continue
        for group in found or [[]]:
            first = [method_title(name, cell), f"{size(cell)}<br>{_commands(name, cell, group)}"]
            rows.append([*first, *_both_published(name, published, group)])
    head = ["method", "experiment"]
    for way, measured in zip((TOGETHER, ALONE), _MEASURED, strict=True):
        head += [f"{way}, published", measured]
    return f"\n{table([*head, 'published ± are', *_HOW], rows)}{_unused(unused)}"


def _commands(name, cell, group):
    """How the runs of a group were trained, or are to be where there are none; and tested, where by other N or K."""
    run = group[0].run if group else None
    trained_with = (run.num_classes, run.num_shots) if run else training_task(name, cell)
    text = f"`{command(name, cell, trained_with)}`"
    tested = " ".join(flags_of_test(cell, trained_with))
    return text + (f"<br>tested by `--train=False --test_set {tested}`" if tested else "")


def _experiments(of_dataset):
    """[(method, cells)] of the same task and settings, which differ in how queries were normalised."""
    found = {}
    for name, cell in of_dataset:
        experiment = (name, cell.num_classes, cell.num_shots, cell.trained_shots, cell.label, str(cell.variant))
        found.setdefault(experiment, (name, []))[1].append(cell)
    return list(found.values())


def _both_published(name, published, group):
    """The cells of a row: published and measured both ways, what the published ± are, and how it was made."""
    printed = {methods.get(name).column(cell): str(cell) for cell in published}
    (together, alone), made = _result(group)
    spreads = dict.fromkeys(cell.error_is for cell in published if any(cell.errors.values()))
    both = [printed.get(TOGETHER, ""), together, printed.get(ALONE, ""), alone]
    return [*both, ", ".join(spreads), *made]


def _result(group):
    """([queries together, one query at a time], the cells of _HOW) of one group; an empty one was not run."""
    if not group:
        return ["not run", "not run"], [""] * len(_HOW)
    first, test = group[0], group[0].evaluation
    ways = [bold(mean(results), not first.is_short) for results in both_ways(group)]
    made = with_checkpoint(first) if len(group) == 1 else iterations(first)
    return ways, [f"{test.tasks:,}", _number(test.queries), str(test.step), made, _each_seed(group)]


def _number(value):
    return "" if value is None else f"{value:g}"


def _each_seed(group):
    """'1', or of several seeds each with its result."""
    return str(group[0].run.seed) if len(group) == 1 else "<br>".join(map(_one_seed, group))


def _one_seed(result):
    """'2: together 42.03 ± 1.84 %, alone 38.90 ± 1.75 %, best 4,000'; of one way of testing '2: 42.03 ± 1.84 %, …'."""
    (together, alone), test = both_ways([result]), result.evaluation
    text = f"together {mean(together)}, alone {mean(alone)}" if together and alone else mean([result])
    return f"{result.run.seed}: {text}, {test.checkpoint} {test.iteration:,}"


def _unused(unused):
    """The table of results that other papers have of other settings than their best, and that were not run here."""
    if not unused:
        return ""
    sizes = {_task(cell): f"{cell.num_classes}-way {cell.num_shots}-shot" for _, cell in unused}
    rows = {}
    for name, cell in unused:
        flags = " ".join(variant(name, cell))
        first = f"{method_title(name, cell)}, trained with K = {trained_shots(cell)}: `{flags}`"
        rows.setdefault(first, {})[_task(cell)] = str(cell)
    lines = [[first, *(row.get(task, "–") for task in sorted(sizes))] for first, row in rows.items()]
    head = "published with other settings ± 95 % interval over tasks, not run"
    return "\n" + table([head, *(sizes[task] for task in sorted(sizes))], lines)


def _task(cell):
    return cell.num_classes, cell.num_shots


def _regression(dataset, of_dataset, runs):
    """Rows of every method and K at test: the error after the steps that are published."""
    steps = sorted({step for _, cell in of_dataset for step in cell.values})
    runs = _in_regression_table(dataset, of_dataset, runs)
    rows, commands = [], []
    for name in methods.names():
        of_method = [cell for other, cell in of_dataset if other == name]
        for given in _variants(of_method):
            beside = [cell for cell in of_method if cell.variant == given]
            mine = [run for run in runs if run.method == name and run.variant == given]
            row_title = method_title(name, beside[0]) if beside else methods.get(name).title
            rows += _regression_rows(row_title, beside, mine, steps)
            if beside:
                commands.append((row_title, command(name, beside[0])))
            elif mine:
                commands.append((row_title, f"python main.py --datasource={dataset} --method={name}"))
    head = ["method", "K at test", "without steps"]
    for step in steps:
        head += [_steps(step), "published"]
    lines = "".join(f"- {row_title}: `{text}`\n" for row_title, text in commands)
    head += ["after its paper's own", "the ± are", "tasks", "iterations", "seeds"]
    explanation = (
        "Mean squared error on test tasks after so many inner steps, the mean over seeds. A method without inner steps "
        "has read the support set."
    )
    return f"\n{explanation}\n\n{table(head, rows)}\n{lines}"


def _variants(of_method):
    """A method's usual settings, and the others that are published."""
    found = [{}]
    return found + [cell.variant for cell in of_method if cell.variant not in found]


def _in_regression_table(dataset, of_dataset, runs):
    """The runs of any method on a data set by published settings or its usual ones, with a K of the published."""
    trained_with = {trained_shots(cell) for _, cell in of_dataset}
    mine = [run for run in runs if run.dataset == dataset and run.num_shots in trained_with]
    return [run for run in mine if any(evaluation.split == "test" for evaluation in run.evaluations)]


def _steps(step):
    return f"{step} step{'s' * (step != 1)}"


def _regression_rows(row_title, of_method, runs, steps):
    published = {cell.num_shots: cell for cell in of_method}
    shots = sorted({*published, *(test.shots for run in runs for test in run.evaluations if test.split == "test")})
    for k in shots:
        tests = [Result(run, evaluation) for run in runs if (evaluation := run.tested_with(k))]
        for group in groups(tests) or [[]]:
            yield _regression_row(row_title, k, published.get(k), group, steps)


def _regression_row(row_title, shots, cell, group, steps):
    """K, the error without steps and after those of `steps`, and after the one that is read, where it is another."""
    row = [row_title, str(shots), _error_after(group, 0) if group and not _num_steps(group) else "–"]
    for step in steps:
        row += [_error_after(group, step), cell.number(step) if cell and step in cell.values else "–"]
    if not group:
        return [*row, "", "", "", "", ""]
    made, read = about(group), group[0].evaluation.step
    other = f"{_error_after(group, read)} ({_steps(read)})" if read and read not in steps else ""
    return [*row, other, _spread(group), made["tasks"], made["iterations"], _seeds_after(group, steps)]


def _error_after(group, step):
    """'**0.694** ± 0.055', or 'not run'; '–' for a step that was not taken."""
    if not group:
        return "not run"
    if step > _num_steps(group):
        return "–"
    value, error = _over_seeds(group, step)
    return f"{bold(number(value, 'mse'), not group[0].is_short)} ± {number(error, 'mse')}"


def _num_steps(group):
    return len(group[0].evaluation.values) - 1


def _seeds_after(group, steps):
    """'1: 0.697, 0.400, 0.352', a line for each of several seeds."""
    if len(group) == 1:
        return str(group[0].run.seed)
    taken = [step for step in steps if step <= _num_steps(group)] or [0]
    lines = [(run.seed, [number(test.values[step], "mse") for step in taken]) for run, test in group]
    return "<br>".join(f"{seed}: {', '.join(values)}" for seed, values in lines)


def _differences(dataset, runs):
    """A line for each method that is published or was run on a data set, and differs from its paper."""
    there = {name for measured_here in (True, False) for name, _ in cells(dataset, measured_here)}
    there |= {run.method for run in runs if run.dataset == dataset}
    cards = [methods.get(name) for name in methods.names() if name in there]
    notes = "".join(f"- {card.title}: {card.differs}\n" for card in cards if card.differs)
    return f"\nWhat differs from a method's own paper:\n\n{notes}" if notes else ""


def _context(dataset, runs):
    """The tables of what [P] and other papers compare with on a data set, and of what is measured in another way."""
    context = cells(dataset, measured_here=False)
    by_p = [cell for name, cell in context if is_papers(name)]
    by_others = [cell for name, cell in context if not is_papers(name) and cell.measure is None]
    rest = [(name, cell) for name, cell in context if cell.measure is not None]
    return (
        (_papers_context(by_p) if by_p else "")
        + (_others_context(by_others) if by_others else "")
        + _other_measures(rest, runs)
    )


def _others_context(of_dataset):
    """The table of what other papers have of variants, networks or splits that are not run here."""
    tasks = sorted({_task(cell) for cell in of_dataset})
    rows = []
    for label in dict.fromkeys(cell.label for cell in of_dataset):
        mine = [cell for cell in of_dataset if cell.label == label]
        values = {_task(cell): str(cell) for cell in mine}
        spreads = dict.fromkeys(cell.error_is for cell in mine if any(cell.errors.values()))
        rows.append([label, *(values.get(task, "–") for task in tasks), ", ".join(spreads), mine[0].source])
    head = ["as published elsewhere, not run", *("{}-way {}-shot".format(*task) for task in tasks)]
    return "\n" + table([*head, "the ± are", "source"], rows)


def _other_measures(others, runs):
    """The table of what other papers measure in another way than by a curve."""
    rows = [[cell.label, str(cell), _other_measure(name, cell, runs), cell.source] for name, cell in others]
    return "\n" + table(["of another measure", "published", "measured", "source"], rows) if rows else ""


def _other_measure(name, cell, runs):
    """'seed 1: **82.80 ± 0.40 %**', a line for each run with that measure, or 'not run'."""
    trained = trained_as(name, cell._replace(trained_shots=0), runs)
    found = [run for run in trained if cell.measure in (run.quoted.measures or {})]
    lines = []
    for run in found:
        value, error = run.quoted.measures[cell.measure]
        lines.append(f"seed {run.seed}: {bold(number(value, run.unit, error), not run.is_short)}")
    return "<br>".join(lines) or "not run"


def _papers_context(of_dataset):
    if of_dataset[0].num_classes is None:
        steps = sorted({step for cell in of_dataset for step in cell.values})
        rows = [[cell.label, *(cell.number(step) for step in steps)] for cell in of_dataset]
        head = f"other methods, as published in [P], {size(of_dataset[0])}"
        return "\n" + table([head, *map(_steps, steps)], rows)
    sizes = {_task(cell): size(cell) for cell in of_dataset}
    rows = []
    for label in dict.fromkeys(cell.label for cell in of_dataset):
        values = {_task(cell): str(cell) for cell in of_dataset if cell.label == label}
        rows.append([label, *(values.get(task, "–") for task in sorted(sizes))])
    head = "other methods, as published in [P] ± 95 % interval over tasks"
    return "\n" + table([head, *(sizes[task] for task in sorted(sizes))], rows)


# What no published number stands beside


def unpublished_runs(runs: Iterable[Summary]) -> str:
    """Sections of the runs that are in no table of a data set: stand-ins, and others."""
    shown = {run.folder for run in all_beside(runs)}
    for dataset in datasets():
        if not _is_classified(cells(dataset)):
            shown |= {run.folder for run in _in_regression_table(dataset, cells(dataset), runs)}
    others = [run for run in runs if run.folder not in shown]
    text = ""
    for source in dict.fromkeys(sources.stands_in_for(run.dataset) for run in others if is_stand_in(run)):
        mine = [run for run in others if sources.stands_in_for(run.dataset) == source]
        text += _unpublished(f"In place of {sources.title(source)}", STAND_IN, mine)
    rest = [run for run in others if not is_stand_in(run)]
    return text + _unpublished("Other runs", "No published number stands beside these.\n", rest) + _cut(runs)


def _cut(runs):
    """Lines of the runs whose training had smaller tasks than the method wants, as the data have no larger."""
    lines = "".join(f"- {run.title}, seed {run.seed}: {run.cut}\n" for run in runs if run.cut)
    return f"\nThe data were too few for the tasks that the method trains on:\n\n{lines}" if lines else ""


def is_stand_in(run: Summary) -> bool:
    """Whether its images stand in for those of a paper."""
    return sources.stands_in_for(run.dataset) is not None


def _unpublished(heading, explanation, runs):
    """A section of runs; empty if there are none."""
    if not runs:
        return ""
    rows = []
    for group in groups(quoted(runs)):
        run, test = group[0]
        ways, made = _result(group)
        other = "" if test.ways == run.num_classes else f" of {test.ways}-way tasks"
        rows.append([f"{run.title}, {test.split}{other}<br>`{run.command}`", *ways, *made])
    return f"\n## {heading}\n\n{explanation}\n{table(['experiment, split', *_MEASURED, *_HOW], rows)}"


def tested_otherwise(runs: Iterable[Summary]) -> str:
    """What the same classifiers give when tested otherwise: other tasks, queries, splits, checkpoints, step sizes."""
    rows = [row for run in runs if run.unit == "accuracy" for row in _other_tests(run)]
    head = ["run", "split", "N", "K", "queries", "α", "checkpoint", "tasks", "step", *_MEASURED]
    return f"\n## The same networks, tested otherwise\n\n{table(head, rows)}" if rows else ""


def _other_tests(run):
    """A row for each way of testing but the headline's."""
    shown = {how_tested(run.quoted)}
    for entry in sorted(run.evaluations, key=lambda entry: entry.transductive is False):
        if how_tested(entry) in shown:
            continue
        shown.add(how_tested(entry))
        rate, checkpoint = _number(entry.inner_lr), f"{entry.checkpoint}: {entry.iteration:,}"
        tested = [entry.split, str(entry.ways), str(entry.shots), _number(entry.queries), rate, checkpoint]
        ways = [mean(results) for results in both_ways([Result(run, entry)])]
        yield [f"{run.title}, seed {run.seed}", *tested, f"{entry.tasks:,}", str(entry.step), *ways]


# Settings


def settings(more: Iterable[list[str]]) -> str:
    """The settings of every published result that has a command, and what other packages have; a row a command."""
    found = {}
    for name, cell in by_dataset():
        if is_papers(name) or not cell.variant:
            found.setdefault(command(name, cell), []).append((name, cell))
    rows = [[_titles(pairs), f"`{text}`", _values(*pairs[0])] for text, pairs in found.items()]
    head = ["experiment", "command", "settings, by their names in the code"]
    return f"\n## Settings of the published results\n\n{table(head, [*rows, *more])}"


def _titles(pairs):
    """'Omniglot, 5-way 1-shot: MAML'; of several results of one training, a line each."""
    return "<br>".join(dict.fromkeys(title(name, cell) for name, cell in pairs))


_ENGINE = ("tasks_per_chunk", "iterations_per_call", "jit")  # settings of a preset that change no result


def _values(name, cell):
    return ", ".join(f"{field} {value}" for field, value in settings_of(name, cell).items() if field not in _ENGINE)
