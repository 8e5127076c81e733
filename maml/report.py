"""results/README.md: what was measured beside what was published, rebuilt from the run folders.

Nothing here is a result: a cell is filled only by a run's summary.json (and the adaptation table that names), so the
text follows from the folders and stays the same until they change.
"""

import re
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple
from urllib.parse import quote

from data_generators.errors import UserError
from maml import published, records

FIGURES = ('figure_2.png', 'figure_3.png', 'adaptation_curve.png', 'learning_curve.png')
SINUSOID = (('MAML', 'sinusoid_10shot'), ('pretrained', published.PRETRAINED), ('oracle', published.ORACLE))
NUMBERS = ('measured', 'interval', 'tasks', 'queries', 'shots', 'step', 'iteration', 'iterations_total', 'seed',
           'wall_time_seconds')
TEXTS = ('experiment', 'split', 'checkpoint', 'command', 'commit', 'hardware')
UNITS = ('accuracy', 'mse')
OTHER_UNITS = ('return',)  # of runs that other packages' parts of the page read

# What `rebuild` may rewrite in the project's README.
MARKS = ('<!-- results -->', '<!-- /results -->')

HEAD = """# Results

Measured beside published (Finn, Abbeel, Levine 2017, arXiv 1703.03400v3). `python main.py --report` rebuilds this page
from the run folders beside it; a cell without a run says "not run". Intervals are 95 % over test tasks, 1.96·σ/√tasks,
of one run; where a row has several seeds, the number is their mean, the interval the mean of theirs, and each seed
is listed. "queries" are those of each class in a task. "step" is the number of inner steps after which it is read.
"measured" is the paper's way: batch norm uses the statistics of all queries of a task together. "one query at a time"
normalises each query by itself, with the statistics of the support set.
"""


class Run(NamedTuple):
    """A run folder with a summary, whose fields are attributes."""
    folder: Path
    summary: dict

    def __getattr__(self, name):
        try:
            return self.summary[name]
        except KeyError:
            raise AttributeError(name)

    @property
    def trained(self):
        """Iterations behind the weights that were tested; all of them if validation chose among the checkpoints."""
        return self.iterations_total if self.checkpoint == 'best' else min(self.iteration, self.iterations_total)


class SupervisedRun(Run):
    """A run of regression or classification."""

    @property
    def cell(self):
        """The published cell this run's headline stands beside: same experiment, settings, shots and step, on test tasks."""
        return published.find(self.experiment, self.shots, self.step) if self.published is not None else None

    @property
    def headline(self):
        """The entry of its evaluations that the summary quotes."""
        names = ('split', 'shots', 'queries', 'checkpoint', 'iteration', 'tasks', 'measured')
        return next((entry for entry in self.evaluations
                     if all(entry.get(name) == self.summary[name] for name in names)), self.summary)

    @property
    def protocol(self):
        """What runs must share for their mean over seeds to mean something."""
        return (self.experiment, self.split, self.shots, self.trained, self.tasks, self.queries, self.step,
                re.sub(r'\d+', '', self.checkpoint), self.unit)


def check(path, summary, numbers, texts, lists=()):
    """UserError naming the file and those of its fields that are missing or of another type; versions is a dict."""
    kinds = {**dict.fromkeys(numbers, (int, float)), **dict.fromkeys(texts, str), **dict.fromkeys(lists, list),
             'versions': dict, 'evaluations': list}
    missing = [name for name, kind in kinds.items() if not isinstance(summary.get(name), kind)]
    if missing:
        raise UserError(f'{path}: damaged, expected a number, text or list for {", ".join(missing)}')
    if not all(isinstance(entry, dict) and isinstance(entry.get('file'), str) for entry in summary['evaluations']):
        raise UserError(f'{path}: damaged, expected every one of its evaluations to name a file')


def summaries(results_dir):
    """Iterator of (path, summary) of the run folders under results_dir."""
    return ((path, records.read_json(path)) for path in Path(results_dir).glob('*/seed_*/summary.json'))


def load_runs(results_dir):
    """Supervised runs under results_dir, sorted by experiment and seed. UserError names a summary that is damaged."""
    runs = []
    for path, summary in summaries(results_dir):
        if (unit := summary.get('unit')) not in UNITS + OTHER_UNITS:
            raise UserError(f'{path}: damaged, unit is {unit!r}, expected one of {", ".join(UNITS + OTHER_UNITS)}')
        if unit in UNITS:
            check(path, summary, NUMBERS, TEXTS)
            runs.append(SupervisedRun(path.parent, summary))
    return sorted(runs, key=lambda run: (run.experiment, run.seed, str(run.folder)))


def _groups(runs):
    """Lists of runs that differ in nothing but the seed, longest training first."""
    ordered = sorted(runs, key=lambda run: (run.experiment, -run.trained, str(run.protocol), run.seed))
    return [list(group) for _, group in groupby(ordered, key=lambda run: run.protocol)]


def table(head, rows):
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join('| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |' for line in lines) + '\n'


def _measured(value, interval, unit):
    if unit == 'accuracy':
        return f'{100 * value:.2f} ± {100 * interval:.2f} %'
    return f'{value:.3f} ± {interval:.3f}'


def iterations(run, full):
    """'60,000', or '**1,000 of 60,000 iterations**' for a run shorter than the paper's `full`; and the checkpoint."""
    text = f'{run.trained:,}'
    if full is not None and run.trained < full:
        text = f'**{text} of {full:,} iterations**'
    return f'{text} ({run.checkpoint}: {run.iteration:,})' if run.checkpoint == 'best' else f'{text} ({run.checkpoint})'


def _iterations(run):
    return iterations(run, published.iterations(run.experiment))


def _seeds(runs):
    if len(runs) == 1:
        return str(runs[0].seed)
    return '<br>'.join(f'{run.seed}: {_measured(run.measured, run.interval, run.unit)}, {run.checkpoint} '
                       f'{run.iteration:,}' for run in runs)


def _mean(results, unit):
    """Of runs, or of entries of their evaluations; blank for none."""
    values = [result if isinstance(result, dict) else result.summary for result in results]
    if not values:
        return ''
    return _measured(fmean(v['measured'] for v in values), fmean(v['interval'] for v in values), unit)


def _how_tested(entry):
    """What two evaluations of a run share if they differ only in whether a query sees the others of its task."""
    return tuple(entry.get(name) for name in ('split', 'shots', 'queries', 'inner_lr', 'checkpoint', 'iteration', 'tasks'))


def _one_at_a_time(run, entry):
    """The evaluation like `entry` in which each query was normalised by the support set's statistics, or None."""
    return next((other for other in run.evaluations
                 if other.get('transductive') is False and _how_tested(other) == _how_tested(entry)), None)


def _result(runs):
    """The table cells of one group: measured, tasks, queries, step, iterations, seeds."""
    first = runs[0]
    mean = _mean(runs, first.unit)
    alone = [entry for run in runs if (entry := _one_at_a_time(run, run.headline))]
    iterations = _iterations(first) if len(runs) == 1 else _iterations(first).split(' (')[0]
    short = first.cell is not None and first.trained < published.iterations(first.experiment)
    return [mean if short else f'**{mean}**', _mean(alone, first.unit), f'{first.tasks:,}', str(first.queries), str(first.step), iterations,
            _seeds(runs)]


RESULT_HEAD = ['measured', 'one query at a time', 'tasks', 'queries', 'step', 'iterations (checkpoint)', 'seeds']


def _published_rows(prefix, runs):
    """One row for each published cell of a data source, or one for each length of training it was run with."""
    for cell in (cell for cell in published.MAML_CELLS if cell.experiment.startswith(prefix)):
        name = published.title(cell.experiment).split(', ', 1)[1]
        name = f'{name}<br>`{published.COMMANDS[cell.experiment]}`'
        for group in _groups(run for run in runs if run.cell == cell) or [None]:
            yield [name, str(cell), *(_result(group) if group else ['not run', '', '', '', str(cell.step), '', ''])]


def _others(prefix):
    """Table of the methods the paper compares with: a row a method, a column an experiment."""
    cells = [cell for cell in published.OTHER_METHODS if cell.experiment.startswith(prefix)]
    columns = sorted({cell.experiment.removesuffix('_dense') for cell in cells},
                     key=lambda name: [int(number) for number in re.findall(r'\d+', name)])
    rows = []
    for method in dict.fromkeys(cell.method for cell in cells):
        values = {cell.experiment.removesuffix('_dense'): str(cell) for cell in cells if cell.method == method}
        rows.append([method, *(values.get(column, '–') for column in columns)])
    return table(['other methods, as published', *(published.title(name).split(', ')[1] for name in columns)], rows)


def _images(prefix, runs):
    name = published.title(prefix)
    rows = list(_published_rows(prefix + '_', runs))
    return f'\n## {name}\n\n{table(["experiment", "published", *RESULT_HEAD], rows)}\n{_others(prefix + "_")}'


def _errors(run, shots):
    """The evaluation on test tasks with K = shots that the run's summary lists, and its {step: mean squared error}.

    With Q = K, as the paper evaluates, if there is a choice; None if there is none.
    """
    entries = [entry for entry in run.evaluations
               if (entry.get('split'), entry.get('shots')) == ('test', shots)]
    if not entries:
        return None
    entry = min(entries, key=lambda entry: entry.get('queries') != shots)
    path = run.folder / entry['file']
    rows = records.read_table(path)
    if not all('step' in row and 'loss' in row for row in rows):
        raise UserError(f'{path}: damaged, expected the columns step and loss')
    return entry, {row['step']: row['loss'] for row in rows}


def _over_seeds(values):
    return f'**{fmean(values):.3f}**' + (f' ± {stdev(values):.3f}' if len(values) > 1 else '')


def _sinusoid_rows(method, experiment, runs):
    mine = [run for run in runs if run.experiment == experiment and (run.cell or experiment == published.ORACLE)]
    for group in _groups(mine) or [[]]:
        for shots in (5, 10, 20):
            measured = [(run, *errors) for run in group if (errors := _errors(run, shots))]
            row = [method, str(shots)]
            for step in (1, 5, 10):
                values = [curve[step] for _, _, curve in measured if curve.get(step) is not None]
                cell = published.find(experiment, shots, step)
                row += [_over_seeds(values) if values else 'not run', str(cell) if cell else '–']
            tasks = sorted({entry.get('tasks', 0) for _, entry, _ in measured})
            yield row + [', '.join(f'{count:,}' for count in tasks),
                         _iterations(measured[0][0]).split(' (')[0] if measured else '',
                         ', '.join(str(run.seed) for run, _, _ in measured)]


def _sinusoid(runs):
    rows = [row for method, experiment in SINUSOID for row in _sinusoid_rows(method, experiment, runs)]
    head = ['method', 'K at test']
    for step in ('1 step', '5 steps', '10 steps'):
        head += [step, 'published']
    commands = '\n'.join(f'- {method}: `{published.COMMANDS[experiment]}`' for method, experiment in SINUSOID)
    others = [cell for cell in published.OTHER_METHODS if cell.experiment.startswith('sinusoid')]
    context = [[method, *(str(cell) for cell in others if cell.method == method)]
               for method in dict.fromkeys(cell.method for cell in others)]
    return ('\n## Sinusoid\n\nMean squared error on test tasks after 1, 5 and 10 inner steps: mean over seeds ± standard '
            'deviation between seeds.\nThe paper prints numbers for K = 5 alone.\n\n'
            + table([*head, 'tasks', 'iterations', 'seeds'], rows) + f'\n{commands}\n\n'
            + table(['other methods, as published, K = 5', '1 step', '5 steps', '10 steps'], context))


def _stands_in(run):
    return run.experiment.startswith(tuple(f'{name}_' for name in published.STAND_INS))


def _unpublished(heading, explanation, runs):
    """A section of runs that no published number stands beside; empty if there are none."""
    if not runs:
        return ''
    rows = [[f'{published.title(group[0].experiment)}, {group[0].split}<br>`{group[0].command}`', *_result(group)]
            for group in _groups(runs)]
    return f'\n## {heading}\n\n{explanation}\n\n' + table(['experiment, split', *RESULT_HEAD], rows)


STAND_IN = """The paper's miniImagenet experiments on other photographs in its format: comparable with each other, not with the
published numbers. Tiny ImageNet's are 64×64 pixels, 500 or 300 a class, and most of its classes are others."""


def _other_runs(runs):
    others = [run for run in runs if run.cell is None and run.experiment != published.ORACLE]
    return (_unpublished('In place of miniImagenet', STAND_IN, [run for run in others if _stands_in(run)])
            + _unpublished('Other runs', 'No published number stands beside these.',
                           [run for run in others if not _stands_in(run)]))


def _other_tests(runs):
    """What the same networks give when tested otherwise: other queries, shots, splits, checkpoints, step sizes."""
    rows = []
    for run in (run for run in runs if run.unit == 'accuracy'):
        shown = {_how_tested(run.headline)}
        for entry in sorted((entry for entry in run.evaluations if 'measured' in entry),
                            key=lambda entry: not entry.get('transductive', True)):
            if _how_tested(entry) not in shown:
                shown.add(_how_tested(entry))
                alone = _one_at_a_time(run, entry)
                both = [entry if entry.get('transductive', True) else None, alone]
                rows.append([f'{published.title(run.experiment)}, seed {run.seed}', entry['split'], str(entry['shots']),
                             str(entry['queries']), f'{entry["inner_lr"]:g}', f'{entry["checkpoint"]}: {entry["iteration"]:,}',
                             f'{entry["tasks"]:,}', str(entry['step_read']),
                             *(_mean(filter(None, [mode]), run.unit) for mode in both)])
    if not rows:
        return ''
    head = ['run', 'split', 'K', 'queries', 'α', 'checkpoint', 'tasks', 'step', 'measured', 'one query at a time']
    return f'\n## The same networks, tested otherwise\n\n{table(head, rows)}'


def link(path, base):
    return quote(path.relative_to(base).as_posix())


def figures(runs, base, names, caption):
    """Those of the figures `names` that the run folders hold, of the lowest seed of each experiment; '' if none.

    caption(run, kind): what stands above, where kind is 'learning curve' for learning_curve.png.
    """
    seen, text = set(), ''
    for name in names:
        for run in runs:
            path = run.folder / name
            if path.exists() and (run.experiment, name) not in seen:
                seen.add((run.experiment, name))
                kind = name.removesuffix('.png').replace('_', ' ')
                text += f'\n{caption(run, kind)}\n\n![{kind}]({link(path, base)})\n'
    return text


def _figures(runs, base):
    text = figures(runs, base, FIGURES, lambda run, kind: f'{published.title(run.experiment)}: {kind}')
    return f'\n## Figures\n{text}' if text else ''


def _duration(seconds):
    if seconds < 120:
        return f'{seconds:.0f} s'
    hours, minutes = divmod(round(seconds / 60), 60)
    return f'{hours} h {minutes:02d} min' if hours else f'{minutes} min'


def _machine(run):
    return f'{run.hardware}; ' + ', '.join(f'{name} {version}' for name, version in sorted(run.versions.items()))


def _how(runs, base):
    """Commands, wall time and commit of every run, by the machine it was made on."""
    text = '\n## How the runs were made\n' if runs else ''
    for machine in sorted({_machine(run) for run in runs}):
        rows = [[f'[{run.experiment}, seed {run.seed}]({link(run.folder, base)})', f'`{run.command}`',
                 _duration(run.wall_time_seconds), run.commit[:10] + ('+changes' if '+' in run.commit else '')]
                for run in runs if _machine(run) == machine]
        text += f'\n{machine}\n\n' + table(['run', 'command', 'wall time', 'commit'], rows)
    return text


def rebuild(results_dir, out='README.md', parts=()):
    """Rewrites results_dir/out from results_dir/*/seed_*/summary.json; returns its path.

    deviations.md in results_dir, if there, is appended word for word. parts: other packages' parts of the page, each
    with load_runs(results_dir), section(runs, results_dir), a text, and front_page(runs), rows of the table on the
    project's README: experiment, published, measured, iterations. UserError if results_dir is no folder, or naming a
    file in it that is damaged.
    """
    base = Path(results_dir)
    if not base.is_dir():
        raise UserError(f'{base}: expected a folder of runs, found none')
    runs = load_runs(base)
    others = [(part, part.load_runs(base)) for part in parts]
    everything = [*runs, *(run for _, theirs in others for run in theirs)]
    ledger = base / 'deviations.md'
    text = (HEAD + _images('omniglot', runs) + _sinusoid(runs) + _images('miniimagenet', runs)
            + ''.join(part.section(theirs, base) for part, theirs in others)
            + _other_runs(runs) + _other_tests(runs) + _figures(runs, base) + _how(everything, base))
    if ledger.exists():
        text += '\n' + records.read_text(ledger)
    records.write_bytes(base / out, text.encode())
    more = [row for part, theirs in others for row in part.front_page(theirs)]
    _front_page(base.resolve().parent / 'README.md', runs, more)
    return base / out


def _front_page(page, runs, more):
    """Rewrites what stands between the marks in the project's own README: a row for each published cell that was run.

    more: rows to add.
    """
    if not page.exists() or MARKS[0] not in (text := records.read_text(page)):
        return
    before, rest = text.split(MARKS[0], 1)
    _, after = rest.split(MARKS[1], 1)
    rows = []
    for cell in published.MAML_CELLS:
        for group in _groups(run for run in runs if run.cell and (cell.shots, cell.experiment) == (run.shots, run.experiment)):
            name = published.title(cell.experiment)
            if cell.unit == 'mse':
                errors = [_errors(run, cell.shots)[1][cell.step] for run in group]
                rows.append([f'{name}, {cell.shots} points, after {cell.step} step{"s" * (cell.step > 1)}: squared error', str(cell), _over_seeds(errors),
                             _iterations(group[0]).split(' (')[0]])
            elif group[0].cell == cell:
                rows.append([f'{name}: accuracy', str(cell), _result(group)[0], _iterations(group[0]).split(' (')[0]])
    for group in _groups(run for run in runs if run.cell is None and _stands_in(run) and run.split == 'test'):
        rows.append([f'{published.title(group[0].experiment)}: accuracy', '–', _result(group)[0], _iterations(group[0]).split(' (')[0]])
    pictures = [run.folder / 'adaptation_curve.png' for run in runs if run.cell and run.unit == 'accuracy'][:1]
    text = table(['experiment', 'published', 'measured', 'iterations'], [*rows, *more])
    figure = ''.join(f'\n![accuracy against inner steps]({link(path.resolve(), page.parent)})\n' for path in pictures)
    records.write_bytes(page, f'{before}{MARKS[0]}\n{text}{figure}{MARKS[1]}{after}'.encode())
