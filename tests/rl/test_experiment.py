"""Runs in their folders: killed, they go on and end as if nothing had happened; the best θ is kept."""

import os

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml import records
from rl import config, experiment
from rl.meta_rl import MetaRL

FEW = dict(meta_batch_size=2, update_batch_size=2, horizon=6, jit=False, tasks_per_chunk=2)


def make_run(folder, method="maml", iterations=4, **settings):
    few = FEW | dict(metatrain_iterations=iterations) | (dict(meta_batch_size=1) if method == "oracle" else {}) | settings
    return experiment.Run(config.resolve("point", method, **few), folder, log=False)


def rows(folder, but=("sampling_seconds", "learning_seconds")):
    """metrics.csv without what differs from run to run."""
    return [{n: v for n, v in row.items() if n not in but} for row in records.read_table(folder / "metrics.csv")]


def state(run):
    """{name: array} of all that its newest checkpoint holds, but how long it took."""
    path = run.checkpoints.folder / f"iteration_{max(run.checkpoints.iterations()):08d}" / "state"
    reader = tf.train.load_checkpoint(str(path))
    names = [n for n in reader.get_variable_to_shape_map() if "seconds" not in n and "OBJECT_GRAPH" not in n]
    return {name: np.asarray(reader.get_tensor(name)) for name in names}


def fake_iterate(self):
    """Quick, and a function of θ and the iteration, as MetaRL.iterate."""
    rng = np.random.default_rng(self.iteration)
    for weight in self.state.weights.values():
        weight.assign(0.9 * weight + rng.standard_normal(weight.shape, np.float32))
    self.state.iteration.assign_add(1)
    post_return = float(tf.reduce_sum(self.state.weights["w1"]))
    return {"pre_return": -1.0, "post_return": post_return, "loss_before": 0.0, "loss": -1.0, "kl": 0.001, "backtracks": 0,
            "accepted": True, "reason": "", "steps": 48, "diverged": 0, "sampling_seconds": 1.0, "learning_seconds": 1.0}  # fmt: skip


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(MetaRL, "iterate", fake_iterate)


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetaRL, "iterate", fake_iterate)
        run = make_run(tmp_path_factory.mktemp("run"))
        run.train()
    return run


class Killed(BaseException):
    """Nothing catches it and nothing is tidied up, so the folder is left as a kill leaves it."""


def sample(patch):
    patch.setattr(MetaRL, "iterate", at_call(3, MetaRL.iterate, kill))


def row(patch):
    patch.setattr(records, "append_row", at_call(3, records.append_row, kill_after))


def torn_row(patch):
    patch.setattr(records, "append_row", at_call(3, records.append_row, tear))


def torn_header(patch):
    patch.setattr(records, "append_row", at_call(1, records.append_row, tear))


def checkpoint(patch):
    patch.setattr(os, "replace", at_call(5, os.replace, kill))  # config.json, then iterations 0 to 3


def at_call(number, original, then):
    calls = []

    def wrapper(*arguments, **named):
        calls.append(None)
        return (then if len(calls) == number else lambda f, *a, **n: f(*a, **n))(original, *arguments, **named)

    return wrapper


def kill(*_, **__):
    raise Killed


def kill_after(original, *arguments, **named):
    original(*arguments, **named)
    raise Killed


def tear(_, path, *__):
    with open(path, "a") as file:
        file.write("3,-7")
    raise Killed


@pytest.mark.parametrize("moment", [sample, row, torn_row, torn_header, checkpoint])
def test_killed_and_started_again_ends_as_never_killed(never_killed, tmp_path, moment, monkeypatch, fake):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        moment(patch)
        make_run(tmp_path).train()
    again = make_run(tmp_path)
    assert again.checkpoints.iterations() == ([0] if moment is torn_header else [0, 1, 2])
    again.train()
    assert_same(again, never_killed)


def assert_same(run, other):
    assert rows(run.folder) == rows(other.folder)
    ours, theirs = state(run), state(other)
    assert ours.keys() == theirs.keys() and sum("weights" in name for name in ours) >= 7
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_the_same_of_a_real_run(tmp_path, monkeypatch):
    """Environments' and policies' random numbers included."""
    whole = make_run(tmp_path / "whole", iterations=3)
    whole.train()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        row(patch)
        make_run(tmp_path / "killed", iterations=3).train()
    again = make_run(tmp_path / "killed", iterations=3)
    again.train()
    assert_same(again, whole)
    table = records.read_table(again.folder / "metrics.csv")
    assert [row["iteration"] for row in table] == [1, 2, 3]
    assert tuple(table[0]) == experiment.METRICS_COLUMNS
    assert all(row["steps"] >= 48 and row["kl"] < 0.01 for row in table)


def with_returns(monkeypatch, returns):
    returns = iter(returns)
    monkeypatch.setattr(MetaRL, "iterate", lambda self: fake_iterate(self) | {"post_return": next(returns)})


def test_the_best_has_the_highest_mean_return_over_ten_iterations(tmp_path, monkeypatch):
    with_returns(monkeypatch, [-20.0] * 5 + [-8.0] + [-10.0] * 12)  # one lucky draw of tasks among even ones
    run = make_run(tmp_path, iterations=18)
    run.train()
    assert float(run.state.best_score) == pytest.approx(-9.8)  # of iterations 5 to 14, counted from 0
    assert run.restore("best") == "best" and run.iteration == 14


def test_the_mean_goes_on_over_a_restart(tmp_path, monkeypatch):
    with_returns(monkeypatch, [-20.0] * 5 + [-8.0] + [-10.0] * 12)
    for iterations in (7, 18):
        run = make_run(tmp_path, iterations=iterations)
        run.train()
    assert run.restore("best") == "best" and run.iteration == 14


def test_the_best_is_kept_among_many(tmp_path, monkeypatch):
    with_returns(monkeypatch, [0.0, 5.0, *[1.0] * 23])
    run = make_run(tmp_path, iterations=25)
    run.train()
    assert run.checkpoints.iterations() == [10, *range(16, 26)]
    assert run.restore("best") == "best" and run.iteration == 10


def test_few_returns_choose_nothing_yet(tmp_path, monkeypatch):
    with_returns(monkeypatch, [100.0, *[1.0] * 19])
    run = make_run(tmp_path, iterations=20)
    run.train()
    assert run.restore("best") == "best" and run.iteration == 9


def test_a_rejected_step_is_said(tmp_path, monkeypatch, capsys):
    rejected = dict(accepted=False, reason="KL 0.02 above 0.01")
    monkeypatch.setattr(MetaRL, "iterate", lambda self: fake_iterate(self) | rejected)
    make_run(tmp_path, iterations=1).train()
    assert "iteration 1: outer step rejected: KL 0.02 above 0.01" in capsys.readouterr().err
    assert rows(tmp_path)[0]["accepted"] == 0


def test_the_random_policy_can_be_tested_untrained(tmp_path):
    run = experiment.Run(config.resolve("point", "random"), tmp_path, log=False)
    run.train()
    assert run.restore("best") == "latest" and run.iteration == 0
    assert not (tmp_path / "metrics.csv").exists()


@pytest.mark.parametrize("method", ["pretrained", "oracle"])
def test_baselines_are_trained_alike(tmp_path, method):
    run = make_run(tmp_path, method, iterations=2)
    run.train()
    assert all(row["pre_return"] == row["post_return"] for row in rows(tmp_path))
    assert run.checkpoints.iterations() == [0, 1, 2]


def test_training_on_for_longer(never_killed, tmp_path, fake):
    make_run(tmp_path, iterations=2).train()
    make_run(tmp_path, iterations=4).train()
    assert rows(tmp_path) == rows(never_killed.folder)


def test_fewer_iterations_than_there_are(tmp_path, fake):
    make_run(tmp_path, iterations=2).train()
    with pytest.raises(UserError, match="trained to iteration 2 already, expected no more than the 1 asked for"):
        make_run(tmp_path, iterations=1).train()


def test_starting_anew_sets_the_old_run_aside(tmp_path, fake):
    folder = tmp_path / "run"
    make_run(folder, iterations=1).train()
    make_run(folder, iterations=1).train(resume=False)
    assert len(rows(tmp_path / "run.old-1")) == len(rows(folder)) == 1
