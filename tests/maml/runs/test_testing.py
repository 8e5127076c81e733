"""What a test leaves in the run folder: tables, the summary with its headline, the weights; and what it says."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import authors as authors_code
import killed
import numpy as np
import pytest
from toys import random_weights

from data_generators import locks
from data_generators.errors import UserError
from data_generators.sinusoid import SinusoidTasks
from maml.evaluation import Adaptation
from maml.reports import summaries
from maml.runs import authors, curves, files, supervised, testing
from maml.runs.checkpoints import Best, Latest
from maml.runs.protocol import Protocol
from maml.runs.run import set_aside
from maml.runs.settings import resolve
from maml.trained.loading import load_run

QUICK = {"tasks": 5, "queries": 2}
TITLE = "Glyphs, 2-way 1-shot, num filters 3, meta batch size 4"


def trained(folder, settings, tasks):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in killed.INTERVALS.items():
            patch.setattr(supervised, name, value)
        run = killed.run(folder, settings, tasks)
        assert run.train()
    return run


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """(run, summary) of an image run tested with its own K = 1 and, beside it, K = 2."""
    folder = tmp_path_factory.mktemp("results") / "glyphs_2way_1shot" / "seed_1"
    run = trained(folder, killed.image_settings(metatrain_iterations=20), killed.image_tasks())
    return run, testing.test(run, Protocol("test", (1, 2), **QUICK), "python main.py --datasource=glyphs")


@pytest.fixture(scope="module")
def sinusoid(tmp_path_factory):
    """(run, summary) of the pretrained baseline."""
    settings = killed.sinusoid_settings(baseline="pretrained", metatrain_iterations=20)
    folder = tmp_path_factory.mktemp("results") / "sinusoid_10shot_pretrained" / "seed_1"
    run = trained(folder, settings, SinusoidTasks())
    return run, testing.test(run, Protocol("test", (5,), tasks=5), "python main.py")


@pytest.fixture
def elsewhere(images, tmp_path, monkeypatch):
    """The image run, whose tests go to a folder of their own."""
    run, folder = images[0], tmp_path / "glyphs_2way_1shot" / "seed_1"
    monkeypatch.setattr(run, "folder", folder)
    return run


def table(run, name):
    return files.read_table(run.folder / name)


def written(run):
    return files.read_json(run.folder / "summary.json")


# Tables


def test_a_table_has_a_row_for_each_step_from_0_to_10(images):
    assert [row["step"] for row in table(images[0], "adaptation_test_1shot_2query.csv")] == list(range(11))


def test_there_is_a_table_for_each_number_of_shots(images):
    names = {path.name for path in images[0].folder.glob("adaptation_test_*")}
    assert names >= {"adaptation_test_1shot_2query.csv", "adaptation_test_2shot_2query.csv"}


def test_a_table_holds_mean_deviation_and_interval_of_what_was_evaluated(images):
    of_run = images[0].learner.curves
    result = of_run.learn(images[0].state.trainer.current_weights(), of_run.tasks_of("test", 1, 2, 5))
    accuracy, row = result.metric[:, 3], table(images[0], "adaptation_test_1shot_2query.csv")[3]
    expected = [accuracy.mean(), accuracy.std(), 1.96 * accuracy.std() / np.sqrt(5)]
    assert [row["accuracy"], row["accuracy_std"], row["accuracy_ci95"]] == pytest.approx(expected, rel=1e-12)


def test_a_regression_has_no_accuracy(sinusoid):
    assert {row["accuracy"] for row in table(sinusoid[0], "adaptation_test_5shot_5query.csv")} == {None}


def test_the_queries_are_as_many_as_the_shots_if_nothing_is_said(sinusoid):
    assert sinusoid[1]["evaluations"][0]["queries"] == 5


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


def test_a_method_without_inner_steps_has_a_curve_of_one_point(tmp_path):
    given = {"num_classes": 2, "num_filters": 3, "max_pool": False, "metatrain_iterations": 1, "train_queries": 1}
    run = trained(tmp_path / "a" / "seed_1", resolve("glyphs", "prototypical", **given), killed.image_tasks())
    (entry,) = testing.test(run, Protocol("test", (1,), tasks=3), "")["evaluations"]
    assert (len(entry["values"]), entry["step"], entry["inner_lr"]) == (1, 0, None)
    assert len(table(run, entry["file"])) == 1


# The summary


def test_the_summary_is_what_the_reports_read(images):
    read = summaries.load(images[0].folder)
    assert (read.title, read.unit, read.quoted.shots) == (TITLE, "accuracy", 1)


def test_the_summary_says_what_was_trained_and_how(images):
    expected = {
        "experiment": "glyphs_2way_1shot", "title": TITLE, "kind": "supervised", "method": "maml",
        "method_title": "MAML", "datasource": "glyphs", "dataset": "glyphs", "num_classes": 2, "num_shots": 1,
        "variant": {"num_filters": 3, "num_tasks": 4}, "unit": "accuracy", "seed": 1,
        "command": "python main.py --datasource=glyphs", "iterations": {"trained": 20, "paper": None},
        "headline": "adaptation_test_1shot_2query.csv",
    }  # fmt: skip
    assert {name: images[1][name] for name in expected} == expected


def test_an_evaluation_says_how_it_was_measured(images):
    expected = {
        "file": "adaptation_test_1shot_2query.csv", "split": "test", "tasks": 5, "checkpoint": "best", "iteration": 20,
        "transductive": True, "step": 3, "error_is": "95 % interval over tasks", "published": None, "shots": 1,
        "queries": 2, "inner_lr": 0.4,
    }  # fmt: skip
    entry = images[1]["evaluations"][0]
    assert {name: entry[name] for name in expected} == expected


def test_the_values_of_an_evaluation_are_those_of_its_table(images):
    rows, entry = table(images[0], "adaptation_test_1shot_2query.csv"), images[1]["evaluations"][0]
    assert entry["values"] == [row["accuracy"] for row in rows]
    assert entry["errors"] == [row["accuracy_ci95"] for row in rows]


def test_a_regression_is_measured_by_its_error(sinusoid):
    rows, entry = table(sinusoid[0], "adaptation_test_5shot_5query.csv"), sinusoid[1]["evaluations"][0]
    assert (sinusoid[1]["unit"], sinusoid[1]["num_classes"], entry["transductive"], entry["step"]) == (
        "mse",
        None,
        None,
        1,
    )
    assert entry["values"] == [row["loss"] for row in rows]


def test_without_batch_norm_a_query_never_sees_the_others(tmp_path):
    run = trained(
        tmp_path / "a" / "seed_1",
        killed.image_settings(norm="layer_norm", metatrain_iterations=1),
        killed.image_tasks(),
    )
    assert testing.test(run, Protocol("test", (1,), tasks=2), "")["evaluations"][0]["transductive"] is False


def test_the_published_number_stands_beside_the_papers_settings_only(sinusoid):
    """[P] table 2: pretrained on all tasks, K = 5. The run's meta-batch is smaller than the paper's."""
    assert sinusoid[1]["evaluations"][0]["published"] is None
    assert curves.published(resolve("sinusoid", baseline="pretrained").cells(5)) == {
        "values": {"1": 2.41, "5": 2.23, "10": 2.19}, "errors": {"1": None, "5": None, "10": None}, "error_is": "",
        "source": "[P] appendix C.1, table 2",
    }  # fmt: skip


def test_every_evaluation_names_its_table(images):
    found = [(e["shots"], e["queries"], e["tasks"], e["split"], e["file"]) for e in images[1]["evaluations"]]
    tables = [f"adaptation_test_{k}shot_2query.csv" for k in (1, 2)]
    assert found == [(1, 2, 5, "test", tables[0]), (2, 2, 5, "test", tables[1])]


def test_the_step_size_of_a_baseline_is_tuned_on_validation_tasks(sinusoid):
    """The one of the smallest mean error over 1 to 10 steps."""
    (run, summary), errors = sinusoid, {}
    weights, of_run = run.state.trainer.current_weights(), run.learner.curves
    for lr in run.settings.card.step_sizes:
        errors[lr] = of_run.learn(weights, of_run.tasks_of("val", 5, 5, 5), inner_lr=lr).loss[:, 1:].mean()
    assert summary["evaluations"][0]["inner_lr"] == min(errors, key=errors.get)


def test_where_the_number_of_steps_is_chosen_too_the_highest_validation_accuracy_decides(tmp_path):
    given = {"num_classes": 2, "num_filters": 3, "max_pool": False, "pretrain_iterations": 3, "batch_size": 4}
    run = trained(tmp_path, resolve("glyphs", "fine_tuning", **given), killed.image_tasks())
    (entry,) = testing.test(run, Protocol("test", (1,), **QUICK), "")["evaluations"]
    of_run, weights, best = run.learner.curves, run.state.trainer.current_weights(), {}
    for lr in run.settings.card.step_sizes:
        accuracy = of_run.learn(weights, of_run.tasks_of("val", 1, 2, 5), inner_lr=lr).metric.mean(0)[1:]
        best |= {(lr, step): value for step, value in enumerate(accuracy, 1)}
    assert (entry["inner_lr"], entry["step"]) == max(best, key=best.get)  # of equals the first
    assert len(entry["values"]) == 16
    assert (load_run(run.folder).inner_lr, load_run(run.folder).num_steps) == (entry["inner_lr"], entry["step"])


def test_a_step_size_that_is_asked_for_is_not_tuned(sinusoid, tmp_path, monkeypatch):
    monkeypatch.setattr(sinusoid[0], "folder", tmp_path)
    summary = testing.test(sinusoid[0], Protocol("test", (5,), tasks=2, inner_lr=0.02), "")
    assert summary["evaluations"][0]["inner_lr"] == 0.02


def test_testing_again_gives_the_same_bytes(images):
    run = images[0]
    before = {path.name: path.read_bytes() for path in run.folder.glob("*.*")}
    testing.test(run, Protocol("test", (1, 2), **QUICK), "python main.py --datasource=glyphs")
    assert {path.name: path.read_bytes() for path in run.folder.glob("*.*")} == before


def test_another_split_checkpoint_and_step_size(elsewhere):
    how = Protocol("val", (1,), inner_lr=0.1, checkpoint=Latest(), **QUICK)
    (entry,) = testing.test(elsewhere, how, "python main.py")["evaluations"]
    assert (entry["split"], entry["checkpoint"], entry["inner_lr"]) == ("val", "latest", 0.1)


@pytest.mark.parametrize("other", [dict(split="val"), dict(queries=3), dict(checkpoint=20), dict(inner_lr=0.1)])
def test_another_protocol_is_recorded_beside_the_headline(elsewhere, other):
    how = {"split": "test", "shots": (1,), "tasks": 2}
    headline = testing.test(elsewhere, Protocol(**how), "python main.py")
    table_before = table(elsewhere, headline["headline"])
    beside = testing.test(elsewhere, Protocol(**{**how, **other}), "python main.py --train=False")
    recorded = written(elsewhere)
    assert {**recorded, "evaluations": None} == {**headline, "evaluations": None}
    assert {e["file"] for e in recorded["evaluations"]} == {headline["headline"], beside["headline"]}
    assert len(recorded["evaluations"]) == 2
    assert table(elsewhere, headline["headline"]) == table_before


def test_a_quick_look_does_not_replace_a_result(elsewhere, capsys, monkeypatch):
    monkeypatch.setattr(testing, "TASKS", 4)
    testing.test(elsewhere, Protocol("test", (1,), tasks=5), "python main.py")
    before = {path.name: path.read_bytes() for path in elsewhere.folder.iterdir()}
    look = testing.test(elsewhere, Protocol("test", (1,), tasks=2), "python main.py")
    assert look["evaluations"][0]["tasks"] == 2
    assert {path.name: path.read_bytes() for path in elsewhere.folder.iterdir()} == before
    assert "keeps its test on 5 tasks: this one is not written" in capsys.readouterr().err
    testing.test(elsewhere, Protocol("test", (1,), tasks=4), "python main.py")  # as many as usual
    assert written(elsewhere)["evaluations"][0]["tasks"] == 4


def test_what_another_test_writes_meanwhile_is_kept(elsewhere, capsys):
    how = {"split": "test", "shots": (1,), "tasks": 2}
    headline = testing.test(elsewhere, Protocol(**how), "python main.py")
    with ThreadPoolExecutor() as pool:
        with locks.held(elsewhere.folder / ".results.lock", "another test"):
            beside = pool.submit(testing.test, elsewhere, Protocol(**{**how, "split": "val"}), "python main.py")
            said = ""
            while "waiting for it" not in said and not beside.done():
                said += capsys.readouterr().err
            entry = {**headline["evaluations"][0], "file": "another.csv"}
            testing.write_summary(elsewhere.folder / "summary.json", {**headline, "evaluations": [entry]}, False)
        files_of_all = {headline["headline"], "another.csv", beside.result()["headline"]}
    assert {entry["file"] for entry in written(elsewhere)["evaluations"]} == files_of_all
    assert not list(elsewhere.folder.glob(".*"))


@pytest.mark.parametrize("begun_anew", [True, False])
def test_a_folder_that_is_set_aside_meanwhile_gets_no_results_of_another(elsewhere, monkeypatch, begun_anew):
    elsewhere.folder.mkdir(parents=True)
    evaluate = elsewhere.learner.evaluate

    def set_aside_meanwhile(protocol, folder, members):
        set_aside(folder)
        if begun_anew:
            folder.mkdir()
        return evaluate(protocol, folder, members)

    monkeypatch.setattr(elsewhere.learner, "evaluate", set_aside_meanwhile)
    with pytest.raises(UserError, match="seed_1 is another folder than when its test began; expected one that stays"):
        testing.test(elsewhere, Protocol("test", (1,), tasks=2), "")
    assert not list(elsewhere.folder.glob("*"))


def test_evaluations_stand_in_the_order_of_their_numbers_whatever_came_first(elsewhere, monkeypatch):
    monkeypatch.setattr(elsewhere.learner.tasks, "check", lambda *_: None)
    for shots in (2, 1, 2):
        testing.test(elsewhere, Protocol("test", (shots,), tasks=2, queries=1), "")
    assert [e["shots"] for e in written(elsewhere)["evaluations"]] == [1, 2]
    numbers = [{"file": f"adaptation_test_{k}shot_{k}query.csv"} for k in (5, 10, 20)]
    assert sorted(reversed(numbers), key=testing._in_order) == numbers


def test_evaluations_of_a_longer_training_do_not_stand_beside_those_of_a_shorter(tmp_path):
    entry = {"file": "a.csv"}
    testing.write_summary(tmp_path / "s.json", {"iterations": {"trained": 20}, "evaluations": [entry]}, True)
    longer = {"iterations": {"trained": 40}, "evaluations": [{"file": "b.csv"}]}
    testing.write_summary(tmp_path / "s.json", longer, False)
    assert files.read_json(tmp_path / "s.json") == longer


@pytest.mark.parametrize(
    "damaged",
    [
        "x", "[]", "{}", '{"iterations": 3}', '{"iterations": {"trained": 20}}',
        '{"iterations": {"trained": 20}, "evaluations": 3}', '{"iterations": {"trained": 20}, "evaluations": [{}]}',
        '{"a": ' * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_summary_is_put_aside_and_the_new_one_written(tmp_path, damaged, capsys):
    (tmp_path / "s.json").write_text(damaged)
    new = {"iterations": {"trained": 20}, "evaluations": [{"file": "a.csv"}]}
    testing.write_summary(tmp_path / "s.json", new, False)
    assert files.read_json(tmp_path / "s.json") == new
    assert (tmp_path / ".damaged_s.json").read_text() == damaged
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / 's.json'}: ") and line.endswith("; put aside as .damaged_s.json")


def test_a_checkpoint_that_is_not_there_writes_nothing(images):
    before = (images[0].folder / "summary.json").read_bytes()
    with pytest.raises(UserError, match="no checkpoint of iteration 7 in .*; there: 20$"):
        testing.test(images[0], Protocol("test", (1,), checkpoint=7, **QUICK), "python main.py")
    assert (images[0].folder / "summary.json").read_bytes() == before


def test_a_result_that_is_not_finite_writes_nothing(elsewhere, monkeypatch):
    nowhere = Adaptation(np.full([2, 11], np.nan), np.full([2, 11], np.nan))
    monkeypatch.setattr(elsewhere.learner.curves, "learn", lambda *_: nowhere)
    with pytest.raises(UserError, match=r"1query.csv: the result after \d+ steps on 2 tasks is not finite"):
        testing.test(elsewhere, Protocol("test", (1,), tasks=2), "")
    assert not elsewhere.folder.exists()


def test_steps_after_the_one_that_is_read_may_diverge(elsewhere, monkeypatch):
    step = elsewhere.learner.curves.reading.step
    values = np.full([2, 11], 0.5)
    values[:, step + 1 :] = np.nan
    monkeypatch.setattr(elsewhere.learner.curves, "learn", lambda *_: Adaptation(values, values))
    summary = testing.test(elsewhere, Protocol("test", (1,), tasks=2), "")
    (entry,) = summary["evaluations"]
    assert entry["values"] == [0.5] * (step + 1) + [None] * (10 - step)
    rows = files.read_table(elsewhere.folder / entry["file"])
    assert [row["loss"] for row in rows] == entry["values"]


# The weights

ABOUT = {"title": TITLE, "iteration": 20, "trained": 20, "seconds": 7.5}


def test_a_test_of_the_headline_leaves_the_weights(elsewhere):
    testing.test(elsewhere, Protocol("test", (1,), tasks=2), "")
    weights, about = files.read_weights(elsewhere.folder / "weights.npz", elsewhere.weights())
    assert {name: w.tobytes() for name, w in weights.items()} == {
        n: w.tobytes() for n, w in elsewhere.weights().items()
    }
    assert (about["title"], about["iteration"], about["trained"]) == (TITLE, 20, 20)


def test_another_test_after_a_longer_training_removes_those_of_the_shorter(elsewhere):
    files.write_weights(elsewhere.folder / "weights.npz", elsewhere.weights(), {**ABOUT, "trained": 10})
    testing.test(elsewhere, Protocol("val", (1,), tasks=2), "")
    assert not (elsewhere.folder / "weights.npz").exists()


def test_another_test_leaves_none(elsewhere):
    testing.test(elsewhere, Protocol("val", (1,), tasks=2), "")
    assert not (elsewhere.folder / "weights.npz").exists()


def test_a_published_folder_without_checkpoints_is_tested_by_its_weights(images, tmp_path):
    folder = tmp_path / "glyphs_2way_1shot" / "seed_1"
    shutil.copytree(images[0].folder, folder, ignore=shutil.ignore_patterns("checkpoints"))
    run = killed.run(folder, images[0].settings, killed.image_tasks())
    files.write_weights(folder / "weights.npz", images[0].weights(), ABOUT)
    again = testing.test(run, Protocol("test", (1, 2), **QUICK), "python main.py --train=False")
    assert [e["checkpoint"] for e in again["evaluations"]] == ["weights", "weights"]
    assert [e["values"] for e in again["evaluations"]] == [e["values"] for e in images[1]["evaluations"]]
    assert (again["iterations"]["trained"], again["wall_time_seconds"]) == (20, 7.5)


@pytest.fixture
def imported(tmp_path):
    """(run, name): weights of the authors' code in a run that was never trained here."""
    settings = killed.image_settings()
    folder = authors.folder_of(tmp_path, settings, "model59000.index")
    run = killed.run(folder, settings, killed.image_tasks())
    authors_code.save(tmp_path / "model59000", random_weights(run.learner.method, dtype=np.float32))
    return run, authors.import_into(run, tmp_path / "model59000.index")


def test_weights_of_the_authors_are_in_a_folder_that_says_so(imported):
    assert (
        imported[0].folder.parent.name.endswith("_imported_model59000")
        and (imported[0].folder / "config.json").exists()
    )


def test_other_weights_of_the_same_name_are_refused(imported, tmp_path):
    run, _ = imported
    authors.import_into(run, tmp_path / "model59000")
    (tmp_path / "other").mkdir()
    others = random_weights(run.learner.method, seed=1, dtype=np.float32)
    authors_code.save(tmp_path / "other" / "model59000", others)
    with pytest.raises(UserError, match="holds the results of another checkpoint of the name model59000"):
        authors.import_into(run, tmp_path / "other" / "model59000")


def test_weights_of_the_authors_are_tested_as_they_are(imported):
    run, name = imported
    summary = testing.test(run, Protocol("test", (1,), tasks=2), "", name)
    assert (summary["evaluations"][0]["checkpoint"], summary["iterations"]["trained"]) == ("model59000", 59000)
    assert summary["variant"]["imported"] == "model59000"


# The headline

ENTRY = {
    "file": "a.csv", "split": "test", "tasks": 600, "checkpoint": "best", "iteration": 38000,
    "transductive": True, "step": 3,
    "values": [0.2, 0.5, 0.6, 0.98765], "errors": [0.1, 0.1, 0.1, 0.0043], "error_is": "95 % interval over tasks",
    "published": {
        "values": {"3": 0.987}, "errors": {"3": 0.004}, "error_is": "95 % interval over tasks",
        "source": "[P] table 1, Omniglot",
    },
    "shots": 1, "queries": 1, "inner_lr": 0.4,
}  # fmt: skip
SUMMARY = {
    "title": "Omniglot, 5-way 1-shot", "dataset": "omniglot", "num_classes": 5, "num_shots": 1, "unit": "accuracy",
    "iterations": {"trained": 60000, "paper": 60000}, "headline": "a.csv",
}  # fmt: skip


def headline(settings=None, summary=None, **entry):
    return testing.headline(
        {**SUMMARY, **(summary or {}), "evaluations": [{**ENTRY, **entry}]}, settings or resolve("omniglot")
    )


def test_the_headline_is_one_line_that_can_be_quoted():
    assert headline() == (
        "Omniglot, 5-way 1-shot: 98.77 ± 0.43 % accuracy (95 % interval) after 3 steps on 600 test tasks with 1 "
        "support and 1 query example a class, the queries of a task normalised together, best checkpoint "
        "(iteration 38,000); published 98.7 ± 0.4 % ([P] table 1, Omniglot)"
    )


@pytest.mark.parametrize(
    "changes, part",
    [
        ({"transductive": False, "queries": 15}, "15 query examples a class, one query at a time, best"),
        ({"checkpoint": "iteration 500", "iteration": 500}, "together, iteration 500 checkpoint; "),
        ({"checkpoint": "weights"}, "together, weights.npz (iteration 38,000); "),
        ({"checkpoint": "model", "iteration": 0}, "together, model checkpoint; "),
        ({"summary": {"iterations": {"trained": 900, "paper": 60000}}}, ", trained for 900 of 60,000 iterations; "),
        ({"step": 1}, "after 1 step on 600"),
        ({"step": 1}, "published 98.7 ± 0.4 % after 3 steps ([P]"),
    ],
)
def test_the_headline_says(changes, part):
    assert part in headline(**changes)


@pytest.mark.parametrize(
    "settings, words",
    [
        (resolve("omniglot", update_lr=0.01), "compare with: update_lr=0.01 differs from the paper's 0.4"),
        (
            resolve("omniglot", norm="None", clip=5.0),
            "compare with: norm=None differs from the paper's batch_norm, clip=5 differs from the paper's None",
        ),
        (resolve("glyphs", update_lr=0.01), "nothing published for this task"),
        (resolve("omniglot", num_classes=7), "nothing published for this task"),
        (
            resolve("omniglot", "prototypical"),
            "published with one query at a time: 98.8 % ([S] table 4); --transductive=False tests like that",
        ),
    ],
)
def test_where_nothing_is_compared_the_headline_says_why(settings, words):
    assert headline(settings, published=None).endswith(words)


def test_the_headline_of_another_split_compares_with_nothing():
    assert headline(split="val", published=None).endswith("; nothing published to compare with")


def test_the_headline_of_returns_is_the_whole_curve():
    entry = {
        "file": "a.csv", "split": "test", "tasks": 40, "checkpoint": "best", "iteration": 199, "transductive": None,
        "step": 1, "values": [-54.077, 192.23], "errors": [7.385, 13.6], "error_is": "standard error over tasks",
        "published": {"values": {"0": -50.688, "1": 293.193}, "errors": {"0": 2.968, "1": 8.791}},
        "rollouts": 20, "learning_rates": [0.1], "diverged": 2,
    }  # fmt: skip
    summary = {
        "title": "Half-cheetah: MAML",
        "unit": "return",
        "iterations": {"trained": 200, "paper": 500},
        "headline": "a.csv",
    }
    assert testing.headline({**summary, "evaluations": [entry]}, None).splitlines() == [
        "Half-cheetah: MAML: mean return of an episode, ± standard error over 40 tasks",
        "best checkpoint (iteration 199) of 200 of 500 iterations; 20 episodes of each policy, step sizes 0.1",
        "gradient steps   measured            published",
        "             0     -54.08 ±  7.38      -50.69 ±  2.97",
        "             1     192.23 ± 13.60      293.19 ±  8.79",
        "2 episodes ended because the simulation diverged",
    ]
    entry["published"] = {"values": {"1": 293.193}, "errors": {"1": None}}
    lines = testing.headline({**summary, "evaluations": [entry]}, None).splitlines()
    assert lines[-2] == "             1     192.23 ± 13.60      293.19"


def test_an_ensemble_is_tested_by_the_mean_of_its_outputs(images):
    """Beside the headline, which stays; of 20 iterations there is one checkpoint, so that it counts twice here."""
    run, before = images
    theta = run.members(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "members", lambda count: {20: theta[20], 19: theta[20]})
        summary = testing.test(run, Protocol("test", (1,), **QUICK, checkpoint=Best(2)), "python main.py --ensemble=2")
    (entry,) = summary["evaluations"]
    alone = before["evaluations"][0]
    np.testing.assert_allclose(entry["values"], alone["values"], rtol=1e-6)
    assert (entry["checkpoint"], entry["members"], entry["iteration"]) == ("best 2", [20, 19], 20)
    there = summaries.load(run.folder)
    assert there.headline == before["headline"]
    assert [test.members for test in there.evaluations if test.checkpoint == "best 2"] == [(20, 19)]
    assert "mean of the 2 best checkpoints (iterations 20, 19)" in testing.headline(summary, run.settings)


def comparing(**given):
    """Settings of prototypical networks, which have no output a class, on tasks of two classes."""
    small = {"num_classes": 2, "train_ways": 2, "train_queries": 1, "metatrain_iterations": 2, "num_filters": 3}
    return resolve("glyphs", "prototypical", **{**small, **given})


def test_a_network_without_an_output_a_class_is_tested_with_any_number_of_them(tmp_path):
    """As one that was trained for that number is, where the training is the same."""
    two = trained(tmp_path / "two_ways" / "seed_1", comparing(max_pool=False), killed.image_tasks())
    three = trained(tmp_path / "three_ways" / "seed_1", comparing(max_pool=False, num_classes=3), killed.image_tasks(3))
    headline = testing.test(two, Protocol("test", (1,), **QUICK), "")
    summary = testing.test(two, Protocol("test", (1,), **QUICK, ways=3), "")
    (entry,), (expected,) = (
        summary["evaluations"],
        testing.test(three, Protocol("test", (1,), **QUICK), "")["evaluations"],
    )
    assert (entry["ways"], entry["values"]) == (3, expected["values"])
    assert "on 5 3-way test tasks with 1 support" in testing.headline(summary, two.settings)
    there = summaries.load(two.folder)
    assert there.headline == headline["headline"]
    assert there.tested_with(1).ways == 2 and there.tested_with(1, 3).file == "adaptation_test_3way_1shot_2query.csv"


def test_a_network_with_an_output_a_class_is_tested_with_as_many(images):
    with pytest.raises(UserError, match="num_classes is 3 at test, but MAML learns an output a class, for 2 classes"):
        testing.test(images[0], Protocol("test", (1,), **QUICK, ways=3), "")


def test_the_headline_is_of_the_summary_as_it_is_written(images):
    """Nothing but text goes between."""
    there = json.loads((images[0].folder / "summary.json").read_text())
    assert testing.headline(there, images[0].settings) == testing.headline(images[1], images[0].settings)


def test_test_classes_may_be_smaller_than_those_of_the_training(tmp_path, capsys):
    """The sequence is as long as they allow."""
    given = {"num_classes": 2, "metatrain_iterations": 1, "sequence_shots": 6, "hidden": 4}
    tasks = killed.image_tasks(sizes={"train": (6, 6), "val": (6, 6), "test": (3, 3)})
    run = killed.run(tmp_path, resolve("glyphs", "lstm", **given), tasks)
    (tested,) = run.learner.evaluate(Protocol("test", shots=(1,), tasks=2), tmp_path)
    assert "instance_3_accuracy" in tested.evaluation["measures"]
    assert "instance_4_accuracy" not in tested.evaluation["measures"]
    assert "test sequences have 3 images a class instead of 6" in capsys.readouterr().err


def test_where_validation_has_too_few_classes_the_step_size_is_the_methods_own(tmp_path, capsys):
    given = {"num_classes": 3, "num_filters": 3, "max_pool": False, "metatrain_iterations": 1}
    tasks = killed.image_tasks(3, sizes={"train": (4,) * 4, "val": (4,) * 2, "test": (4,) * 3})
    run = killed.run(tmp_path, resolve("glyphs", "pretrained", **given), tasks)
    (tested,) = run.learner.evaluate(Protocol("test", (1,), **QUICK), tmp_path)
    assert tested.evaluation["inner_lr"] == run.settings.own.inner_lr
    assert "there are 2 classes to validate on, and 3 in a task" in capsys.readouterr().err


def test_what_a_sequence_learner_tells_of_each_instance_is_measured_on_test_classes(tmp_path):
    """By the method's objective on two sequences of three drawings a class, which are not distorted."""
    given = {"num_classes": 2, "metatrain_iterations": 1, "sequence_shots": 3, "hidden": 4}
    run = killed.run(tmp_path, resolve("glyphs", "lstm", **given), killed.image_tasks())
    learner, protocol = run.learner, Protocol("test", shots=(1,), tasks=2)
    (tested,) = learner.evaluate(protocol, tmp_path)
    sequences = [learner.tasks.sample("test", curves.EVALUATION_SEED, i, 1, 3, 0, 2, True) for i in range(2)]
    expected = [learner.curves.method.objective(learner.state.current_weights(), one, 1.0) for one in sequences]
    measures = tested.evaluation["measures"]
    assert set(measures) >= {"instance_1_accuracy", "instance_2_accuracy", "instance_3_accuracy", "sequence_accuracy"}
    for name, (mean, interval) in measures.items():
        values = np.array([float(of[name][0]) for of in expected])
        np.testing.assert_allclose([mean, interval], [values.mean(), 1.96 * values.std() / np.sqrt(2)], rtol=1e-5)
