"""Figures of a run, drawn from its text files and nothing else, as PNG.

Every function returns the path it wrote and raises UserError naming a file that is missing or damaged.
"""

import io
import warnings
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from data_generators import sources
from data_generators.errors import UserError
from maml import methods
from maml.reports import summaries
from maml.reports.tables import length
from maml.runs import files

# Okabe and Ito's colours, told apart with any colour vision.
BLUE, ORANGE, GREEN, PURPLE, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#8A8A8A"
SERIES = tuple(zip((BLUE, ORANGE, GREEN, PURPLE, BLACK), "os^Dv", strict=True))
STYLE = {
    "font.size": 10, "axes.titlesize": 10, "axes.titlelocation": "left", "figure.titlesize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#E6E6E6",
    "axes.axisbelow": True, "lines.linewidth": 1.8, "lines.markersize": 4.5,
    "legend.facecolor": "white", "legend.edgecolor": "none", "legend.fontsize": 9, "axes.edgecolor": "#555555",
}  # fmt: skip

FITTED_SHOTS, DRAWN_SHOTS = (5, 10), (5, 10, 20)  # K of the paper's figures 2 and 3


@contextmanager
def drawing(path, size, title, rows=1, columns=1, **sharing):
    """Gives the axes [rows, columns] of a new figure in this file's style, and writes the PNG at the end."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", r"Glyph .* missing from font"
        )  # which are drawn as boxes: names of any alphabet
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.03)
        if title:
            figure.suptitle(title)
        yield figure.subplots(rows, columns, squeeze=False, **sharing)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120)
    files.write_bytes(path, buffer.getvalue())


def column(rows, name, path):
    """Array [rows] of a column, NaN where blank."""
    if not rows or name not in rows[0]:
        raise UserError(f"{path}: expected at least one row and a column {name}")
    return np.array([row[name] for row in rows], dtype=float)


def smooth(values, window):
    """Moving average [rows], centred; the window starts small, not to blur the steep beginning, and ends one-sided."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    half = np.minimum(window // 2, index)
    first, last = index - half, np.minimum(index + half + 1, len(values))
    return (total[last] - total[first]) / (last - first)


def shortfall(trained, paper):
    """'4,000 of 60,000 iterations' for a title; '' for a training as long as the paper's, or without such a paper."""
    return length(trained, paper) if paper is not None and trained < paper else ""


def trained_for(trained, paper):
    """'60,000 iterations' for a title, or `shortfall`; '' for a method that has nothing to train."""
    return shortfall(trained, paper) or (f"{trained:,} iterations" if trained else "")


def draw(folder):
    """Draws every figure that the text files of a run folder have the numbers for.

    The paper's figures of the sinusoid show the run beside those of the other methods under the same logdir, and lie in
    MAML's folder.
    """
    folder = Path(folder)
    if (folder / "metrics.csv").exists():  # weights may have been trained elsewhere
        learning_curve(folder)
    if not (folder / "summary.json").exists():
        return
    adaptation_curve(folder)
    siblings = _siblings(summaries.load(folder))
    fitted = {method: run.folder for method, run in siblings.items() if has_fits(run)}
    if "maml" in fitted:
        figure_2(fitted["maml"], fitted.get("pretrained"))
    tested = {run.method_title: run.folder for run in siblings.values() if all(map(run.tested_with, DRAWN_SHOTS))}
    if "MAML" in tested:
        figure_3(tested)


def _siblings(run):
    """{method: Summary} of the runs of figure 3 with a run's logdir, K, seed, and their methods' usual settings."""
    if run.datasource != "sinusoid" or run.variant:
        return {}
    found = {}
    for other in summaries.load_readable(run.folder.parents[1]):
        same = (other.datasource, other.num_shots, other.seed) == (run.datasource, run.num_shots, run.seed)
        if same and not other.variant:
            found[other.method] = other
    return {method: found[method] for method in ("maml", "pretrained", "oracle") if method in found}


def has_fits(run):
    """Whether there are the tables of figure 2 in a run's folder."""
    return all((run.folder / f"fits_{shots}shot.csv").exists() for shots in FITTED_SHOTS)


def _title(name, seed, trained, *parts):
    """'Omniglot, 5-way 1-shot · seed 0 · 60,000 iterations', and on a line of its own what is drawn of it."""
    lines = [name, f"seed {seed}", trained], parts
    return "\n".join(" · ".join(filter(None, line)) for line in lines).strip()


# Learning curves


def learning_curve(folder):
    """Draws folder/learning_curve.png: loss, and accuracy if there is one, while training and on validation tasks.

    A run need not have been tested: its title then follows from config.json.
    """
    folder = Path(folder)
    source = folder / "metrics.csv"
    rows = files.read_table(source)
    trained = int(np.nanmax(column(rows, "iteration", source)))
    name, seed, method, paper, num_classes = _about(folder)
    points, what, own_loss = points_of(rows, method)
    classified = any(row.get(f"{points}_accuracy") is not None for row in rows)
    path = folder / "learning_curve.png"
    title = _title(name, seed, trained_for(trained, paper), what)
    with drawing(path, (9.6, 3.8) if classified else (6.4, 3.8), title, columns=1 + classified) as axes:
        loss = axes[0, 0]
        own_loss = own_loss if classified else None
        _draw_learning(loss, rows, points, "loss", source, validated=own_loss is None)
        _scale_loss(loss, own_loss or ("sum of cross-entropies / K (nats)" if classified else "mean squared error"))
        if classified:
            accuracy = axes[0, 1]
            _draw_learning(accuracy, rows, points, "accuracy", source)
            accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            accuracy.set_ylabel("accuracy")
            _draw_chance(accuracy, num_classes)
            accuracy.set_ylim(top=1.01)
        axes[0, -1 if own_loss else 0].legend()  # where both curves are
    return path


def _about(folder):
    """(title, seed, method or None, the paper's iterations, N) of a run: its summary's, else what config.json says."""
    if (folder / "summary.json").exists():
        run = summaries.load(folder)
        return run.title, run.seed, run.method, run.iterations.paper, run.num_classes
    config = files.read_json(folder / "config.json")
    method = config.get("method")  # folders of before there were methods don't say it
    name = sources.title(config.get("dataset") or config["datasource"])
    if method is not None:
        name += f": {methods.get(method).title}"
    trained = config["pretrain_iterations"] + config["metatrain_iterations"]
    return name, config["seed"], method, trained, config.get("num_classes")


def points_of(rows, method):
    """(prefix of the columns shown, what they are of, a loss of its own): what the method's card says of its curve.

    ("support", …) where there are no such columns.
    """
    card = methods.get(method) if method else None
    curve = (card.curve, card.curve_title, card.curve_loss) if card else ("query", "", None)
    if any(row.get(f"{curve[0]}_loss") is not None for row in rows):
        return curve
    return "support", "support points", None


def _draw_learning(axis, rows, points, quantity, path, validated=True):
    """The curve in training: each row, and smoothed over 2 % of the run; and the validation points, if asked for."""
    iteration = column(rows, "iteration", path)
    values = column(rows, f"{points}_{quantity}", path)
    there = np.isfinite(values)
    axis.plot(iteration[there], values[there], color=BLUE, alpha=0.25, linewidth=0.8)
    smoothed = smooth(values[there], len(rows) // 50)
    axis.plot(iteration[there], smoothed, color=BLUE, label="training tasks, smoothed")
    values = column(rows, f"val_{quantity}_after", path)
    there = np.isfinite(values)
    if validated and there.any():
        label = "validation tasks, after adaptation"
        axis.plot(iteration[there], values[there], "o-", color=ORANGE, markersize=3.5, linewidth=0.9, label=label)
    axis.set_xlabel("training iteration")
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _scale_loss(axis, label):
    """A logarithmic axis whose labels are written out: 1, 2 and 5 of every decade; all nine where there are few."""

    def plain_logarithm(value, _):
        digit, (low, high) = value / 10 ** np.floor(np.log10(value)), axis.get_ylim()
        return f"{value:g}" if high / low < 8 or round(digit, 6) in (1, 2, 5) else ""

    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(plain_logarithm)
    axis.yaxis.set_minor_formatter(plain_logarithm)
    axis.set_ylabel(label)


def _draw_chance(axis, num_classes):
    """The accuracy of guessing one of N, said beside the line, where a curve from step 0 to 1 has gone up already.

    N is that of the tests: a method may be trained on tasks of more classes.
    """
    if num_classes:
        axis.axhline(1 / num_classes, color=GREY, linestyle=":", linewidth=1.2, zorder=1)
        place = {"xy": (0.17, 1 / num_classes), "xycoords": ("axes fraction", "data")}
        how = {"xytext": (0, 2), "textcoords": "offset points", "color": GREY, "fontsize": 8}
        axis.annotate(f"chance, 1 of {num_classes}", **place, **how)


# Adaptation curves


def adaptation_curve(folder):
    """Draws folder/adaptation_curve.png: accuracy (or squared error) after each inner step, a curve for each K and Q.

    They are the tests of the headline's split, checkpoint and normalisation. Bands are what summary.json says its
    errors are, crosses the published values. For accuracy the right panel enlarges the steps after the first, where the
    curve would otherwise be a line at the top; a method without inner steps has no such panel.
    """
    run = summaries.load(folder)
    drawn = _alike(run)
    accuracy = run.unit == "accuracy"
    enlarged = accuracy and bool(np.isfinite(run.quoted.values[1:]).any())
    path = run.folder / "adaptation_curve.png"
    trained = trained_for(run.trained, run.iterations.paper)
    title = _title(run.title, run.seed, trained, _tasks(drawn), _bands(drawn))
    with drawing(path, (9.6, 4) if enlarged else (6.4, 4), title, columns=1 + enlarged) as axes:
        for axis in axes[0]:
            for number, evaluation in enumerate(drawn):
                _draw_steps(axis, evaluation, SERIES[number % len(SERIES)], _label(evaluation, accuracy))
            for evaluation in _beside(drawn):
                _mark_published(axis, evaluation.published, label=f"published, K = {evaluation.shots}")
        if accuracy:
            _draw_chance(axes[0, 0], run.quoted.ways)
            _scale_accuracy(axes[0], drawn)
        else:
            _scale_loss(axes[0, 0], "mean squared error")
        axes[0, 0].legend(loc="lower right" if accuracy else "best")
    return path


def _alike(run):
    """The evaluations that differ from the headline's in K, Q and step size at most; one for each K and Q."""
    quoted, found = run.quoted, {}
    how = ("split", "ways", "checkpoint", "iteration", "transductive")
    for entry in sorted(run.evaluations, key=lambda entry: (entry.inner_lr != quoted.inner_lr, entry.file)):
        if all(getattr(entry, name) == getattr(quoted, name) for name in how):
            found.setdefault((entry.shots, entry.queries), entry)
    return [found[size] for size in sorted(found)]


def _beside(evaluations):
    """Those with a published result, the first of each K."""
    first = {}
    for evaluation in evaluations:
        if evaluation.published is not None:
            first.setdefault(evaluation.shots, evaluation)
    return list(first.values())


def _tasks(evaluations):
    """'600 test tasks'; several counts if they differ."""
    counts = sorted({evaluation.tasks for evaluation in evaluations})
    splits = sorted({evaluation.split for evaluation in evaluations})
    return f"{' or '.join(f'{count:,}' for count in counts)} {' or '.join(splits)} tasks"


def _bands(evaluations):
    """'bands 95 % interval over tasks'."""
    return "± " + " or ".join(sorted({evaluation.error_is for evaluation in evaluations}))


def _label(evaluation, classified):
    shots, queries = evaluation.shots, evaluation.queries
    return f"K = {shots}, {queries} quer{'y' if queries == 1 else 'ies'}{' a class' if classified else ''}"


def _draw_steps(axis, evaluation, series, label):
    """One evaluation: mean against steps, with its error as a band; a method without steps is a point with a bar."""
    mean, half = np.array(evaluation.values, dtype=float), np.array(evaluation.errors, dtype=float)
    step, (colour, marker) = np.arange(len(mean)), series
    low, high = np.maximum(mean - half, mean / 10), mean + half  # the band stays on a logarithmic axis
    if len(mean) == 1:
        axis.errorbar(step, mean, [mean - low, high - mean], color=colour, capsize=4, elinewidth=1.3)
    axis.fill_between(step, low, high, color=colour, alpha=0.18, linewidth=0)
    axis.plot(step, mean, color=colour, marker=marker, label=label)
    axis.set_xlabel("inner gradient steps")
    axis.xaxis.set_major_locator(MaxNLocator(11, integer=True))


def _mark_published(axis, published, colour=BLACK, label=None):
    """A cross, with its interval if one is printed, for each published value at the step it is read at."""
    steps, values = list(published.values), list(published.values.values())
    axis.plot(steps, values, "X", color=colour, markersize=9, markeredgecolor="white", zorder=5, label=label)
    for step, value in published.values.items():
        if error := published.errors[step]:
            axis.errorbar(step, value, error, color=colour, capsize=4, elinewidth=1.3, zorder=4)


def _scale_accuracy(axes, evaluations):
    """The whole range on the first of the axes; on the second, if there is one, that of the steps after the first."""
    for number, axis in enumerate(axes):
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=number))
        axis.set_ylabel("accuracy")
    axes[0].set_ylim(0, 1.02)
    for close in axes[1:]:
        close.set_title("the same, enlarged")
        low, high = _range_after_adaptation(evaluations)
        margin = max(0.1 * (high - low), 0.001)
        close.set_ylim(low - margin, high + margin)
        close.set_xlim(left=0.6)


def _range_after_adaptation(evaluations):
    """Least and greatest value, with its error, of what is drawn from step 1 on."""
    pairs = [pair for e in evaluations for pair in zip(e.values[1:], e.errors[1:], strict=True)]
    for evaluation in _beside(evaluations):
        published = evaluation.published
        pairs += [(value, published.errors[step] or 0) for step, value in published.values.items()]
    ends = np.array([(value - error, value + error) for value, error in pairs])
    return np.nanmin(ends), np.nanmax(ends)


# The paper's figures of the sinusoid


def figure_2(maml_folder, pretrained_folder=None):
    """Draws maml_folder/figure_2.png, as the paper's: fits for K = 5 and 10, MAML beside pretrained if given."""
    folders = [Path(folder) for folder in (maml_folder, pretrained_folder) if folder is not None]
    runs = [summaries.load(folder) for folder in folders]
    path = folders[0] / "figure_2.png"
    title = "Sinusoid · one test task, adapted to K points"
    size = (1.2 + 4.2 * len(runs), 6.2)
    with drawing(path, size, title, rows=2, columns=len(runs), sharex=True, sharey=True) as axes:
        for row, shots in zip(axes, FITTED_SHOTS, strict=True):
            for axis, run in zip(row, runs, strict=True):
                _draw_fit(axis, run.folder, shots)
                axis.set_title(f"{_named(run)}, K = {shots}")
            row[0].set_ylabel("y")
        for axis in axes[1]:
            axis.set_xlabel("x")
        handles = axes[0, 0].get_legend_handles_labels()
        axes[0, 0].figure.legend(*handles, loc="outside lower center", ncols=5 if len(runs) > 1 else 3)
    return path


def _named(run):
    """'MAML, 70,000 iterations', or 'MAML, 4,000 of 70,000 iterations' of a run that is shorter than the paper's."""
    return ", ".join(filter(None, [run.method_title, trained_for(run.trained, run.iterations.paper)]))


def _draw_fit(axis, folder, shots):
    """Truth, support points, and the network before and after 1 and 10 steps on one task."""
    source, given = folder / f"fits_{shots}shot.csv", folder / f"support_{shots}shot.csv"
    rows, points = files.read_table(source), files.read_table(given)
    x = column(rows, "x", source)
    order = np.argsort(x)
    curves = (
        ("truth", "ground truth", ORANGE, "-"),
        ("step_0", "before update", GREY, ":"),
        ("step_1", "after 1 step", GREEN, "--"),
        ("step_10", "after 10 steps", BLUE, "-"),
    )
    for name, label, colour, line in curves:
        axis.plot(x[order], column(rows, name, source)[order], line, color=colour, label=label)
    x, y = (column(points, name, given) for name in ("x", "y"))
    axis.plot(x, y, "D", color=PURPLE, markeredgecolor="white", markersize=7, zorder=5, label="support points")


def front(sinusoid_folder, classifier_folder, path):
    """Draws the README's picture: figure 2's fit for K = 10, beside a classifier's accuracy against inner steps."""
    run = summaries.load(classifier_folder)
    with drawing(path, (10.5, 3.6), None, columns=2) as axes:
        fit, steps = axes[0]
        _draw_fit(fit, Path(sinusoid_folder), 10)
        fit.set_title("one new sine wave, 10 points of it given")
        fit.set(xlabel="x", ylabel="y")
        fit.legend(loc="upper left", bbox_to_anchor=(1, 1))
        _draw_steps(steps, run.quoted, SERIES[0], "measured")
        _mark_published(steps, run.quoted.published, label="published")
        _draw_chance(steps, run.num_classes)
        steps.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        steps.set_ylim(0, 1.02)
        steps.set_ylabel("accuracy")
        steps.set_title(f"{run.title}: {run.method_title}, {_tasks([run.quoted])}")
        steps.legend(loc="lower right")
    return Path(path)


def figure_3(folders, path=None):
    """Draws the paper's figure 3: mean squared error against inner steps, panels K = 5, 10 and 20.

    folders: {label: run folder}, {"MAML": …, "pretrained": …, "oracle": …}. path: where to, unless figure_3.png in the
    first of the folders. Crosses are the published numbers, which exist for K = 5.
    """
    runs = {label: summaries.load(folder) for label, folder in folders.items()}
    path = Path(path or next(iter(runs.values())).folder / "figure_3.png")
    drawn = [test for run in runs.values() for test in map(run.tested_with, DRAWN_SHOTS) if test is not None]
    title = " · ".join(["Sinusoid", _tasks(drawn), _bands(drawn)])
    with drawing(path, (10.5, 4), title, columns=3, sharey=True) as axes:
        for axis, shots in zip(axes[0], DRAWN_SHOTS, strict=True):
            for series, (label, run) in zip(SERIES, runs.items(), strict=False):
                _draw_run(axis, run, shots, series, label)
            _scale_loss(axis, "mean squared error")
            axis.set_title(f"K = {shots}")
            axis.label_outer()
        axes[0, 0].figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return path


def _draw_run(axis, run, shots, series, label):
    evaluation = run.tested_with(shots)
    if evaluation is None:
        raise UserError(f"{run.folder / 'summary.json'}: expected a test with K = {shots}, found none")
    if short := shortfall(run.trained_for(evaluation), run.iterations.paper):
        label += f", {short}"
    _draw_steps(axis, evaluation, series, label)
    if evaluation.published is not None:
        _mark_published(axis, evaluation.published, series[0], f"{label}, published")
