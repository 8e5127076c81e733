"""Conjugate gradients, Hessian-vector products, the line search and whole TRPO steps, in float64."""

import numpy as np
import pytest
import tensorflow as tf
from rollouts import plain_objective, random_batch, small_policy, theta

from data_generators.errors import UserError
from rl import trpo
from rl.meta_policy import some_tasks


def positive_definite(size=6):
    factor = np.random.default_rng(0).standard_normal([size, size])
    return tf.constant(factor @ factor.T + np.eye(size))


def vector(size=6, seed=1):
    return tf.constant(np.random.default_rng(seed).standard_normal(size))


def times(matrix):
    return lambda x: tf.linalg.matvec(matrix, x)


def test_conjugate_gradient_against_a_direct_solve():
    matrix, b = positive_definite(), vector()
    np.testing.assert_allclose(trpo.conjugate_gradient(times(matrix), b, 10), np.linalg.solve(matrix, b), rtol=1e-5)


@pytest.mark.parametrize("iterations, tolerance, products", [(3, 0.0, 3), (10, 1e9, 1), (10, 1e-10, 2)])
def test_conjugate_gradient_ends(iterations, tolerance, products):
    """After so many iterations, or below the tolerance: with two eigenvalues the second iteration is exact."""
    calls = []

    def product(x):
        calls.append(1)
        return x * tf.constant([1.0, 1, 1, 3, 3, 3], tf.float64) if tolerance else times(positive_definite())(x)

    trpo.conjugate_gradient(product, vector(), iterations, tolerance)
    assert len(calls) == products


def test_finite_difference_of_a_cubic_by_hand():
    """∇ = θ³: ((θ + εx)³ − (θ − εx)³)/2ε = 3θ²x + ε²x³, with ε = 1/(5 + 1e-8) at θ = (3, 4)."""
    product = trpo.finite_difference_product(lambda t: t**3, tf.constant([3.0, 4.0], tf.float64))
    x = np.array([2.0, -1.0])
    np.testing.assert_allclose(product(tf.constant(x)), 3 * np.array([9.0, 16.0]) * x + 0.04 * x**3, rtol=1e-8)


def test_finite_difference_is_the_exact_product_for_small_vectors():
    policy, weights = small_policy(), theta(small_policy())
    batch, objective = random_batch(policy, weights), plain_objective(policy)
    direction = theta(policy, seed=5)
    product = trpo.finite_difference_product(
        lambda v: trpo.flatten(objective.kl_gradient(trpo.unflatten(v, weights), batch)), trpo.flatten(weights)
    )
    exact = trpo.flatten(objective.kl_product(weights, direction, batch))
    np.testing.assert_allclose(product(1e-4 * trpo.flatten(direction)) * 1e4, exact, rtol=1e-5, atol=1e-8)


def test_the_step_uses_up_the_quadratic_model_of_the_kl():
    """½·dᵀHd = δ, along H⁻¹g."""
    matrix, gradient = positive_definite(), vector()
    descent = trpo.descent_step(times(matrix), gradient, max_kl=0.01, cg_iterations=10)
    np.testing.assert_allclose(0.5 * tf.tensordot(descent, times(matrix)(descent), 1), 0.01, rtol=1e-6)
    direct = np.linalg.solve(matrix, gradient)
    np.testing.assert_allclose(descent / tf.norm(descent), direct / np.linalg.norm(direct), rtol=1e-5)


def test_one_conjugate_gradient_goes_down_the_gradient():
    policy, weights = small_policy(), theta(small_policy())
    batch, objective = random_batch(policy, weights, lengths=(40, 50, 60)), plain_objective(policy)
    step = tf.function(lambda: trpo.step(objective, weights, batch, 0.01, "finite_difference", cg_iterations=1))
    new, outcome = step()
    moved = trpo.flatten(weights) - trpo.flatten(new)
    gradient = trpo.flatten(objective.loss_gradient(weights, batch)[1])
    assert outcome.accepted
    np.testing.assert_allclose(moved / tf.norm(moved), gradient / tf.norm(gradient), atol=1e-9)


def test_the_length_is_one_where_the_model_bends_down():
    matrix, gradient = -positive_definite(), vector()
    descent = trpo.descent_step(times(matrix), gradient, max_kl=0.01, cg_iterations=10)
    np.testing.assert_allclose(descent, np.linalg.solve(matrix, gradient), rtol=1e-4)


def search(losses, kls, max_kl=0.5):
    """The line search where the n-th length tried has such a loss and KL; the last ones repeat."""
    tried = []

    def value(theta):
        n = len(tried)
        tried.append(float(theta[0]))
        return tuple(tf.constant(x[min(n, len(x) - 1)], tf.float64) for x in (losses, kls))

    new, outcome = trpo.line_search(
        value, tf.constant([10.0], tf.float64), tf.constant([1.0], tf.float64), tf.constant(0.0, tf.float64), max_kl
    )
    return float(new[0]), outcome, tried


def test_the_first_length_that_is_good_is_taken():
    """The loss must be lower than 0, the KL at most 0.5: 0.8⁰ and 0.8¹ fail, one each."""
    new, outcome, tried = search([-1.0, 0.1, -2.0], [0.6, 0.1, 0.4])
    np.testing.assert_allclose(tried, [9, 9.2, 9.36])
    assert new == tried[2] and outcome.accepted and outcome.backtracks == 2
    assert outcome.loss == -2 and outcome.kl == 0.4 and outcome.reason(0.5) == ""


@pytest.mark.parametrize(
    "losses, kls, count, reason",
    [
        ([0.1], [0.1], 15, "loss not lower"),
        ([0.0], [0.1], 15, "loss not lower"),
        ([-1.0], [0.6], 15, "KL over its limit"),
        ([-1.0], [0.5], 1, "KL over its limit"),  # ends the search, and is then rejected, as the authors'
        ([np.nan], [0.1], 15, "loss or KL not finite"),
        ([-1.0], [np.nan], 15, "loss or KL not finite"),
    ],
)
def test_a_step_that_fails_is_rejected(losses, kls, count, reason):
    new, outcome, tried = search(losses, kls)
    assert new == 10 and not outcome.accepted and len(tried) == count and outcome.backtracks == count - 1
    assert outcome.reason(0.5) == reason


def test_flatten_there_and_back():
    weights = theta(small_policy())
    back = trpo.unflatten(trpo.flatten(weights), weights)
    assert back.keys() == weights.keys()
    for name in weights:
        np.testing.assert_array_equal(back[name], weights[name])


@pytest.mark.parametrize("hvp", trpo.HVP)
def test_a_step_lowers_the_surrogate_within_the_limit(hvp):
    """On random advantages; compiled as one graph. The old policy is the one that sampled."""
    policy, weights = small_policy(), theta(small_policy())
    batch = random_batch(policy, weights, lengths=(40, 50, 60))
    objective = plain_objective(policy)
    step = tf.function(lambda: trpo.step(objective, weights, batch, 0.01, hvp, 10))
    new, outcome = step()
    before, _ = objective.value(weights, batch)
    after, kl = objective.value(new, batch)
    assert outcome.accepted and 0.001 < kl < 0.01 and after < before - 0.01
    got = [outcome.loss_before, outcome.loss, outcome.kl]
    np.testing.assert_allclose(got, [before, after, kl], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hvp", trpo.HVP)
def test_the_curvature_of_some_tasks_bends_the_step_of_all(hvp):
    """The step is H⁻¹g with H of tasks 0 and 2 and g of all three, as long as H's own quadratic model allows."""
    policy, weights = small_policy(), theta(small_policy())
    batch, objective = random_batch(policy, weights, lengths=(40, 50, 60)), plain_objective(policy)
    some = some_tasks(batch, [0, 2])

    def moved(curvature):
        new, outcome = tf.function(lambda: trpo.step(objective, weights, batch, 0.01, hvp, 10, curvature))()
        assert outcome.accepted
        return trpo.flatten(weights) - trpo.flatten(new), trpo.BACKTRACK_RATIO ** int(outcome.backtracks)

    of_all, _ = moved(None)
    np.testing.assert_array_equal(moved(batch)[0], of_all)
    step, factor = moved(some)
    assert np.abs(step - of_all).max() > 1e-4
    _, gradient = objective.loss_gradient(weights, batch)

    def product(vector):
        of_kl = objective.kl_product(weights, trpo.unflatten(vector, weights), some)
        return trpo.flatten(of_kl) + trpo.DAMPING * vector

    if hvp == "exact":
        by_hand = trpo.descent_step(product, trpo.flatten(gradient), 0.01, 10)
        np.testing.assert_allclose(step, factor * by_hand, rtol=1e-6, atol=1e-9)


def test_a_gradient_that_is_not_finite_leaves_theta_alone():
    policy, weights = small_policy(), theta(small_policy())
    batch = random_batch(policy, weights)
    broken = batch._replace(outer=batch.outer._replace(advantages=batch.outer.advantages * np.nan))
    new, outcome = tf.function(lambda: trpo.step(plain_objective(policy), weights, broken, 0.01, "exact", 10))()
    assert not outcome.accepted and outcome.reason(0.01) == "loss or KL not finite"
    for name in weights:
        np.testing.assert_array_equal(new[name], weights[name])


def test_an_unknown_product_gets_one_line():
    with pytest.raises(UserError, match="hvp is 'fisher', expected one of finite_difference, exact"):
        trpo.step(None, {}, None, 0.01, "fisher", 10)
