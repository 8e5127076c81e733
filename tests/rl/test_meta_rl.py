"""Meta-iterations: resumed as never stopped, every method, the test protocol; and that it learns."""

import numpy as np
import pytest
import tensorflow as tf

from maml.runs.checkpoints import Checkpoints
from rl.advantages import advantages
from rl.meta_rl import MetaRL
from rl.protocol import protocol_of
from rl.settings import resolve


def small(method="maml", **given):
    few = dict(meta_batch_size=2, update_batch_size=3, horizon=8, jit=False, tasks_per_chunk=2)
    if method == "oracle":
        few |= dict(meta_batch_size=1)
    return resolve("point", method, **{**few, **given})


def weights_of(run):
    return {name: w.numpy() for name, w in run.trainer.current_weights().items()}


def assert_same(a, b):
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def without_times(metrics):
    return {name: value for name, value in metrics.items() if not name.endswith("_seconds")}


def test_resumed_is_as_never_stopped(tmp_path):
    whole = MetaRL(small())
    first = whole.iterate()
    checkpoints = Checkpoints(tmp_path, whole.trainer, whole.settings.to_dict())
    checkpoints.save(whole.iteration)
    second = whole.iterate()
    resumed = MetaRL(small())
    Checkpoints(tmp_path, resumed.trainer, resumed.settings.to_dict()).restore_latest()
    assert resumed.iteration == 1
    assert without_times(resumed.iterate()) == without_times(second) != without_times(first)
    assert_same(weights_of(resumed), weights_of(whole))


def test_a_meta_iteration_step_by_step():
    """TRPO moved θ along what was sampled: with the tasks of the iteration, θ before and adapted policies after."""
    run = MetaRL(small(num_updates=2))
    sampled, sampler = [], run.sampler()

    def recording(weights, tasks, key):
        sampled.append((weights, tasks, key, sampler(weights, tasks, key)))
        return sampled[-1][-1]

    run._sampler = recording
    before, tasks = weights_of(run), run.tasks(0)
    metrics = run.iterate()
    assert [key for _, _, key, _ in sampled] == [(1, 0, 0), (1, 0, 1), (1, 0, 2)]
    for _, seen, _, _ in sampled:
        np.testing.assert_array_equal(seen, tasks)
    for (weights, _, _, t), (after, *_) in zip(sampled, sampled[1:]):
        z = (t.actions - t.means) / np.exp(t.log_stds)[:, None]
        moved = 0.5 * np.mean(advantages(t).numpy()[:, :, None] * (z**2 - 1), 1)  # α = 0.5
        np.testing.assert_allclose(after["log_std"] - weights["log_std"], moved, atol=1e-5)
    np.testing.assert_array_equal(sampled[0][0]["w1"][1], before["w1"])
    assert metrics["pre_return"] == sampled[0][-1].returns.mean()
    assert metrics["post_return"] == sampled[2][-1].returns.mean()
    assert metrics["steps"] == 3 * 2 * 3 * 8 and run.iteration == 1
    assert metrics["accepted"] and metrics["loss"] < metrics["loss_before"] and 0 < metrics["kl"] < 0.01
    assert (weights_of(run)["w1"] != before["w1"]).any()


def test_more_episodes_for_the_outer_step_than_for_the_inner(monkeypatch):
    """Episodes of one environment a task come one after the other, so that the first three are those of K = 3."""
    usual, larger = MetaRL(small()), MetaRL(small(outer_batch_size=5))
    seen = {usual: [], larger: []}
    for run, batches in seen.items():
        step = run._outer_step
        run._outer_step = lambda batch, tasks, batches=batches, step=step: batches.append(batch) or step(batch, tasks)
    before, after = usual.iterate(), larger.iterate()
    (small_batch,), (large_batch,) = seen.values()
    for a, b in zip(small_batch.inner[0], large_batch.inner[0]):
        np.testing.assert_array_equal(a, b)
    assert (after["pre_return"], after["steps"]) == (before["pre_return"], 2 * 8 * (3 + 5))
    assert large_batch.outer.mask.shape == (2, 5 * 8) and small_batch.outer.mask.shape == (2, 3 * 8)
    np.testing.assert_array_equal(large_batch.outer.actions[:, : 3 * 8], small_batch.outer.actions)
    assert after["accepted"] and after["kl"] != before["kl"]


def test_as_many_episodes_for_the_outer_step_are_the_same_bit_for_bit():
    usual, same = MetaRL(small()), MetaRL(small(outer_batch_size=3))
    assert without_times(usual.iterate()) == without_times(same.iterate())
    assert_same(weights_of(usual), weights_of(same))


def test_environments_divide_the_episodes_of_the_outer_step():
    run = MetaRL(resolve("cheetah_dir", meta_batch_size=2, outer_batch_size=6, horizon=4))
    assert run.sampler().sampling.envs_per_task == 4 and run.outer_sampler().sampling.envs_per_task == 3


@pytest.mark.parametrize("setting", [dict(hvp="exact"), dict(cg_iterations=1), dict(max_kl=0.001)])
def test_what_is_set_of_trpo_changes_its_step(setting):
    as_published, other = MetaRL(small()), MetaRL(small(**setting))
    kl = as_published.iterate()["kl"]
    assert other.iterate()["kl"] != kl


def test_products_of_all_tasks_are_those_of_the_paper_bit_for_bit():
    default, all_of_them = MetaRL(small()), MetaRL(small(hvp_tasks=2))
    for _ in range(2):
        assert without_times(default.iterate()) == without_times(all_of_them.iterate())
    assert_same(weights_of(default), weights_of(all_of_them))


def test_the_tasks_of_the_products_are_drawn_anew_by_seed_and_iteration():
    """A quarter of 40, each as often as the others: of 400 draws 100 ± 9."""
    run = MetaRL(resolve("point", outer="trpo_subsampled", meta_batch_size=40))
    drawn = np.array([run.hvp_tasks(iteration) for iteration in range(400)])
    assert drawn.shape == (400, 10) and (np.diff(drawn) > 0).all() and (drawn[0] != drawn[1]).any()
    counts = np.bincount(drawn.ravel(), minlength=40)
    assert 65 < counts.min() and counts.max() < 135
    again = MetaRL(resolve("point", outer="trpo_subsampled", meta_batch_size=40, seed=2))
    np.testing.assert_array_equal(run.hvp_tasks(7), drawn[7])
    assert (again.hvp_tasks(7) != drawn[7]).numpy().any() and MetaRL(small()).hvp_tasks(0) is None


def test_products_of_one_task_change_the_step_and_nothing_before_it():
    whole, part = MetaRL(small()), MetaRL(small(hvp_tasks=1))
    before, after = whole.iterate(), part.iterate()
    same = ("pre_return", "post_return", "loss_before", "steps")
    assert [before[name] for name in same] == [after[name] for name in same]
    assert before["kl"] != after["kl"]


def test_a_rejected_step_is_an_iteration_that_leaves_theta(monkeypatch):
    monkeypatch.setattr("rl.meta_rl.advantages", lambda t: tf.fill(t.mask.shape, np.float32(np.nan)))
    run = MetaRL(small())
    before = weights_of(run)
    run._inner_step = lambda weights, samples, inner_lr: weights
    metrics = run.iterate()
    assert not metrics["accepted"] and metrics["reason"] == "loss or KL not finite" and run.iteration == 1
    assert_same(weights_of(run), before)


@pytest.mark.parametrize("what, spoilt", [("before", True), ("after", False)])
def test_where_every_simulation_diverges_that_is_said(what, spoilt):
    run = MetaRL(small())
    if spoilt:
        run.trainer.weights["b1"].assign(np.nan * run.trainer.weights["b1"])
    else:
        run._inner_step = lambda weights, samples, inner_lr: {n: np.nan * w for n, w in weights.items()}
    metrics = run.iterate()
    assert metrics["failure"] == f"every simulation diverged {what} adaptation" and metrics["spoilt"] == spoilt
    assert np.isnan(metrics["post_return"]) and np.isnan(metrics["pre_return"]) == spoilt
    assert metrics["diverged"] >= 2 * 3


def test_the_return_is_of_the_tasks_that_have_one():
    """After adaptation all episodes of the first of two tasks diverge."""
    run, sampled = MetaRL(small()), []
    sampler = run.sampler()
    run._sampler = lambda *arguments: sampled.append(sampler(*arguments)) or sampled[-1]
    broken = np.array([np.nan, 1.0], np.float32)
    run._inner_step = lambda weights, *_: weights | {"b1": weights["b1"] * broken[:, None]}
    metrics = run.iterate()
    first, second = sampled[1].returns
    assert np.isnan(first) and metrics["post_return"] == second and metrics["failure"] == ""


@pytest.mark.parametrize("outer", ["trpo", "adam"])
def test_ten_steps_in_a_row_that_are_not_finite_are_enough(outer):
    run = MetaRL(small(outer=outer))
    finite, calls = run._outer_step, []

    def step(batch, tasks):
        calls.append(1)
        one_in_between = len(calls) == 4
        bad = batch.outer._replace(advantages=np.nan * batch.outer.advantages)
        return finite(batch if one_in_between else batch._replace(outer=bad), tasks)

    run._outer_step = step
    said = [run.iterate()["failure"] for _ in range(14)]
    assert said == [*[""] * 13, "the outer step was rejected 10 times in a row (loss or KL not finite)"]


def test_where_only_a_gradient_is_not_finite_that_is_said():
    run = MetaRL(small(outer="adam"))
    loss_gradient = run._objective.loss_gradient

    def spoilt(weights, batch):
        loss, gradients = loss_gradient(weights, batch)
        return loss, gradients | {"b1": np.nan * gradients["b1"]}

    run._objective.loss_gradient = spoilt
    before, metrics = weights_of(run), run.iterate()
    assert (metrics["accepted"], metrics["reason"]) == (False, "gradient not finite")
    assert np.isfinite([metrics["loss"], metrics["kl"]]).all()
    assert_same(weights_of(run), before)


@pytest.mark.parametrize("name, ends_early", [("point", False), ("ant_vel", True)])
def test_how_long_episodes_are_and_how_wide_the_policy(name, ends_early):
    few = dict(meta_batch_size=2, update_batch_size=2, jit=False, tasks_per_chunk=2)
    run, sampled = MetaRL(resolve(name, horizon=120 if ends_early else 8, **few)), []
    sampler = run.sampler()
    run._sampler = lambda *arguments: sampled.append(sampler(*arguments)) or sampled[-1]
    run.trainer.weights["log_std"].assign(np.log(np.linspace(0.5, 1.5, run.kind.action_size, dtype=np.float32)))
    metrics = run.iterate()
    episodes = [times[np.flatnonzero(ends)] + 1 for times, ends in zip(sampled[1].times, sampled[1].ends)]
    assert metrics["episode_steps"] == pytest.approx(np.concatenate(episodes).mean())
    assert (metrics["episode_steps"] < run.settings.horizon) == ends_early
    assert metrics["policy_std"] == pytest.approx(1.0)


def test_where_nothing_goes_wrong_nothing_is_said():
    metrics = MetaRL(small()).iterate()
    assert (metrics["failure"], metrics["spoilt"], metrics["diverged"]) == ("", False, 0)


def test_pretraining_takes_an_adam_step_on_the_loss_of_theta():
    """The first step of Adam is its step size, 0.001, against the sign of the gradient."""
    run = MetaRL(small("pretrained"))
    before = weights_of(run)
    metrics = run.iterate()
    moved = weights_of(run)["log_std"] - before["log_std"]
    np.testing.assert_allclose(np.abs(moved), 0.001, rtol=1e-3)
    assert metrics["pre_return"] == metrics["post_return"] and metrics["steps"] == 2 * 3 * 8
    assert metrics["accepted"] and metrics["loss"] < metrics["loss_before"]


def test_promp_takes_five_adam_steps_on_the_episodes_of_an_iteration():
    run, one = MetaRL(small(outer="promp")), MetaRL(small(outer="promp", outer_steps=1))
    before = weights_of(run)
    metrics, of_one = run.iterate(), one.iterate()
    assert int(run.trainer.adam_updates) == 5 and int(one.trainer.adam_updates) == 1 == run.iteration
    assert metrics["accepted"] and metrics["loss"] < of_one["loss"] < metrics["loss_before"] == of_one["loss_before"]
    moved = weights_of(run)["log_std"] - before["log_std"]
    assert (np.abs(moved) > 0.002).any() and (np.abs(moved) < 0.00501).all()  # each step is at most β = 0.001


@pytest.mark.parametrize("what", ["gradient", "loss"])
def test_adam_steps_before_one_that_is_not_finite_count_as_taken(what):
    """The third of five fails. A loss that is no number then stops the training; a gradient alone does not."""
    run, calls = MetaRL(small(outer="promp")), []
    loss_gradient, value = run._objective.loss_gradient, run._objective.value

    def spoilt(weights, batch):
        calls.append(1)
        loss, gradients = loss_gradient(weights, batch)
        return loss, gradients | ({"b1": np.nan * gradients["b1"]} if len(calls) == 3 else {})

    def no_number(weights, batch):
        loss, kl = value(weights, batch)
        return np.nan * loss, kl

    run._objective.loss_gradient = spoilt
    if what == "loss":
        run._objective.value = no_number
    before, metrics = weights_of(run), run.iterate()
    assert len(calls) == 5 and int(run.trainer.adam_updates) == 2
    assert (weights_of(run)["w1"] != before["w1"]).any()
    assert (metrics["accepted"], metrics["reason"]) == (True, "")
    assert metrics["failure"] == ("loss or KL is not finite after the outer step" if what == "loss" else "")


@pytest.mark.parametrize("method, moved", [("anil", {"w3", "b3", "log_std"}), ("context_vector", {"context"})])
def test_what_adapts_a_part_moves_it_for_a_task_and_all_of_theta_in_between(method, moved):
    run = MetaRL(small(method))
    before = weights_of(run)
    adaptation = run.adapt([[0.3, 0.1], [-0.2, 0.4]], [0.5], rollouts=2)
    _, (adapted, _) = adaptation
    assert {name for name, w in adapted.items() if (w[0] != before[name]).numpy().any()} == moved
    metrics = run.iterate()
    assert metrics["accepted"] and metrics["loss"] < metrics["loss_before"]
    after = weights_of(run)
    assert {name for name in after if (after[name] != before[name]).any()} == after.keys()


def test_tasks_are_new_at_each_iteration_or_never():
    maml, pretrained = MetaRL(small()), MetaRL(resolve("cheetah_vel", "pretrained", jit=False))
    assert (maml.tasks(0) != maml.tasks(1)).all()
    assert pretrained.tasks(0).shape == (1, 100, 1)
    np.testing.assert_array_equal(pretrained.tasks(0), pretrained.tasks(7))


def test_the_oracle_sees_a_new_task_in_every_episode():
    run = MetaRL(small("oracle"))
    t = run.sampler()({name: w[None] for name, w in weights_of(run).items()}, run.tasks(0), (1, 0, 0))
    assert t.observations.shape[-1] == 4
    assert len(np.unique(t.observations[0, t.mask[0] == 1, 2])) == t.ends.sum() >= 3
    assert run.iterate()["accepted"]


def test_evaluation_adapts_step_by_step():
    run = MetaRL(small())
    tasks = [[0.3, 0.1], [-0.2, 0.4], [0.1, -0.5]]
    returns = run.evaluate(tasks, [0.5, 0.25], rollouts=4)
    assert returns.shape == (3, 3)
    np.testing.assert_array_equal(run.evaluate(tasks, [0.5, 0.25], rollouts=4), returns)
    np.testing.assert_array_equal(run.evaluate(tasks, [], rollouts=4), returns[:1])
    other = run.evaluate(tasks, [0.5, 0.1], rollouts=4)
    np.testing.assert_array_equal(other[:2], returns[:2])
    assert (other[2] != returns[2]).all()


@pytest.mark.slow
def test_navigation_learns_to_adapt_in_20_iterations():
    """Published after 100: −40.4 before, −11.7 after one step."""
    run = MetaRL(resolve("point"))
    for _ in range(20):
        run.iterate()
    protocol = protocol_of(run.settings)
    returns = run.evaluate(run.kind.published_tasks(), protocol.learning_rates[:1], protocol.rollouts).mean(1)
    assert returns[1] > -15 and returns[0] < -30  # before adaptation nothing is known of the goal
