"""The learner of supervised runs: its phases, its schedule, what it draws, and what it says of itself."""

import killed
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.image_classes import ImageTasks
from data_generators.sinusoid import SinusoidTasks
from maml import methods
from maml.runs import files, supervised
from maml.runs.checkpoints import Best, Latest
from maml.runs.run import Run, make_run
from maml.runs.settings import resolve
from maml.runs.supervised import KIND, SupervisedLearner, learning_rate


@pytest.fixture(autouse=True)
def small_intervals(monkeypatch):
    for name, value in killed.INTERVALS.items():
        monkeypatch.setattr(supervised, name, value)


def trained(folder, settings, tasks):
    run = killed.run(folder, settings, tasks)
    assert run.train()
    return run


def bits(run):
    return {name: w.tobytes() for name, w in run.weights().items()}


# Phases


def sinusoid(folder, method=None, **given):
    return trained(folder, killed.sinusoid_settings(method=method, **given), SinusoidTasks())


def test_pretraining_without_meta_training_is_the_method_pretrained(tmp_path):
    two = sinusoid(tmp_path / "two", pretrain_iterations=10, metatrain_iterations=1)
    two.restore(Latest())
    one = sinusoid(tmp_path / "one", "pretrained", metatrain_iterations=10)
    both = sinusoid(tmp_path / "both", "maml", pretrain_iterations=10, metatrain_iterations=0)
    assert bits(one) == bits(both) != bits(two)


def test_each_phase_has_an_optimiser_of_its_own(tmp_path):
    run = sinusoid(tmp_path, pretrain_iterations=10, metatrain_iterations=15)
    assert int(run.state.trainer.adam_updates) == 15 and run.iteration == 25


def test_a_method_without_inner_steps_has_no_unadapted_loss_to_pretrain_on(tmp_path):
    given = {"num_classes": 2, "num_filters": 3, "max_pool": False, "pretrain_iterations": 5, "train_queries": 1}
    run = killed.run(tmp_path, resolve("glyphs", "prototypical", **given), killed.image_tasks())
    with pytest.raises(UserError, match="method prototypical has no pretraining, expected pretrain_iterations=0"):
        run.train()


def test_a_method_whose_first_layer_sees_more_than_the_image_has_no_classifier_to_pretrain(tmp_path):
    given = {"num_classes": 2, "num_filters": 3, "max_pool": False, "pretrain_iterations": 5}
    with pytest.raises(UserError, match="context_vector has no classifier to pre-train, expected pretrain_iterations="):
        killed.run(tmp_path, resolve("glyphs", "context_vector", **given), killed.image_tasks())


@pytest.mark.parametrize("pretrain, ends", [(0, [4, 8, 20]), (10, [10, 14, 18, 30])])
def test_a_methods_stages_are_parts_of_the_meta_training(tmp_path, pretrain, ends):
    given = {"num_epochs": 10, "first_order_epochs": 2, "multi_step_epochs": 4, "pretrain_iterations": pretrain}
    settings = killed.sinusoid_settings(method="maml_plus_plus", metatrain_iterations=20, **given)
    learner = SupervisedLearner(settings, SinusoidTasks())
    learner.begin(tmp_path)
    assert [phase.end for phase in learner._phases] == ends


class Counted(ImageTasks):
    """Image tasks that remember what was drawn of the training split, in order."""

    def __init__(self):
        super().__init__(killed.image_tasks().splits, 2, rotate=True)
        self.drawn = []

    def sample(self, split, *how, **named):
        self.drawn += ["task"] if split == "train" else []
        return super().sample(split, *how, **named)

    def batch(self, split, seed, step, size):
        self.drawn.append((split, step, size))
        return super().batch(split, seed, step, size)


def fine_tuning(**given):
    small = {"num_classes": 2, "num_filters": 3, "max_pool": False, "pretrain_iterations": 20, "batch_size": 4}
    return resolve("glyphs", "fine_tuning", **{**small, **given})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A run of a card with pretraining."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in killed.INTERVALS.items():
            patch.setattr(supervised, name, value)
        return trained(tmp_path_factory.mktemp("fine_tuning"), fine_tuning(), Counted())


def test_pretraining_draws_batches_of_all_classes(pretrained):
    assert pretrained.learner.tasks.drawn == [("train", step, 4) for step in range(20)]


def test_how_many_classes_pretraining_tells_apart_is_written_down(pretrained):
    """4 classes in 4 turns."""
    assert files.read_json(pretrained.folder / "config.json")["train_classes"] == 16
    assert pretrained.weights()["train_w5"].shape == (3, 16)


def test_so_that_the_run_is_read_without_its_data(pretrained):
    settings = KIND.from_dict(files.read_json(pretrained.folder / "config.json"), "config.json")
    read = Run(SupervisedLearner(settings), pretrained.folder, log=False)
    read.restore(Latest())
    assert bits(read) == bits(pretrained)


def test_the_weights_that_come_along_are_those_that_a_test_reads(pretrained, tmp_path):
    settings = KIND.from_dict(files.read_json(pretrained.folder / "config.json"), "config.json")
    pretrained.restore(Latest())
    Run(pretrained.learner, tmp_path, log=False).write_weights("latest")
    written, _ = files.read_weights(tmp_path / files.WEIGHTS)
    assert written.keys() == pretrained.weights().keys() - {"train_w5", "train_b5"}
    read = Run(SupervisedLearner(settings), tmp_path, log=False)
    assert read.restore(Best()) == "latest"
    assert {name: read.weights()[name].tobytes() for name in written} == {n: w.tobytes() for n, w in written.items()}


def test_data_of_another_number_of_classes_are_refused():
    with pytest.raises(UserError, match="was trained on 24 classes, these data have 16"):
        SupervisedLearner(fine_tuning(train_classes=24), killed.image_tasks())


def test_the_table_has_no_column_for_a_loss_that_is_there_by_another_name(pretrained):
    assert files.read_columns(pretrained.folder / "metrics.csv") == supervised.COLUMNS


def first_a_classifier(method, **given):
    small = {"num_classes": 2, "num_filters": 3, "pretrain_iterations": 20, "metatrain_iterations": 10}
    small |= {"meta_batch_size": 2, "query_batch_size": 1, "jit": False, "pretrain_batch": 4, "num_updates": 2}
    return resolve("glyphs", method, **{**small, **given})


@pytest.mark.parametrize("method", ["maml", "anil", "meta_sgd", "maml_plus_plus", "taml", "meta_lstm", "reptile"])
def test_before_a_gradient_method_images_train_a_classifier_of_all_classes(tmp_path, method):
    """Batches, then tasks. The first phase leaves the new last layer alone, the second that of the classifier."""
    given = {"meta_sgd": {"num_updates": None}, "reptile": {"query_batch_size": None, "inner_batch": 2}}.get(method, {})
    settings, tasks = first_a_classifier(method, **given), Counted()
    run = killed.run(tmp_path, settings, tasks)
    run.learner.check(tmp_path)
    run.learner.begin(tmp_path)
    seen = [run.weights()]
    while run.iteration < 30:
        run.learner.advance()
        seen += [run.weights()] if run.iteration in (20, 30) else []
    assert tasks.drawn == [("train", step, 4) for step in range(20)] + ["task"] * 10
    start, between, end = seen
    assert start["train_w5"].shape == (3, 16) and start["w5"].shape == (3, 2)
    moved = {n: [not np.array_equal(*two) for two in ((start[n], between[n]), (between[n], end[n]))] for n in start}
    assert moved["conv1"] == [True, True]
    assert (moved["w5"], moved["train_w5"]) == ([False, True], [True, False])
    others = [n for n in moved if n.startswith(("alpha/", "meta/"))]
    assert all(moved[n][0] is False for n in others)
    assert "train_w5" not in run.learner.tested_weights()


def test_what_there_is_for_each_step_moves_alike_in_pretraining(tmp_path):
    run = killed.run(tmp_path, first_a_classifier("maml_plus_plus"), Counted())
    run.learner.check(tmp_path)
    run.learner.begin(tmp_path)
    while run.iteration < 20:
        run.learner.advance()
    beta = run.weights()["beta0"]
    assert beta.shape == (2, 3) and beta.any() and np.array_equal(beta[0], beta[1])


def test_such_a_run_is_resumed_tested_and_adapted_without_the_classifier(tmp_path):
    trained(tmp_path, first_a_classifier("maml"), killed.image_tasks())
    again = killed.run(tmp_path, first_a_classifier("maml", metatrain_iterations=12), killed.image_tasks())
    again.train()
    assert again.iteration == 32
    again.write_weights("latest")
    assert "train_w5" not in np.load(tmp_path / files.WEIGHTS)


def test_pretraining_a_classifier_is_adams_whatever_comes_after_it(tmp_path):
    """Adam's first step moves every weight with a gradient by its size; Reptile's own are SGD's of size 1."""
    given = {"query_batch_size": None, "inner_batch": 2, "pretrain_lr": 0.01}
    run = killed.run(tmp_path, first_a_classifier("reptile", **given), killed.image_tasks())
    run.learner.check(tmp_path)
    run.learner.begin(tmp_path)
    before = run.weights()["train_b5"]
    run.learner.advance()
    np.testing.assert_allclose(np.abs(run.weights()["train_b5"] - before), 0.01, rtol=1e-2)


def test_the_rows_of_pretraining_are_of_its_batches(pretrained):
    first, last = files.read_table(pretrained.folder / "metrics.csv")
    assert {name for name, value in first.items() if value is not None} == {
        "iteration", "support_loss", "support_accuracy",
    }  # fmt: skip
    assert last["val_accuracy_after"] is not None


# The outer loop


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, [0.001, 0.001, 0.001]),
        ({"schedule": "linear", "meta_lr": 1.0, "metatrain_iterations": 40}, [1.0, 0.75, 0.5]),
        ({"schedule": "halving", "meta_lr": 1.0, "halve_every": 10}, [1.0, 0.5, 0.25]),
        ({"schedule": "decaying", "meta_lr": 1.0, "decay_every": 10}, [1.0, 0.99, 0.9801]),
        ({"schedule": "cosine", "meta_lr": 1.0, "final_lr": 0.5, "metatrain_iterations": 20}, [1.0, 0.75, 0.5]),
    ],
)
def test_the_step_size_at_iterations_0_10_and_20(given, expected):
    rate = learning_rate(resolve("omniglot", **given))
    got = [rate(tf.constant(i, tf.int64)) if callable(rate) else rate for i in (0, 10, 20)]
    np.testing.assert_allclose(np.array(got, np.float64), expected)


def test_a_schedule_begins_after_the_pretraining():
    """By hand: a cosine of 20 iterations, 30 before it."""
    given = {"schedule": "cosine", "meta_lr": 1.0, "final_lr": 0.5, "metatrain_iterations": 20}
    rate = learning_rate(resolve("omniglot", pretrain_iterations=30, **given))
    got = [rate(tf.constant(i, tf.int64)) for i in (0, 29, 30, 40, 50)]
    np.testing.assert_allclose(got, [1.0, 1.0, 1.0, 0.75, 0.5])


class SometimesNaN(SinusoidTasks):
    """Whose training tasks of some steps have no finite answer."""

    def __init__(self, bad):
        super().__init__()
        self.bad = bad

    def sample(self, split, seed, step, *how):
        episode = super().sample(split, seed, step, *how)
        return episode._replace(query_y=episode.query_y * np.nan) if split == "train" and step in self.bad else episode


def test_updates_that_are_not_finite_end_the_run_or_are_left_out_counted_and_said(tmp_path, capsys):
    given = {"metatrain_iterations": 20, "iterations_per_call": 1}
    with pytest.raises(UserError, match="not finite at iteration 4"):
        trained(tmp_path / "ends", killed.sinusoid_settings(**given), SometimesNaN([3]))
    settings = killed.sinusoid_settings(**given, skip_not_finite=True)
    run = trained(tmp_path / "goes_on", settings, SometimesNaN([3, 9]))
    rows = files.read_table(run.folder / "metrics.csv")
    assert [row["skipped"] for row in rows] == [2, 2]
    assert (rows[0]["query_loss"], run.iteration) == (None, 20) and rows[1]["query_loss"] is not None
    assert "left out as not finite: 1 of 1 updates; 2 so far" in capsys.readouterr().err


def test_a_run_in_which_nothing_is_finite_any_more_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(supervised, "SKIPPED_IN_A_ROW", 5)
    settings = killed.sinusoid_settings(skip_not_finite=True, iterations_per_call=1)
    with pytest.raises(UserError, match="not finite at iteration 8"):
        trained(tmp_path, settings, SometimesNaN([1, *range(3, 60)]))


def test_what_a_method_wants_of_its_episodes_is_drawn(tmp_path):
    given = {"num_classes": 2, "num_filters": 3, "max_pool": False, "metatrain_iterations": 1}
    run = killed.run(tmp_path, resolve("glyphs", "prototypical", train_ways=9, **given), killed.image_tasks())
    run.train()
    episode = run.learner._draw_episode(0)
    assert episode.support_x.shape[:2] == (1, 4) and episode.query_x.shape[:2] == (1, 12)


def test_cut_episodes_are_said_once_and_recorded(tmp_path, capsys):
    given = {"num_classes": 2, "num_filters": 3, "max_pool": False, "metatrain_iterations": 1}
    said = "trained on 4-way 1-shot tasks of 3 queries a class instead of 9-way"
    run = killed.run(tmp_path, resolve("glyphs", "prototypical", train_ways=9, **given), killed.image_tasks())
    run.train()
    assert capsys.readouterr().err.count(said) == 1 and said in run.learner.about()["cut"]
    whole = killed.run(tmp_path, resolve("glyphs", "maml", **given), killed.image_tasks())
    assert "cut" not in whole.learner.about()


def test_nothing_is_cut_where_there_is_nothing_to_train(tmp_path, capsys):
    run = killed.run(tmp_path, resolve("glyphs", "pixels", num_classes=3), few_to_validate(3))
    run.train()
    assert "classes to validate on" not in capsys.readouterr().err
    assert "cut" not in run.learner.about()


def few_to_validate(num_classes, sizes=(4, 4)):
    """Tasks of four classes to train and test on, and fewer to validate on."""
    tasks = killed.image_tasks(num_classes)
    return ImageTasks({**tasks.splits, "val": killed.image_tasks(sizes=sizes).splits["val"]}, num_classes, rotate=True)


def test_a_task_of_more_classes_than_the_validation_has_is_validated_on_as_many(tmp_path, capsys):
    """Where θ has no output a class; else the latest checkpoint is tested."""
    given = {"num_classes": 3, "num_filters": 3, "max_pool": False, "metatrain_iterations": 1}
    run = killed.run(tmp_path / "compares", resolve("glyphs", "prototypical", **given), few_to_validate(3))
    assert run.train()
    said = "there are 2 classes to validate on, and 3 in a task: validated on 2-way tasks"
    assert said in capsys.readouterr().err and said in run.learner.about()["cut"]
    assert files.read_table(run.folder / "metrics.csv")[0]["val_accuracy_after"] is not None
    run = killed.run(tmp_path / "has_outputs", resolve("glyphs", **given), few_to_validate(3))
    assert run.train()
    said = "no checkpoint is chosen by validation, the latest is tested"
    assert said in capsys.readouterr().err and said in run.learner.about()["cut"]
    assert files.read_table(run.folder / "metrics.csv")[0]["val_accuracy_after"] is None
    assert run.restore(Best()) == "latest"


def test_a_checkpoint_of_the_pretraining_is_not_chosen(tmp_path):
    given = {"num_classes": 2, "num_filters": 3, "max_pool": False, "pretrain_iterations": 2, "metatrain_iterations": 1}
    run = killed.run(tmp_path, resolve("glyphs", **given, pretrain_batch=4), killed.image_tasks())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "CHECKPOINT_EVERY", 1)
        scores = [progress.score for progress in iter_progress(run, 3)]
    assert scores[:2] == [None, None] and scores[2] is not None


def iter_progress(run, count):
    """What the learner says of each of its first calls."""
    run.learner.check(run.folder)
    run.learner.begin(run.folder)
    return [run.learner.advance() for _ in range(count)]


def test_validation_of_a_method_without_inner_steps_has_nothing_before(tmp_path):
    given = {"num_classes": 2, "num_filters": 3, "max_pool": False, "metatrain_iterations": 1}
    trained(tmp_path, resolve("glyphs", "prototypical", **given), killed.image_tasks())
    (row,) = files.read_table(tmp_path / "metrics.csv")
    assert (row["val_accuracy_before"], row["val_accuracy_after"] is None) == (None, False)


@pytest.mark.parametrize("most, count", [(2, 2), (600, 4)])
def test_a_method_says_on_how_many_tasks_a_checkpoint_is_judged(most, count, tmp_path, monkeypatch):
    card = methods.get("prototypical")._replace(validation_tasks=most)
    monkeypatch.setattr(methods, "get", lambda name: card)
    given = {"num_classes": 2, "num_filters": 3, "max_pool": False, "metatrain_iterations": 1}
    run, drawn = killed.run(tmp_path, resolve("glyphs", "prototypical", **given), killed.image_tasks()), []
    learn = run.learner.curves.learn
    monkeypatch.setattr(
        run.learner.curves, "learn", lambda w, tasks, *a, **b: learn(w, drawn.extend(tasks) or drawn, *a, **b)
    )
    run.train()
    assert len(drawn) == count


@pytest.mark.parametrize("method, norm, together", [("maml", "batch_norm", True), ("siamese", "batch_norm", False),
                                                    ("siamese", "None", True)])  # fmt: skip
def test_a_checkpoint_is_judged_as_the_methods_paper_tests(method, norm, together, tmp_path, monkeypatch):
    """Without a batch norm both ways are the same, and the first needs no support set."""
    given = {"num_classes": 2, "num_filters": 3, "max_pool": False, "metatrain_iterations": 1, "norm": norm}
    run, ways = killed.run(tmp_path, resolve("glyphs", method, **given), killed.image_tasks()), []
    learn = run.learner.curves.learn
    monkeypatch.setattr(run.learner.curves, "learn", lambda *a, transductive: ways.append(transductive) or learn(*a))
    run.train()
    assert ways == [together]


# What it says


@pytest.mark.parametrize(
    "row, text",
    [
        ({"support_loss": 2.0, "query_loss": 0.25}, "loss 2 → 0.25"),
        (
            {"support_loss": 2.0, "query_loss": 0.25, "support_accuracy": 0.2, "query_accuracy": 0.93},
            "loss 2 → 0.25, accuracy 20 → 93 %",
        ),
        ({"query_loss": 0.25, "query_accuracy": 0.93}, "loss 0.25, accuracy 93 %"),
        ({"loss": 0.5}, "loss 0.5"),
    ],
)
def test_the_text_of_a_row(row, text):
    assert SupervisedLearner(killed.sinusoid_settings()).describe(row) == text


def test_a_step_size_that_is_not_there_is_not_advised(tmp_path):
    learner = SupervisedLearner(resolve("glyphs", "prototypical", num_classes=2, num_filters=3, max_pool=False))
    assert "a smaller --meta_lr may help" in learner._failure({"loss": float("nan")})


# The kind


def test_the_kind_makes_a_run_of_a_data_source(tmp_path):
    settings = KIND.resolve("sinusoid", {}, metatrain_iterations=3)
    run = make_run(KIND, settings, tmp_path, {"train": True}, log=False)
    assert run.settings == settings and run.learner.tasks.input_shape == (1,)


def test_the_oracle_is_told_the_task(tmp_path):
    run = make_run(KIND, KIND.resolve("sinusoid", {}, baseline="oracle"), tmp_path, {"train": True}, log=False)
    assert run.learner.tasks.input_shape == run.learner.problem.input_shape == (3,)


@pytest.mark.parametrize(
    "datasource, options, message",
    [
        ("sinusoid", {"data_path": "x"}, "data_path given, but sinusoid reads no files; expected one of omniglot"),
        (
            "glyphs",
            {"checkpoint": "model1", "train": True},
            "checkpoint given, which is for testing; expected --train=F",
        ),
        ("folder", {}, "the folder source needs --data_path"),
    ],
)
def test_what_cannot_be_asked_for(datasource, options, message):
    with pytest.raises(UserError, match=message):
        KIND.resolve(datasource, options)


def test_a_folder_of_images_goes_by_its_own_name(tmp_path):
    (tmp_path / "My birds").mkdir()
    settings = KIND.resolve("folder", {"data_path": str(tmp_path / "My birds")})
    assert settings.task.dataset == "folder_my_birds"


def test_the_settings_of_a_method_are_a_group_of_their_own():
    groups = KIND.record_types("omniglot", "reptile")
    assert list(groups) == ["task", "network", "Reptile", "training", "engine"]
