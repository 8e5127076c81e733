"""Figures are made from the text files alone; what is drawn is read off the axes before they become a PNG."""

import numpy as np
import pytest
import result_folders
from result_folders import evaluation, published, write_run, write_sinusoid

from data_generators.errors import UserError
from maml.reports import plots
from maml.runs import files

COLUMNS = (
    "iteration", "support_loss", "query_loss", "support_accuracy", "query_accuracy",
    "val_loss_before", "val_loss_after", "val_accuracy_before", "val_accuracy_after",
)  # fmt: skip
CONFIG = {
    "datasource": "omniglot",
    "dataset": None,
    "seed": 3,
    "pretrain_iterations": 0,
    "metatrain_iterations": 60_000,
}


def write_metrics(folder, last=1000, **columns):
    rows = [{"iteration": i, **columns} for i in range(last // 10, last + 1, last // 10)]
    for row in rows[1::2]:
        row["val_loss_after"] = 3.0
    files.write_table(folder / "metrics.csv", COLUMNS, rows)


def write_fits(folder):
    for shots in (5, 10):
        rows = [
            {"x": x, "truth": np.sin(x), "step_0": 0.0, "step_1": 0.5 * np.sin(x), "step_10": 0.9 * np.sin(x)}
            for x in np.linspace(-5, 5, 20)
        ]
        files.write_table(folder / f"fits_{shots}shot.csv", tuple(rows[0]), rows)
        points = [{"x": x, "y": np.sin(x)} for x in np.linspace(-4, 4, shots)]
        files.write_table(folder / f"support_{shots}shot.csv", ("x", "y"), points)
    return folder


def is_png(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def curves(axis):
    return {line.get_label(): line.get_xydata() for line in axis.lines if not line.get_label().startswith("_")}


# Learning curves


def test_learning_curve_has_validation_points_where_measured(tmp_path, drawn):
    folder = write_run(tmp_path, trained=1000, paper=1000)
    write_metrics(folder, query_loss=2.0, query_accuracy=0.8)
    assert is_png(plots.learning_curve(folder))
    np.testing.assert_array_equal(
        curves(drawn[0].axes[0])["validation tasks, after adaptation"], [[i, 3] for i in (200, 400, 600, 800, 1000)]
    )
    assert [axis.get_ylabel() for axis in drawn[0].axes] == ["sum of cross-entropies / K (nats)", "accuracy"]


def test_a_loss_that_is_not_that_of_validation_has_its_own_name_and_no_points_of_it(tmp_path, drawn):
    folder = write_run(tmp_path, trained=1000, paper=1000, method="relation")
    write_metrics(folder, query_loss=0.1, query_accuracy=0.8, val_accuracy_after=0.7)
    plots.learning_curve(folder)
    loss, accuracy = drawn[0].axes
    assert loss.get_ylabel() == "squared error, mean over pairs"
    assert "validation tasks, after adaptation" not in curves(loss)
    assert "validation tasks, after adaptation" in [text.get_text() for text in accuracy.get_legend().get_texts()]


def test_learning_curve_without_accuracy_is_one_panel(tmp_path, drawn):
    folder = write_sinusoid(tmp_path)
    write_metrics(folder, query_loss=2.0)
    plots.learning_curve(folder)
    assert [axis.get_ylabel() for axis in drawn[0].axes] == ["mean squared error"]


@pytest.mark.parametrize(
    "method, title",
    [
        ("maml", "Sinusoid, 10-shot · seed 1 · 70,000 iterations\nquery points, after adaptation"),
        ("pretrained", "Sinusoid, 10-shot, pretrained · seed 1 · 70,000 iterations\nquery points, before adaptation"),
        ("oracle", "Sinusoid, 10-shot, oracle · seed 1 · 70,000 iterations\nquery points, before adaptation"),
    ],
)
def test_learning_curve_says_whether_the_network_was_adapted(method, title, tmp_path, drawn):
    """A network trained without inner steps has losses on both sets all the same, of the same weights."""
    folder = write_sinusoid(tmp_path, method=method, seed=1)
    write_metrics(folder, last=70_000, support_loss=4.0, query_loss=5.0)
    plots.learning_curve(folder)
    assert drawn[0].get_suptitle() == title
    assert set(curves(drawn[0].axes[0])["training tasks, smoothed"][:, 1]) == {5.0}


def test_learning_curve_of_a_training_without_queries_is_of_the_support_set(tmp_path, drawn):
    folder = write_run(tmp_path)
    write_metrics(folder, last=60_000, support_loss=4.0, support_accuracy=0.5)
    plots.learning_curve(folder)
    assert drawn[0].get_suptitle() == "Omniglot, 5-way 1-shot · seed 0 · 60,000 iterations\nsupport points"
    assert set(curves(drawn[0].axes[1])["training tasks, smoothed"][:, 1]) == {0.5}


def test_learning_curve_of_a_run_without_a_summary(tmp_path, drawn):
    files.write_json(tmp_path / "config.json", CONFIG | {"method": "maml"})
    write_metrics(tmp_path, query_loss=2.0)
    assert is_png(plots.learning_curve(tmp_path))
    title = "Omniglot: MAML · seed 3 · 1,000 of 60,000 iterations\nquery points, after adaptation"
    assert drawn[0].get_suptitle() == title


def test_learning_curve_of_a_run_of_before_there_were_methods(tmp_path, drawn):
    files.write_json(tmp_path / "config.json", CONFIG | {"metatrain_iterations": 1000})
    write_metrics(tmp_path, query_loss=2.0)
    plots.learning_curve(tmp_path)
    assert drawn[0].get_suptitle() == "Omniglot · seed 3 · 1,000 iterations"


def test_a_name_in_letters_that_the_font_lacks_is_drawn_without_a_word(tmp_path, recwarn):
    with plots.drawing(tmp_path / "a.png", (3, 3), "花, 2-way 1-shot"):
        pass
    assert (tmp_path / "a.png").exists() and not recwarn.list


def test_smoothing_is_the_mean_of_a_window():
    """By hand: windows [1], [1 2 6], [2 6 7], [6 7]."""
    np.testing.assert_allclose(plots.smooth(np.array([1.0, 2.0, 6.0, 7.0]), 3), [1, 3, 5, 6.5])


# Adaptation curves


def test_adaptation_curve_marks_the_published_value(tmp_path, drawn):
    folder = write_run(tmp_path, evaluations=[evaluation(published=published({3: 0.987}, {3: 0.004}))])
    assert is_png(plots.adaptation_curve(folder))
    for axis in drawn[0].axes:
        np.testing.assert_array_equal(curves(axis)["published, K = 1"], [[3, 0.987]])
        np.testing.assert_array_equal(
            curves(axis)["K = 1, 1 query a class"], [[0, 0.2], [1, 0.8], [2, 0.9], [3, 0.9125]]
        )


def test_enlarged_panel_shows_curve_and_published_value(tmp_path, drawn):
    """By hand: from 0.8 − 0.0041 to 0.987 + 0.004, and a tenth of that on both sides."""
    folder = write_run(tmp_path, evaluations=[evaluation(published=published({3: 0.987}, {3: 0.004}))])
    plots.adaptation_curve(folder)
    np.testing.assert_allclose(drawn[0].axes[1].get_ylim(), [0.7959 - 0.01951, 0.991 + 0.01951])


def test_a_method_without_inner_steps_has_one_panel(tmp_path, drawn):
    test = evaluation(values=[0.95], step=0, published=published({0: 0.97}))
    assert is_png(plots.adaptation_curve(write_run(tmp_path, evaluations=[test])))
    (axis,) = drawn[0].axes
    np.testing.assert_array_equal(curves(axis)["K = 1, 1 query a class"], [[0, 0.95]])


def test_adaptation_curve_of_data_not_in_the_paper_marks_nothing(tmp_path, drawn):
    plots.adaptation_curve(write_run(tmp_path))
    assert list(curves(drawn[0].axes[0])) == ["K = 1, 1 query a class"]


def test_adaptation_curve_has_a_line_for_each_size_of_task_but_not_for_other_protocols(tmp_path, drawn):
    tests = [
        evaluation(1, 1),
        evaluation(1, 15),
        evaluation(1, 15, suffix="_lr_0.1", inner_lr=0.1),
        evaluation(1, 1, suffix="_one_at_a_time", transductive=False),
        evaluation(1, 5, suffix="_latest", checkpoint="latest", iteration=60_000),
    ]
    plots.adaptation_curve(write_run(tmp_path, evaluations=tests))
    assert list(curves(drawn[0].axes[0])) == ["K = 1, 1 query a class", "K = 1, 15 queries a class"]


def test_adaptation_curve_counts_the_tasks_and_says_what_bands_are(tmp_path, drawn):
    plots.adaptation_curve(write_run(tmp_path, evaluations=[evaluation(tasks=1200)]))
    title = "Omniglot, 5-way 1-shot · seed 0 · 60,000 iterations\n1,200 test tasks · ± 95 % interval over tasks"
    assert drawn[0].get_suptitle() == title


@pytest.mark.parametrize("values", [[None] * 4, [0.2, 0.8, None, 0.9]])
def test_diverged_values_are_left_out(values, tmp_path):
    assert is_png(plots.adaptation_curve(write_run(tmp_path, evaluations=[evaluation(values=values)])))
    assert is_png(plots.adaptation_curve(write_sinusoid(tmp_path, errors=values)))


# The paper's figures of the sinusoid


def test_figure_2_shows_maml_beside_pretrained(tmp_path, drawn):
    folders = [write_fits(write_sinusoid(tmp_path, method=method)) for method in ("maml", "pretrained")]
    assert is_png(plots.figure_2(*folders))
    expected = [f"{name}, 70,000 iterations, K = {k}" for k in (5, 10) for name in ("MAML", "pretrained")]
    assert [axis.get_title(loc="left") for axis in drawn[0].axes] == expected
    assert [len(curves(axis)["support points"]) for axis in drawn[0].axes] == [5, 5, 10, 10]


def test_figure_2_without_pretrained_has_one_column(tmp_path, drawn):
    plots.figure_2(write_fits(write_sinusoid(tmp_path)))
    assert len(drawn[0].axes) == 2


def test_figure_3_marks_the_published_errors_at_5_shots_only(tmp_path, drawn):
    folders = {"MAML": write_sinusoid(tmp_path), "oracle": write_sinusoid(tmp_path, method="oracle")}
    assert plots.figure_3(folders) == folders["MAML"] / "figure_3.png"
    assert [sorted(curves(axis)) for axis in drawn[0].axes] == [
        ["MAML", "MAML, published", "oracle"], ["MAML", "oracle"], ["MAML", "oracle"]
    ]  # fmt: skip
    np.testing.assert_array_equal(curves(drawn[0].axes[0])["MAML, published"], [[1, 0.67], [5, 0.38], [10, 0.35]])


# All of them


def test_every_figure_says_that_a_run_is_short(tmp_path, drawn):
    test = {"checkpoint": "latest", "iteration": 4000}
    folder = write_fits(write_sinusoid(tmp_path, trained=4000))
    tests = [{**record, **test} for record in files.read_json(folder / "summary.json")["evaluations"]]
    files.write_json(folder / "summary.json", files.read_json(folder / "summary.json") | {"evaluations": tests})
    write_metrics(folder, last=4000, query_loss=2.0)
    plots.draw(folder)
    learning, adaptation, fits, comparison = drawn
    short = "4,000 of 70,000 iterations"
    for figure in (learning, adaptation):
        assert figure.get_suptitle().splitlines()[0].endswith(short)
    assert fits.axes[0].get_title(loc="left") == f"MAML, {short}, K = 5"
    assert f"MAML, {short}" in curves(comparison.axes[0])


def test_figures_of_a_run_say_how_long_it_was(tmp_path, drawn):
    """Of one as long as the paper's no more than that."""
    folder = write_fits(write_sinusoid(tmp_path))
    write_metrics(folder, last=70_000, query_loss=2.0)
    plots.draw(folder)
    assert len(drawn) == 4
    assert all(figure.get_suptitle().splitlines()[0].endswith(" · 70,000 iterations") for figure in drawn[:2])
    assert drawn[2].axes[0].get_title(loc="left") == "MAML, 70,000 iterations, K = 5"
    assert sorted(curves(drawn[3].axes[0])) == ["MAML", "MAML, published"]


def test_siblings_are_found_by_what_their_summaries_say(tmp_path, drawn):
    """Whatever their folders are called; not those of another K, seed or settings."""
    folder = write_sinusoid(tmp_path, seed=2)
    for name, changes in {
        "a": {"method": "oracle"},
        "b": {"method": "pretrained", "num_shots": 5},
        "c": {"method": "pretrained", "variant": {"inner_lr": 0.1}},
        "d": {"method": "maml", "variant": {"inner_lr": 0.1}},
    }.items():
        made = write_sinusoid(tmp_path / "made", seed=2, **changes)
        (tmp_path / name).mkdir()
        made.rename(tmp_path / name / "seed_2")
    write_sinusoid(tmp_path, method="pretrained", seed=3)
    plots.draw(folder)
    assert sorted(curves(drawn[-1].axes[1])) == ["MAML", "oracle"]


def test_a_run_that_was_not_tested_has_its_learning_curve(tmp_path):
    files.write_json(tmp_path / "config.json", CONFIG)
    write_metrics(tmp_path, query_loss=2.0)
    plots.draw(tmp_path)
    assert [path.name for path in tmp_path.glob("*.png")] == ["learning_curve.png"]


@pytest.mark.parametrize(
    "draw, missing",
    [
        (plots.learning_curve, "metrics.csv"),
        (plots.adaptation_curve, "summary.json"),
        (plots.figure_2, "summary.json"),
        (lambda folder: plots.figure_3({"MAML": folder}), "summary.json"),
    ],
)
def test_missing_file_is_named_and_nothing_is_written(draw, missing, tmp_path):
    with pytest.raises(UserError, match=missing):
        draw(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "draw, missing", [(plots.figure_2, "fits_5shot.csv"), (lambda folder: plots.figure_3({"MAML": folder}), "K = 10")]
)
def test_what_a_figure_of_the_sinusoid_lacks_is_named(draw, missing, tmp_path):
    folder = write_sinusoid(tmp_path, shots=(5,))
    with pytest.raises(UserError, match=missing):
        draw(folder)


def test_missing_column_is_named(tmp_path):
    result_folders.write_run(tmp_path)
    folder = tmp_path / "omniglot_5way_1shot" / "seed_0"
    files.write_table(folder / "metrics.csv", ("iteration", "query_loss"), [{"iteration": 1, "query_loss": 1.0}])
    with pytest.raises(UserError, match="val_loss_after"):
        plots.learning_curve(folder)


@pytest.mark.parametrize("draw", [plots.adaptation_curve, plots.learning_curve])
def test_the_accuracy_of_guessing_is_drawn(draw, tmp_path, drawn):
    folder = write_run(tmp_path, num_classes=4)
    row = {"iteration": 100, "query_loss": 1.0, "query_accuracy": 0.9, "val_loss_after": 1.0, "val_accuracy_after": 0.9}
    files.write_table(folder / "metrics.csv", tuple(row), [row])
    draw(folder)
    axes = [axis for axis in drawn[0].axes if "chance, 1 of 4" in [text.get_text() for text in axis.texts]]
    assert len(axes) == 1 and [0.25, 0.25] in [list(line.get_ydata()) for line in axes[0].lines]
    low, high = axes[0].get_ylim()
    assert low < 0.25 < high


@pytest.mark.parametrize("low, high, labels", [(0.2, 0.45, 3), (0.3, 0.9, 6), (0.01, 10, 10)])
def test_a_logarithmic_axis_has_labels_enough(low, high, labels, tmp_path, drawn):
    folder = write_run(tmp_path)
    others = {"query_accuracy": 0.9, "val_loss_after": high, "val_accuracy_after": 0.9}
    rows = [{"iteration": 100 * i, "query_loss": loss, **others} for i, loss in ((1, low), (2, high))]
    files.write_table(folder / "metrics.csv", tuple(rows[0]), rows)
    plots.learning_curve(folder)
    axis = drawn[0].axes[0].yaxis
    ends = drawn[0].axes[0].get_ylim()
    ticks = [*axis.get_ticklabels(), *axis.get_ticklabels(minor=True)]
    assert sum(bool(tick.get_text()) and ends[0] <= tick.get_position()[1] <= ends[1] for tick in ticks) >= labels
