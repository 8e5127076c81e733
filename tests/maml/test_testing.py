"""What a test leaves in the run folder: tables, the summary with its headline, figures."""

import dataclasses
import shutil

import killed
import numpy as np
import pytest

from data_generators.errors import UserError
from data_generators.sinusoid import SinusoidTasks
from maml import experiment, records, report, testing
from maml.protocol import Protocol

QUICK = {"tasks": 5, "queries": 2}


def trained(folder, config, tasks):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in killed.INTERVALS.items():
            patch.setattr(experiment, name, value)
        run = experiment.Run(config, tasks, folder, log=False)
        assert run.train()
    return run


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """(run, summary) of an image run tested with its own K = 1 and, beside it, K = 2."""
    folder = tmp_path_factory.mktemp("results") / "glyphs_2way_1shot" / "seed_1"
    run = trained(folder, killed.image_config(metatrain_iterations=20), killed.image_tasks())
    return run, testing.test(run, Protocol("test", (1, 2), **QUICK), "python main.py --datasource=glyphs")


@pytest.fixture(scope="module")
def sinusoid(tmp_path_factory):
    """(run, summary) of the pretrained baseline."""
    config = killed.sinusoid_config(pretrain_iterations=20, metatrain_iterations=0)
    folder = tmp_path_factory.mktemp("results") / "sinusoid_10shot_pretrained" / "seed_1"
    run = trained(folder, config, SinusoidTasks())
    return run, testing.test(run, Protocol("test", (5,), tasks=5), "python main.py")


def table(run, name):
    return records.read_table(run.folder / name)


# Tables


def test_a_table_has_a_row_for_each_step_from_0_to_10(images):
    assert [row["step"] for row in table(images[0], "adaptation_test_1shot_2query.csv")] == list(range(11))


def test_there_is_a_table_for_each_number_of_shots(images):
    assert [(k, q) for k, q, _ in records.adaptation_files(images[0].folder)] == [(1, 2), (2, 2)]


def test_a_table_holds_mean_deviation_and_interval_of_what_was_evaluated(images):
    accuracy = images[0].evaluate("test", 1, 2, 5).metric[:, 3]
    row = table(images[0], "adaptation_test_1shot_2query.csv")[3]
    expected = [accuracy.mean(), accuracy.std(), 1.96 * accuracy.std() / np.sqrt(5)]
    assert [row["accuracy"], row["accuracy_std"], row["accuracy_ci95"]] == pytest.approx(expected, rel=1e-12)


def test_a_regression_has_no_accuracy(sinusoid):
    assert {row["accuracy"] for row in table(sinusoid[0], "adaptation_test_5shot_5query.csv")} == {None}


def test_the_queries_are_as_many_as_the_shots_if_nothing_is_said(sinusoid):
    assert sinusoid[1]["queries"] == 5


def test_the_fits_run_over_the_whole_input_range(sinusoid):
    xs = [row["x"] for row in table(sinusoid[0], "fits_5shot.csv")]
    assert xs == sorted(xs) and len(xs) == 400 and xs[0] < -4.8 and xs[-1] > 4.8


def test_the_truth_of_the_fits_goes_through_the_support_points(sinusoid):
    fits, support = table(sinusoid[0], "fits_5shot.csv"), table(sinusoid[0], "support_5shot.csv")
    truth = np.interp([p["x"] for p in support], [row["x"] for row in fits], [row["truth"] for row in fits])
    assert len(support) == 5
    np.testing.assert_allclose(truth, [p["y"] for p in support], atol=0.05)


def test_the_fits_are_those_before_and_after_1_and_10_steps(sinusoid):
    row = table(sinusoid[0], "fits_5shot.csv")[7]
    assert set(row) == {"x", "truth", "step_0", "step_1", "step_10"}
    assert len({row["step_0"], row["step_1"], row["step_10"]}) == 3


# The summary


def test_the_summary_is_what_the_report_reads(images):
    (run,) = report.load_runs(images[0].folder.parents[1])
    assert run.summary == images[1]


def test_the_summary_says_how_it_was_measured(images):
    expected = {
        "experiment": "glyphs_2way_1shot", "command": "python main.py --datasource=glyphs", "unit": "accuracy", "tasks": 5,
        "queries": 2, "shots": 1, "step": 3, "split": "test", "checkpoint": "best", "iteration": 20,
        "iterations_total": 20, "seed": 1, "published": None, "published_interval": None, "published_source": None,
    }  # fmt: skip
    assert {name: images[1][name] for name in expected} == expected


def test_the_headline_number_is_read_at_its_step(images):
    row = table(images[0], "adaptation_test_1shot_2query.csv")[3]
    assert (images[1]["measured"], images[1]["interval"]) == (row["accuracy"], row["accuracy_ci95"])


def test_a_regression_is_measured_by_its_error(sinusoid):
    row = table(sinusoid[0], "adaptation_test_5shot_5query.csv")[1]
    assert (sinusoid[1]["unit"], sinusoid[1]["measured"]) == ("mse", row["loss"])


def test_the_published_number_stands_beside_the_papers_settings_only(sinusoid, tmp_path, monkeypatch):
    """[P] table 2: pretrained on all tasks, K = 5, one step. The run's meta-batch is smaller than the paper's."""
    run, summary = sinusoid
    assert summary["published"] is None
    shutil.copy(run.folder / "metrics.csv", tmp_path)
    monkeypatch.setattr(run, "folder", tmp_path)
    monkeypatch.setattr(type(run.config), "is_papers", True)
    assert testing.test(run, Protocol("test", (5,), tasks=2), "python main.py")["published"] == 2.41


def test_every_evaluation_names_its_table(images):
    found = [(e["shots"], e["queries"], e["tasks"], e["split"], e["file"]) for e in images[1]["evaluations"]]
    files = [f"adaptation_test_{k}shot_2query.csv" for k in (1, 2)]
    assert found == [(1, 2, 5, "test", files[0]), (2, 2, 5, "test", files[1])]


def test_the_step_size_of_a_baseline_is_tuned_on_validation_tasks(sinusoid):
    """The one of the smallest mean error over 1 to 10 steps."""
    run, summary = sinusoid
    errors = {lr: run.evaluate("val", 5, 5, 5, lr).loss[:, 1:].mean() for lr in testing.TUNED_STEP_SIZES}
    assert summary["evaluations"][0]["inner_lr"] == min(errors, key=errors.get)


def test_testing_again_gives_the_same_bytes(images):
    path = images[0].folder / "adaptation_test_1shot_2query.csv"
    before = path.read_bytes()
    again = testing.test(images[0], Protocol("test", (1, 2), **QUICK), "python main.py --datasource=glyphs")
    assert path.read_bytes() == before and again["measured"] == images[1]["measured"]


def test_another_split_checkpoint_and_step_size(images, tmp_path, monkeypatch):
    run = images[0]
    shutil.copy(run.folder / "metrics.csv", tmp_path)
    monkeypatch.setattr(run, "folder", tmp_path)
    summary = testing.test(run, Protocol("val", (1,), inner_lr=0.1, checkpoint="latest", **QUICK), "python main.py")
    assert (summary["split"], summary["checkpoint"], summary["evaluations"][0]["inner_lr"]) == ("val", "latest", 0.1)


@pytest.mark.parametrize("other", [dict(split="val"), dict(queries=3), dict(checkpoint=20), dict(inner_lr=0.1)])
def test_another_protocol_is_recorded_beside_the_headline(images, tmp_path, monkeypatch, other):
    run = images[0]
    shutil.copy(run.folder / "metrics.csv", tmp_path)
    monkeypatch.setattr(run, "folder", tmp_path)
    settings = {"split": "test", "shots": (1,), "tasks": 2}
    headline = testing.test(run, Protocol(**settings), "python main.py")
    table_before = table(run, headline["evaluations"][0]["file"])
    beside = testing.test(run, Protocol(**{**settings, **other}), "python main.py --train=False")
    recorded = records.read_json(tmp_path / "summary.json")
    assert {**recorded, "evaluations": None} == {**headline, "evaluations": None}
    assert {e["file"] for e in recorded["evaluations"]} == {s["evaluations"][0]["file"] for s in (headline, beside)}
    assert len(recorded["evaluations"]) == 2
    assert table(run, headline["evaluations"][0]["file"]) == table_before


def test_a_checkpoint_that_is_not_there_writes_nothing(images):
    before = (images[0].folder / "summary.json").read_bytes()
    with pytest.raises(UserError, match="no checkpoint of iteration 7 in .*; there: 20$"):
        testing.test(images[0], Protocol("test", (1,), checkpoint=7, **QUICK), "python main.py")
    assert (images[0].folder / "summary.json").read_bytes() == before


@pytest.mark.parametrize("figure", ["learning_curve.png", "adaptation_curve.png"])
def test_the_figures_are_drawn(images, figure):
    assert (images[0].folder / figure).read_bytes().startswith(b"\x89PNG")


# The headline


@pytest.fixture(scope="module")
def line():
    summary = {
        "experiment": "omniglot_5way_1shot", "measured": 0.98765, "interval": 0.0043, "unit": "accuracy", "tasks": 600,
        "queries": 1, "shots": 1, "step": 3, "split": "test", "checkpoint": "best", "iteration": 38000,
        "published": 0.987, "transductive": True,
    }  # fmt: skip
    return testing.headline(summary)


@pytest.mark.parametrize(
    "part",
    ["98.77 ± 0.43 %", "3 steps", "600 test tasks", "1 support", "1 query", "best checkpoint (iteration 38,000)",
     "published 98.7 ± 0.4 % ([P] table 1, Omniglot)"],
)  # fmt: skip
def test_the_headline_says(line, part):
    assert part in line and "\n" not in line


def test_the_headline_of_another_split_compares_with_nothing(images):
    assert "nothing published to compare with" in testing.headline({**images[1], "split": "val"})


# Protocols


@pytest.mark.parametrize(
    "given, message",
    [
        ({"tasks": 0}, "eval_tasks is 0, expected at least 1"),
        ({"queries": 0}, "eval_queries is 0, expected at least 1"),
        ({"shots": (5, -1)}, "update_batch_size is -1, expected at least 1"),
        ({"inner_lr": 0.0}, "update_lr is 0.0, expected a positive number"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(Protocol("test", (1,)), **given)
