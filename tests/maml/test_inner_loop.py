"""The inner loop: one step by hand, several steps, what is adapted, and functions written for one task."""

import numpy as np
import pytest
import tensorflow as tf
from toys import (
    KINDS,
    SHOTS,
    given,
    loss_function,
    mean_meta_gradient,
    network,
    problem,
    random_episode,
    random_weights,
    reference_forward,
)

from data_generators.episode import Episode
from data_generators.errors import UserError
from maml import inner_loop, losses, networks
from maml.meta_training import compiled_meta_gradient
from maml.methods import maml
from maml.networks import Network

# f(x) = w·x, squared error, w = 1, α = 0.25, support (1, 0), query (1, 1). By hand: the support loss w² has gradient
# 2, so w' = 1 − 0.25·2 = 0.5 = w/2; the query loss (w' − 1)² has gradient −1 in w'; dw'/dw = 1/2, or 1 to first order.
ALPHA = 0.25
W = {"w": tf.constant(1.0, tf.float64)}
EPISODE = Episode(*(tf.constant([[[value]]], tf.float64) for value in (1.0, 0.0, 1.0, 1.0)))


def line(weights, x):
    return weights["w"][:, None, None] * x


def line_loss(weights):
    return losses.mse(line(weights, EPISODE.support_x), EPISODE.support_y)


def test_per_task_copies_the_weights():
    theta = {"w": tf.constant([1.0, 2.0])}
    np.testing.assert_array_equal(inner_loop.per_task(theta, 3)["w"], [[1, 2]] * 3)


def test_the_gradient_of_per_task_is_the_sum_over_tasks():
    theta = {"w": tf.constant([1.0, 2.0])}
    with tf.GradientTape() as tape:
        tape.watch(theta)
        y = tf.reduce_sum(inner_loop.per_task(theta, 3)["w"] * tf.constant([[1.0], [2.0], [4.0]]))
    np.testing.assert_array_equal(tape.gradient(y, theta)["w"], [7, 7])


def test_one_step_by_hand():
    stepped, before = inner_loop.inner_update(line_loss, inner_loop.per_task(W, 1), ALPHA)
    assert stepped["w"].numpy() == [0.5] and before.numpy() == [1.0]


@pytest.mark.parametrize("first_order, expected", [(False, 0.5), (True, 1.0)])
def test_the_derivative_of_a_step_by_hand(first_order, expected):
    """d(w − α·2w)/dw = 1 − 2α, and 1 where the gradient counts as a constant."""
    weights = inner_loop.per_task(W, 1)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        stepped, _ = inner_loop.inner_update(line_loss, weights, ALPHA, first_order)
    assert tape.gradient(stepped["w"], weights["w"]).numpy() == [expected]


def test_the_step_size_is_not_rounded_to_float32():
    """w − 0.1·2w = 0.8; with α rounded it is off by 3e-9."""
    stepped, _ = inner_loop.inner_update(line_loss, inner_loop.per_task(W, 1), 0.1)
    np.testing.assert_allclose(stepped["w"], [0.8], rtol=1e-15)


def test_the_step_size_may_be_one_for_each_entry_of_each_weight():
    """f(x) = w·x with two inputs, w = (1, 1), support x = (1, 2), y = 1: the gradient is 2·(3 − 1)·x = (4, 8)."""
    weights = {"w": tf.constant([[1.0, 1.0]], tf.float64), "spare": tf.constant([5.0], tf.float64)}

    def task_loss(weights):
        return tf.square(tf.reduce_sum(weights["w"] * tf.constant([[1.0, 2.0]], tf.float64), 1) - 1.0)

    rates = {"w": tf.constant([0.25, 0.5], tf.float64), "spare": 0.1}  # broadcast over the task axis; a plain number
    stepped, _ = inner_loop.inner_update(task_loss, weights, rates)
    np.testing.assert_array_equal(stepped["w"], [[0.0, -3.0]])
    np.testing.assert_array_equal(stepped["spare"], [5.0])


def test_gradients_reach_the_step_sizes():
    """d(w − a·2w)/da = −2w."""
    weights, alpha = inner_loop.per_task(W, 1), {"w": tf.constant([ALPHA], tf.float64)}
    with tf.GradientTape() as tape:
        tape.watch(alpha)
        stepped, _ = inner_loop.inner_update(line_loss, weights, alpha)
    assert tape.gradient(stepped["w"], alpha["w"]).numpy() == [-2.0]


def test_task_gradients_are_those_of_the_step():
    gradients, losses_before = inner_loop.task_gradients(line_loss, inner_loop.per_task({**W, "spare": W["w"]}, 1))
    assert {name: float(g[0]) for name, g in gradients.items()} == {"w": 2.0, "spare": 0.0}
    assert losses_before.numpy() == [1.0]


def test_adapt_returns_the_weights_after_every_step():
    weights = inner_loop.per_task(W, 1)
    trajectory = inner_loop.adapt(line_loss, weights, ALPHA, 3)
    assert [float(w["w"][0]) for w in trajectory] == [1, 1 / 2, 1 / 4, 1 / 8]  # each step halves w


def test_inner_update_leaves_its_input_alone():
    weights = inner_loop.per_task(W, 1)
    before = dict(weights)
    stepped, _ = inner_loop.inner_update(line_loss, weights, ALPHA)
    assert stepped is not weights and weights.keys() == before.keys() and weights["w"] is before["w"]
    assert weights["w"].numpy() == [1.0]


def two_layers(norm="batch_norm"):
    """(task loss, weights with task axis) of a dense net with three tasks."""
    net, episode = network("dense", norm), random_episode("dense", 3, "mse")
    weights = inner_loop.per_task(random_weights(net), 3)
    return lambda w: losses.mse(net.forward(w, episode.support_x), episode.support_y), weights


def test_weights_that_are_not_adapted_come_back_as_they_are():
    """So do biases in front of a batch norm, which has no gradient for them."""
    task_loss, weights = two_layers()
    stepped, _ = inner_loop.inner_update(task_loss, weights, ALPHA, is_adapted=networks.is_adapted)
    same = {name for name in weights if stepped[name] is weights[name]}
    assert stepped.keys() == weights.keys() and same == {"b1", "b2", "beta0", "beta1"}


def test_weights_that_are_not_adapted_do_not_hold_the_others_back():
    task_loss, weights = two_layers()
    all_of_them, _ = inner_loop.inner_update(task_loss, weights, ALPHA)
    some, _ = inner_loop.inner_update(task_loss, weights, ALPHA, is_adapted=networks.is_adapted)
    for name in ("w1", "w2", "w3", "b3"):
        assert not np.allclose(some[name], weights[name])
        np.testing.assert_array_equal(some[name], all_of_them[name])


def test_a_weight_the_loss_does_not_use_stays_where_it_is():
    stepped, _ = inner_loop.inner_update(line_loss, inner_loop.per_task({**W, "spare": W["w"]}, 1), ALPHA)
    assert stepped["spare"].numpy() == [1.0]


def test_tasks_adapt_independently():
    """Three tasks together equal each alone."""
    net, episode = network("dense", "batch_norm"), random_episode("dense", 3, "cross_entropy")
    theta, loss = random_weights(net), loss_function("cross_entropy")

    def adapted(support_x, support_y):
        weights = inner_loop.per_task(theta, support_x.shape[0])
        return inner_loop.adapt(lambda w: loss(net.forward(w, support_x), support_y), weights, ALPHA, 2)[-1]

    together = adapted(episode.support_x, episode.support_y)
    for i in range(3):
        alone = adapted(episode.support_x[i : i + 1], episode.support_y[i : i + 1])
        for name in theta:
            # 1e-11 of the weight itself: a bias in front of a batch norm moves by rounding alone
            np.testing.assert_allclose(together[name][i], alone[name][0], atol=1e-11, err_msg=name)


@pytest.mark.parametrize("kind", ["strided odd", "max-pool"])
def test_a_network_written_for_one_task_has_the_meta_gradient_of_the_one_with_the_task_axis(kind):
    net, episode = network(kind, "batch_norm"), random_episode(kind, 2, "cross_entropy")
    theta, options = random_weights(net), KINDS[kind][1]
    one = reference_forward("batch_norm", options.get("max_pool", False), options.get("flatten", False))

    def one_loss(logits, labels):  # of one task: a scalar
        return tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(labels, logits)) / SHOTS

    one_loss = inner_loop.single_task(one_loss)
    written = Network(net.init, inner_loop.single_task(one))
    problems = [
        problem(kind, "batch_norm", "cross_entropy"),
        given(written, lambda outputs, targets, num_shots: one_loss(outputs, targets)),
    ]
    (_, expected), (_, got) = (
        mean_meta_gradient(maml.build(maml.Settings(0.1, 2), p), theta, episode) for p in problems
    )
    largest = max(np.abs(g).max() for g in expected.values())
    for name in theta:  # zero in front of a batch norm, so relative to the largest entry of all
        np.testing.assert_allclose(got[name], expected[name], atol=1e-11 * largest, err_msg=name)


@pytest.mark.parametrize("compiled", [False, True])
def test_what_a_function_written_for_one_task_does_not_use_has_no_gradient(compiled):
    """None, and not the zeros of a loop."""
    forward, found = inner_loop.single_task(lambda weights, x: weights["w"] * x), {}

    def differentiate():
        weights = inner_loop.per_task({**W, "spare": W["w"]}, 2)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs = forward(weights, tf.ones([2, 3, 1], tf.float64))
        found.update(tape.gradient(outputs, weights))

    (tf.function(differentiate) if compiled else differentiate)()
    assert found["spare"] is None and found["w"] is not None


def test_the_inner_loss_must_be_one_number_a_task():
    weights = inner_loop.per_task(W, 3)
    with pytest.raises(UserError, match=r"^loss has the shape \[3, 4\], expected one number a task, \[3\]$"):
        inner_loop.inner_update(lambda weights: weights["w"][:, None] * tf.ones([3, 4], tf.float64), weights, ALPHA)


@pytest.mark.parametrize("jit", [False, True])
def test_a_function_written_for_one_task_can_be_compiled(jit):
    forward = inner_loop.single_task(lambda weights, x: weights["w"] * x)
    loss = inner_loop.single_task(lambda y, target: tf.reduce_mean((y - target) ** 2))
    one = given(Network(lambda seed: W, forward), lambda outputs, targets, num_shots: loss(outputs, targets))
    method = maml.build(maml.Settings(ALPHA), one)
    _, gradients, _ = tf.function(compiled_meta_gradient(method.objective, jit=jit))(W, EPISODE)
    np.testing.assert_allclose(gradients["w"], -0.5, rtol=1e-12)


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"a": {"w": tf.ones([])}}, "'a' of the weights is dict, expected a tensor: one dict, {name: tensor}, no nest"),
        ({"a": [tf.ones([])]}, "'a' of the weights is list, expected a tensor"),
        ([tf.ones([])], "weights are list, expected a dict"),
    ],
)
def test_weights_are_one_dict_of_tensors(weights, message):
    with pytest.raises(UserError, match=f"^{message}"):
        inner_loop.per_task(weights, 2)


def test_a_dict_of_step_sizes_has_one_for_each_weight():
    weights = inner_loop.per_task({**W, "spare": W["w"]}, 2)
    with pytest.raises(UserError, match="^inner_lr has no step size for spare, expected one for each weight"):
        inner_loop.inner_update(lambda w: w["w"] * w["spare"], weights, {"w": 0.1})
    stepped, _ = inner_loop.inner_update(lambda w: w["w"] * w["spare"], weights, {"w": 0.5, "spare": 0.0})
    assert stepped["w"].numpy().tolist() == [0.5, 0.5] and stepped["spare"].numpy().tolist() == [1.0, 1.0]


def test_a_function_written_for_one_task_takes_and_returns_nests():
    """By hand: w·x and its square, of two tasks; ∂(Σ first + Σ second)/∂w = Σ x + 2w·Σ x²."""

    def one(weights, inputs):
        product = weights["w"] * inputs["x"]
        return {"first": product, "second": (product**2, tf.argmax(product))}

    weights = inner_loop.per_task(W, 2)
    inputs = {"x": tf.constant([[1.0, 2.0], [3.0, 1.0]], tf.float64)}
    with tf.GradientTape() as tape:
        tape.watch(weights)
        outputs = inner_loop.single_task(one)(weights, inputs)
        total = tf.reduce_sum(outputs["first"]) + tf.reduce_sum(outputs["second"][0])
    assert outputs["second"][1].numpy().tolist() == [1, 0]
    assert outputs["second"][0].numpy().tolist() == [[1, 4], [9, 1]]
    assert tape.gradient(total, weights)["w"].numpy().tolist() == [3 + 2 * 5, 4 + 2 * 10]
