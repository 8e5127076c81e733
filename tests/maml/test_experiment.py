"""Runs: killed, stopped, damaged or gone wrong, they go on and end as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import killed
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.sinusoid import SinusoidTasks
from maml import config, experiment, records, settings

KILLS = [
    *(f"sinusoid:{moment}" for moment in killed.MOMENTS if moment != "never"),
    "compiled:between checkpoints",
    "pretrained:between checkpoints",
    "images:after a row, before its checkpoint",
]


@pytest.fixture(autouse=True)
def small_intervals(monkeypatch):
    for name, value in killed.INTERVALS.items():
        monkeypatch.setattr(experiment, name, value)


@pytest.fixture(scope="module")
def kills(tmp_path_factory):
    """(folder, {scenario: exit status of its first start}): every run of KILLS, and those that were never killed."""
    folder = tmp_path_factory.mktemp("kills")
    scenarios = [*(f"{source}:never" for source in killed.SOURCES), *KILLS]
    done = subprocess.run(
        [sys.executable, killed.__file__, folder, *scenarios], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return folder, {line.rsplit(":", 1)[0]: int(line.rsplit(":", 1)[1]) for line in done.stdout.splitlines()}


def last_state(folder):
    """{name: bytes} of everything in the newest checkpoint but how long it took."""
    newest = max((folder / "checkpoints").glob("iteration_*"))
    reader = tf.train.load_checkpoint(str(newest / "state"))
    names = [name for name in reader.get_variable_to_shape_map() if "seconds" not in name and "OBJECT_GRAPH" not in name]
    return {"newest": newest.name, **{name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}}


def image_run(folder, tasks=None, **given):
    return experiment.Run(killed.image_config(**given), tasks or killed.image_tasks(), folder, log=False)


def sinusoid_run(folder, tasks=None, **given):
    return experiment.Run(killed.sinusoid_config(**given), tasks or SinusoidTasks(), folder, log=False)


class TasksWith(SinusoidTasks):
    """Sinusoid tasks; asked for those of training step `step`, it calls `event` on them first."""

    def __init__(self, step, event):
        super().__init__()
        self.step, self.event = step, event

    def sample(self, split, seed, step, *sizes):
        episode = super().sample(split, seed, step, *sizes)
        return self.event(episode) or episode if (split, step) == ("train", self.step) else episode


# SIGKILL


@pytest.mark.parametrize("scenario", KILLS)
def test_the_kill_was_a_kill(kills, scenario):
    assert kills[1][scenario] == -signal.SIGKILL


@pytest.mark.parametrize("scenario", KILLS)
def test_killed_and_started_again_the_state_has_the_same_bits(kills, scenario):
    never = last_state(kills[0] / f"{scenario.split(':')[0]}:never")
    assert sum("weights" in name or "moments" in name for name in never) >= 12
    assert last_state(kills[0] / scenario) == never


@pytest.mark.parametrize("scenario", KILLS)
def test_killed_and_started_again_the_metrics_have_the_same_bytes(kills, scenario):
    never = (kills[0] / f"{scenario.split(':')[0]}:never" / "metrics.csv").read_bytes()
    assert never.count(b"\n") == (5 if scenario.startswith("images") else 7)  # a header, then one every ten iterations
    assert (kills[0] / scenario / "metrics.csv").read_bytes() == never


def test_a_kill_leaves_nothing_beside_whole_checkpoints(kills):
    names = os.listdir(kills[0] / "sinusoid:within a checkpoint" / "checkpoints")
    assert sorted(names) == ["iteration_00000020", "iteration_00000040", "iteration_00000060"]


# Ctrl-C


@pytest.fixture
def stopped(tmp_path):
    """A run that Ctrl-C reached within the call of iterations 21 to 25, and what `train` returned."""
    run = sinusoid_run(tmp_path / "run", TasksWith(22, lambda _: os.kill(os.getpid(), signal.SIGINT)))
    return run, run.train()


def test_ctrl_c_ends_the_training(stopped):
    assert stopped[1] is False


def test_ctrl_c_saves_where_it_stopped(stopped):
    assert stopped[0].checkpoints.iterations() == [20, 25] and stopped[0].iteration == 25


def test_stopped_and_started_again_the_state_has_the_same_bits(stopped, kills):
    assert sinusoid_run(stopped[0].folder).train()
    assert last_state(stopped[0].folder) == last_state(kills[0] / "sinusoid:never")


def test_ctrl_c_works_as_before_once_training_is_over(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, mine := lambda *_: None)
        sinusoid_run(tmp_path / "run", TasksWith(22, lambda _: os.kill(os.getpid(), signal.SIGINT))).train()
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


# Going on


@pytest.fixture
def images(kills):
    """Folder of a finished image run of 40 iterations."""
    return kills[0] / "images:never"


def finished(folder, iterations=20):
    run = sinusoid_run(folder, metatrain_iterations=iterations)
    assert run.train()
    return run


def test_a_finished_run_trains_no_more(tmp_path):
    finished(tmp_path)

    def fail(*_):
        raise AssertionError("a training batch was drawn")

    run = sinusoid_run(tmp_path, metatrain_iterations=20)
    run.tasks.sample = fail
    assert run.train() and run.iteration == 20


def test_a_finished_run_can_be_made_longer(tmp_path, kills):
    finished(tmp_path / "run")
    assert sinusoid_run(tmp_path / "run").train()
    assert last_state(tmp_path / "run") == last_state(kills[0] / "sinusoid:never")


def test_a_run_is_not_made_shorter_than_it_is(tmp_path):
    finished(tmp_path)
    with pytest.raises(UserError, match="trained to iteration 20 already, expected no more than the 10 asked for"):
        sinusoid_run(tmp_path, metatrain_iterations=10).train()


def test_iterations_per_call_changes_no_bit(tmp_path, kills):
    assert sinusoid_run(tmp_path, iterations_per_call=1).train()
    assert last_state(tmp_path) == last_state(kills[0] / "sinusoid:never")


def test_a_damaged_newest_checkpoint_changes_no_bit_of_the_end(tmp_path, kills):
    finished(tmp_path, 40)
    os.truncate(tmp_path / "checkpoints" / "iteration_00000040" / "state.data-00000-of-00001", 9)
    assert sinusoid_run(tmp_path).train()
    assert last_state(tmp_path) == last_state(kills[0] / "sinusoid:never")


def test_not_resuming_sets_the_old_folder_aside(tmp_path):
    finished(tmp_path / "run")
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    sinusoid_run(tmp_path / "run", metatrain_iterations=0, pretrain_iterations=10).train(resume=False)
    assert (tmp_path / "run.old-1" / "metrics.csv").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["run", "run.old-1"]


def test_not_resuming_starts_anew(tmp_path):
    finished(tmp_path / "run")
    run = sinusoid_run(tmp_path / "run", metatrain_iterations=10)
    run.train(resume=False)
    assert run.checkpoints.iterations() == [10]


# The record


def test_the_settings_are_written_down(images):
    assert json.loads((images / "config.json").read_text()) == killed.image_config(metatrain_iterations=40).to_dict()


def test_there_is_a_row_every_ten_iterations(images):
    assert [row["iteration"] for row in records.read_table(images / "metrics.csv")] == [10, 20, 30, 40]


def test_validation_comes_with_the_checkpoints(images):
    rows = records.read_table(images / "metrics.csv")
    assert [row["iteration"] for row in rows if row["val_post_accuracy"] is not None] == [20, 40]


def test_tensorboard_gets_the_row_too(tmp_path):
    run = experiment.Run(killed.sinusoid_config(metatrain_iterations=10), SinusoidTasks(), tmp_path)
    run.train()
    (file,) = (tmp_path / "tensorboard").iterdir()
    tags = {v.tag for e in tf.compat.v1.train.summary_iterator(str(file)) for v in e.summary.value}
    assert tags == {"pre_loss", "post_loss"}


# Gone wrong


def nan_at(step):
    return TasksWith(step, lambda episode: episode._replace(query_y=episode.query_y * np.float32("nan")))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_last_good_checkpoint(tmp_path):
    with pytest.raises(UserError, match="not finite at iteration 24 .* last good checkpoint is of iteration 20 in"):
        sinusoid_run(tmp_path, nan_at(23)).train()


def test_the_last_good_checkpoint_is_kept_and_gone_on_from(tmp_path, kills):
    with pytest.raises(UserError):
        sinusoid_run(tmp_path, nan_at(23)).train()
    assert sinusoid_run(tmp_path).train()
    assert last_state(tmp_path) == last_state(kills[0] / "sinusoid:never")


def test_a_step_size_beyond_reason_is_said_at_once(tmp_path):
    with pytest.raises(UserError, match="not finite at iteration 1 .* there is no checkpoint yet"):
        sinusoid_run(tmp_path, update_lr=1e30).train()


def test_too_few_images_are_said_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="class 'class 2' of the train split has 1 images"):
        image_run(tmp_path / "run", killed.image_tasks(sizes=(4, 4, 1))).train()
    assert not (tmp_path / "run").exists()


def test_too_few_images_are_said_before_the_old_folder_is_set_aside(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError):
        image_run(tmp_path / "run", killed.image_tasks(sizes=(4, 4, 1))).train(resume=False)
    assert os.listdir(tmp_path) == ["run"]


# Restoring for the test


def best_of(folder):
    rows = [row for row in records.read_table(folder / "metrics.csv") if row["val_post_accuracy"] is not None]
    return max(rows, key=lambda row: (row["val_post_accuracy"], -row["iteration"]))["iteration"]


@pytest.fixture
def with_best_20(images, tmp_path):
    """A copy of the run whose best checkpoint, by its state, is that of iteration 20."""
    run = image_run(tmp_path / "run", metatrain_iterations=40)
    subprocess.run(["cp", "-r", images, tmp_path / "run"], check=True)
    run.checkpoints.restore_latest()
    run.state.best_iteration.assign(20)
    run.state.seconds.assign(77.0)
    run.checkpoints.save(40)
    return run


def test_the_best_is_the_first_with_the_highest_validation_accuracy(images):
    run = image_run(images, metatrain_iterations=40)
    run.restore("latest")
    assert int(run.state.best_iteration) == best_of(images)


@pytest.mark.parametrize("which, label, iteration", [("best", "best", 20), ("latest", "latest", 40), (20, "iteration 20", 20)])
def test_the_checkpoint_that_is_tested(with_best_20, which, label, iteration):
    assert with_best_20.restore(which) == label and with_best_20.iteration == iteration


def test_choosing_the_best_took_the_whole_run(with_best_20):
    with_best_20.restore("best")
    assert float(with_best_20.state.seconds) == 77.0


def test_a_damaged_best_gives_way_to_the_latest(with_best_20, capsys):
    os.remove(with_best_20.checkpoints.folder / "iteration_00000020" / "state.index")
    assert with_best_20.restore("best") == "latest" and with_best_20.iteration == 40
    assert "taking the latest checkpoint instead" in capsys.readouterr().err


def test_where_nothing_was_validated_the_latest_is_tested(tmp_path):
    assert finished(tmp_path).restore("best") == "latest"


def test_restoring_where_there_is_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="no checkpoint in .*: nothing is trained there yet"):
        sinusoid_run(tmp_path).restore("best")


# Flags against the folder


def settle(logdir, train=True, resume=True, **given):
    return settings.settle(config.resolve("omniglot", **given), given, logdir, train, resume)


@pytest.fixture
def logdir(tmp_path):
    """With a folder of a run of α = 0.2 and 500 iterations."""
    there = config.resolve("omniglot", update_lr=0.2, metatrain_iterations=500)
    records.write_json(tmp_path / "omniglot_5way_1shot" / "seed_1" / "config.json", there.to_dict())
    return tmp_path


def test_a_new_run_has_a_folder_by_its_name_and_seed(tmp_path):
    assert settle(tmp_path, seed=3)[1] == tmp_path / "omniglot_5way_1shot" / "seed_3"


def test_settling_writes_nothing(tmp_path):
    settle(tmp_path)
    assert os.listdir(tmp_path) == []


def test_testing_what_was_never_trained(tmp_path):
    with pytest.raises(UserError, match="no run in .*seed_1: nothing to test"):
        settle(tmp_path, train=False)


def test_training_on_with_other_settings_is_refused(logdir):
    with pytest.raises(UserError, match="update_lr=0.2 there and 0.4 here"):
        settle(logdir)


def test_training_on_for_longer_is_not(logdir):
    assert settle(logdir, update_lr=0.2, metatrain_iterations=900)[0].metatrain_iterations == 900


def test_not_resuming_may_differ(logdir):
    assert settle(logdir, resume=False)[0].update_lr == 0.4


def test_testing_takes_the_settings_from_the_folder(logdir):
    assert settle(logdir, train=False)[0].update_lr == 0.2


def test_testing_with_a_flag_that_differs_is_refused(logdir):
    with pytest.raises(UserError, match="update_lr=0.2 there and 0.3 here"):
        settle(logdir, train=False, update_lr=0.3)


def test_a_damaged_settings_file_is_named(logdir):
    path = logdir / "omniglot_5way_1shot" / "seed_1" / "config.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(UserError, match="config.json: damaged"):
        settle(logdir)


# The code


def test_no_pickles_are_read_or_written():
    """NumPy reads them only where it is told to."""
    root = Path(__file__).parents[2]
    files = [root / "main.py", *(f for package in ("maml", "data_generators", "rl") for f in (root / package).rglob("*.py"))]
    assert len(files) > 20
    words = ("pickle.", "import pickle", "joblib", "dill", "shelve", "marshal", "allow_pickle=True")
    assert [(str(f), word) for f in files for word in words if word in f.read_text(encoding="utf-8")] == []
