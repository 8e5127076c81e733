"""Reinforcement learning from the command line: from training to the curve, and one clear line for bad input."""

import os
import signal
from pathlib import Path

import pytest
from commands import call, plan, refused

from maml.cli import commands
from maml.runs import files, run, testing
from maml.runs.checkpoints import Latest
from rl import benchmark
from rl.meta_rl import MetaRL

FEW = "--meta_batch_size=2 --update_batch_size=2 --horizon=5"
POINT = f"--datasource=point {FEW} --metatrain_iterations=2 --nojit --eval_tasks=3 --nolog"
NAME = "point_meta_batch_size_2_update_batch_size_2_horizon_5"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """What is written by default goes to an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """With a finished run of POINT in it."""
    folder = tmp_path_factory.mktemp("results")
    assert call(f"{POINT} --logdir={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def folder(logdir):
    return logdir / NAME / "seed_1"


def test_a_run_leaves_its_folder(folder):
    expected = {"config.json", "metrics.csv", "summary.json", "checkpoints", "learning_curve.png", "figure_4.png"}
    expected |= {"adaptation_test_tasks_3.csv", "returns_test_tasks_3.csv"}
    assert expected <= set(os.listdir(folder))


@pytest.mark.parametrize("command", ["--datasource=point --baseline=random --nolog", "--benchmark --datasource=point"])
def test_whoever_runs_keeps_freed_memory(command, monkeypatch):
    """A third of a meta-iteration of the ant is spent on fetching it again otherwise."""
    calls = []
    for place in (run, benchmark):
        monkeypatch.setattr(place, "keep_freed_memory", lambda: calls.append(1))
    monkeypatch.setattr(benchmark, "report", lambda *_: None)
    monkeypatch.setattr(testing, "test", lambda *_: {})
    monkeypatch.setattr(testing, "headline", lambda *_: "tested")
    monkeypatch.setitem(commands.DRAW, "rl", lambda _: None)
    call(command)
    assert calls == [1]


def test_tested_again_without_training(logdir, folder, capsys):
    before = (folder / "metrics.csv").read_bytes()
    again = f"--datasource=point {FEW} --train=False --eval_tasks=2 --test_iter=-1 --logdir={logdir}"
    assert call(f"{again} --train_update_batch_size=2 --update_batch_size=20") == 0
    assert (folder / "metrics.csv").read_bytes() == before
    assert "2-D navigation" in capsys.readouterr().out
    evaluations = files.read_json(folder / "summary.json")["evaluations"]
    assert {e["file"] for e in evaluations} == {
        "adaptation_test_latest_rollouts_20_tasks_2.csv", "adaptation_test_tasks_3.csv"}  # fmt: skip


def test_the_same_command_again_tests_and_trains_no_more(logdir, folder):
    checkpoints = sorted(os.listdir(folder / "checkpoints"))
    assert call(f"{POINT} --logdir={logdir}") == 0
    assert sorted(os.listdir(folder / "checkpoints")) == checkpoints


def test_a_film_is_made_on_request(logdir, folder, capsys):
    """Of the best of two iterations: the last, whose returns are those of θ before its step."""
    assert call(f"{POINT} --train=False --render --logdir={logdir}") == 0
    assert "filmstrip_iteration_1_tasks_3.png" in capsys.readouterr().out
    assert {"filmstrip_iteration_1_tasks_3.png", "adapted_iteration_1_tasks_3.gif"} <= set(os.listdir(folder))


def test_no_renderer_is_said_before_the_training(capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    line = refused(capsys, "--datasource=cheetah_vel --render")
    assert "MUJOCO_GL='nonsense'" in line and os.listdir() == []


@pytest.mark.parametrize(
    "command, name",
    [
        ("--datasource=cheetah_vel", "cheetah_vel"),
        ("--datasource=cheetah_vel --baseline=None", "cheetah_vel"),
        ("--datasource=cheetah_vel --baseline=pretrained", "cheetah_vel_pretrained"),
        ("--datasource=cheetah_vel --method=pretrained", "cheetah_vel_pretrained"),
        ("--datasource=ant_dir --method=anil", "ant_dir_anil"),
        ("--datasource=point --method=context_vector --outer=trpo_subsampled", "point_context_vector_trpo_subsampled"),
        ("--datasource=point --baseline=pretrained --outer=trpo", "point_pretrained_trpo"),
        ("--datasource=ant_vel --stop_grad --cg_iterations=20", "ant_vel_first_order_cg20"),
    ],
)
def test_the_method_and_other_settings_name_the_folder(command, name):
    assert plan(f"{command} --seed=3 --logdir=there").folder == Path("there") / name / "seed_3"


def test_flags_reach_the_settings():
    command = "--datasource=cheetah_dir --hvp=exact --max_kl=0.05 --horizon=50 --num_updates=2 --meta_batch_size=7"
    s = plan(command).settings
    assert (s.hvp, s.max_kl, s.horizon, s.num_updates, s.num_tasks) == ("exact", 0.05, 50, 2, 7)


def test_in_training_and_at_test_step_size_and_episodes_may_differ():
    lr, rollouts = "--update_lr=0.3 --train_update_lr=0.2", "--update_batch_size=9 --train_update_batch_size=8"
    planned = plan(f"--datasource=point {lr} {rollouts}")
    trained, tested = planned.settings, planned.protocol
    assert (trained.inner_lr, trained.rollouts) == (0.2, 8)
    assert (tested.first_lr, tested.later_lr, tested.rollouts) == (0.3, 0.15, 9)


def test_the_published_protocol_is_the_default():
    tested = plan("--datasource=cheetah_vel --eval_tasks=40").protocol
    assert tested.suffix == "" and (tested.tasks, tested.rollouts, tested.first_lr) == (40, 20, 0.1)
    assert isinstance(plan("--datasource=cheetah_vel --test_iter=-1").protocol.checkpoint, Latest)


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--datasource=point --horizon=1000000000", "a batch of episodes alone would take 14.6 TiB of memory or more"),
        (
            "--datasource=point --update_batch_size=1000000000000 --train_update_batch_size=40",
            "the episodes of a test alone would take",
        ),
        ("--datasource=point --num_updates=2000000000", "a batch of episodes alone would take"),
        ("--datasource=point --outer_batch_size=1000000000", "a batch of episodes alone would take"),
        (
            "--datasource=point --method=context_vector --context_size=1000000000",
            "the weights alone would take 373 GiB",
        ),
        ("--datasource=point --meta_batch_size=100000000000", "a batch of episodes alone would take"),
        ("--datasource=humanoid", "datasource is 'humanoid', expected one of "),
        ("--datasource=point --baseline=best", "baseline is 'best', expected one of pretrained, random, oracle, or"),
        ("--datasource=cheetah_vel --horizon=0", "horizon is 0, expected at least 1"),
        ("--datasource=cheetah_vel --meta_batch_size=0", "meta_batch_size is 0, expected at least 1"),
        ("--datasource=cheetah_vel --hvp=fisher", "hvp is 'fisher', expected one of finite_difference, exact"),
        ("--datasource=cheetah_vel --num_filters=3", "num_filters given, which belongs to supervised learning"),
        ("--datasource=cheetah_vel --data_path=x", "data_path given, which belongs to supervised learning"),
        ("--datasource=omniglot --horizon=3", "horizon given, which belongs to reinforcement learning"),
        ("--datasource=omniglot --render", "render given, which belongs to reinforcement learning"),
        ("--datasource=cheetah_vel --task_draw=once", "task_draw"),
        ("--datasource=point --eval_tasks=41", "eval_tasks is 41, expected 2 to 40"),
        ("--datasource=point --eval_tasks=1", "eval_tasks is 1, expected 2 to 40"),
        ("--datasource=point --test_iter=101", "test_iter is 101, expected at most 100"),
        ("--benchmark --datasource=cheetah_vel --horizon=3", "horizon given, which the benchmark settles itself"),
        ("--adapt=x --render", "render given, which belongs to reinforcement learning"),
        ("--datasource=point --test_iter=-2", "test_iter is -2, expected an iteration"),
        ("--datasource=point --train=False", "no run in logs/point/seed_1: nothing to test"),
        ("--datasource=point --baseline=random --metatrain_iterations=5", "metatrain_iterations is 5, expected 0 of a"),
    ],
)
def test_bad_input_gets_one_line(capsys, flags, message):
    assert message in refused(capsys, flags)
    assert os.listdir() == []


def test_fewer_iterations_than_those_of_the_run(logdir, capsys):
    line = refused(capsys, f"{POINT} --metatrain_iterations=1 --logdir={logdir}")
    assert "trained to iteration 2 already, expected no more than the 1 asked for" in line


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_loses_nothing(monkeypatch, capsys, number, code):
    def iterate(self):
        self.trainer.iteration.assign_add(1)
        if stop:
            os.kill(os.getpid(), number)
        return {"pre_return": -2.0, "post_return": -1.0, "kl": 0.0, "accepted": True, "reason": "", "steps": 1,
                "diverged": 0, "sampling_seconds": 1.0, "learning_seconds": 1.0, "failure": "",
                "spoilt": False}  # fmt: skip

    stop = True
    monkeypatch.setattr(MetaRL, "iterate", iterate)
    monkeypatch.setattr(testing, "test", lambda *_: {})
    monkeypatch.setattr(testing, "headline", lambda *_: "tested")
    monkeypatch.setitem(commands.DRAW, "rl", lambda _: None)
    assert call(POINT) == code
    assert "stopped and saved at iteration 1; the same command goes on from there" in capsys.readouterr().out
    stop = False
    assert call(POINT) == 0
    assert len(files.read_table(Path("logs") / NAME / "seed_1" / "metrics.csv")) == 2
