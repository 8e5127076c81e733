"""The policy-gradient loss, the adapted policies and the outer objective, in float64 against differences."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from rollouts import (
    INNER_LR,
    A,
    O,
    central_differences,
    plain_objective,
    random_batch,
    random_samples,
    small_policy,
    theta,
)

from maml import inner_loop
from rl import meta_policy
from rl import policy as policies
from rl.meta_policy import MetaBatch, Objective, Samples


def close(got, expected, **tolerance):
    assert got.keys() == expected.keys()
    for name in got:
        np.testing.assert_allclose(got[name], expected[name], err_msg=name, **tolerance)


def test_policy_gradient_loss_is_a_mean_over_the_steps():
    policy = small_policy()
    weights = inner_loop.per_task(theta(policy), 3)
    samples = random_samples(policy, weights)
    means, log_stds = (x.numpy() for x in policy.forward(weights, samples.observations))
    for m, length in enumerate((5, 7, 6)):
        total = 0.0
        for t in range(length):
            z = (samples.actions[m, t] - means[m, t]) / np.exp(log_stds[m])
            total += (-0.5 * np.sum(z**2) - np.sum(log_stds[m]) - np.log(2 * np.pi)) * samples.advantages[m, t]
        got = meta_policy.policy_gradient_loss(policy, weights, samples)[m]
        np.testing.assert_allclose(got, -total / length, rtol=1e-12)


def test_one_step_changes_the_log_std_by_the_mean_of_advantage_times_z_squared_less_one():
    """As in the authors' saved trajectories: log σ moves by α·mean(Â(z² − 1))."""
    policy = small_policy()
    weights = inner_loop.per_task(theta(policy), 3)
    samples = random_samples(policy, weights)
    z = (samples.actions - samples.means) / tf.exp(samples.log_stds)[:, None]
    terms = samples.advantages[:, :, None] * (z**2 - 1) * samples.mask[:, :, None]
    expected = INNER_LR * tf.reduce_sum(terms, 1) / tf.reduce_sum(samples.mask, 1)[:, None]
    adapted = meta_policy.inner_step(policy, weights, samples, INNER_LR)
    np.testing.assert_allclose(adapted["log_std"] - weights["log_std"], expected, rtol=1e-10)


def test_the_gradient_of_the_surrogate_is_the_policy_gradient():
    """At the policy that sampled, ∇ of the ratio is ∇ log π."""
    policy, weights = small_policy(), theta(small_policy())
    per_task = inner_loop.per_task(weights, 3)
    samples = random_samples(policy, per_task)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = tf.reduce_mean(meta_policy.policy_gradient_loss(policy, inner_loop.per_task(weights, 3), samples))
    _, gradient = plain_objective(policy).loss_gradient(weights, MetaBatch((), samples))
    close(gradient, tape.gradient(loss, weights), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("num_updates", [0, 1, 2])
def test_gradients_against_central_differences(num_updates):
    """Of loss and KL, away from the policies that sampled, through as many inner steps."""
    policy, weights = small_policy(), theta(small_policy())
    batch = random_batch(policy, weights, num_updates)
    objective = plain_objective(policy)
    there = {name: w + 0.1 for name, w in weights.items()}
    value = tf.function(lambda w: objective.value(w, batch))
    loss, gradient = objective.loss_gradient(there, batch)
    np.testing.assert_allclose(loss, value(there)[0], rtol=1e-12)
    close(gradient, central_differences(lambda w: value(w)[0], there), rtol=1e-6, atol=1e-8)
    close(objective.kl_gradient(there, batch), central_differences(lambda w: value(w)[1], there), rtol=1e-6, atol=1e-8)


PARTS = {"head": dict(adapted="head"), "context": dict(adapted="context", context_size=2)}
MOVED = {"head": {"w2", "b2", "log_std"}, "context": {"context"}}


@pytest.mark.parametrize("part", PARTS)
def test_an_inner_step_moves_its_part_alone_by_the_policy_gradient(part):
    policy = small_policy(**PARTS[part])
    weights = inner_loop.per_task(theta(policy), 3)
    samples = random_samples(policy, weights)
    adapted = meta_policy.inner_step(policy, weights, samples, INNER_LR)
    loss = tf.function(lambda w: tf.reduce_sum(meta_policy.policy_gradient_loss(policy, w, samples)))
    gradient = central_differences(loss, weights)
    for name, before in weights.items():
        if name in MOVED[part]:
            np.testing.assert_allclose(adapted[name], before - INNER_LR * gradient[name], rtol=1e-7, atol=1e-9)
            assert np.abs(adapted[name] - before).max() > 1e-3
        else:
            np.testing.assert_array_equal(adapted[name], before)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("num_updates", [1, 2])
def test_gradients_through_inner_steps_of_a_part_against_central_differences(part, num_updates):
    """Every weight has one: the body too, though it stays, and the start of the context."""
    policy = small_policy(**PARTS[part])
    weights = theta(policy)
    batch, objective = random_batch(policy, weights, num_updates), plain_objective(policy)
    there = {name: w + 0.1 for name, w in weights.items()}
    value = tf.function(lambda w: objective.value(w, batch))
    _, gradient = objective.loss_gradient(there, batch)
    close(gradient, central_differences(lambda w: value(w)[0], there), rtol=1e-6, atol=1e-8)
    close(objective.kl_gradient(there, batch), central_differences(lambda w: value(w)[1], there), rtol=1e-6, atol=1e-8)
    assert all(np.abs(g).max() > 1e-4 for g in gradient.values())


@pytest.mark.parametrize("num_updates", [1, 2])
def test_exact_product_is_the_derivative_of_the_kl_gradient(num_updates):
    policy, weights = small_policy(), theta(small_policy())
    batch = random_batch(policy, weights, num_updates)
    objective = plain_objective(policy)
    there, direction = {name: w + 0.1 for name, w in weights.items()}, theta(policy, seed=5)
    up, down = (
        objective.kl_gradient({name: w + sign * 1e-6 * direction[name] for name, w in there.items()}, batch)
        for sign in (1, -1)
    )
    expected = {name: (up[name] - down[name]) / 2e-6 for name in up}
    close(objective.kl_product(there, direction, batch), expected, rtol=1e-5, atol=1e-7)


def test_first_order_is_the_sum_of_gradients_at_the_adapted_policies():
    policy, weights = small_policy(), theta(small_policy())
    batch = random_batch(policy, weights)
    adapted = meta_policy.inner_step(policy, inner_loop.per_task(weights, 3), batch.inner[0], INNER_LR)
    with tf.GradientTape() as tape:
        tape.watch(adapted)
        loss = tf.reduce_mean(meta_policy.surrogate_and_kl(policy, adapted, batch.outer)[0])
    expected = {name: tf.reduce_sum(g, 0) for name, g in tape.gradient(loss, adapted).items()}
    _, first = plain_objective(policy, first_order=True).loss_gradient(weights, batch)
    _, second = plain_objective(policy).loss_gradient(weights, batch)
    close(first, expected, rtol=1e-10, atol=1e-14)
    assert max(np.abs(first[name] - second[name]).max() for name in first) > 1e-3


def test_loss_weighs_tasks_and_kl_weighs_steps():
    """Lengths 6, 7 and 5 of the steps after adapting."""
    policy, weights = small_policy(), theta(small_policy())
    batch = random_batch(policy, weights)
    there = {name: w + 0.1 for name, w in weights.items()}
    adapted = meta_policy.inner_step(policy, inner_loop.per_task(there, 3), batch.inner[0], INNER_LR)
    losses, kls = meta_policy.surrogate_and_kl(policy, adapted, batch.outer)
    loss, kl = plain_objective(policy).value(there, batch)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-12)
    np.testing.assert_allclose(kl, np.sum(kls) / 18, rtol=1e-12)


def test_where_theta_sampled_the_ratio_is_one_and_the_kl_zero():
    policy, weights = small_policy(), theta(small_policy())
    batch = random_batch(policy, weights)
    loss, kl = plain_objective(policy).value(weights, batch)
    means = tf.reduce_sum(batch.outer.advantages, 1) / tf.reduce_sum(batch.outer.mask, 1)
    np.testing.assert_allclose(loss, -np.mean(means), rtol=1e-10)
    np.testing.assert_allclose(kl, 0, atol=1e-14)


def test_padding_changes_nothing():
    policy, weights = small_policy(), theta(small_policy())
    batch, objective = random_batch(policy, weights), plain_objective(policy)

    def pad(t):  # all but the log-stds
        return t if t.shape[1] == A else tf.pad(t, [[0, 0], [0, 4], [0, 0]][: t.shape.rank])

    padded = tf.nest.map_structure(pad, batch)
    assert padded.outer.observations.shape == (3, 13, O) and padded.outer.log_stds.shape == (3, A)
    # So narrow a policy that the ratio of a step that is none would be infinite.
    there = {**weights, "log_std": weights["log_std"] - 6.0}
    for a, b in zip(
        tf.nest.flatten(objective.loss_gradient(there, batch)), tf.nest.flatten(objective.loss_gradient(there, padded))
    ):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_the_likelihood_ratio_has_the_gradient_of_the_policy_gradient_loss_where_theta_sampled():
    policy = small_policy()
    weights = inner_loop.per_task(theta(policy), 3)
    samples = random_samples(policy, weights)
    steps = [meta_policy.inner_step(policy, weights, samples, INNER_LR, loss=loss)
             for loss in meta_policy.INNER_LOSSES.values()]  # fmt: skip
    close(steps[1], steps[0], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss, expected", [("log_likelihood", 2.0), ("likelihood_ratio", -16.0)])
def test_curvature_of_the_inner_losses_by_hand(loss, expected):
    """π = N(μ, 1), one step of Â = 2 with a = μ + 3: −∂²log π·Â = Â, and −∂²π/π_old·Â = −((a − μ)² − 1)·Â."""
    policy = policies.gaussian_mlp(1, 1, hidden=(), dtype=tf.float64)
    one, zero = tf.ones([1, 1, 1], tf.float64), tf.zeros([1, 1, 1], tf.float64)
    samples = Samples(zero, 3 * one, 2 * one[0], one[0], zero, zero[0])
    weights = inner_loop.per_task(policy.init(1), 1)
    with tf.GradientTape() as outer, tf.GradientTape() as inner:
        outer.watch(weights["b1"])
        inner.watch(weights["b1"])
        value = meta_policy.INNER_LOSSES[loss](policy, weights, samples)
        gradient = inner.gradient(value, weights["b1"])
    np.testing.assert_allclose(gradient, [[-6.0]])
    np.testing.assert_allclose(outer.gradient(gradient, weights["b1"]), [[expected]])


def test_the_clipped_surrogate_is_the_lesser_gain():
    """Of r·Â and r'·Â with r' within 1 ± 0.1, for ratios below, within and above, of either sign of Â."""
    policy, weights = small_policy(), theta(small_policy())
    batch = random_batch(policy, weights, lengths=(40, 50, 60))
    there = inner_loop.per_task({name: w + 0.05 for name, w in weights.items()}, 3)
    samples = batch.inner[0]
    new, old = (
        policies.log_likelihood(samples.actions, *of).numpy()
        for of in (policy.forward(there, samples.observations), (samples.means, samples.log_stds))
    )
    ratios, advantages, mask = np.exp(new - old), samples.advantages.numpy(), samples.mask.numpy()
    gains, cases = np.zeros(3), set()
    for m, t in np.argwhere(mask == 1):
        r, a = ratios[m, t], advantages[m, t]
        gains[m] += a * (min(r, 1.1) if a > 0 else max(r, 0.9))
        cases.add((a > 0, r < 0.9, r > 1.1))
    assert len(cases) == 6
    got, kl = meta_policy.surrogate_and_kl(policy, there, samples, ratio_clip=0.1)
    np.testing.assert_allclose(got, -gains / mask.sum(1), rtol=1e-12)
    np.testing.assert_array_equal(kl, meta_policy.surrogate_and_kl(policy, there, samples)[1])


def test_the_penalty_is_the_kl_of_the_policies_before_the_inner_steps():
    """The mean over tasks of the mean over their 5, 7 and 6 steps, and over both inner steps, times η = 0.4."""
    policy, weights = small_policy(), theta(small_policy())
    batch = random_batch(policy, weights, num_updates=2)
    there = {name: w + 0.1 for name, w in weights.items()}
    adapted, penalty = inner_loop.per_task(there, 3), 0
    for samples in batch.inner:
        penalty += 0.4 / 2 * np.mean(meta_policy.surrogate_and_kl(policy, adapted, samples)[1] / [5, 7, 6])
        adapted = meta_policy.inner_step(policy, adapted, samples, INNER_LR)
    plain, penalised = (plain_objective(policy, **how).value(there, batch) for how in ({}, dict(kl_penalty=0.4)))
    assert penalty > 0.01
    np.testing.assert_allclose(penalised[0], plain[0] + penalty, rtol=1e-12)
    np.testing.assert_array_equal(penalised[1], plain[1])


@pytest.mark.parametrize("num_updates", [1, 2])
def test_gradients_of_promps_loss_against_central_differences(num_updates):
    policy, weights = small_policy(), theta(small_policy())
    batch = random_batch(policy, weights, num_updates)
    objective = plain_objective(policy, inner_loss="likelihood_ratio", ratio_clip=0.1, kl_penalty=0.4)
    there = {name: w + 0.05 for name, w in weights.items()}
    value = tf.function(lambda w: objective.value(w, batch))
    loss, gradient = objective.loss_gradient(there, batch)
    np.testing.assert_allclose(loss, value(there)[0], rtol=1e-12)
    close(gradient, central_differences(lambda w: value(w)[0], there), rtol=1e-6, atol=1e-8)


def kl_product_of(batch, tasks=None):
    """The Hessian of the KL times a direction, away from the policies that sampled; of some tasks, or all."""
    policy = small_policy()
    there, direction = {name: w + 0.1 for name, w in theta(policy).items()}, theta(policy, seed=5)
    some = batch if tasks is None else meta_policy.some_tasks(batch, tasks)
    return plain_objective(policy).kl_product(there, direction, some)


def test_the_product_of_all_tasks_by_number_is_the_full_product_bit_for_bit():
    batch = random_batch(small_policy(), theta(small_policy()))
    for name, got in kl_product_of(batch, [0, 1, 2]).items():
        np.testing.assert_array_equal(got, kl_product_of(batch)[name])


def test_the_product_of_some_tasks_is_that_of_a_batch_of_these_alone():
    """The KL's denominator is then their steps alone."""
    batch = random_batch(small_policy(), theta(small_policy()))
    alone = tf.nest.map_structure(lambda t: tf.stack([t[0], t[2]]), batch)
    close(kl_product_of(batch, [0, 2]), kl_product_of(alone), rtol=1e-12)
    assert np.abs(kl_product_of(batch, [0, 2])["w1"] - kl_product_of(batch)["w1"]).max() > 1e-3


def test_the_mean_over_all_draws_of_tasks_is_the_full_product():
    """Where all have as many steps."""
    batch = random_batch(small_policy(), theta(small_policy()), lengths=(6, 6, 6, 6))
    draws = [kl_product_of(batch, list(tasks)) for tasks in itertools.combinations(range(4), 2)]
    mean = {name: np.mean([draw[name] for draw in draws], 0) for name in draws[0]}
    close(kl_product_of(batch), mean, rtol=1e-10, atol=1e-14)


def test_chunks_and_compilation_change_nothing():
    policy, weights = small_policy("relu"), theta(small_policy())
    batch, direction = random_batch(policy, weights), theta(policy, seed=5)
    whole = plain_objective(policy)
    chunked = Objective(policy, INNER_LR, tasks_per_chunk=1, jit=True)
    there = {name: w + 0.1 for name, w in weights.items()}

    def everything(objective):
        return [objective.loss_gradient(there, batch), objective.kl_product(there, direction, batch)]

    for a, b in zip(tf.nest.flatten(everything(whole)), tf.nest.flatten(tf.function(lambda: everything(chunked))())):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_compiled_inner_step_is_the_inner_step():
    policy = small_policy()
    weights = inner_loop.per_task(theta(policy), 3)
    samples = random_samples(policy, weights)
    compiled = meta_policy.compiled_inner_step(policy, tasks_per_chunk=2)
    for inner_lr in (0.3, 0.15):
        got = compiled(weights, samples, inner_lr)
        close(got, meta_policy.inner_step(policy, weights, samples, inner_lr), rtol=1e-10, atol=1e-14)
