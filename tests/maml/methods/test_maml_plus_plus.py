"""MAML++: each part by hand, and with all of them off MAML itself."""

import math

import numpy as np
import pytest
import tensorflow as tf
from toys import given, mean_meta_gradient, problem, random_episode, random_weights

from data_generators.episode import Episode
from data_generators.errors import UserError
from maml import losses
from maml.meta_training import Trainer
from maml.methods import maml, maml_plus_plus
from maml.methods.card import Task
from maml.methods.maml_plus_plus import Settings, epoch_of, step_weights
from maml.networks import Network, Norm

OFF = dict(learn_rates=False, norm_per_step=False, multi_step_epochs=0, first_order_epochs=0)
SCALED = Norm(scale=True)


@pytest.mark.parametrize("epoch, expected", [
    (0, [0.2] * 5),
    (5, [0.1] * 4 + [0.6]),
    (10, [0.006] * 4 + [0.976]),
])  # fmt: skip
def test_weights_of_the_losses_go_from_equal_to_nearly_the_last_alone(epoch, expected):
    """5 steps, 10 epochs."""
    weights = step_weights(5, tf.constant(epoch, tf.float64), 10)
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    np.testing.assert_allclose(tf.reduce_sum(weights), 1, rtol=1e-12)


def test_of_one_step_its_loss_counts_whole():
    np.testing.assert_array_equal(step_weights(1, tf.constant(3.0, tf.float64), 10), [1])


def test_an_epoch_begins_at_its_first_iteration():
    """100 epochs of 500 iterations, progress in float32 as in training."""
    first = tf.range(0, 50000, 500)
    for iteration, expected in ((first, np.arange(100)), (first + 499, np.arange(100))):
        np.testing.assert_array_equal(epoch_of(tf.cast(iteration, tf.float32) / 50000, 100), expected)


@pytest.mark.parametrize("jit", [False, True])
def test_with_all_parts_off_it_is_maml_bit_for_bit(jit):
    of, episode = problem("dense", "batch_norm", "cross_entropy"), random_episode("dense", 3, "cross_entropy")
    mine = maml_plus_plus.build(Settings(0.1, 3, **OFF), of)
    other = maml.build(maml.Settings(0.1, 3), of)
    trainers = []
    for method in (mine, other):
        trainer = Trainer(method.init(2), 0.01)
        step = trainer.compile(method, jit=jit, total=10)
        for _ in range(2):
            metrics = step(episode)
        trainers.append((trainer, metrics))
    (got, got_metrics), (expected, metrics) = trainers
    assert got_metrics.keys() == metrics.keys() and got.weights.keys() == expected.weights.keys()
    for name, w in expected.weights.items():
        np.testing.assert_array_equal(got.weights[name], w, err_msg=name)
    for name, value in metrics.items():
        np.testing.assert_array_equal(got_metrics[name], value, err_msg=name)


def test_equal_step_sizes_and_norms_and_the_last_loss_alone_are_mamls_gradient():
    """The gradient of a tensor's step sizes is beside it; that of a norm is the sum of those of its steps."""
    of, episode = problem("dense", SCALED, "cross_entropy"), random_episode("dense", 2, "cross_entropy")
    mine = maml_plus_plus.build(Settings(0.1, 3, multi_step_epochs=0), of)
    weights = random_weights(of.network(3))
    theta = mine.init(0) | weights
    theta |= {n: tf.repeat(w[None], 3, 0) for n, w in weights.items() if maml_plus_plus.is_per_step_norm(n)}
    got_metrics, got = mean_meta_gradient(mine, theta, episode)
    metrics, expected = mean_meta_gradient(maml.build(maml.Settings(0.1, 3), of), weights, episode)
    np.testing.assert_allclose(got_metrics["loss"], metrics["loss"], rtol=1e-12)
    for name, g in expected.items():
        summed = tf.reduce_sum(got[name], 0) if maml_plus_plus.is_per_step_norm(name) else got[name]
        np.testing.assert_allclose(summed, g, rtol=1e-9, atol=1e-12, err_msg=name)


# On f(x) = w·x, squared error, w = 0, support (1, 1), query (2, 0)

W = {"w": tf.zeros([1], tf.float64)}
LINE = Network(lambda seed: W, lambda weights, x, num_reference=None: weights["w"][:, :, None] * x)
POINTS = Episode(*(tf.constant([[[part]]], tf.float64) for part in (1, 1, 2, 0)))


def line(epoch=math.inf, **settings):
    return maml_plus_plus.build(Settings(0.1, 2, num_epochs=10, **settings), given(LINE, losses.mse), epoch)


def test_the_losses_after_each_step_by_hand():
    """α = 0.1, 0.2: g = −2, w = 0.2; g = −1.6, w = 0.52. Losses (2w)²: 0.16, 1.0816, each counts half in epoch 0.

    ∂loss/∂w = 8w at each; w₂ = w₁(1 − 2α₂) + 2α₂. In α₁: ½·1.6·2 + ½·4.16·0.6·2 = 4.096; in α₂: ½·4.16·1.6 = 3.328;
    in w₀: ½·1.6·0.8 + ½·4.16·0.8·0.6 = 1.6384.
    """
    theta = {**W, "alpha/w": tf.constant([0.1, 0.2], tf.float64)}
    metrics, gradients = mean_meta_gradient(line(0, multi_step_epochs=1), theta, POINTS)
    np.testing.assert_allclose(metrics["loss"], 0.6208, rtol=1e-12)
    np.testing.assert_allclose(metrics["query_loss"], 1.0816, rtol=1e-12)
    np.testing.assert_allclose(gradients["alpha/w"], [4.096, 3.328], rtol=1e-12)
    np.testing.assert_allclose(gradients["w"], [1.6384], rtol=1e-12)


def gradient(objective, theta, progress=0.0):
    with tf.GradientTape() as tape:
        tape.watch(theta)
        loss = objective(theta, POINTS, progress)["loss"]
    return tape.gradient(loss, theta)


def test_stages_first_order_and_all_losses_then_second_order_then_the_last_loss_alone():
    """α = 0.1: g = −2, w = 0.2; g = −1.6, w = 0.36. Slopes 8w: 1.6, 2.88; second order times 0.8 and 0.8²."""
    of = Settings(0.1, 2, learn_rates=False, num_epochs=10, multi_step_epochs=4, first_order_epochs=2)
    (end, first), (other_end, second) = maml_plus_plus.stages(of, given(LINE, losses.mse))
    last = maml_plus_plus.build(of, given(LINE, losses.mse)).objective
    assert (end, other_end) == (0.2, 0.4)
    expected = [
        (first, 0.0, 0.5 * 1.6 + 0.5 * 2.88),
        (second, 0.3, 0.125 * 1.6 * 0.8 + 0.875 * 2.88 * 0.64),  # epoch 3 of 4: ½(1 − ¾)
        (last, 0.4, 2.88 * 0.64),
    ]
    for objective, progress, slope in expected:
        np.testing.assert_allclose(gradient(objective, W, progress)["w"], [slope], rtol=1e-12)


def test_no_part_is_longer_than_the_training():
    with pytest.raises(UserError, match="multi_step_epochs is 11, expected num_epochs, 10, or fewer"):
        Settings(num_epochs=10, multi_step_epochs=11)


def test_a_part_of_no_epochs_is_no_stage():
    assert maml_plus_plus.stages(Settings(multi_step_epochs=0), given(LINE, losses.mse)) == ()


def test_steps_beyond_those_of_the_training_have_what_its_last_one_has():
    method = line()
    theta = {**W, "alpha/w": tf.constant([0.1, 0.25], tf.float64)}
    state = method.start(theta, *POINTS[:2])
    seen = []
    for _ in range(3):
        state = method.step(state, *POINTS[:2])
        seen.append(float(state["w"][0, 0]))
    np.testing.assert_allclose(seen, [0.2, 0.6, 0.8], rtol=1e-12)  # to 1 by a fifth, a half and a half


def test_a_given_step_size_takes_the_place_of_all():
    method = line()
    state = method.step(method.start(method.init(0), *POINTS[:2]), *POINTS[:2], inner_lr=0.25)
    np.testing.assert_allclose(state["w"], [[0.5]], rtol=1e-12)


def test_each_step_has_a_norm_of_its_own_and_the_queries_that_of_the_step_before_them():
    """With no step yet that of the first; outputs after step j depend on norm j alone where the step size is 0."""
    of, episode = problem("dense", SCALED, "cross_entropy"), random_episode("dense", 1, "cross_entropy")
    method = maml_plus_plus.build(Settings(0.1, 3), of)
    theta = random_weights(method) | {n: tf.zeros_like(w) for n, w in method.init(0).items() if "alpha" in n}

    def outputs(theta):
        state, found = method.start(theta, *episode[:2]), []
        for _ in range(4):
            found.append(method.predict(state, episode.query_x).numpy())
            state = method.step(state, *episode[:2])
        return found

    changed = {**theta, "gamma0": theta["gamma0"] + tf.constant([[0.0], [1.0], [0.0]], tf.float64)}
    same = [np.array_equal(*pair) for pair in zip(outputs(theta), outputs(changed))]
    assert same == [True, True, False, True]


def test_step_sizes_are_one_a_tensor_and_step_and_norms_one_a_step():
    """In θ of the mean loss, three times as large as of this one of three classes."""
    theta = maml_plus_plus.build(Settings(0.1, 4), problem("dense", SCALED, "cross_entropy")).init(0)
    assert {n.removeprefix("alpha/") for n in theta if n.startswith("alpha/")} == {"w1", "b1", "w2", "b2", "w3", "b3"}
    assert all(w.shape == [4] and set(w.numpy()) == {3 * 0.1} for n, w in theta.items() if n.startswith("alpha/"))
    assert theta["beta1"].shape == theta["gamma1"].shape == [4, 5]


@pytest.mark.parametrize("task, inner_lr", [
    (Task("omniglot", num_classes=5), 0.02), (Task("omniglot", num_classes=20), 0.005), (Task("miniimagenet"), 0.002),
])  # fmt: skip
def test_the_papers_step_size_is_divided_by_the_ways_because_its_loss_is_a_mean(task, inner_lr):
    np.testing.assert_allclose(maml_plus_plus.preset(task)["inner_lr"], inner_lr, rtol=1e-12)
