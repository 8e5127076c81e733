"""The table of results follows from the run folders, and from nothing else."""

import pytest

from data_generators.errors import UserError
from maml import published, records, report


def write_run(base, experiment='omniglot_5way_1shot', seed=0, **changes):
    """A run folder with a made-up summary."""
    summary = {
        'experiment': experiment, 'command': f'python main.py --seed={seed}', 'measured': 0.9125, 'interval': 0.0041,
        'unit': 'accuracy', 'published': None, 'tasks': 600, 'queries': 1, 'shots': 1, 'step': 3, 'split': 'test',
        'checkpoint': 'best', 'iteration': 59_000, 'iterations_total': 60_000, 'seed': seed, 'commit': 'abc',
        'versions': {'python': '3.11'}, 'hardware': 'a machine', 'wall_time_seconds': 3720.4, 'evaluations': [],
        **changes}
    if 'published' not in changes and summary['split'] == 'test':
        cell = published.find(experiment, summary['shots'], summary['step'])
        summary['published'] = cell and cell.value
    folder = records.run_folder(base, experiment, seed)
    records.write_json(folder / 'summary.json', summary)
    return folder


def write_sinusoid(base, errors, experiment='sinusoid_10shot', seed=0):
    """A sinusoid run measured with K = 5 after 1, 5 and 10 steps."""
    name = 'adaptation_test_5shot_5query.csv'
    folder = write_run(base, experiment, seed, unit='mse', shots=5, step=1, iterations_total=70_000, iteration=70_000,
                       evaluations=[{'split': 'test', 'shots': 5, 'queries': 5, 'tasks': 600, 'file': name}])
    records.write_table(folder / name, ('step', 'loss'), [{'step': s, 'loss': e} for s, e in zip((1, 5, 10), errors)])
    return folder


def rows(base, start):
    """The cells of the rows whose first cell begins so."""
    lines = report.rebuild(base).read_text().splitlines()
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if line.startswith(f'| {start}')]


def test_without_runs_every_published_cell_is_not_run(tmp_path):
    text = report.rebuild(tmp_path).read_text()
    images = [cell for cell in published.MAML_CELLS if cell.unit == 'accuracy']
    for cell in images:
        assert f'`{published.COMMANDS[cell.experiment]}` | {cell} | not run |' in text
    assert text.count('not run |') == len(images) + 3 * 3 * 3


def test_measured_stands_beside_published(tmp_path):
    write_run(tmp_path)
    assert rows(tmp_path, '5-way 1-shot<br>`python main.py --datasource=omniglot`') == [
        ['5-way 1-shot<br>`python main.py --datasource=omniglot`', '98.7 ± 0.4 %', '**91.25 ± 0.41 %**', '', '600', '1', '3',
         '60,000 (best: 59,000)', '0']]


def test_seeds_are_averaged_and_listed(tmp_path):
    for seed, measured in ((10, 0.98), (2, 0.99)):
        write_run(tmp_path, seed=seed, measured=measured)
    (row,) = rows(tmp_path, '5-way 1-shot<br>`python main.py --datasource=omniglot`')
    assert row[2] == '**98.50 ± 0.41 %**'
    assert row[-1] == '2: 99.00 ± 0.41 %, best 59,000<br>10: 98.00 ± 0.41 %, best 59,000'


@pytest.mark.parametrize('changes', [{'iterations_total': 1000, 'iteration': 900},
                                     {'checkpoint': 'latest', 'iteration': 1000},
                                     {'checkpoint': 'iteration 1000', 'iteration': 1000}])
def test_short_run_is_marked(tmp_path, changes):
    write_run(tmp_path, **changes)
    (row,) = rows(tmp_path, '5-way 1-shot<br>`python main.py --datasource=omniglot`')
    assert row[2] == '91.25 ± 0.41 %' and row[-2].startswith('**1,000 of 60,000 iterations**')


def test_short_run_is_not_averaged_with_a_full_one(tmp_path):
    write_run(tmp_path, seed=0)
    write_run(tmp_path, seed=1, iterations_total=1000, iteration=1000, measured=0.5)
    measured = [row[2] for row in rows(tmp_path, '5-way 1-shot<br>`python main.py --datasource=omniglot`')]
    assert measured == ['**91.25 ± 0.41 %**', '50.00 ± 0.41 %']


def test_seeds_evaluated_with_other_queries_have_a_row_of_their_own(tmp_path):
    for seed, queries in enumerate((1, 15, 1)):
        write_run(tmp_path, seed=seed, queries=queries)
    found = rows(tmp_path, '5-way 1-shot<br>`python main.py --datasource=omniglot`')
    assert [row[5] for row in found] == ['1', '15']


def evaluation(**changes):
    """An entry of a summary's evaluations that is the headline's but for `changes`."""
    return {'split': 'test', 'shots': 1, 'queries': 1, 'tasks': 600, 'checkpoint': 'best', 'iteration': 59_000,
            'inner_lr': 0.4, 'step_read': 3, 'measured': 0.9125, 'interval': 0.0041, 'file': 'a.csv', **changes}


def test_one_query_at_a_time_stands_beside_the_papers_way(tmp_path):
    alone = {'transductive': False, 'interval': 0.005}
    write_run(tmp_path, evaluations=[evaluation(transductive=True), evaluation(**alone, measured=0.85),
                                     evaluation(queries=15, measured=0.9), evaluation(**alone, queries=15, measured=0.8)])
    (row,) = rows(tmp_path, '5-way 1-shot<br>`python main.py --datasource=omniglot`')
    assert row[2:4] == ['**91.25 ± 0.41 %**', '85.00 ± 0.50 %']
    (other,) = rows(tmp_path, 'Omniglot, 5-way 1-shot, seed 0')
    assert other[3] == '15' and other[-2:] == ['90.00 ± 0.41 %', '80.00 ± 0.50 %']


def test_a_stand_in_never_stands_beside_what_is_published(tmp_path):
    write_run(tmp_path, 'tiny_imagenet_5way_1shot', step=10, iterations_total=5000, iteration=5000)
    text = report.rebuild(tmp_path).read_text()
    assert rows(tmp_path, '5-way 1-shot<br>`python main.py --datasource=miniimagenet`')[0][2] == 'not run'
    section = text.split('## In place of miniImagenet')[1].split('## ')[0]
    assert '| Tiny-ImageNet stand-in, 5-way 1-shot, test<br>' in section and '**5,000 of 60,000 iterations**' in section
    assert 'miniImagenet' not in ''.join(line for line in section.splitlines() if '91.25' in line)


@pytest.mark.parametrize('changes', [{'experiment': 'glyphs_5way_1shot'}, {'split': 'val'}, {'step': 1}])
def test_run_without_a_published_cell_is_listed_apart(tmp_path, changes):
    write_run(tmp_path, **changes)
    before, after = report.rebuild(tmp_path).read_text().split('## Other runs')
    assert '91.25' in after and '91.25' not in before


def test_sinusoid_is_the_mean_and_deviation_over_seeds(tmp_path):
    """By hand: mean of 0.5, 0.6, 0.7 is 0.6, their sample standard deviation 0.1."""
    for seed, error in enumerate((0.5, 0.6, 0.7)):
        write_sinusoid(tmp_path, (error, 0.25, 0.125), seed=seed)
    assert rows(tmp_path, 'MAML | 5 ') == [['MAML', '5', '**0.600** ± 0.100', '0.67', '**0.250** ± 0.000', '0.38',
                                            '**0.125** ± 0.000', '0.35', '600', '70,000', '0, 1, 2']]
    assert rows(tmp_path, 'MAML | 10 ')[0][2] == 'not run'


def test_table_that_no_summary_lists_is_not_shown(tmp_path):
    folder = write_sinusoid(tmp_path, (0.5, 0.25, 0.125))
    write_run(tmp_path, 'sinusoid_10shot', unit='mse', shots=10, step=1)
    assert (folder / 'adaptation_test_5shot_5query.csv').exists()
    assert rows(tmp_path, 'MAML | 5 ')[0][2] == 'not run'


def test_figures_are_linked_relative_once_an_experiment(tmp_path):
    for seed in (1, 0):
        (write_run(tmp_path, seed=seed) / 'adaptation_curve.png').write_bytes(b'')
    text = report.rebuild(tmp_path).read_text()
    assert '](omniglot_5way_1shot/seed_0/adaptation_curve.png)' in text and 'seed_1/adaptation_curve.png' not in text


def test_runs_are_listed_with_machine_and_wall_time(tmp_path):
    write_run(tmp_path)
    text = report.rebuild(tmp_path).read_text()
    assert '\na machine; python 3.11\n' in text
    assert ('| [omniglot_5way_1shot, seed 0](omniglot_5way_1shot/seed_0) | `python main.py --seed=0` | 1 h 02 min | abc |'
            in text)


def test_ledger_is_included_word_for_word(tmp_path):
    ledger = '## Deviations\n\n| a | ± |\n'
    (tmp_path / 'deviations.md').write_text(ledger, encoding='utf-8')
    assert report.rebuild(tmp_path).read_text().endswith('\n' + ledger)


def test_rebuilding_changes_nothing(tmp_path):
    for seed in (3, 20):
        write_run(tmp_path, seed=seed)
        write_sinusoid(tmp_path, (0.5, 0.25, 0.125), seed=seed)
    first = report.rebuild(tmp_path).read_bytes()
    assert report.rebuild(tmp_path).read_bytes() == first


@pytest.mark.parametrize('changes, named', [({'measured': 'high'}, 'measured'), ({'hardware': None}, 'hardware'),
                                            ({'evaluations': [{'split': 'test'}]}, 'evaluations')])
def test_damaged_summary_is_named_and_the_page_kept(tmp_path, changes, named):
    (tmp_path / 'README.md').write_text('old')
    write_run(tmp_path, **changes)
    with pytest.raises(UserError, match=f'summary.json.*{named}'):
        report.rebuild(tmp_path)
    assert (tmp_path / 'README.md').read_text() == 'old'


def test_missing_results_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match='none'):
        report.rebuild(tmp_path / 'none')


def test_a_run_with_other_settings_stands_beside_nothing(tmp_path):
    write_run(tmp_path, published=None)
    assert rows(tmp_path, '5-way 1-shot<br>`python main.py --datasource=omniglot`')[0][2] == 'not run'
    assert '## Other runs' in (tmp_path / 'README.md').read_text()
