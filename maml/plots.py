"""Figures of a run, drawn from its text files and nothing else, as PNG.

Every function returns the path it wrote and raises UserError naming a file that is missing or damaged.
"""

import io
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from data_generators.errors import UserError
from maml import published, records

# Okabe and Ito's colours, told apart with any colour vision.
BLUE, ORANGE, GREEN, PURPLE, BLACK, GREY = '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#000000', '#8A8A8A'
SERIES = tuple(zip((BLUE, ORANGE, GREEN, PURPLE, BLACK), 'os^Dv'))
STYLE = {
    'font.size': 10, 'axes.titlesize': 10, 'axes.titlelocation': 'left', 'figure.titlesize': 11,
    'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True, 'grid.color': '#E6E6E6',
    'axes.axisbelow': True, 'lines.linewidth': 1.8, 'lines.markersize': 4.5, 'legend.frameon': False,
    'legend.fontsize': 9, 'axes.edgecolor': '#555555',
}


@contextmanager
def drawing(path, size, title, rows=1, columns=1, **sharing):
    """Gives the axes [rows, columns] of a new figure in this file's style, and writes the PNG at the end."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout='constrained')
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.03)
        figure.suptitle(title)
        yield figure.subplots(rows, columns, squeeze=False, **sharing)
        buffer = io.BytesIO()
        figure.savefig(buffer, format='png', dpi=120)
    records.write_bytes(path, buffer.getvalue())


def column(rows, name, path):
    """Array [rows] of a column, NaN where blank."""
    if not rows or name not in rows[0]:
        raise UserError(f'{path}: expected at least one row and a column {name}')
    return np.array([row[name] for row in rows], dtype=float)


def _title(folder, *parts):
    """'Omniglot, 5-way 1-shot · seed 0 · ...' from the folder's place."""
    folder = Path(folder)
    return ' · '.join([published.title(folder.parent.name), folder.name.replace('_', ' '), *filter(None, parts)])


def _tasks(folder, split='test'):
    """'600 test tasks' from the run's summary; without one, just 'test tasks'."""
    path = Path(folder) / 'summary.json'
    evaluations = records.read_json(path).get('evaluations', []) if path.exists() else []
    counts = sorted({entry['tasks'] for entry in evaluations if entry.get('split') == split and 'tasks' in entry})
    return f'{" or ".join(f"{count:,}" for count in counts)} {split} tasks'.lstrip()


def smooth(values, window):
    """Moving average [rows], centred; the window starts small, not to blur the steep beginning, and ends one-sided."""
    total = np.concatenate([[0.], np.cumsum(values)])
    index = np.arange(len(values))
    half = np.minimum(window // 2, index)
    first, last = index - half, np.minimum(index + half + 1, len(values))
    return (total[last] - total[first]) / (last - first)


def _draw_learning(axis, rows, quantity, path):
    """Training curve of post_loss, say: each row, and smoothed over 2 % of the run; and the validation points."""
    iteration = column(rows, 'iteration', path)
    for name, colour, marker in (('', BLUE, None), ('val_', ORANGE, 'o')):
        values = column(rows, f'{name}{quantity}', path)
        there = np.isfinite(values)
        if not there.any():
            continue
        if marker:
            axis.plot(iteration[there], values[there], marker, color=colour, markersize=3.5,
                      linestyle='-', linewidth=0.9, label='validation tasks')
        else:
            axis.plot(iteration[there], values[there], color=colour, alpha=0.25, linewidth=0.8)
            axis.plot(iteration[there], smooth(values[there], len(rows) // 50), color=colour,
                      label='training tasks, smoothed')
    axis.set_xlabel('training iteration')
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.xaxis.set_major_formatter(lambda value, _: f'{value:,.0f}')


def learning_curve(folder):
    """Draws folder/learning_curve.png: query loss, and accuracy if there is one, after adaptation, while training.

    Before adaptation for a run that has nothing else: pretraining.
    """
    source = Path(folder) / 'metrics.csv'
    rows = records.read_table(source)
    adapted = any(row.get('post_loss') is not None for row in rows)
    moment, when = ('post', 'after adaptation') if adapted else ('pre', 'before adaptation')
    classified = any(row.get(f'{moment}_accuracy') is not None for row in rows)
    path = Path(folder) / 'learning_curve.png'
    with drawing(path, (9.6, 3.8) if classified else (6.4, 3.8), _title(folder, f'query points, {when}'),
                  columns=1 + classified) as axes:
        loss = axes[0, 0]
        _draw_learning(loss, rows, f'{moment}_loss', source)
        _scale_loss(loss, 'sum of cross-entropies / K (nats)' if classified else 'mean squared error')
        loss.legend()
        if classified:
            accuracy = axes[0, 1]
            _draw_learning(accuracy, rows, f'{moment}_accuracy', source)
            accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            accuracy.set_ylabel('accuracy')
            accuracy.set_ylim(top=1.01)
    return path


def _plain_logarithm(value, _):
    """Tick labels 1, 2 and 5 of every decade, written out."""
    digit = value / 10 ** np.floor(np.log10(value))
    return f'{value:g}' if round(digit, 6) in (1, 2, 5) else ''


def _scale_loss(axis, label):
    axis.set_yscale('log')
    axis.yaxis.set_major_formatter(_plain_logarithm)
    axis.yaxis.set_minor_formatter(_plain_logarithm)
    axis.set_ylabel(label)


def _draw_steps(axis, path, quantity, series, label):
    """One adaptation table: mean against steps, with its 95 % interval over tasks as a band."""
    rows = records.read_table(path)
    step, mean, half = (column(rows, name, path) for name in ('step', quantity, f'{quantity}_ci95'))
    colour, marker = series
    low, high = mean - half, mean + half
    if quantity == 'loss':
        low = np.maximum(low, mean / 10)  # keeps the band on a logarithmic axis
    axis.fill_between(step, low, high, color=colour, alpha=0.18, linewidth=0)
    axis.plot(step, mean, color=colour, marker=marker, label=label)
    axis.set_xlabel('inner gradient steps')
    axis.set_xticks(range(int(step.max()) + 1))
    return mean, half


def _mark_published(axis, cells, colour=BLACK, label=None):
    """A cross, with its interval if one is printed, for each published cell at the step it is read at."""
    step, value = [cell.step for cell in cells], [cell.value for cell in cells]
    axis.plot(step, value, 'X', color=colour, markersize=9, markeredgecolor='white', zorder=5, label=label)
    for cell in cells:
        if cell.interval:
            axis.errorbar(cell.step, cell.value, cell.interval, color=colour, capsize=4, elinewidth=1.3, zorder=4)


def adaptation_curve(folder, split='test'):
    """Draws folder/adaptation_curve.png: accuracy (or MSE) after each inner step, one curve a table of the split.

    Bands are 95 % intervals over tasks, crosses the published values. For accuracy the right panel enlarges the steps
    after the first, where the curve would otherwise be a line at the top.
    """
    folder = Path(folder)
    files = records.adaptation_files(folder, split)
    if not files:
        raise UserError(f'{folder}: expected adaptation_{split}_<K>shot_<Q>query.csv, found none')
    classified = records.read_table(files[0][2])[0].get('accuracy') is not None
    quantity = 'accuracy' if classified else 'loss'
    path = folder / 'adaptation_curve.png'
    with drawing(path, (9.6, 4) if classified else (6.4, 4), _title(folder, _tasks(folder, split), '95 % intervals'),
                  columns=1 + classified) as axes:
        for axis in axes[0]:
            curves = [_draw_steps(axis, source, quantity, SERIES[number % len(SERIES)],
                                  f'K = {shots}, {queries} quer{"y" if queries == 1 else "ies"}'
                                  f'{" a class" if classified else ""}')
                      for number, (shots, queries, source) in enumerate(files)]
            cells = [cell for shots in sorted({entry[0] for entry in files})
                     for cell in published.find_all(folder.parent.name, shots)]
            if cells:
                _mark_published(axis, cells, label=f'published, K = {cells[0].shots}')
        if classified:
            _scale_accuracy(*axes[0], curves, cells)
        else:
            _scale_loss(axes[0, 0], 'mean squared error')
        axes[0, 0].legend(loc='lower right' if classified else 'best')
    return path


def _scale_accuracy(whole, close, curves, cells):
    for axis in (whole, close):
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=int(axis is close)))
        axis.set_ylabel('accuracy')
    whole.set_ylim(0, 1.02)
    close.set_title('the same, enlarged')
    low = [(mean - half)[1:].min() for mean, half in curves] + [cell.value - (cell.interval or 0) for cell in cells]
    high = [(mean + half)[1:].max() for mean, half in curves] + [cell.value + (cell.interval or 0) for cell in cells]
    margin = max(0.1 * (max(high) - min(low)), 0.001)
    close.set_ylim(min(low) - margin, max(high) + margin)
    close.set_xlim(left=0.6)


def _draw_fit(axis, folder, shots):
    """Truth, support points, and the network before and after 1 and 10 steps on one task."""
    source, given = Path(folder) / f'fits_{shots}shot.csv', Path(folder) / f'support_{shots}shot.csv'
    rows, points = records.read_table(source), records.read_table(given)
    x = column(rows, 'x', source)
    order = np.argsort(x)
    curves = (('truth', 'ground truth', ORANGE, '-'), ('step_0', 'before update', GREY, ':'),
              ('step_1', 'after 1 step', GREEN, '--'), ('step_10', 'after 10 steps', BLUE, '-'))
    for name, label, colour, line in curves:
        axis.plot(x[order], column(rows, name, source)[order], line, color=colour, label=label)
    axis.plot(column(points, 'x', given), column(points, 'y', given), 'D', color=PURPLE, markeredgecolor='white',
              markersize=7, zorder=5, label='support points')


def figure_2(maml_folder, pretrained_folder=None):
    """Draws maml_folder/figure_2.png, as the paper's: fits for K = 5 and 10, MAML beside pretrained if given."""
    columns = [('MAML', maml_folder)] + ([('pretrained', pretrained_folder)] if pretrained_folder else [])
    path = Path(maml_folder) / 'figure_2.png'
    with drawing(path, (1.2 + 4.2 * len(columns), 6.2), 'Sinusoid · one test task, adapted to K points', rows=2,
                  columns=len(columns), sharex=True, sharey=True) as axes:
        for row, shots in zip(axes, (5, 10)):
            for axis, (label, folder) in zip(row, columns):
                _draw_fit(axis, folder, shots)
                axis.set_title(f'{label}, K = {shots}')
            row[0].set_ylabel('y')
        for axis in axes[1]:
            axis.set_xlabel('x')
        handles = axes[0, 0].get_legend_handles_labels()
        axes[0, 0].figure.legend(*handles, loc='outside lower center', ncols=5 if len(columns) > 1 else 3)
    return path


def figure_3(folders, path=None):
    """Draws the paper's figure 3: mean squared error against inner steps, panels K = 5, 10 and 20.

    folders: dict of label → run folder ({'MAML': ..., 'pretrained': ..., 'oracle': ...}). path: where to, unless
    figure_3.png in the first of the folders. Crosses are the published numbers, which exist for K = 5.
    """
    path = Path(path or Path(next(iter(folders.values()))) / 'figure_3.png')
    # Several runs of different size may meet here: the count is said once only if it is the same.
    counts = {_tasks(folder) for folder in folders.values()}
    title = ' · '.join(['Sinusoid', counts.pop() if len(counts) == 1 else 'test tasks', '95 % intervals'])
    with drawing(path, (10.5, 4), title, columns=3, sharey=True) as axes:
        for axis, shots in zip(axes[0], (5, 10, 20)):
            for series, (label, folder) in zip(SERIES, folders.items()):
                _draw_run(axis, Path(folder), shots, series, label)
            _scale_loss(axis, 'mean squared error')
            axis.set_title(f'K = {shots}')
            axis.label_outer()
        axes[0, 0].figure.legend(*axes[0, 0].get_legend_handles_labels(), loc='outside lower center', ncols=5)
    return path


def _draw_run(axis, folder, shots, series, label):
    source = records.adaptation_file(folder, shots)
    if source is None:
        raise UserError(f'{folder}: expected adaptation_test_{shots}shot_<Q>query.csv, found none')
    _draw_steps(axis, source, 'loss', series, label)
    cells = published.find_all(folder.parent.name, shots)
    if cells:
        _mark_published(axis, cells, series[0], f'{label}, published')
