"""Runs: killed, stopped, damaged or gone wrong, they go on and end as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import killed
import numpy as np
import pytest
import tensorflow as tf
from killed import last_state, newest_checkpoint

from data_generators.errors import UserError
from data_generators.sinusoid import SinusoidTasks
from maml.meta_training import Trainer
from maml.runs import files, supervised
from maml.runs.checkpoints import Best, Latest
from maml.runs.kind import Progress
from maml.runs.run import Run

KILLS = [
    *(f"sinusoid:{moment}" for moment in killed.MOMENTS if moment != "never"),
    "compiled:between checkpoints",
    "pretrained:between checkpoints",
    "images:after a row, before its checkpoint",
]


@pytest.fixture(autouse=True)
def small_intervals(monkeypatch):
    for name, value in killed.INTERVALS.items():
        monkeypatch.setattr(supervised, name, value)


@pytest.fixture(scope="module")
def kills(tmp_path_factory):
    """(folder, {scenario: exit status of its first start}): every run of KILLS, and those that were never killed."""
    folder = tmp_path_factory.mktemp("kills")
    scenarios = [*(f"{source}:never" for source in killed.SOURCES), *KILLS]
    done = subprocess.run(
        [sys.executable, killed.__file__, folder, *scenarios], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return folder, {line.rsplit(":", 1)[0]: int(line.rsplit(":", 1)[1]) for line in done.stdout.splitlines()}


def image_run(folder, tasks=None, **given):
    return killed.run(folder, killed.image_settings(**given), tasks or killed.image_tasks())


def sinusoid_run(folder, tasks=None, **given):
    return killed.run(folder, killed.sinusoid_settings(**given), tasks or SinusoidTasks())


class TasksWith(SinusoidTasks):
    """Sinusoid tasks; asked for those of training step `step`, it calls `event` on them first."""

    def __init__(self, step, event):
        super().__init__()
        self.step, self.event = step, event

    def sample(self, split, seed, step, *how):
        episode = super().sample(split, seed, step, *how)
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


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def stopped(request, tmp_path):
    """A run that a signal reached within the call of iterations 21 to 25, and what `train` returned."""
    run = sinusoid_run(tmp_path / "run", TasksWith(22, lambda _: os.kill(os.getpid(), request.param)))
    result = run.train()
    assert run.stopped_by == request.param
    return run, result


def test_ctrl_c_ends_the_training(stopped):
    assert stopped[1] is False


def test_ctrl_c_saves_where_it_stopped(stopped):
    assert stopped[0].checkpoints.iterations() == [20, 25] and stopped[0].iteration == 25


def test_stopped_and_started_again_the_state_has_the_same_bits(stopped, kills):
    assert sinusoid_run(stopped[0].folder).train()
    assert last_state(stopped[0].folder) == last_state(kills[0] / "sinusoid:never")


def test_a_terminal_that_nohup_has_ignored_stops_nothing(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = sinusoid_run(tmp_path / "run", TasksWith(22, lambda _: os.kill(os.getpid(), signal.SIGHUP)))
        assert run.train() and run.iteration == 60
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_start_is_refused_while_the_first_trains(tmp_path):
    second, refusals = sinusoid_run(tmp_path / "run"), []

    def start(_):
        with pytest.raises(UserError) as error:
            second.train()
        refusals.append(str(error.value))

    assert sinusoid_run(tmp_path / "run", TasksWith(22, start)).train()
    assert refusals[0].startswith(f"{tmp_path / 'run'} is in use by process {os.getpid()} on ")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert second.train() and second.iteration == 60


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    def press_twice(_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    run = sinusoid_run(tmp_path / "run", TasksWith(22, press_twice))
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert run.checkpoints.iterations() == [20]


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
    run.learner.tasks.sample = fail
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
    assert json.loads((images / "config.json").read_text()) == killed.image_settings(metatrain_iterations=40).to_dict()


def test_there_is_a_row_every_ten_iterations(images):
    assert [row["iteration"] for row in files.read_table(images / "metrics.csv")] == [10, 20, 30, 40]


def test_validation_comes_with_the_checkpoints(images):
    rows = files.read_table(images / "metrics.csv")
    assert [row["iteration"] for row in rows if row["val_accuracy_after"] is not None] == [20, 40]


def test_tensorboard_gets_the_row_too(tmp_path):
    killed.run(tmp_path, killed.sinusoid_settings(metatrain_iterations=10), SinusoidTasks(), log=True).train()
    (file,) = (tmp_path / "tensorboard").iterdir()
    tags = {v.tag for e in tf.compat.v1.train.summary_iterator(str(file)) for v in e.summary.value}
    assert tags - {"_hparams_/session_start_info"} == {"support_loss", "query_loss"}


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
    rows = [row for row in files.read_table(folder / "metrics.csv") if row["val_accuracy_after"] is not None]
    return max(rows, key=lambda row: (row["val_accuracy_after"], -row["iteration"]))["iteration"]


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
    run.restore(Latest())
    assert int(run.state.best_iteration) == best_of(images)


@pytest.mark.parametrize(
    "which, label, iteration", [(Best(), "best", 20), (Latest(), "latest", 40), (20, "iteration 20", 20)]
)
def test_the_checkpoint_that_is_tested(with_best_20, which, label, iteration):
    assert with_best_20.restore(which) == label and with_best_20.iteration == iteration


def test_members_are_the_best_checkpoints_and_leave_the_best_in_place(images):
    run = image_run(images, metatrain_iterations=40)
    members = run.members(2)
    assert list(members) == run.checkpoints.best(2) and set(members) == {20, 40}
    assert run.iteration == next(iter(members)) == best_of(images)
    for iteration, theta in members.items():
        run.restore(iteration)
        assert {name: w.numpy().tobytes() for name, w in theta.items()} == {
            name: w.tobytes() for name, w in run.weights().items()
        }


def test_members_that_are_not_there_are_missed_in_one_line(images):
    with pytest.raises(UserError, match="ensemble is 3, but .* has 2 checkpoints whose accuracy on validation tasks"):
        image_run(images, metatrain_iterations=40).members(3)


def test_a_training_too_short_for_an_ensemble_is_refused_before_it(tmp_path):
    run = image_run(tmp_path, metatrain_iterations=30)
    run.check_kept(Best(2))
    with pytest.raises(UserError, match="ensemble is 3, but 30 iterations have 2 checkpoints, one every 20"):
        run.check_kept(Best(3))


def test_choosing_the_best_took_the_whole_run(with_best_20):
    with_best_20.restore(Best())
    assert float(with_best_20.state.seconds) == 77.0


def test_a_damaged_best_gives_way_to_the_latest(with_best_20, capsys):
    os.remove(with_best_20.checkpoints.folder / "iteration_00000020" / "state.index")
    assert with_best_20.restore(Best()) == "latest" and with_best_20.iteration == 40
    assert "taking the latest checkpoint instead" in capsys.readouterr().err


def test_where_nothing_was_validated_the_latest_is_tested(tmp_path):
    assert finished(tmp_path).restore(Best()) == "latest"


def test_restoring_where_there_is_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="no checkpoint in .*: nothing is trained there yet"):
        sinusoid_run(tmp_path).restore(Best())


def test_without_checkpoints_the_weights_that_came_along_are_restored(images, published):
    trained, there = image_run(images, metatrain_iterations=40), image_run(published, metatrain_iterations=40)
    trained.restore(20)
    assert there.restore(Best()) == "best"
    assert [w.tobytes() for w in there.weights().values()] == [w.tobytes() for w in trained.weights().values()]


def test_weights_that_came_along_say_how_long_they_were_trained(published):
    run = image_run(published, metatrain_iterations=40)
    run.restore(Latest())
    assert (run.iteration, run.iterations_trained, float(run.state.seconds) > 0) == (20, 40, True)


def test_weights_that_came_along_are_no_checkpoint_of_an_iteration(published):
    with pytest.raises(UserError, match="no checkpoint of iteration 20 in .*; there: none"):
        image_run(published, metatrain_iterations=40).restore(20)


def test_weights_of_another_network_are_refused(published):
    with pytest.raises(UserError, match=r"weights.npz: b1 is float32 \[3\], expected float32 \[4\]"):
        image_run(published, num_filters=4).restore(Best())


# A published folder: text and weights, no checkpoints


@pytest.fixture
def published(images, tmp_path):
    """A copy of the run as it is published, with the weights of iteration 20."""
    run = image_run(images, metatrain_iterations=40)
    run.restore(20)
    for name in ("config.json", "metrics.csv"):
        (tmp_path / "published").mkdir(exist_ok=True)
        shutil.copy(images / name, tmp_path / "published")
    run.folder = tmp_path / "published"
    run.write_weights("best")
    return run.folder


@pytest.mark.parametrize("left", ["metrics.csv", "weights.npz", "summary.json"])
def test_results_without_checkpoints_are_never_trained_into(published, left):
    (published / "summary.json").write_text("{}")
    for name in {"metrics.csv", "weights.npz", "summary.json"} - {left}:
        os.remove(published / name)
    before = {path.name: path.read_bytes() for path in published.iterdir()}
    with pytest.raises(UserError, match=rf"holds the results of a finished run \({left}\) and no checkpoints"):
        image_run(published, metatrain_iterations=40).train()
    assert {path.name: path.read_bytes() for path in published.iterdir()} == before


def test_but_they_are_set_aside_where_that_is_asked_for(published):
    image_run(published, metatrain_iterations=20).train(resume=False)
    assert (published.parent / "published.old-1" / "weights.npz").exists()


def test_a_run_killed_before_its_first_checkpoint_begins_anew(tmp_path, kills):
    whole = kills[0] / "sinusoid:never"
    (tmp_path / "checkpoints").mkdir()  # as training leaves it
    (tmp_path / "metrics.csv").write_bytes(b"".join((whole / "metrics.csv").read_bytes().splitlines(True)[:2]))
    assert sinusoid_run(tmp_path).train()
    assert (tmp_path / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


# What a folder lost


def rows_changed(folder, change):
    """The run of 20 iterations gone on with to 40, after a change of the lines of metrics.csv. Returns the lines."""
    Run(Steps(20), folder, log=False).train()
    path = folder / "metrics.csv"
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 21
    path.write_text("".join(change(lines)))
    run = Run(Steps(40), folder, log=False)
    assert run.train() and float(run.weights()["w"]) == 40
    return path.read_text().splitlines()


CHANGES = {
    "cut": (lambda lines: lines[:15] + lines[18:], "has 17 rows, and had 20 when this checkpoint was saved"),
    "cut at the end": (lambda lines: lines[:15], "has 14 rows, and had 20 when this checkpoint was saved"),
    "doubled": (lambda lines: lines + lines[-1:], "has 21 rows, and had 20 when this checkpoint was saved"),
    "changed": (lambda lines: [*lines[:9], "9,19\n", *lines[10:]], "has other numbers in it than when this checkpoint"),
    "all gone": (lambda lines: [], "has 0 rows, and had 20 when this checkpoint was saved"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_rows_that_were_lost_or_changed_are_said(tmp_path, capsys, what):
    change, said = CHANGES[what]
    rows_changed(tmp_path, change)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "metrics.csv" in line]
    assert line.startswith(f"{tmp_path / 'metrics.csv'} {said}") and "(iteration 20)" in line


def test_rows_that_were_not_say_nothing(tmp_path, capsys):
    lines = rows_changed(tmp_path, lambda lines: [*lines, "21,42\n", "22,4"])  # beyond the checkpoint; a torn one
    assert lines[1:] == [f"{i},{2 * i}" for i in range(1, 41)]
    assert "metrics.csv" not in capsys.readouterr().err


def test_a_column_that_came_later_is_no_change(tmp_path, capsys):
    Run(Steps(20), tmp_path, log=False).train()
    files.add_columns(tmp_path / "metrics.csv", ["entropy"])
    Run(Steps(30), tmp_path, log=False).train()
    assert "metrics.csv" not in capsys.readouterr().err


def test_checkpoints_without_a_word_of_the_table_are_gone_on_from(tmp_path, capsys):
    """Those of older versions."""
    Run(Steps(20), tmp_path, log=False).train()
    for record in tmp_path.glob("checkpoints/*/table.json"):
        record.unlink()
    Run(Steps(30), tmp_path, log=False).train()
    assert "metrics.csv" not in capsys.readouterr().err


def test_rows_are_on_disk_before_their_checkpoint(tmp_path, monkeypatch):
    calls, fsync, write = [], os.fsync, tf.train.Checkpoint.write

    def synced(descriptor):
        calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(tf.train.Checkpoint, "write", lambda *a: calls.append("checkpoint") or write(*a))
    Run(Steps(10), tmp_path, log=False).train()
    assert calls.index("metrics.csv") < calls.index("checkpoint")


@pytest.mark.parametrize("at", [13, 10])
@pytest.mark.parametrize("gone", ["", "checkpoints", "config.json"])
def test_a_folder_that_vanishes_while_it_trains_is_an_error(tmp_path, gone, at):
    """Between two checkpoints, and right before one. Nothing is written in its place."""
    folder = tmp_path / "run"
    run = Run(Steps(30), folder, log=False)
    advance = run.learner.advance

    def vanish():
        if run.iteration == at - 1:
            (folder / gone).rename(tmp_path / "elsewhere")
        return advance()

    run.learner.advance = vanish
    missing = gone or "config.json and checkpoints"
    with pytest.raises(UserError, match=f"run has lost {missing} while the run trained .iteration {at}.; expected"):
        run.train()
    assert not (folder / gone).exists()


# Folders of older versions


def test_the_columns_of_an_older_table_get_todays_names(tmp_path, kills):
    finished(tmp_path)
    table = (tmp_path / "metrics.csv").read_text()
    for old, new in supervised.OLD_COLUMNS.items():
        table = table.replace(new, old, 1)
    assert table.startswith("iteration,pre_loss,post_loss,pre_accuracy,")
    (tmp_path / "metrics.csv").write_text(table)
    assert sinusoid_run(tmp_path).train()
    assert (tmp_path / "metrics.csv").read_bytes() == (kills[0] / "sinusoid:never" / "metrics.csv").read_bytes()


def test_a_checkpoint_is_laid_out_as_ever(kills):
    """So that those of older versions are read."""
    names = [name for name, _ in tf.train.list_variables(str(newest_checkpoint(kills[0] / "sinusoid:never")))]
    theta = [f"{part}{i}" for i in (1, 2, 3) for part in "bw"]
    expected = [f"trainer/{group}/{w}" for group in ("weights", "first_moments", "second_moments") for w in theta]
    expected += ["trainer/iteration", "trainer/adam_updates", "best_iteration", "best_score", "seconds"]
    values = {f"state/{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in expected}
    assert values == set(names) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}


# Any learner


class Steps:
    """A learner that only counts: its θ is the iteration. scores, notes: {iteration: what it says of it}."""

    columns, old_columns, packages = ("iteration", "twice"), {}, ()

    def __init__(self, total, every=10, saves_untrained=False, scores=None, notes=None, more=None):
        self.settings = SimpleNamespace(
            name="steps", title="Steps", full_title="Steps", total_iterations=total, to_dict=dict
        )
        self.state = Trainer({"w": tf.constant(0.0)})
        self.checkpoint_every, self.saves_untrained = every, saves_untrained
        self.scores, self.notes, self.more = scores or {}, notes or {}, more or {}

    def check(self, folder):
        pass

    def begin(self, folder):
        self.began_at = int(self.state.iteration)

    def describe(self, row):
        return "on and on"

    def advance(self):
        self.state.iteration.assign_add(1)
        self.state.weights["w"].assign_add(1.0)
        i = int(self.state.iteration)
        row = {"twice": 2 * i, **self.more.get(i, {})}
        score, at = self.scores.get(i, (None, None))
        return Progress(row, score, at, self.notes.get(i))


def test_there_are_checkpoints_as_often_as_the_learner_wants(tmp_path):
    run = Run(Steps(25), tmp_path, log=False)
    run.train()
    assert run.checkpoints.iterations() == [10, 20, 25]


def test_the_state_before_the_first_iteration_is_saved_where_the_learner_wants(tmp_path):
    run = Run(Steps(2, 1, saves_untrained=True), tmp_path, log=False)
    run.train()
    assert run.checkpoints.iterations() == [0, 1, 2]


def test_where_nothing_is_to_be_trained_there_is_what_it_begins_with(tmp_path):
    run = sinusoid_run(tmp_path, metatrain_iterations=0)
    assert run.train() and run.checkpoints.iterations() == [0]


def test_a_score_belongs_to_the_iteration_now(tmp_path):
    run = Run(Steps(4, 1, scores={2: (0.5, None), 3: (0.5, None)}), tmp_path, log=False)
    run.train()
    assert run.restore(Best()) == "best" and run.iteration == 2


def test_or_to_the_iteration_that_the_learner_says(tmp_path):
    run = Run(Steps(4, 1, scores={3: (0.5, 2)}), tmp_path, log=False)
    run.train()
    assert run.restore(Best()) == "best" and run.iteration == 2


def test_a_note_goes_to_stderr(tmp_path, capsys):
    Run(Steps(3, notes={2: "iteration 2: step rejected"}), tmp_path, log=False).train()
    assert "iteration 2: step rejected\n" in capsys.readouterr().err


def test_what_a_later_row_has_besides_gets_a_column_behind(tmp_path):
    Run(Steps(3, more={2: {"entropy": 0.5}}), tmp_path, log=False).train()
    assert (tmp_path / "metrics.csv").read_text() == "iteration,twice,entropy\n1,2,\n2,4,0.5\n3,6,\n"


def test_a_table_that_lost_everything_gets_that_column_too(tmp_path):
    Run(Steps(10), tmp_path, log=False).train()
    (tmp_path / "metrics.csv").write_text("")
    Run(Steps(11, more={11: {"entropy": 0.5}}), tmp_path, log=False).train()
    assert (tmp_path / "metrics.csv").read_text() == "iteration,twice,entropy\n11,22,0.5\n"


def test_resumed_the_learner_begins_from_its_restored_state(tmp_path):
    Run(Steps(10, 5), tmp_path, log=False).train()
    run = Run(Steps(15, 5), tmp_path, log=False)
    run.train()
    assert run.learner.began_at == 10 and float(run.weights()["w"]) == 15.0


# The code


def test_no_pickles_are_read_or_written():
    """NumPy reads them only where it is told to."""
    root = Path(__file__).parents[3]
    code = [root / "main.py", *(f for name in ("maml", "data_generators", "rl") for f in (root / name).rglob("*.py"))]
    assert len(code) > 20
    words = ("pickle.", "import pickle", "joblib", "dill", "shelve", "marshal", "allow_pickle=True")
    assert [(str(f), word) for f in code for word in words if word in f.read_text(encoding="utf-8")] == []
