"""The reinforcement-learning part of results/README.md: returns measured beside those published, from the run folders.

`maml.report.rebuild` asks for `load_runs`, `section` and `front_page`.
"""

from maml.report import figures, iterations, table
from rl import published, summaries
from rl.config import DATASOURCES, METHODS, NUM_TEST_TASKS
from rl.summaries import load_all as load_runs

__all__ = ["front_page", "load_runs", "section"]

FIGURES = ("figure_4.png", "figure_5.png", "trajectories.png", "filmstrip.png", "learning_curve.png")

HEAD = """
## Reinforcement learning

Undiscounted return of an episode on the 40 test tasks after 0, 1, … gradient steps, ± one standard error over tasks, as
the paper draws it. Rows "published" are the results that the authors stored, of one training seed, and the iteration of
the checkpoint that they tested. The paper draws them in figures 4 and 5, except for the random policy at goal
velocities, and prints MAML's for 2-D navigation and the half-cheetah's direction, beside those of a policy that adapts
a context vector. The oracle is told the task and takes no steps. The published pretrained and random results of the two
directions are two numbers each, forward and backward, so that their errors say nothing.
"""

OTHERS = """
### Other reinforcement-learning runs

No published number stands beside these.

"""


def section(runs, results_dir):
    """Text: a table for each environment with its figures, then runs by other settings, and other tests of all runs."""
    text = HEAD
    for name in DATASOURCES:
        mine = _papers(runs, name)
        text += f"\n### {published.DATASOURCE_TITLES[name]}\n\n{_environment(name, mine)}"
        text += figures(mine, results_dir, FIGURES, _caption)
    if others := [run for run in runs if not _is_papers(run)]:
        text += f"{OTHERS}{_others(others)}" + figures(others, results_dir, FIGURES, _caption)
    return text + _tested_otherwise(runs)


def front_page(runs):
    """Rows [experiment, published, measured, iterations]: one a run by the paper's settings, at the headline's step."""
    rows = []
    for name in DATASOURCES:
        for run in _papers(runs, name):
            curve = published.find(name, run.method)
            steps = f"after {run.step} step{'s' * (run.step != 1)}"
            rows.append([
                f"{published.title(run.experiment)}, seed {run.seed}, {steps}: return ± standard error",
                _number(curve.means[run.step], curve.sems[run.step]),
                _measured(run)[run.step],
                _iterations(run).split(" (")[0],
            ])  # fmt: skip
    return rows


def _papers(runs, datasource):
    """Those of the runs in an environment by the paper's settings, in the order of methods and seeds."""
    mine = [run for run in runs if run.datasource == datasource and _is_papers(run)]
    return sorted(mine, key=lambda run: (METHODS.index(run.method), run.seed))


def _is_papers(run):
    return run.published_returns is not None


def _number(mean, sem=None):
    """'−78.57 ± 5.09'."""
    text = f"{mean:.2f}" + ("" if sem is None else f" ± {sem:.2f}")
    return text.replace("-", "−")


def _is_short(run):
    return run.trained < published.iterations(run.datasource, run.method)


def _measured(run):
    """The returns of a run after each step, in bold if it was trained as long as the paper's and by its settings."""
    bold = "**" if _is_papers(run) and not _is_short(run) else ""
    return [f"{bold}{_number(*pair)}{bold}" for pair in zip(run.returns, run.sems, strict=True)]


def _iterations(run):
    """'500 (best: 475)', or '**100 of 500 iterations** (best: 100)'."""
    if run.method == "random":
        return "none"
    return iterations(run, published.iterations(run.datasource, run.method))


RESULT_HEAD = ["iterations (checkpoint)", "tasks", "seed"]


def _result(run, columns):
    """Cells of one run: returns in so many columns, iterations, tasks, seed."""
    tasks = f"{run.tasks}" + (f" ({run.diverged} simulations diverged)" if run.diverged else "")
    return [*_padded(_measured(run), columns), _iterations(run), tasks, f"{run.seed}"]


def _environment(name, runs):
    """The table of one environment: of each method the runs, or that there is none, and what is published."""
    columns = max(len(published.find(name, method).means) for method in METHODS)
    rows = []
    for method in METHODS:
        title = f"{published.METHOD_TITLES[method]}<br>`{published.COMMANDS[name, method]}`"
        results = [_result(run, columns) for run in runs if run.method == method]
        results = results or [[*_padded(["not run"], columns), "", "", ""]]
        rows += [[title, "measured", *result] for result in results]
        curve = published.find(name, method)
        numbers = [_number(*pair) for pair in zip(curve.means, curve.sems, strict=True)]
        iteration = f"{curve.iteration:,}" if curve.iteration else "none"
        rows.append(["", "published", *_padded(numbers, columns), iteration, f"{NUM_TEST_TASKS}", ""])
    if name in published.CONTEXT_VECTOR:
        numbers = [_number(mean) for mean in published.CONTEXT_VECTOR[name]]
        rows.append(["context vector", "published", *_padded(numbers, columns), "", "", ""])
    return table(["method", "", *_steps(columns), *RESULT_HEAD], rows)


def _others(runs):
    columns = max(len(run.returns) for run in runs)
    rows = [[f"{published.title(run.experiment)}<br>`{run.command}`", *_result(run, columns)] for run in runs]
    return table(["experiment", *_steps(columns), *RESULT_HEAD], rows)


def _tested_otherwise(runs):
    """What the same policies give by another protocol: other checkpoints, tasks, episodes or step sizes."""
    tests = [(run, entry) for run in runs for entry in run.evaluations if not _is_headline(run, entry)]
    if not tests:
        return ""
    columns = max(len(entry["returns"]) for _, entry in tests)
    rows = []
    for run, entry in tests:
        rates = ", ".join(f"{rate:g}" for rate in entry["learning_rates"])
        numbers = [_number(*pair) for pair in zip(entry["returns"], entry["sems"], strict=True)]
        name, checkpoint = f"{published.title(run.experiment)}, seed {run.seed}", entry["checkpoint"]
        if checkpoint in ("best", "latest"):
            checkpoint += f": {entry['iteration']:,}"
        rows.append([name, checkpoint, f"{entry['tasks']}", f"{entry['rollouts']}", rates, *_padded(numbers, columns)])
    head = ["run", "checkpoint", "tasks", "K", "step sizes", *_steps(columns)]
    return f"\n### The same policies, tested otherwise\n\n{table(head, rows)}"


def _is_headline(run, entry):
    """Whether the summary quotes this one of its evaluations."""
    return all(entry[name] == run.summary[name] for name in summaries.PROTOCOL)


def _steps(columns):
    return [f"{step} step{'s' * (step != 1)}" for step in range(columns)]


def _padded(cells, columns):
    return [*cells, *[""] * (columns - len(cells))]


def _caption(run, kind):
    """The figure 4 or 5 of runs by the paper's settings is of all methods together."""
    if kind.startswith("figure") and _is_papers(run):
        return f"{published.DATASOURCE_TITLES[run.datasource]}: {kind}"
    return f"{published.title(run.experiment)}, {kind}"
