"""Reinforcement learning from the command line: from training to the curve, and one clear line for bad input."""

import os
from pathlib import Path

import pytest
from commands import call, refused

import main
from maml import records
from rl import testing
from rl.meta_rl import MetaRL

POINT = "--datasource=point --metatrain_iterations=2 --meta_batch_size=2 --update_batch_size=2 --horizon=5 --nojit --eval_tasks=3 --nolog"


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


def settings(command):
    return call(command, main.rl_settings)


def protocol(command):
    return call(command, lambda: main.rl_test_protocol(main.rl_settings()[0]))


def test_a_run_leaves_its_folder(logdir):
    expected = {"config.json", "metrics.csv", "summary.json", "checkpoints", "learning_curve.png"}
    expected |= {"adaptation_test_tasks_3.csv", "returns_test_tasks_3.csv"}
    assert expected <= set(os.listdir(logdir / "point" / "seed_1"))


def test_tested_again_without_naming_its_settings(logdir, capsys):
    before = (logdir / "point" / "seed_1" / "metrics.csv").read_bytes()
    assert call(f"--datasource=point --train=False --eval_tasks=2 --test_iter=-1 --logdir={logdir}") == 0
    assert (logdir / "point" / "seed_1" / "metrics.csv").read_bytes() == before
    assert "2-D navigation" in capsys.readouterr().out
    evaluations = records.read_json(logdir / "point" / "seed_1" / "summary.json")["evaluations"]
    assert [e["file"] for e in evaluations] == ["adaptation_test_latest_tasks_2.csv", "adaptation_test_tasks_3.csv"]


def test_the_same_command_again_tests_and_trains_no_more(logdir):
    checkpoints = sorted(os.listdir(logdir / "point" / "seed_1" / "checkpoints"))
    assert call(f"{POINT} --logdir={logdir}") == 0
    assert sorted(os.listdir(logdir / "point" / "seed_1" / "checkpoints")) == checkpoints


def test_a_film_is_made_on_request(logdir, capsys):
    assert call(f"--datasource=point --train=False --eval_tasks=3 --render --logdir={logdir}") == 0
    assert "filmstrip_tasks_3.png" in capsys.readouterr().out
    assert {"filmstrip_tasks_3.png", "adapted_tasks_3.gif"} <= set(os.listdir(logdir / "point" / "seed_1"))


def test_no_renderer_is_said_before_the_training(capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    line = refused(capsys, "--datasource=cheetah_vel --render")
    assert "MUJOCO_GL='nonsense'" in line and os.listdir() == []


@pytest.mark.parametrize(
    "flags, folder",
    [
        ("--datasource=cheetah_vel", "cheetah_vel"),
        ("--datasource=cheetah_vel --baseline=None", "cheetah_vel"),
        ("--datasource=cheetah_vel --baseline=pretrained", "cheetah_vel_pretrained"),
        ("--datasource=ant_dir --baseline=oracle", "ant_dir_oracle"),
        ("--datasource=point --baseline=random", "point_random"),
        ("--datasource=point --baseline=pretrained", "point_pretrained"),
        ("--datasource=point --baseline=pretrained --outer=trpo", "point_pretrained_trpo"),
        ("--datasource=ant_vel --stop_grad --outer=adam", "ant_vel_first_order_adam"),
        ("--datasource=ant_vel --hvp=exact", "ant_vel"),
        ("--datasource=ant_vel --cg_iterations=20", "ant_vel_cg20"),
    ],
)
def test_the_run_folder(flags, folder):
    assert settings(f"{flags} --seed=3 --logdir=logs")[1] == Path("logs") / folder / "seed_3"


def test_flags_reach_the_settings():
    config = settings("--datasource=cheetah_dir --hvp=exact --max_kl=0.05 --horizon=50 --num_updates=2 --meta_batch_size=7")[0]
    assert (config.hvp, config.max_kl, config.horizon, config.num_updates, config.meta_batch_size) == ("exact", 0.05, 50, 2, 7)
    assert not config.is_papers and settings("--datasource=cheetah_dir --hvp=exact")[0].is_papers
    config = settings("--datasource=cheetah_dir --cg_iterations=20")[0]
    assert config.cg_iterations == 20 and not config.is_papers


def test_in_training_and_at_test_step_size_and_episodes_may_differ():
    command = "--datasource=point --update_lr=0.3 --train_update_lr=0.2 --update_batch_size=9 --train_update_batch_size=8"
    config, tested = settings(command)[0], protocol(command)
    assert (config.update_lr, config.update_batch_size) == (0.2, 8)
    assert (tested.first_lr, tested.later_lr, tested.update_batch_size) == (0.3, 0.15, 9)


def test_the_published_protocol_is_the_default():
    tested = protocol("--datasource=cheetah_vel --eval_tasks=40")
    assert tested.suffix == "" and (tested.tasks, tested.update_batch_size, tested.first_lr) == (40, 20, 0.1)


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--datasource=humanoid", "datasource is 'humanoid', expected one of "),
        ("--datasource=point --baseline=best", "baseline is 'best', expected one of pretrained, random, oracle, or nothing"),
        ("--datasource=cheetah_vel --horizon=0", "horizon is 0, expected at least 1"),
        ("--datasource=cheetah_vel --meta_batch_size=0", "meta_batch_size is 0, expected at least 1"),
        ("--datasource=cheetah_vel --hvp=fisher", "hvp is 'fisher', expected one of finite_difference, exact"),
        ("--datasource=cheetah_vel --num_filters=3", "num_filters given, which belongs to supervised learning"),
        ("--datasource=cheetah_vel --data_path=x --norm=None", "norm, data_path given, which belongs to supervised learning"),
        ("--datasource=omniglot --horizon=3", "horizon given, which belongs to reinforcement learning"),
        ("--datasource=omniglot --render", "render given, which belongs to reinforcement learning"),
        ("--datasource=point --eval_tasks=41", "eval_tasks is 41, expected 2 to 40"),
        ("--datasource=point --eval_tasks=1", "eval_tasks is 1, expected 2 to 40"),
        ("--datasource=point --test_iter=101", "test_iter is 101, expected at most 100"),
        ("--benchmark --datasource=cheetah_vel --horizon=3", "horizon given, which the benchmark settles itself"),
        ("--adapt=x --render", "render given, which belongs to reinforcement learning"),
        ("--datasource=point --test_iter=-2", "test_iter is -2, expected an iteration"),
        ("--datasource=point --train=False", "no run in results/point/seed_1: nothing to test"),
        ("--datasource=point --baseline=random --metatrain_iterations=5", "metatrain_iterations is 5, expected 0 of a random policy"),
    ],
)
def test_bad_input_gets_one_line(capsys, flags, message):
    assert message in refused(capsys, flags)
    assert os.listdir() == []


def test_other_settings_than_those_of_the_run(logdir, capsys):
    assert "horizon=5 there and 6 here" in refused(capsys, f"{POINT} --horizon=6 --logdir={logdir}")
    flags = f"--datasource=point --train=False --update_lr=0.3 --logdir={logdir}"
    line = refused(capsys, flags)
    assert "update_lr=0.5 there and 0.3 here" in line and "--train_" in line


def test_ctrl_c_loses_nothing(monkeypatch, capsys):
    def iterate(self):
        if self.iteration == 1 and not resumed:
            raise KeyboardInterrupt
        self.state.iteration.assign_add(1)
        return {"pre_return": -2.0, "post_return": -1.0, "kl": 0.0, "accepted": True, "reason": "", "steps": 1,
                "diverged": 0, "sampling_seconds": 1.0, "learning_seconds": 1.0}  # fmt: skip

    resumed = False
    monkeypatch.setattr(MetaRL, "iterate", iterate)
    monkeypatch.setattr(testing, "test", lambda *_: {})
    monkeypatch.setattr(testing, "headline", lambda _: "tested")
    assert call(POINT) == 130
    assert capsys.readouterr().err.endswith("stopped; the same command goes on from the last checkpoint\n")
    resumed = True
    assert call(POINT) == 0
    assert len(records.read_table(Path("results/point/seed_1/metrics.csv"))) == 2
