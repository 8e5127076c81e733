"""The reinforcement-learning part of results/README.md: returns measured beside those published, from the run folders.

`maml.reports.page.rebuild` says what it asks of this module.
"""

from data_generators.errors import UserError
from maml.reports.experiments import Experiment
from maml.reports.plots import shortfall
from maml.reports.tables import Result, Row, about, bold, figures, mean, number, representative, table, with_checkpoint
from rl import film, published
from rl.settings import METHODS, is_papers, preset
from rl.tasks import DATASOURCES, NUM_TEST_TASKS, TITLES

__all__ = ["KIND", "beside", "check", "experiments", "pictures", "section", "settings"]

KIND = "rl"
UNTRAINED = "none"  # iterations of the random policy
ENGINE = ("datasource", "method", "tasks_per_chunk", "jit")  # of a preset: said already, or changing nothing

HEAD = """
## Reinforcement learning

Undiscounted return of an episode on the 40 test tasks after 0, 1, … gradient steps. Rows "published" are the results
that the authors stored, of one training seed, and the iteration of the checkpoint that they tested. The paper draws
them in figures 4 and 5, except for the random policy at goal velocities, and prints MAML's for 2-D navigation and the
half-cheetah's direction, beside those of a policy that adapts a context vector, which has no ± there. The oracle is
told the task and takes no steps. The published pretrained and random results of the two directions are two numbers
each, forward and backward, so that their errors say nothing.

The context vector's size and step size are ours, as the paper gives neither. ANIL has MAML's settings here, and so no
published number beside it: its paper (Raghu, Raghu, Bengio, Vinyals, ICLR 2020) has 363.2 ± 14.8 on half-cheetah
direction, −120.9 ± 6.3 on half-cheetah velocity and −20.1 ± 2.3 on 2-D navigation by settings of its own, by which
MAML has 170.4 ± 21.0, −139.0 ± 18.9 and −20.3 ± 3.2.
"""

OTHERS = """
### Other reinforcement-learning runs

By settings other than the paper's. What is published beside them is of the paper's settings.

"""


def check(run):
    """UserError for a summary that the tables can't take: of no experiment or method there is."""
    path = run.folder / "summary.json"
    for what, value, known in (("datasource", run.datasource, DATASOURCES), ("method", run.method, METHODS)):
        if value not in known:
            raise UserError(f"{path}: damaged, {what} is {value!r}, expected one of {', '.join(known)}")
    most = _columns(run.datasource) - 1
    for test in run.evaluations:
        if (steps := len(test.values) - 1) > most:
            raise UserError(f"{path}: damaged, {test.file} has {steps} gradient steps, expected at most {most}")


def beside(runs):
    """A Row for each published curve, at the step that is quoted, and beside it the seeds that speak for ours."""
    return [_beside(datasource, method, runs) for datasource, method in published.CURVES]


def _beside(datasource, method, runs):
    curve = published.find(datasource, method)
    step = min(1, len(curve.means) - 1)
    title = f"{TITLES[datasource]}, after {_steps(step)}: {METHODS[method]}"
    theirs = number(curve.means[step], "return", curve.sems[step])
    theirs += f" (iteration {curve.iteration})" if curve.iteration else ""
    group = representative(_standing_beside(datasource, method, runs))
    if not group:
        return Row(title, theirs, spread=_spread(curve))
    made = about(group) | ({"iterations": UNTRAINED, "time": ""} if method == "random" else {})
    measured = bold(mean(group), method != "random" and not group[0].is_short)
    return Row(title, theirs, measured, group[0].evaluation.error_is, **made, front=method == "maml")


def experiments():
    """An `Experiment` for each published curve."""
    return [_experiment(datasource, method) for datasource, method in published.CURVES]


def _experiment(datasource, method):
    def seeds(runs):
        results = _standing_beside(datasource, method, [run for run in runs if run.kind == KIND])
        return {result.run.seed for result in results if not result.is_short}

    title, words = f"{TITLES[datasource]}: {METHODS[method]}", tuple(published.flags(datasource, method))
    return Experiment(title, datasource, words, seeds, {(): seeds})


def _standing_beside(datasource, method, runs):
    """The runs of a method by the paper's settings, tested as the published curve was."""
    mine = [run for run in _papers(runs, datasource) if run.method == method]
    return [Result(run, run.quoted) for run in mine if _is_usual(run.quoted)]


def section(runs, base):
    """Text: a table for each environment, then runs by other settings, and other tests of all runs."""
    text = HEAD
    for name in DATASOURCES:
        text += f"\n### {TITLES[name]}\n\n{_environment(name, _papers(runs, name))}"
    if others := [run for run in runs if not is_papers(run.variant)]:
        text += f"{OTHERS}{_others(others)}"
    return text + _tested_otherwise(runs)


def pictures(runs, base):
    """Text: the figures of an experiment's first seed, and the film of the first that has one; the paper's first."""
    ordered = [run for name in DATASOURCES for run in _papers(runs, name)]
    ordered += [run for run in runs if not is_papers(run.variant)]
    text = ""
    for run in _first_seeds(ordered):
        seeds = [other for other in ordered if other.experiment == run.experiment]
        filmed = next((other for other in seeds if _strip(other).exists()), run)
        text += figures([run], base, [published.figure_name(run.datasource), "trajectories.png"], _caption)
        text += figures([filmed], base, [_strip(filmed).name], _caption)
        text += figures([run], base, ["learning_curve.png"], _caption)
    return text


def settings():
    """Rows [experiment, command, settings] of the methods on each experiment."""
    rows = []
    for datasource in DATASOURCES:
        for method in METHODS:
            values = {name: value for name, value in preset(datasource, method).items() if name not in ENGINE}
            text = ", ".join(f"{name} {value}" for name, value in values.items())
            rows.append([f"{TITLES[datasource]}: {METHODS[method]}", _command(datasource, method), text])
    return rows


# Runs


def _papers(runs, datasource):
    """Those of the runs in an environment by the paper's settings, in the order of methods and seeds."""
    mine = [run for run in runs if run.datasource == datasource and is_papers(run.variant)]
    return sorted(mine, key=lambda run: ([*METHODS].index(run.method), run.seed))


def _first_seeds(runs):
    """The runs without those that differ from one before them in the seed alone."""
    found = {}
    for run in runs:
        found.setdefault(run.experiment, run)
    return list(found.values())


def _is_usual(evaluation):
    """Whether a test is by the protocol of the published curve: it then has that beside it."""
    return evaluation.published is not None


# Tables

RESULT_HEAD = ["the ± are", "tasks", "iterations (checkpoint)", "seed"]


def _environment(name, runs):
    """The table of one environment: of each method the runs, or that there is none, and what is published."""
    columns, rows = _columns(name), []
    for method, title in METHODS.items():
        results = [_result(run, columns) for run in runs if run.method == method]
        results = results or [[*_padded(["not run"], columns), "", "", "", ""]]
        rows += [[f"{title}<br>{_command(name, method)}", "measured", *result] for result in results]
        if curve := published.find(name, method):
            rows.append(["", "published", *_published(curve, columns)])
    return table(["method", "", *map(_steps, range(columns)), *RESULT_HEAD], rows)


def _columns(datasource):
    """How many returns the longest of an experiment's published curves has."""
    return max(len(curve.means) for (name, _), curve in published.CURVES.items() if name == datasource)


def _published(curve, columns):
    """Cells of a published curve, as those of `_result`."""
    numbers = [number(value, "return", sem) for value, sem in zip(curve.means, curve.sems, strict=True)]
    special = {None: "", 0: UNTRAINED}
    iteration = special[curve.iteration] if curve.iteration in special else f"{curve.iteration:,}"
    tasks = "" if curve.stds is None else f"{NUM_TEST_TASKS}"
    return [*_padded(numbers, columns), _spread(curve), tasks, iteration, ""]


def _spread(curve):
    """What the ± of a published curve are."""
    return "" if curve.stds is None else published.SPREAD


def _others(runs):
    columns, rows = max(_columns(run.datasource) for run in runs), []
    for experiment in dict.fromkeys((run.datasource, run.method) for run in runs):
        mine = [run for run in runs if (run.datasource, run.method) == experiment]
        rows += [[f"{run.title}<br>`{run.command}`", "measured", *_result(run, columns)] for run in mine]
        if curve := published.find(*experiment):
            rows.append(["", "published", *_published(curve, columns)])
    return table(["experiment", "", *map(_steps, range(columns)), *RESULT_HEAD], rows)


def _result(run, columns):
    """Cells of one run: returns in so many columns, what their ± are, tasks, iterations, seed."""
    test, really = run.quoted, is_papers(run.variant) and run.method != "random" and not run.is_short
    cells = _padded([bold(cell, really) for cell in _returns(test)], columns)
    trained = UNTRAINED if run.method == "random" else with_checkpoint(Result(run, test))
    tasks = f"{test.tasks}" + (f" ({test.diverged} simulations diverged)" if test.diverged else "")
    return [*cells, test.error_is, tasks, trained, f"{run.seed}"]


def _tested_otherwise(runs):
    """What the same policies give by another protocol: other checkpoints, tasks, episodes or step sizes."""
    tests = [(run, test) for run in runs for test in run.evaluations if test.file != run.headline]
    if not tests:
        return ""
    columns = max(len(test.values) for _, test in tests)
    rows = []
    for run, test in tests:
        chosen = test.checkpoint in ("best", "latest")
        checkpoint = f"{test.checkpoint}: {test.iteration:,}" if chosen else test.checkpoint
        rates = ", ".join(f"{rate:g}" for rate in test.learning_rates)
        how = [checkpoint, f"{test.tasks}", f"{test.rollouts}", rates]
        rows.append([f"{run.title}, seed {run.seed}", *how, *_padded(_returns(test), columns), test.error_is])
    head = ["run", "checkpoint", "tasks", "K", "step sizes", *map(_steps, range(columns)), "the ± are"]
    return f"\n### The same policies, tested otherwise\n\n{table(head, rows)}"


def _returns(test):
    """'−78.57 ± 5.09' after each step."""
    return [number(value, "return", error) for value, error in zip(test.values, test.errors, strict=True)]


def _command(datasource, method):
    return f"`{published.command(datasource, method)}`"


def _steps(count):
    return f"{count} step{'s' * (count != 1)}"


def _padded(cells, columns):
    return [*cells, *[""] * (columns - len(cells))]


# Figures


def _strip(run):
    """Where the film of the policy that is quoted would be."""
    strip, _ = film.paths(run.folder, run.quoted.iteration)
    return strip


def _caption(run, kind):
    """The figure 4 or 5 of runs by the paper's settings is of all methods together."""
    if kind.startswith("figure") and is_papers(run.variant):
        return f"{TITLES[run.datasource]}: {kind}"
    return ", ".join(filter(None, [run.title, kind, shortfall(run.trained, run.iterations.paper)]))
