"""Meta-SGD by hand: f(x) = w·x, squared error, w = 0, support (1, 1), query (2, 0), α = 0.1; and its traps."""

import numpy as np
import pytest
import tensorflow as tf
from toys import given, mean_meta_gradient, problem, random_episode, random_weights

from data_generators.episode import Episode
from maml import inner_loop, losses
from maml.meta_training import Trainer
from maml.methods import maml, meta_sgd
from maml.methods.card import Task
from maml.networks import Network


def number(*values):
    return tf.constant(values, tf.float64)


def line(w):
    """Meta-SGD on f(x) = Σ w·x."""
    net = Network(
        lambda seed: {"w": w}, lambda weights, x, num_reference=None: tf.reduce_sum(weights["w"][:, None] * x, 2, True)
    )
    return meta_sgd.build(meta_sgd.Settings(), given(net, losses.mse))


def one_point(support, query):
    return Episode(*(tf.constant([[part]], tf.float64) for part in (support[0], [support[1]], query[0], [query[1]])))


def test_one_weight():
    """g = −2, w' = 0.2, the query's loss 0.16 with gradient 1.6: −g·1.6 in α, 1.6·(1 − 2α) in w."""
    theta = {"w": number(0), "alpha/w": number(0.1)}
    metrics, gradients = mean_meta_gradient(line(theta["w"]), theta, one_point(([1], 1), ([2], 0)))
    np.testing.assert_allclose(metrics["loss"], 0.16, rtol=1e-12)
    np.testing.assert_allclose(gradients["alpha/w"], [3.2], rtol=1e-12)
    np.testing.assert_allclose(gradients["w"], [1.28], rtol=1e-12)


def test_two_weights():
    """Support (1, 2) → 1, query (1, −1) → 0: g = (−2, −4), w' = (0.2, 0.8). (I − diag(α)H) is not symmetric."""
    theta = {"w": number(0, 0), "alpha/w": number(0.1, 0.2)}
    metrics, gradients = mean_meta_gradient(line(theta["w"]), theta, one_point(([1, 2], 1), ([1, -1], 0)))
    np.testing.assert_allclose(metrics["loss"], 0.36, rtol=1e-12)
    np.testing.assert_allclose(gradients["alpha/w"], [-2.4, 4.8], rtol=1e-12)
    np.testing.assert_allclose(gradients["w"], [-1.92, -0.24], rtol=1e-12)


def small(kind="strided"):
    """(Method, Problem, θ, episode) on a network with batch norm."""
    of = problem(kind, "batch_norm", "cross_entropy")
    method = meta_sgd.build(meta_sgd.Settings(0.005, 0.1), of)
    return method, of, random_weights(method), random_episode(kind, 2, "cross_entropy")


def test_with_one_alpha_for_all_it_is_maml():
    """α in θ is of the mean loss, three times as large as MAML's of three classes."""
    method, of, theta, episode = small("dense")
    weights = {name: w for name, w in theta.items() if not name.startswith("alpha/")}
    theta = {name: tf.fill(w.shape, number(0.6)[0]) if name.startswith("alpha/") else w for name, w in theta.items()}
    metrics, gradients = mean_meta_gradient(method, theta, episode)
    expected_metrics, expected = mean_meta_gradient(maml.build(maml.Settings(0.2), of), weights, episode)
    np.testing.assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-12)
    for name, g in expected.items():
        np.testing.assert_allclose(gradients[name], g, rtol=1e-9, atol=1e-12, err_msg=name)


def test_there_is_an_alpha_for_each_weight_that_the_inner_step_moves():
    """None for a batch norm's offset, and none for an alpha."""
    theta = small()[0].init(0)
    of = {name.removeprefix("alpha/") for name in theta if name.startswith("alpha/")}
    assert of == {"conv1", "conv2", "conv3", "conv4", "b1", "b2", "b3", "b4", "w5", "b5"}
    assert all(theta[f"alpha/{name}"].shape == theta[name].shape for name in of)


def test_alphas_start_uniform_entry_by_entry():
    method = meta_sgd.build(meta_sgd.Settings(0.25, 0.75), problem("dense", "None", "mse"))
    alphas = {name: w.numpy().ravel() for name, w in method.init(3).items() if name.startswith("alpha/")}
    drawn = np.concatenate(list(alphas.values()))
    assert drawn.min() >= 0.25 and drawn.max() < 0.75 and len(np.unique(drawn)) == len(drawn)
    assert abs(drawn.mean() - 0.5) < 5 * 0.5 / np.sqrt(12 * len(drawn))


@pytest.mark.parametrize("task, low, high", [
    (Task("omniglot", num_classes=5), 0.001, 0.02),
    (Task("omniglot", num_classes=20), 0.00025, 0.005),
    (Task("sinusoid", num_shots=10), 0.005, 0.1),
])  # fmt: skip
def test_the_papers_range_is_divided_by_the_ways_because_its_loss_is_a_mean(task, low, high):
    preset = meta_sgd.preset(task)
    np.testing.assert_allclose([preset["alpha_min"], preset["alpha_max"]], [low, high], rtol=1e-12)


def test_in_theta_the_papers_range_is_whole():
    """So that an update by Adam moves it as far as there."""
    of = problem("dense", "batch_norm", "cross_entropy")
    theta = meta_sgd.build(meta_sgd.Settings(0.005 / 3, 0.1 / 3), of).init(0)
    drawn = np.concatenate([w.numpy().ravel() for name, w in theta.items() if name.startswith("alpha/")])
    assert 0.005 <= drawn.min() < 0.01 and 0.09 < drawn.max() <= 0.1


def test_training_moves_the_alphas():
    method, _, theta, episode = small("dense")
    trainer = Trainer(theta, 0.01)
    assert trainer.compile(method, jit=False)(episode)["finite"]
    for name, alpha in theta.items():
        in_front_of_a_norm = name in ("alpha/b1", "alpha/b2")  # whose weight has no gradient
        assert np.array_equal(trainer.weights[name], alpha) == (in_front_of_a_norm or name in ("b1", "b2")), name


def test_a_step_size_given_takes_the_place_of_all_alphas():
    method, of, theta, episode = small("dense")
    state = method.start(theta, *episode[:2])
    got = method.step(state, *episode[:2], inner_lr=0.3)
    weights = inner_loop.per_task({name: w for name, w in theta.items() if not name.startswith("alpha/")}, 2)
    expected = maml.build(maml.Settings(0.3), of).step(weights, *episode[:2])
    for name, w in expected.items():
        np.testing.assert_array_equal(got[name], w, err_msg=name)


def test_it_is_read_after_one_step_and_takes_no_more():
    assert meta_sgd.reading(Task("omniglot"), meta_sgd.Settings()) == (1, 1)
