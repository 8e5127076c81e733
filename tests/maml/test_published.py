"""The paper's numbers, as printed in its tables, and the commands beside them."""

import re

import pytest

from maml import published


@pytest.mark.parametrize('experiment, printed', [
    ('omniglot_5way_1shot', '98.7 ± 0.4 %'),
    ('omniglot_5way_5shot_dense', '97.5 ± 0.6 %'),
    ('omniglot_20way_1shot', '95.8 ± 0.3 %'),
    ('miniimagenet_5way_1shot', '48.70 ± 1.84 %'),
    ('miniimagenet_5way_5shot_first_order', '63.15 ± 0.91 %'),
])
def test_accuracy_as_printed_in_table_1(experiment, printed):
    assert str(published.find(experiment)) == printed


def test_accuracies_are_fractions():
    cell = published.find('omniglot_5way_1shot')
    assert (cell.value, cell.interval, cell.unit) == (0.987, 0.004, 'accuracy')


@pytest.mark.parametrize('experiment, errors', [
    ('sinusoid_10shot', [0.67, 0.38, 0.35]), ('sinusoid_10shot_pretrained', [2.41, 2.23, 2.19])])
def test_sinusoid_after_1_5_and_10_steps(experiment, errors):
    assert [published.find(experiment, shots=5, step=step).value for step in (1, 5, 10)] == errors


@pytest.mark.parametrize('arguments', [
    ('glyphs_5way_1shot',), ('sinusoid_10shot', 10), ('sinusoid_10shot_oracle',), ('omniglot_5way_1shot', 1, 4),
    ('omniglot_5way_1shot_first_order',)])
def test_nothing_is_found_where_the_paper_prints_nothing(arguments):
    assert published.find(*arguments) is None


def test_other_methods_are_never_found():
    values = {(cell.experiment, cell.method): cell.value for cell in published.OTHER_METHODS}
    assert values['omniglot_5way_1shot_dense', 'MANN, no conv'] == 0.828
    assert published.find('omniglot_5way_1shot_dense').value == 0.897


def test_every_cell_has_a_command():
    assert {cell.experiment for cell in published.MAML_CELLS} <= set(published.COMMANDS)


@pytest.mark.parametrize('experiment', published.COMMANDS)
def test_commands_name_the_ways_and_shots_of_their_experiment(experiment):
    """5 ways and 1 shot are the defaults of the image sources, 10 shots the sinusoid's."""
    command = published.COMMANDS[experiment]
    ways, shots = (re.search(rf'--{flag}=(\d+)', command) for flag in ('num_classes', 'update_batch_size'))
    shots = shots[1] if shots else '10' if 'sinusoid' in command else '1'
    ways = '' if 'sinusoid' in command else f'{ways[1] if ways else 5}way_'
    suffix = '_dense' * ('--conv=False' in command) + '_first_order' * ('--stop_grad' in command)
    suffix += '_pretrained' * ('--pretrain_iterations' in command) + '_oracle' * ('--baseline=oracle' in command)
    source = re.search('--datasource=([a-z]+)', command)[1]
    assert f'{source}_{ways}{shots}shot{suffix}' == experiment


@pytest.mark.parametrize('experiment, expected', [
    ('sinusoid_10shot_oracle', 70_000), ('omniglot_20way_5shot', 60_000), ('glyphs_5way_1shot', None)])
def test_iterations(experiment, expected):
    assert published.iterations(experiment) == expected


@pytest.mark.parametrize('experiment, expected', [
    ('omniglot_5way_1shot_dense', 'Omniglot, 5-way 1-shot, no conv'), ('sinusoid_10shot', 'Sinusoid, 10-shot'),
    ('miniimagenet_5way_5shot_first_order', 'miniImagenet, 5-way 5-shot, first order')])
def test_title(experiment, expected):
    assert published.title(experiment) == expected
