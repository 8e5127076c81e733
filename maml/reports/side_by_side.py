"""All methods side by side: for each data set one table and one picture, what was measured beside what is published.

A method has a row, a task a column. Settings other than a method's best that a paper has and nobody ran are left to the
tables of `comparison`.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from matplotlib.ticker import FixedLocator, NullLocator

from data_generators import sources
from maml import methods
from maml.methods.card import ALONE, TOGETHER
from maml.reports import cells
from maml.reports.comparison import STAND_IN
from maml.reports.plots import BLACK, BLUE, GREEN, GREY, ORANGE, drawing
from maml.reports.summaries import Summary
from maml.reports.tables import Result, between_seeds, bold, link, mean, quoted, representative, table

HEAD = """
## All methods side by side

What is measured comes first in a cell; what is published is in brackets, in the line of the way in which its paper
tests. "together": the queries of a task are normalised together. "alone": one query at a time. In the pictures dots are
measured, hollow ones of a training that was cut short; black ticks are published. Commands and details are in the
tables below.
"""

FIRST = "method: measured ± 95 % interval over tasks (published ± what its paper has)"
WAYS = {TOGETHER: "together", ALONE: "alone"}
COLOURS = {TOGETHER: ORANGE, ALONE: BLUE}
TICKS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)  # of accuracy
HIGHEST = 0.9995  # drawn on a logit axis, which has no 100 %
ABREAST = 2  # panels beside each other, so that words can be read at a README's width
WAVE_SHOTS, WAVE_STEPS = (5, 10, 20), 10  # of the paper's figure 3
MOMENTS = {"before": GREEN, "after one step": BLUE, f"after all, at most {WAVE_STEPS}": ORANGE}  # of the inner steps
PUBLISHED = dict(marker="|", color=BLACK, markersize=13, markeredgewidth=1.8, linestyle="", zorder=5)


class Entry(NamedTuple):
    """A method on a task: published, {way of normalising queries: Published}; measured, {way: results of the seeds}.

    note: what is to be said beside it, "" for nothing.
    """

    published: dict
    measured: dict
    note: str = ""


def section(runs: Iterable[Summary], base: Path) -> str:
    """The table and the picture of every data set with runs; '' if there are none. Writes the pictures into base."""
    text = "".join(_classification(dataset, runs, base) for dataset in _data_sets(runs)) + _waves(runs, base)
    return HEAD + text if text else ""


def _data_sets(runs):
    """Those that were classified, the published ones first."""
    found, published = {run.dataset for run in runs if run.unit == "accuracy"}, cells.datasets()
    return [*(name for name in published if name in found), *sorted(found - {*published})]


# Classification


def entries(dataset: str, runs: Iterable[Summary]) -> dict[str, dict[tuple, Entry]]:
    """{method's title: {(N, K at test): Entry}} of what is measured or published on a data set."""
    found, labels, shown = {}, {}, set()
    for name in methods.names():
        for cell in (cell for other, cell in cells.cells() if other == name and cell.num_classes is not None):
            labels.setdefault((name, _key(cell.variant)), cells.method_title(name, cell))
            if cell.dataset == dataset:
                group = representative(cells.standing_beside(name, cell, runs))
                shown |= {run.folder for run, _ in group}
                if group or not cell.variant or cells.is_papers(name):
                    of_method = found.setdefault(_row(name, cell.variant, labels), {})
                    _add(of_method, (cell.num_classes, cell.num_shots), name, cell, group)
        mine = [run for run in runs if (run.dataset, run.method, run.quoted.split) == (dataset, name, "test")]
        rest = [run for run in mine if run.folder not in shown]
        for group in _experiments(rest):
            run = group[0].run
            of_method = found.setdefault(_row(name, run.variant, labels), {})
            test = group[0].evaluation
            of_method.setdefault((test.ways, test.shots), Entry({}, _ways(group)))
    return found


def _add(of_method, task, name, cell, group):
    """Enters a published result. Of several trainings behind one task the measured goes first, then that with its K."""
    note = "" if cells.trained_shots(cell) == cell.num_shots else f"trained with K = {cell.trained_shots}"
    entry, published = of_method.get(task), {methods.get(name).column(cell): cell}
    if entry is None or (bool(entry.measured), not entry.note) < (bool(group), not note):
        of_method[task] = Entry(published, _ways(group), note)
    elif entry.note == note:
        of_method[task] = entry._replace(published=entry.published | published)


def _row(name, variant, labels):
    """The method's title; of other settings than its usual ones what a paper calls them, or their flags."""
    flags = ", ".join(flag.removeprefix("--") for flag in cells.as_flags(name, variant))
    title = methods.get(name).title
    return labels.get((name, _key(variant)), f"{title}, {flags}" if flags else title)


def _key(variant):
    """The same for the same settings, in whichever order."""
    return str(sorted(variant.items()))


def _experiments(runs):
    """The representative seeds of each experiment."""
    found = {}
    for result in quoted(runs):
        run = result.run
        experiment = (run.num_classes, run.num_shots, _key(run.variant))
        found.setdefault(experiment, []).append(result)
    return [representative(results) for results in found.values()]


def _ways(group):
    """{way: results}, without a way that was not tested."""
    if not group:
        return {}
    return {way: results for way, results in zip(WAYS, cells.both_ways(group), strict=True) if results}


def _classification(dataset, runs, base):
    of_methods = entries(dataset, runs)
    tasks = sorted({task for of_method in of_methods.values() for task in of_method})
    if not any(entry.measured for of_method in of_methods.values() for entry in of_method.values()):
        return ""
    head = [FIRST, *(f"{n}-way {k}-shot" for n, k in tasks)]
    lines = [[name, *(_cell(of_method.get(task)) for task in tasks)] for name, of_method in of_methods.items()]
    path = base / f"methods_{dataset}.png"
    draw(path, f"{sources.title(dataset)} · bars 95 % interval over tasks", of_methods)
    about = f"{STAND_IN}\n" if sources.stands_in_for(dataset) else ""
    return f"\n### {sources.title(dataset)}\n\n{about}{table(head, lines)}\n![methods]({link(path, base)})\n"


def _cell(entry):
    """'together **99.33 ± 0.32 %** (98.7 ± 0.4 %)<br>alone **95.73 ± 0.71 %**'."""
    if entry is None:
        return "–"
    lines = [] if entry.measured else ["not run"]
    for way, word in WAYS.items():
        results, cell = entry.measured.get(way), entry.published.get(way)
        measured = bold(mean(results), not results[0].is_short) if results else ""
        printed = f"({cell})" if cell else ""
        if measured or printed:
            lines.append(" ".join(filter(None, [word, measured, printed])))
    return "<br>".join([*lines, *filter(None, [entry.note])])


def draw(path: Path, title: str, of_methods: dict[str, dict[tuple, Entry]]) -> None:
    """Draws accuracy against method, a panel a task with a run, the least accurate on top."""
    tasks = sorted({task for of in of_methods.values() for task, entry in of.items() if entry.measured})
    names = [name for name, of in of_methods.items() if any(entry.measured for entry in of.values())]
    names.sort(key=lambda name: max(_height(entry) for entry in of_methods[name].values()))
    columns = min(len(tasks), ABREAST)
    rows = math.ceil(len(tasks) / columns)
    size = (1.8 + 3.4 * columns, 0.7 + (0.8 + 0.42 * len(names)) * rows)
    with drawing(path, size, title, rows, columns, sharey=True) as axes:
        for axis in axes.flat[len(tasks) :]:
            axis.set_visible(False)
        for axis, task in zip(axes.flat, tasks):
            for line, name in enumerate(names):
                _draw_entry(axis, line, of_methods[name].get(task))
            axis.set_title("{}-way {}-shot".format(*task))
            axis.set_xlabel("accuracy (logit scale)")
            _scale(axis)
        _one_row_a_method(axes[0], names, {f"measured, {way}": colour for way, colour in COLOURS.items()})


def _one_row_a_method(axes, names, colours):
    """Names on the first axis, the first on top, and below all a legend: {label: colour} of the dots."""
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    for label, colour in colours.items():
        axes[0].plot([], [], label=label, **_dot(colour), linestyle="")
    axes[0].plot([], [], label="cut short", **_dot(GREY, is_short=True), linestyle="")
    axes[0].plot([], [], **PUBLISHED, label="published")
    axes[0].figure.legend(loc="outside lower center", ncols=len(colours) + 2)


def _dot(colour, is_short=False):
    """How what was measured is drawn; hollow where the training was shorter than the preset's."""
    return {"marker": "o", "color": colour, "markerfacecolor": "white" if is_short else colour}


def _height(entry):
    """What a method is ordered by: one query at a time, where that was tested."""
    results = entry.measured.get(ALONE) or entry.measured.get(TOGETHER)
    return fmean(test.value for _, test in results) if results else 0.0


def _draw_entry(axis, line, entry):
    """The ways of testing lie one above the other, each with its published value."""
    for way, colour in COLOURS.items() if entry else ():
        height = line + (-0.15 if way == TOGETHER else 0.15)
        results, cell = entry.measured.get(way), entry.published.get(way)
        if results:
            value, error = (fmean(getattr(test, name) for _, test in results) for name in ("value", "error"))
            low, value, high = (min(number, HIGHEST) for number in (value - error, value, value + error))
            dot = _dot(colour, results[0].is_short)
            axis.errorbar(value, height, xerr=[[value - low], [high - value]], **dot, elinewidth=1.4)
        if cell and entry.measured:
            (value,) = cell.values.values()
            axis.plot(min(value, HIGHEST), height, **PUBLISHED)


def _scale(axis):
    low, high = axis.get_xlim()
    axis.set_xscale("logit")
    low = max(min(low, 0.9), 0.02)
    axis.set_xlim(low * 0.85, HIGHEST + 0.0001)
    ticks = [tick for tick in TICKS if low <= tick]
    axis.xaxis.set_major_locator(FixedLocator(ticks[:: 1 + len(ticks) // 7]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


# Regression


def _waves(runs, base):
    """The picture of the waves, which have their table below; '' if fewer than two methods were tested."""
    tested = {}
    titles = {(name, _key(cell.variant)): cells.method_title(name, cell) for name, cell in cells.cells("sinusoid")}
    for run in runs:
        if run.dataset == "sinusoid" and all(map(run.tested_with, WAVE_SHOTS)):
            title = titles.get((run.method, _key(run.variant)), None if run.variant else methods.get(run.method).title)
            tested.setdefault(title, []).append(run)
    tested.pop(None, None)  # of settings that nobody published
    if len(tested) < 2:
        return ""
    groups = {title: representative(quoted(of_method)) for title, of_method in tested.items()}
    title, path = sources.title("sinusoid"), base / "methods_sinusoid.png"
    draw_waves(path, f"{title} · bars standard deviation between seeds, of one seed 95 % interval over tasks", groups)
    return f"\n### {title}\n\n![methods]({link(path, base)})\n"


def draw_waves(path: Path, title: str, groups: dict[str, list[Result]]) -> None:
    """Draws squared error against method, a panel a K, after some of the steps; the greatest error on top."""
    tests = {name: {k: [run.tested_with(k) for run, _ in group] for k in WAVE_SHOTS} for name, group in groups.items()}
    names = sorted(tests, key=lambda name: -min(tests[name][WAVE_SHOTS[0]][0].values[: WAVE_STEPS + 1]))
    with drawing(path, (12, 1.5 + 0.42 * len(names)), title, columns=len(WAVE_SHOTS), sharey=True) as axes:
        for axis, k in zip(axes[0], WAVE_SHOTS, strict=True):
            for line, name in enumerate(names):
                _draw_wave(axis, line, tests[name][k], groups[name][0].is_short)
            axis.set_xscale("log")
            axis.set_title(f"K = {k}")
            axis.set_xlabel("mean squared error")
        _one_row_a_method(axes[0], names, MOMENTS)


def _moments(num_steps):
    """{step: colour} of a method that takes so many; one without steps has its only answer after all of them."""
    last = min(num_steps, WAVE_STEPS)
    before, one, all_of_them = MOMENTS.values()
    return ({0: before, 1: one} if last else {}) | ({last: all_of_them} if last != 1 else {})


def _draw_wave(axis, line, tests, is_short):
    for step, colour in _moments(len(tests[0].values) - 1).items():
        values = [test.values[step] for test in tests]
        error = between_seeds(values)
        error = tests[0].errors[step] if error is None else error
        value = fmean(values)
        axis.errorbar(value, line, xerr=min(error, 0.9 * value), **_dot(colour, is_short), elinewidth=1.4)
        published = tests[0].published
        if published is not None and step in published.values:
            axis.plot(published.values[step], line, **PUBLISHED)
