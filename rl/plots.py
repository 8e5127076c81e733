"""Figures of a reinforcement-learning run, drawn from its text files and nothing else, as PNG.

Functions that draw one return the path they wrote; a file that is missing or damaged raises a UserError that names it.
"""

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from maml import records
from maml.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, column, drawing, smooth
from rl import published, summaries
from rl.config import METHODS, resolve

# The colours of figure 3's methods, and one for the policy that wasn't trained.
SERIES = {"maml": (BLUE, "o"), "pretrained": (ORANGE, "s"), "random": (PURPLE, "D"), "oracle": (GREEN, "^")}
SMOOTHED = 0.05  # of a run: how much of it a point of the smoothed learning curve averages
LAST_STEP_SHOWN = 3  # [P] figure 4, qualitative
RETURN = "return of an episode"


def draw(folder):
    """Draws the figures of a run folder, and the one it has in common with the runs of the other methods.

    Those are the runs by the paper's settings with its seed under the same logdir. A run by other settings has its
    curve drawn alone.
    """
    run = summaries.load(folder)
    if (run.folder / "metrics.csv").exists():  # a random policy isn't trained
        learning_curve(run.folder)
    if (run.folder / "trajectories_test.csv").exists():
        trajectories(run.folder)
    folders = {run.method: run.folder} if run.published_returns is None else _siblings(run)
    path = adaptation_figure(folders)
    for sibling in folders.values():  # the figure moves when a method is run that comes before those already run
        if sibling != path.parent:
            (sibling / path.name).unlink(missing_ok=True)


def _siblings(run):
    """{method: folder} of the tested runs by the paper's settings with this run's environment, logdir and seed."""
    root, folders = run.folder.parents[1], {}
    for method in METHODS:
        folder = records.run_folder(root, resolve(run.datasource, method).experiment, run.seed)
        if (folder / "summary.json").exists() and summaries.load(folder).published_returns is not None:
            folders[method] = folder
    return folders


def learning_curve(folder):
    """Draws folder/learning_curve.png: return on the training tasks before and after adaptation, each iteration and
    smoothed; one curve for a method that doesn't adapt in training."""
    source = Path(folder) / "metrics.csv"
    rows = records.read_table(source)
    iteration, before, after = (column(rows, name, source) for name in ("iteration", "pre_return", "post_return"))
    curves = [("before adaptation", GREY, before), ("after adaptation", BLUE, after)]
    if np.array_equal(before, after, equal_nan=True):
        curves = [("without adaptation", BLUE, before)]
    path = Path(folder) / "learning_curve.png"
    with drawing(path, (6.4, 3.8), _title(folder, "training tasks")) as axes:
        axis = axes[0, 0]
        for label, colour, values in curves:
            there = np.isfinite(values)
            axis.plot(iteration[there], values[there], color=colour, alpha=0.3, linewidth=0.8)
            smoothed = smooth(values[there], int(SMOOTHED * len(rows)))
            axis.plot(iteration[there], smoothed, color=colour, label=f"{label}, smoothed")
        axis.set_xlabel("meta-iteration")
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.set_ylabel(RETURN)
        axis.legend()
    return path


def adaptation_figure(folders, path=None):
    """Draws the paper's figure 4 or 5 for one environment: return against gradient steps at test.

    folders: dict of method → run folder, {"maml": ..., "pretrained": ..., "random": ..., "oracle": ...}, any of them.
    path: where to, unless figure_4.png or figure_5.png in the first of the folders, in that order. Bands are ± 1
    standard error over tasks. Published curves are dashed: those of all methods, also of one without a folder if the
    paper draws it; none if a run's settings aren't the paper's.
    """
    runs = {method: summaries.load(folders[method]) for method in METHODS if method in folders}
    first = next(iter(runs.values()))
    compared = all(run.published_returns is not None for run in runs.values())
    curves = {method: published.find(first.datasource, method) for method in METHODS} if compared else {}
    shown = {method: curve for method, curve in curves.items() if curve.drawn or method in runs}
    last = max(1, *(len(run.returns) - 1 for run in runs.values()), *(len(c.means) - 1 for c in shown.values()))
    path = Path(path or first.folder / f"figure_{published.figure(first.datasource)}.png")
    with drawing(path, (8, 4), _figure_title(runs)) as axes:
        axis = axes[0, 0]
        for method in METHODS:
            colour, _ = SERIES[method]
            label = published.METHOD_TITLES[method]
            if method in runs:
                _draw_run(axis, runs[method], last, label)
            if method in shown:
                steps, means = _along(shown[method].means, last)
                axis.plot(steps, means, "--", color=colour, linewidth=1.3, zorder=1.9, label=f"{label}, published")
        axis.set_xlabel("gradient steps")
        axis.set_xticks(range(last + 1))
        axis.set_ylabel(RETURN)
        axis.figure.legend(loc="outside center right")
    return path


def _along(values, last):
    """(steps, values), from step 0 to the `last` for a method that takes no steps: a flat line."""
    steps = [0, last] if len(values) == 1 else range(len(values))
    return np.array(steps), np.broadcast_to(values, len(steps))


def _draw_run(axis, run, last, label):
    """A measured curve with its band; a run shorter than the paper's says so."""
    colour, marker = SERIES[run.method]
    full = published.iterations(run.datasource, run.method)
    if run.trained < full:
        label += f",\n{run.trained:,} of {full:,} iterations"
    steps, means = _along(run.returns, last)
    _, sems = _along(run.sems, last)
    axis.fill_between(steps, means - sems, means + sems, color=colour, alpha=0.18, linewidth=0)
    axis.plot(steps, means, color=colour, marker=marker if len(run.returns) > 1 else None, label=label)


def trajectories(folder):
    """Draws folder/trajectories.png: where the point went on one test task, before and after 1 to 3 gradient steps."""
    source = Path(folder) / "trajectories_test.csv"
    rows = records.read_table(source)
    names = ("step", "episode", "x", "y", "goal_1", "goal_2", "task")
    step, episode, x, y, *rest = (column(rows, name, source) for name in names)
    goal_x, goal_y, task = (values[0] for values in rest)
    steps = [int(number) for number in np.unique(step) if number <= LAST_STEP_SHOWN]
    reach = 1.05 * np.abs([*x, *y, goal_x, goal_y]).max()  # of the axes: paths begin in their middle
    path, size = Path(folder) / "trajectories.png", (0.8 + 2.6 * len(steps), 3.4)
    title = _title(folder, f"test task {task:.0f}", "★ goal")
    with drawing(path, size, title, columns=len(steps), sharex=True, sharey=True) as axes:
        for axis, number in zip(axes[0], steps, strict=True):
            for one in np.unique(episode):
                path_taken = (step == number) & (episode == one)
                axis.plot(x[path_taken], y[path_taken], color=BLUE, alpha=0.7, linewidth=1)
            axis.plot(goal_x, goal_y, "*", color=ORANGE, markersize=13, markeredgecolor="white", zorder=5)
            axis.set_title(f"after {number} step{'s' * (number > 1)}" if number else "before adaptation")
            axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            axis.set_xlabel("x")
        axes[0, 0].set_ylabel("y")
    return path


def _title(folder, *parts):
    """'Half-cheetah, goal velocity: MAML · seed 1 · ...' from the folder's place."""
    folder = Path(folder)
    return " · ".join([published.title(folder.parent.name), folder.name.replace("_", " "), *parts])


def _figure_title(runs):
    """Names the environment, or the one experiment where its settings aren't the paper's; seeds and tasks."""
    first = next(iter(runs.values()))
    alone = first.published_returns is None
    name = published.title(first.experiment) if alone else published.DATASOURCE_TITLES[first.datasource]
    seeds = sorted({run.seed for run in runs.values()})
    tasks = sorted({run.tasks for run in runs.values()})
    return " · ".join([
        name,
        f"seed {', '.join(map(str, seeds))}",
        f"{' or '.join(map(str, tasks))} test tasks",
        "bands ± 1 standard error",
    ])  # fmt: skip
