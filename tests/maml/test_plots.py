"""Figures are made from the text files alone; what is drawn is read off the axes before they become a PNG."""

import numpy as np
import pytest

from data_generators.errors import UserError
from maml import plots, records


def write_adaptation(folder, shots, queries=1, error=None, **columns):
    rows = [{'step': step, 'loss': error or 0.2 + 1 / (step + 1), 'loss_ci95': 0.1,
             **{name: value - 0.7 * (step == 0) * (name == 'accuracy') for name, value in columns.items()}}
            for step in range(11)]
    records.write_table(folder / f'adaptation_test_{shots}shot_{queries}query.csv', records.ADAPTATION_COLUMNS, rows)


def write_fits(folder):
    for shots in (5, 10):
        rows = [{'x': x, 'truth': np.sin(x), 'step_0': 0., 'step_1': 0.5 * np.sin(x), 'step_10': 0.9 * np.sin(x)}
                for x in np.linspace(-5, 5, 20)]
        records.write_table(folder / f'fits_{shots}shot.csv', tuple(rows[0]), rows)
        records.write_table(folder / f'support_{shots}shot.csv', ('x', 'y'),
                            [{'x': x, 'y': np.sin(x)} for x in np.linspace(-4, 4, shots)])


def write_metrics(folder, **columns):
    rows = [{'iteration': i, **columns, **({'val_post_loss': 3.} if i % 200 == 0 else {})}
            for i in range(100, 1100, 100)]
    records.write_table(folder / 'metrics.csv', records.METRICS_COLUMNS, rows)


def is_png(path):
    return path.read_bytes()[:8] == b'\x89PNG\r\n\x1a\n'


def curves(axis):
    return {line.get_label(): line.get_xydata() for line in axis.lines}


def test_learning_curve_has_validation_points_where_measured(tmp_path, drawn):
    write_metrics(tmp_path, post_loss=2., post_accuracy=0.8)
    assert is_png(plots.learning_curve(tmp_path))
    np.testing.assert_array_equal(curves(drawn[0].axes[0])['validation tasks'],
                                  [[i, 3] for i in (200, 400, 600, 800, 1000)])
    assert len(drawn[0].axes) == 2


def test_learning_curve_without_accuracy_is_one_panel(tmp_path, drawn):
    write_metrics(tmp_path, post_loss=2.)
    plots.learning_curve(tmp_path)
    assert [axis.get_ylabel() for axis in drawn[0].axes] == ['mean squared error']


def test_learning_curve_of_pretraining_shows_the_loss_before_adaptation(tmp_path, drawn):
    write_metrics(tmp_path, pre_loss=4.)
    plots.learning_curve(tmp_path)
    assert set(curves(drawn[0].axes[0])['training tasks, smoothed'][:, 1]) == {4.}


def test_smoothing_is_the_mean_of_a_window():
    """By hand: windows [1], [1 2 6], [2 6 7], [6 7]."""
    np.testing.assert_allclose(plots.smooth(np.array([1., 2., 6., 7.]), 3), [1, 3, 5, 6.5])


def test_adaptation_curve_marks_the_published_value(tmp_path, drawn):
    folder = tmp_path / 'omniglot_5way_1shot' / 'seed_0'
    write_adaptation(folder, 1, accuracy=0.95, accuracy_ci95=0.01)
    assert is_png(plots.adaptation_curve(folder))
    for axis in drawn[0].axes:
        np.testing.assert_array_equal(curves(axis)['published, K = 1'], [[3, 0.987]])
        assert curves(axis)['K = 1, 1 query a class'].shape == (11, 2)


def test_enlarged_panel_shows_curve_and_published_value(tmp_path, drawn):
    folder = tmp_path / 'omniglot_5way_1shot' / 'seed_0'
    write_adaptation(folder, 1, accuracy=0.95, accuracy_ci95=0.01)
    plots.adaptation_curve(folder)
    low, high = drawn[0].axes[1].get_ylim()
    assert 0.9 < low < 0.94 and 0.991 < high < 1


def test_adaptation_curve_of_data_not_in_the_paper_marks_nothing(tmp_path, drawn):
    folder = tmp_path / 'glyphs_5way_1shot' / 'seed_0'
    write_adaptation(folder, 1, accuracy=0.95, accuracy_ci95=0.01)
    plots.adaptation_curve(folder)
    assert list(curves(drawn[0].axes[0])) == ['K = 1, 1 query a class']


def test_adaptation_curve_counts_the_tasks_of_the_summary(tmp_path, drawn):
    folder = tmp_path / 'sinusoid_10shot' / 'seed_0'
    write_adaptation(folder, 5)
    records.write_json(folder / 'summary.json', {'evaluations': [{'split': 'test', 'tasks': 1200}]})
    plots.adaptation_curve(folder)
    assert drawn[0].get_suptitle() == 'Sinusoid, 10-shot · seed 0 · 1,200 test tasks · 95 % intervals'


def test_diverged_error_is_still_drawn(tmp_path):
    folder = tmp_path / 'sinusoid_10shot' / 'seed_0'
    write_adaptation(folder, 5, error=float('inf'))
    assert is_png(plots.adaptation_curve(folder))


def test_figure_2_shows_maml_beside_pretrained(tmp_path, drawn):
    for name in 'ab':
        write_fits(tmp_path / name)
    assert is_png(plots.figure_2(tmp_path / 'a', tmp_path / 'b'))
    assert [axis.get_title(loc='left') for axis in drawn[0].axes] == [
        'MAML, K = 5', 'pretrained, K = 5', 'MAML, K = 10', 'pretrained, K = 10']
    assert [len(curves(axis)['support points']) for axis in drawn[0].axes] == [5, 5, 10, 10]


def test_figure_2_without_pretrained_has_one_column(tmp_path, drawn):
    write_fits(tmp_path)
    plots.figure_2(tmp_path)
    assert len(drawn[0].axes) == 2


def test_figure_3_marks_the_published_errors_at_5_shots_only(tmp_path, drawn):
    folders = {label: tmp_path / experiment / 'seed_0' for label, experiment in
               (('MAML', 'sinusoid_10shot'), ('oracle', 'sinusoid_10shot_oracle'))}
    for folder in folders.values():
        for shots in (5, 10, 20):
            write_adaptation(folder, shots)
    assert plots.figure_3(folders) == folders['MAML'] / 'figure_3.png'
    assert [sorted(curves(axis)) for axis in drawn[0].axes] == [['MAML', 'MAML, published', 'oracle'],
                                                               ['MAML', 'oracle'], ['MAML', 'oracle']]
    np.testing.assert_array_equal(curves(drawn[0].axes[0])['MAML, published'], [[1, 0.67], [5, 0.38], [10, 0.35]])


@pytest.mark.parametrize('draw, missing', [
    (plots.learning_curve, 'metrics.csv'), (plots.adaptation_curve, 'adaptation_test'),
    (plots.figure_2, 'fits_5shot.csv'), (lambda folder: plots.figure_3({'MAML': folder}), 'adaptation_test_5shot')])
def test_missing_file_is_named_and_nothing_is_written(tmp_path, draw, missing):
    with pytest.raises(UserError, match=missing):
        draw(tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_column_is_named(tmp_path):
    records.write_table(tmp_path / 'metrics.csv', ('iteration', 'post_loss'), [{'iteration': 1, 'post_loss': 1.}])
    with pytest.raises(UserError, match='val_post_loss'):
        plots.learning_curve(tmp_path)
