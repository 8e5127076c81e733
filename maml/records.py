"""The run folder: settings, metrics and results as text, written whole or not at all.

A table is a csv file of numbers with a header; blank means not measured. Floats are written so that reading them
gives the same bits back.
"""

import csv
import importlib.metadata
import io
import json
import numbers
import os
import platform
import re
import subprocess
from pathlib import Path

from data_generators.errors import UserError

METRICS_COLUMNS = ('iteration', 'pre_loss', 'post_loss', 'pre_accuracy', 'post_accuracy',
                   'val_pre_loss', 'val_post_loss', 'val_pre_accuracy', 'val_post_accuracy')
ADAPTATION_COLUMNS = ('step', 'loss', 'loss_std', 'loss_ci95', 'accuracy', 'accuracy_std', 'accuracy_ci95')


def run_folder(logdir, experiment, seed):
    """Path <logdir>/<experiment>/seed_<seed>; nothing is created."""
    return Path(logdir) / experiment / f'seed_{seed}'


def write_bytes(path, content):
    """Replaces the file in one step, so that a reader or a kill meets the old content or the new, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One fixed name, so that what a kill leaves behind is overwritten by the next try.
    temporary = path.with_name(f'.{path.name}.tmp')
    with open(temporary, 'wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_text(path):
    """The text of a file. UserError naming it if it is missing or not text."""
    try:
        return Path(path).read_text(encoding='utf-8')
    except UnicodeDecodeError:
        raise UserError(f'{path}: damaged, not a text file')
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror})')


def write_json(path, record):
    """Writes a dict sorted and indented, whole or not at all."""
    write_bytes(path, (json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + '\n').encode())


def read_json(path):
    """The dict in a json file. UserError naming the file if it is missing, damaged, or holds something else."""
    try:
        record = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f'{path}: damaged, expected json ({error})')
    if not isinstance(record, dict):
        raise UserError(f'{path}: expected a json object, got {type(record).__name__}')
    return record


def write_summary(path, summary, is_headline):
    """Writes the summary, with earlier evaluations of the same training kept, and an earlier headline unless this is it."""
    earlier = read_json(path) if path.exists() else None
    if earlier is None or earlier['iterations_total'] != summary['iterations_total']:
        write_json(path, summary)
        return
    evaluations = {e['file']: e for e in (*earlier['evaluations'], *summary['evaluations'])}
    kept = summary if is_headline else earlier
    write_json(path, {**kept, 'evaluations': [evaluations[name] for name in sorted(evaluations)]})


def _cell(value):
    """Text of one number: '' for None; repr is the shortest text that reads back to the same float."""
    if value is None:
        return ''
    if isinstance(value, (str, bool)):
        raise TypeError(f'a table holds numbers, got {value!r}')
    return str(int(value)) if isinstance(value, numbers.Integral) else repr(float(value))


def _lines(columns, rows):
    unknown = sorted({name for row in rows for name in row} - set(columns))
    if unknown:
        raise KeyError(f'unknown columns {unknown}, expected among {list(columns)}')
    return ''.join(','.join(_cell(row.get(name)) for name in columns) + '\n' for row in rows)


def write_table(path, columns, rows):
    """Writes a table, whole or not at all. columns: names in order; rows: dicts, a missing name leaves a blank."""
    write_bytes(path, (','.join(columns) + '\n' + _lines(columns, list(rows))).encode())


def append_row(path, columns, row):
    """Adds one row to the end of a table, after a header if the file is new or empty.

    One write, handed to the operating system before this returns: a killed process leaves whole rows, at worst
    followed by a torn line, which `truncate_table` removes. Append before saving the checkpoint of that iteration.
    """
    path, text = Path(path), _lines(columns, [row])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.stat().st_size == 0:
        text = ','.join(columns) + '\n' + text
    with open(path, 'ab', buffering=0) as file:
        file.write(text.encode())


def truncate_table(path, last, key='iteration'):
    """Drops rows whose `key` is beyond `last` and a torn last line; what stays keeps its bytes. Atomic.

    Call it on resuming from the checkpoint of iteration `last`. A missing file is left missing; a file with no whole
    header becomes empty. UserError if the whole lines are damaged.
    """
    path = Path(path)
    if not path.exists():
        return
    # Decoded only after the cut: a line torn by a crash of the machine may end in anything.
    content = path.read_bytes()
    kept = content[:content.rfind(b'\n') + 1]
    if kept:
        header, *lines = kept.splitlines(keepends=True)
        rows = _parse(path, kept)
        if rows and any(row.get(key) is None for row in rows):
            raise UserError(f'{path}: damaged, expected a number in the column {key} of every row')
        kept = header + b''.join(line for line, row in zip(lines, rows) if row[key] <= last)
    if kept != content:
        write_bytes(path, kept)


def _number(text):
    return None if text == '' else int(text) if re.fullmatch(r'-?\d+', text) else float(text)


def _parse(path, content):
    """List of dicts of the whole lines of a table. UserError names the file and the line that is damaged."""
    try:
        columns, *lines = csv.reader(io.StringIO(content.decode()))
    except (UnicodeDecodeError, ValueError, csv.Error):
        raise UserError(f'{path}: damaged, expected a csv file with a header')
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            rows.append(dict(zip(columns, map(_number, line), strict=True)))
        except ValueError:
            raise UserError(f'{path}: line {number} is damaged, expected {len(columns)} numbers, '
                            f'got {",".join(line)!r}')
    return rows


def read_table(path):
    """List of dicts, one a row: int, float, or None for a blank. UserError naming the file if missing or damaged."""
    text = read_text(path)
    if not text.endswith('\n'):
        raise UserError(f'{path}: damaged, ' + ('its last line is cut off' if text else 'the file is empty'))
    return _parse(path, text.encode())


def adaptation_files(folder, split='test'):
    """Sorted list of (K shots, Q queries, path) of the adaptation tables of a split in a run folder."""
    names = re.compile(rf'adaptation_{re.escape(split)}_(\d+)shot_(\d+)query\.csv')
    found = ((names.fullmatch(path.name), path) for path in Path(folder).glob('adaptation_*.csv'))
    return sorted((int(match[1]), int(match[2]), path) for match, path in found if match)


def adaptation_file(folder, shots, split='test'):
    """Path of the adaptation table for K = shots, or None: the one with Q = K, as the paper evaluates, if several."""
    files = [entry for entry in adaptation_files(folder, split) if entry[0] == shots]
    return min(files, key=lambda entry: entry[1] != shots)[2] if files else None


def _git(*arguments):
    """What git says about the folder of this code; None outside a repository or without git."""
    try:
        done = subprocess.run(['git', *arguments], cwd=Path(__file__).resolve().parent.parent, text=True,
                              capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _commit():
    """'unknown' outside git; '+changes' if tracked files differ, results aside: running changes those."""
    commit = _git('rev-parse', '--verify', 'HEAD')
    if commit is None:
        return 'unknown'
    return commit + ('+changes' if _git('status', '--porcelain', '-uno', '--', '.', ':(exclude)results') else '')


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return 'unknown'


def _hardware():
    """Processor model, cores this process may use, memory in GiB, operating system."""
    model = platform.processor() or platform.machine()
    if os.path.exists('/proc/cpuinfo'):
        named = re.search(r'^model name\s*:\s*(.+)$', Path('/proc/cpuinfo').read_text(), re.MULTILINE)
        model = named[1].strip() if named else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    names = getattr(os, 'sysconf_names', {})
    memory = ''
    if 'SC_PHYS_PAGES' in names:
        memory = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2 ** 30:.0f} GiB, "
    return f'{model}, {cores} cores, {memory}{platform.platform()}'


def provenance(packages=()):
    """Dict of what a result depends on besides its settings: commit, versions (dict) and hardware (text).

    packages: more of those whose versions matter.
    """
    versions = {name: _version(name) for name in ('tensorflow', 'numpy', *packages)}
    return {'commit': _commit(), 'versions': {'python': platform.python_version(), **versions}, 'hardware': _hardware()}
