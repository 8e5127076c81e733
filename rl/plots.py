"""Figures of a reinforcement-learning run, drawn from its text files and nothing else, as PNG.

Functions that draw one return the path they wrote; a file that is missing or damaged raises a UserError that names it.
"""

import itertools
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from maml.reports import summaries
from maml.reports.plots import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, column, drawing, shortfall, smooth, trained_for
from maml.runs import files
from rl import published
from rl.settings import METHODS, Settings, is_papers
from rl.tasks import TITLES

# Colours and marks of the methods in their order: figure 3's, then others of Okabe and Ito's; again from the first on.
COLOURS, MARKS = (BLUE, ORANGE, PURPLE, GREEN, BLACK, "#56B4E9", "#E69F00"), "osD^vPX"
SERIES = dict(zip(METHODS, itertools.cycle(zip(COLOURS, MARKS, strict=True))))
SMOOTHED = 0.05  # of a run: how much of it a point of the smoothed learning curve averages
LAST_STEP_SHOWN = 3  # [P] figure 4, qualitative
RETURN = "return of an episode"


def draw(folder):
    """Draws the figures of a run folder: its own, and the one it has in common with the other seeds and methods.

    Those are the runs by the paper's settings under the same logdir. A run by other settings shares its figure with the
    seeds of the same settings alone.
    """
    run = summaries.load(folder)
    if (run.folder / "metrics.csv").exists():  # a random policy isn't trained
        learning_curve(run.folder)
    if (run.folder / "trajectories_test.csv").exists():
        trajectories(run.folder)
    adaptation_figure({run.method: [run.folder]}, run.folder / "adaptation_curve.png")
    folders = _siblings(run)
    path = adaptation_figure(folders)
    for sibling in itertools.chain(*folders.values()):  # it moves when a method or seed is run that comes before others
        if sibling != path.parent:
            (sibling / path.name).unlink(missing_ok=True)


def _siblings(run):
    """{method: folders of its seeds} of the tested runs under this run's logdir that share its figure."""
    found = {run.method: [run.folder]}
    for other in summaries.load_readable(run.folder.parents[1]):
        same = (other.kind, other.datasource) == (run.kind, run.datasource)
        if same and other.folder != run.folder and _share_a_figure(run, other):
            found.setdefault(other.method, []).append(other.folder)
    return found


def _share_a_figure(run, other):
    if is_papers(run.variant):
        return is_papers(other.variant)
    return (other.method, other.variant) == (run.method, run.variant)


def learning_curve(folder):
    """Draws folder/learning_curve.png: return on the training tasks before and after adaptation, each iteration and
    smoothed; one curve for a method that doesn't adapt in training. A run need not have been tested."""
    source = Path(folder) / "metrics.csv"
    rows = files.read_table(source)
    iteration, before, after = (column(rows, name, source) for name in ("iteration", "pre_return", "post_return"))
    curves = [("before adaptation", GREY, before), ("after adaptation", BLUE, after)]
    if np.array_equal(before, after, equal_nan=True):
        curves = [("without adaptation", BLUE, before)]
    path = Path(folder) / "learning_curve.png"
    with drawing(path, (6.4, 3.8), _title(folder, "training tasks", trained=int(iteration[-1]))) as axes:
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

    Of several seeds each is a thin line, and their mean is drawn with the mean of their errors. Bands are what the
    summaries say their errors are. Published curves are dashed, with their errors as bars where they are known:
    those of all methods, also of one without a folder if the paper draws it; where a run's settings aren't the paper's,
    those of the methods that are there.
    folders: {method: run folders of its seeds}, of any of METHODS.
    path: where to, unless figure_4.png or figure_5.png in the folder of the first method's first seed.
    """
    runs = {method: _seeds(folders[method]) for method in METHODS if method in folders}
    everything = list(itertools.chain(*runs.values()))
    first, all_papers = everything[0], all(is_papers(run.variant) for run in everything)
    curves = {method: published.find(first.datasource, method) for method in METHODS}
    shown = {m: curve for m, curve in curves.items() if curve and (m in runs or (all_papers and curve.drawn))}
    lengths = [len(run.quoted.values) for run in everything] + [len(curve.means) for curve in shown.values()]
    last = max(1, max(lengths) - 1)
    path = Path(path or first.folder / published.figure_name(first.datasource))
    with drawing(path, (8, 4), _figure_title(everything)) as axes:
        axis = axes[0, 0]
        for method, label in METHODS.items():
            colour, _ = SERIES[method]
            if method in runs:
                _draw_runs(axis, runs[method], last, label)
            if method in shown:
                steps, means = _along(shown[method].means, last)
                how = {"color": colour, "linewidth": 1.3, "zorder": 1.9}
                axis.plot(steps, means, "--", **how, label=f"{label}, published")
                if shown[method].stds:
                    _, errors = _along(shown[method].sems, last)
                    axis.errorbar(steps, means, errors, fmt="none", **how, elinewidth=1, capsize=3)
        axis.set_xlabel("gradient steps")
        axis.set_xticks(range(last + 1))
        axis.set_ylabel(RETURN)
        axis.figure.legend(loc="outside center right")
    return path


def _along(values, last):
    """(steps, values), from step 0 to the `last` for a method that takes no steps: a flat line."""
    steps = [0, last] if len(values) == 1 else range(len(values))
    return np.array(steps), np.broadcast_to(values, len(steps))


def _seeds(folders):
    """The Summaries of folders, by seed."""
    return sorted(map(summaries.load, folders), key=lambda run: run.seed)


def _draw_runs(axis, runs, last, label):
    """The measured curve of a method's seeds with its band; what is shorter than the paper's says so."""
    colour, marker = SERIES[runs[0].method]
    if len(runs) > 1:
        label += f", mean of {len(runs)} seeds"
        for run in runs:
            axis.plot(*_along(run.quoted.values, last), color=colour, linewidth=0.7, alpha=0.7)
    if short := _shortfall(runs):
        label += f",\n{short}"
    steps, means = _along(np.mean([run.quoted.values for run in runs], 0), last)
    _, errors = _along(np.mean([run.quoted.errors for run in runs], 0), last)
    axis.fill_between(steps, means - errors, means + errors, color=colour, alpha=0.18, linewidth=0)
    axis.plot(steps, means, color=colour, marker=marker if len(runs[0].quoted.values) > 1 else None, label=label)


def _shortfall(runs):
    """'100 of 500 iterations', or '100 to 200 of 500 iterations' of seeds trained for different times."""
    trained = sorted(run.trained for run in runs)
    shortest = shortfall(trained[0], runs[0].iterations.paper)
    return shortest.replace(" of ", f" to {trained[-1]:,} of ", 1) if trained[0] < trained[-1] else shortest


def trajectories(folder):
    """Draws folder/trajectories.png: where the point went on one test task, before and after 1 to 3 gradient steps."""
    source = Path(folder) / "trajectories_test.csv"
    rows = files.read_table(source)
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


def _title(folder, *parts, trained=None):
    """'Half-cheetah, goal velocity: MAML · seed 1 · 500 iterations', and on a line of its own what is drawn of it.

    trained: iterations so far, where the summary isn't to say them.
    """
    if (Path(folder) / "summary.json").exists():
        run = summaries.load(folder)
        title, seed, paper = run.title, run.seed, run.iterations.paper
        trained = run.trained if trained is None else trained
    else:
        path = Path(folder) / "config.json"
        settings = Settings.from_dict(files.read_json(path), path)
        title, seed, paper = settings.title, settings.seed, settings.paper_iterations
    length = trained_for(trained, paper) if trained is not None else ""
    lines = [title, f"seed {seed}", length], parts
    return "\n".join(" · ".join(filter(None, line)) for line in lines)


def _figure_title(runs):
    """Names the environment, or the one experiment where its settings aren't the paper's; seeds, tasks, what ± is."""
    first, tests = runs[0], [run.quoted for run in runs]
    seeds = sorted({run.seed for run in runs})
    tasks = sorted({test.tasks for test in tests})
    return " · ".join([
        TITLES[first.datasource] if is_papers(first.variant) else first.title,
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}",
        f"{' or '.join(map(str, tasks))} test tasks",
        f"± {' or '.join(sorted({test.error_is for test in tests}))}",
    ])  # fmt: skip
