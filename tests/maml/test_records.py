"""Files of a run: what is written is read back, whole, and damage is named."""

import os
import subprocess
import sys

import numpy as np
import pytest

from data_generators.errors import UserError
from maml import records

COLUMNS = ('iteration', 'loss')


def write_metrics(path, first, last):
    """Rows whose losses are hard to write in few digits."""
    for iteration in range(first, last + 1):
        records.append_row(path, COLUMNS, {'iteration': iteration, 'loss': np.float32(1 / iteration)})


def test_run_folder():
    assert records.run_folder('results', 'sinusoid_10shot', 3).as_posix() == 'results/sinusoid_10shot/seed_3'


def test_json_reads_back_and_is_sorted(tmp_path):
    records.write_json(tmp_path / 'a.json', {'b': 0.1, 'a': None})
    assert records.read_json(tmp_path / 'a.json') == {'b': 0.1, 'a': None}
    assert (tmp_path / 'a.json').read_text() == '{\n  "a": null,\n  "b": 0.1\n}\n'


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'a.json'
    records.write_json(path, {'a': 1})

    def fail(*_):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError):
        records.write_json(path, {'a': 2})
    assert records.read_json(path) == {'a': 1}


def test_reader_of_the_old_file_reads_it_whole(tmp_path):
    path = tmp_path / 'a.json'
    records.write_json(path, {'a': 1})
    with open(path) as reader:
        records.write_json(path, {'a': 2})
        assert reader.read() == '{\n  "a": 1\n}\n'


@pytest.mark.parametrize('value', [0.1, 1 / 3, 1e-300, -2.0, float(np.float32(0.1)), float('inf'), 7])
def test_numbers_read_back_to_the_same_bits(tmp_path, value):
    records.write_table(tmp_path / 'a.csv', ('x',), [{'x': value}])
    got = records.read_table(tmp_path / 'a.csv')[0]['x']
    assert got == value and type(got) is type(value)


def test_blank_where_not_measured(tmp_path):
    records.write_table(tmp_path / 'a.csv', ('step', 'loss', 'accuracy'), [{'step': 0, 'loss': 0.5}])
    assert (tmp_path / 'a.csv').read_text() == 'step,loss,accuracy\n0,0.5,\n'
    assert records.read_table(tmp_path / 'a.csv') == [{'step': 0, 'loss': 0.5, 'accuracy': None}]


def test_zero_dimensional_arrays_are_not_rounded(tmp_path):
    records.write_table(tmp_path / 'a.csv', ('x',), [{'x': np.array(1.5)}])
    assert records.read_table(tmp_path / 'a.csv') == [{'x': 1.5}]


def test_unknown_column_is_refused(tmp_path):
    with pytest.raises(KeyError, match='lost'):
        records.append_row(tmp_path / 'a.csv', COLUMNS, {'iteration': 1, 'lost': 2.})
    assert not (tmp_path / 'a.csv').exists()


@pytest.mark.parametrize('checkpoint', [0, 4, 7])
@pytest.mark.parametrize('torn', [b'', b'8', b'8,0.12', b'8,\xff'])
def test_killed_and_resumed_table_is_the_uninterrupted_one(tmp_path, checkpoint, torn):
    write_metrics(tmp_path / 'whole.csv', 1, 12)
    write_metrics(tmp_path / 'resumed.csv', 1, 7)
    with open(tmp_path / 'resumed.csv', 'ab') as file:
        file.write(torn)
    records.truncate_table(tmp_path / 'resumed.csv', checkpoint)
    write_metrics(tmp_path / 'resumed.csv', checkpoint + 1, 12)
    assert (tmp_path / 'resumed.csv').read_bytes() == (tmp_path / 'whole.csv').read_bytes()


def test_torn_header_is_written_again(tmp_path):
    (tmp_path / 'a.csv').write_text('itera')
    records.truncate_table(tmp_path / 'a.csv', 0)
    write_metrics(tmp_path / 'a.csv', 1, 1)
    assert (tmp_path / 'a.csv').read_text() == 'iteration,loss\n1,1.0\n'


def test_truncating_nothing_makes_no_file(tmp_path):
    records.truncate_table(tmp_path / 'a.csv', 5)
    assert not (tmp_path / 'a.csv').exists()


@pytest.mark.parametrize('content', [b'a,b\n1\n', b'a,b\n1,two\n', b'a,b\n1,2\n3,', b'', b'\xff\xfe\n', b'a,b\n1,2,3\n',
                                     b'a,b\n\n1,2\n'])
def test_damaged_table_is_named(tmp_path, content):
    path = tmp_path / 'metrics.csv'
    path.write_bytes(content)
    with pytest.raises(UserError, match='metrics.csv') as error:
        records.read_table(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('content', [b'{"a": 1', b'[1]', b'', b'\xff', None])
def test_damaged_or_missing_json_is_named(tmp_path, content):
    path = tmp_path / 'summary.json'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match='summary.json') as error:
        records.read_json(path)
    assert '\n' not in str(error.value)


def test_damage_before_the_last_line_is_not_truncated_away(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_text('iteration,loss\n1,0.5\nrubbish\n3,0.5\n')
    with pytest.raises(UserError, match='line 3'):
        records.truncate_table(path, 1)


def test_adaptation_file_prefers_as_many_queries_as_shots(tmp_path):
    for name in ('test_5shot_1query', 'test_5shot_5query', 'val_1shot_1query', 'test_10shot_2query'):
        records.write_table(tmp_path / f'adaptation_{name}.csv', ('step',), [])
    assert records.adaptation_file(tmp_path, 5).name == 'adaptation_test_5shot_5query.csv'
    assert records.adaptation_file(tmp_path, 1) is None
    assert [entry[:2] for entry in records.adaptation_files(tmp_path)] == [(5, 1), (5, 5), (10, 2)]


def test_commit_says_when_the_code_was_changed(tmp_path, monkeypatch):
    """In a repository of its own, laid out as this one."""

    def git(*arguments):
        subprocess.run(['git', '-c', 'user.name=a', '-c', 'user.email=a@b', *arguments], cwd=tmp_path, check=True,
                       capture_output=True)

    for name in ('maml/code.py', 'results/summary.json'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text('1')
    monkeypatch.setattr(records, '__file__', str(tmp_path / 'maml' / 'records.py'))
    git('init')
    assert records.provenance()['commit'] == 'unknown'
    git('add', '.')
    git('commit', '-m', 'a')
    (tmp_path / 'results/summary.json').write_text('2')
    clean = records.provenance()['commit']
    assert len(clean) == 40
    (tmp_path / 'maml/code.py').write_text('2')
    assert records.provenance()['commit'] == f'{clean}+changes'


def test_provenance_names_versions_and_cores():
    made = records.provenance()
    assert made['versions']['numpy'] == np.__version__
    assert ' cores, ' in made['hardware']


def test_tensorflow_is_not_imported():
    """So that the report and the figures start at once."""
    code = 'import sys; from maml import records, report, plots, published; sys.exit("tensorflow" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
