"""The Gaussian policy: initialisation, forward, likelihood and KL."""

import math

import numpy as np
import pytest
import tensorflow as tf
from rollouts import A, O, random_samples, small_policy, theta

from maml import inner_loop
from rl import envs
from rl import policy as policies


@pytest.mark.parametrize("name, count", [("point", 10604), ("cheetah_vel", 12812), ("ant_dir", 23516)])
def test_number_of_weights(name, count):
    """As in the authors' code (2·100 + 100 + 100² + 100 + 100·2 + 2 + 2 for the point)."""
    kind = envs.get(name)
    weights = policies.gaussian_mlp(kind.observation_size, kind.action_size).init(1)
    assert sum(np.size(w) for w in weights.values()) == count


def test_weights_are_xavier_uniform_and_the_rest_zero():
    weights = policies.gaussian_mlp(20, 6).init(1)
    limit = math.sqrt(6 / 200)
    assert 0.99 * limit < np.abs(weights["w2"]).max() <= limit
    np.testing.assert_allclose(np.var(weights["w2"]), limit**2 / 3, rtol=0.03)
    assert all(not np.any(weights[name]) for name in ("b1", "b2", "b3", "log_std"))
    # The authors' initial norm for the cheetah is about 12.0.
    norm = math.sqrt(sum(np.sum(np.square(w)) for w in weights.values()))
    assert 11.8 < norm < 12.2


def test_initial_weights_are_a_function_of_the_seed():
    policy = policies.gaussian_mlp(2, 2)
    np.testing.assert_array_equal(policy.init(3)["w1"], policy.init(3)["w1"])
    assert (policy.init(3)["w1"] != policy.init(4)["w1"]).numpy().any()


@pytest.mark.parametrize("activation, hidden", [("relu", [0.0, 2.0]), ("tanh", [math.tanh(-1), math.tanh(2)])])
def test_forward_by_hand(activation, hidden):
    """One hidden layer of two: x = 1 gives −1 and 2 before the activation."""
    policy = policies.gaussian_mlp(1, 1, hidden=(2,), activation=activation, dtype=tf.float64)
    arrays = {"w1": [[[-2.0, 1.5]]], "b1": [[1.0, 0.5]], "w2": [[[3.0], [5.0]]], "b2": [[7.0]], "log_std": [[-20.0]]}
    arrays = {name: np.array(values) for name, values in arrays.items()}
    x = np.ones([1, 1, 1])
    mean, log_std = policy.forward({name: tf.constant(w) for name, w in arrays.items()}, tf.constant(x))
    np.testing.assert_allclose(mean[0, 0, 0], 3 * hidden[0] + 5 * hidden[1] + 7, rtol=1e-15)
    np.testing.assert_allclose(np.exp(log_std), 1e-6)  # the smallest there is
    mean_numpy, log_std_numpy = policy.forward_numpy(arrays, x)
    np.testing.assert_allclose(mean_numpy, mean, rtol=1e-15)
    np.testing.assert_allclose(log_std_numpy, log_std, rtol=1e-7)


def test_a_context_is_joined_to_each_observation_of_its_task():
    """As the policy of three inputs whose last two are those of the context, 5 and 6 for one task, 7 and 8 for one."""
    with_context = policies.gaussian_mlp(1, 1, hidden=(3,), dtype=tf.float64, context_size=2, adapted="context")
    plain = policies.gaussian_mlp(3, 1, hidden=(3,), dtype=tf.float64)
    weights = inner_loop.per_task(with_context.init(1), 2) | {"context": tf.constant([[5.0, 6], [7, 8]], tf.float64)}
    x = tf.constant([[[1.0], [2]], [[3], [4]]], tf.float64)
    joined = tf.constant([[[1.0, 5, 6], [2, 5, 6]], [[3, 7, 8], [4, 7, 8]]], tf.float64)
    expected, _ = plain.forward({name: w for name, w in weights.items() if name != "context"}, joined)
    np.testing.assert_array_equal(with_context.forward(weights, x)[0], expected)
    in_numpy, _ = with_context.forward_numpy({name: w.numpy() for name, w in weights.items()}, x.numpy())
    np.testing.assert_allclose(in_numpy, expected, rtol=1e-12)
    np.testing.assert_array_equal(with_context.init(1)["context"], [0, 0])


def test_what_an_inner_step_moves():
    def moved(**how):
        policy = policies.gaussian_mlp(2, 2, **how)
        return {name for name in policy.init(1) if policy.is_adapted(name)}

    assert moved() == {"w1", "b1", "w2", "b2", "w3", "b3", "log_std"}
    assert moved(adapted="head") == {"w3", "b3", "log_std"}
    assert moved(adapted="context", context_size=3) == {"context"}


@pytest.mark.parametrize("num_rows", [1, 3, 46])
def test_numpy_and_tensorflow_agree_on_several_tasks(num_rows):
    policy = policies.gaussian_mlp(20, 6)
    rng = np.random.default_rng(0)
    weights = {
        name: w + 0.1 * rng.standard_normal(w.shape, np.float32)
        for name, w in inner_loop.per_task(policy.init(1), 4).items()
    }
    x = rng.standard_normal([4, num_rows, 20], np.float32)
    before = x.copy()
    got = policy.forward_numpy({name: w.numpy() for name, w in weights.items()}, x)
    for one, other in zip(got, policy.forward(weights, tf.constant(x))):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(x, before)


def test_log_likelihood_by_hand():
    """σ = (1, 2), deviations (1, 4), so z = (1, 2): −½(1 + 4) − log 2 − log 2π."""
    actions, means = tf.constant([[[2.0, 4.0]]], tf.float64), tf.constant([[[1.0, 0.0]]], tf.float64)
    log_stds = tf.constant([[0.0, math.log(2)]], tf.float64)
    expected = -2.5 - math.log(2) - math.log(2 * math.pi)
    np.testing.assert_allclose(policies.log_likelihood(actions, means, log_stds), [[expected]], rtol=1e-14)


def test_kl_by_hand():
    """From N(1, 2²) to N(0, 1): (1 + 4 − 1)/2 + log(1/2); the authors' 1e-8 in the denominator is 1e-8 of the 2."""
    means = [tf.constant([[[x]]], tf.float64) for x in (1.0, 0.0)]
    log_stds = [tf.constant([[math.log(s)]], tf.float64) for s in (2.0, 1.0)]
    got = policies.kl(means[0], log_stds[0], means[1], log_stds[1])
    np.testing.assert_allclose(got, [[4 / (2 + 1e-8) - math.log(2)]], rtol=1e-14)


def test_kl_and_likelihood_ratio_of_equal_policies():
    policy = small_policy()
    weights = inner_loop.per_task(theta(policy), 3)
    samples = random_samples(policy, weights)
    means, log_stds = policy.forward(weights, samples.observations)
    np.testing.assert_array_equal(policies.kl(means, log_stds, means, log_stds), np.zeros(samples.mask.shape))
    ratio = tf.exp(
        policies.log_likelihood(samples.actions, means, log_stds)
        - policies.log_likelihood(samples.actions, samples.means, samples.log_stds)
    )
    np.testing.assert_allclose(ratio.numpy()[samples.mask.numpy() == 1], 1, rtol=1e-14)
    assert samples.actions.shape == (3, 9, A) and samples.observations.shape == (3, 9, O)
