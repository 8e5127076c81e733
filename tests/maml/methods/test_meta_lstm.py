"""The meta-learner LSTM by hand: its preprocessing, its gates, what coordinates share, and its first order."""

import numpy as np
import pytest
import tensorflow as tf
from toys import given, mean_meta_gradient, problem, random_episode, random_weights

from data_generators.episode import Episode
from maml import inner_loop, losses
from maml.methods import meta_lstm
from maml.methods.card import Task
from maml.methods.meta_lstm import HIDDEN, META, Settings, meta_step, preprocess
from maml.networks import Network, Norm


def numbers(*values):
    return tf.constant(values, tf.float64)


def test_preprocessing_by_hand():
    got = preprocess(numbers(0.1, -1e-5, 0))
    np.testing.assert_allclose(got, [[-0.230259, 1], [-1, -0.220265], [-1, 0]], atol=5e-7)


def test_preprocessing_is_continuous_at_its_border():
    border = np.exp(-10)
    for sign in (1, -1):
        below, above = preprocess(sign * numbers(border * (1 - 1e-9), border * (1 + 1e-9))).numpy()
        np.testing.assert_allclose(below, above, atol=1e-8)


def meta(value=0.0, forget=5.0, write=-4.5):
    """Weights of the meta-learner of one task: all of a value, but for the biases of the gates."""
    weights = {name: tf.fill(w.shape, numbers(value)[0]) for name, w in meta_lstm.init_meta(0, tf.float64).items()}
    weights |= {META + "forget_b": numbers(forget), META + "write_b": numbers(write)}
    return inner_loop.per_task(weights, 1)


def memory(coordinates):
    shape = coordinates.shape
    empty = tf.zeros([*shape, HIDDEN], tf.float64)
    return {"hidden": empty, "cell": empty, "forget": tf.zeros(shape, tf.float64), "write": tf.zeros(shape, tf.float64)}


def test_gates_that_are_their_biases_by_hand():
    """θ = 0.5, ∇ = 0.2: σ(5)·0.5 − σ(−4.5)·0.2."""
    coordinates = numbers([0.5])
    moved, state = meta_step(meta(), memory(coordinates), coordinates, numbers(0.7), numbers([0.2]))
    np.testing.assert_allclose(moved, [[0.494456]], atol=5e-7)
    np.testing.assert_allclose([state["forget"], state["write"]], [[[5]], [[-4.5]]], rtol=1e-12)


def test_the_papers_gates_are_fed_back_by_their_values():
    coordinates = numbers([0.5])
    _, state = meta_step(meta(), memory(coordinates), coordinates, numbers(0.7), numbers([0.2]), "gates")
    np.testing.assert_allclose([state["forget"], state["write"]], [[[0.993307]], [[0.010987]]], atol=5e-7)


def random_meta(seed=0):
    rng = np.random.default_rng(seed)
    weights = meta_lstm.init_meta(0, tf.float64)
    return inner_loop.per_task({n: tf.constant(0.3 * rng.normal(size=w.shape)) for n, w in weights.items()}, 1)


def two_steps(coordinates, gradients, fed_back="sums"):
    weights, state, moved = random_meta(), memory(coordinates), coordinates
    for _ in range(2):
        moved, state = meta_step(weights, state, moved, numbers(0.7), gradients, fed_back)
    return moved.numpy()


def test_what_is_fed_back_counts_at_the_next_step():
    coordinates, gradients = numbers([0.5, 0.1]), numbers([0.2, -0.3])
    assert np.abs(two_steps(coordinates, gradients) - two_steps(coordinates, gradients, "gates")).min() > 1e-4


def test_coordinates_share_the_weights_and_nothing_else():
    """Equal ones move alike, and in another order they move as before, in that order."""
    coordinates, gradients = np.array([[0.5, 0.1, 0.5]]), np.array([[0.2, -0.3, 0.2]])
    moved = two_steps(tf.constant(coordinates), tf.constant(gradients))
    assert moved[0, 0] == moved[0, 2] != moved[0, 1]
    order = [1, 2, 0]
    permuted = two_steps(tf.constant(coordinates[:, order]), tf.constant(gradients[:, order]))
    np.testing.assert_allclose(permuted, moved[:, order], rtol=1e-12)


def test_coordinates_are_the_weights_in_another_shape():
    weights = inner_loop.per_task(random_weights(problem("dense", "None", "mse").network(3)), 2)
    names = sorted(weights)
    back = meta_lstm.in_shape(meta_lstm.flat(weights, names), weights, names)
    assert back.keys() == weights.keys()
    assert all(np.array_equal(back[name], w) for name, w in weights.items())


def test_gates_held_at_1_and_alpha_are_gradient_descent():
    """On a network with batch norm, whose offsets are moved too; α = 0.25 on the mean loss."""
    of, episode = problem("dense", Norm(scale=True), "cross_entropy"), random_episode("dense", 2, "cross_entropy")
    method = meta_lstm.build(Settings(divide_again=False), of)
    theta = random_weights(method)
    held = {n: tf.zeros_like(w) for n, w in theta.items() if n.startswith(META)}
    held |= {META + "forget_b": numbers(50), META + "write_b": numbers(np.log(0.25 / 0.75))}
    state = method.start(theta | held, *episode[:2])
    plain = state["network"]
    for _ in range(2):
        state = method.step(state, *episode[:2])
        loss = lambda w: losses.cross_entropy(of.network(3).forward(w, episode.support_x), episode.support_y, 4)  # noqa: E731
        plain, _ = inner_loop.inner_update(loss, plain, 0.25)
    for name, w in plain.items():
        np.testing.assert_allclose(state["network"][name], w, rtol=1e-9, atol=1e-12, err_msg=name)


# On f(x) = w·x, squared error, support (1, 1), query (2, 0)

LINE = Network(
    init=lambda seed: {"w": numbers(0.5)},
    forward=lambda weights, x, num_reference=None: weights["w"][:, :, None] * x,
    forward_with_averages=lambda weights, x: (weights["w"][:, :, None] * x, {}),
)
POINTS = Episode(*(tf.constant([[[part]]], tf.float64) for part in (1, 1, 2, 0)))


def line(**settings):
    return meta_lstm.build(Settings(2, **settings), given(LINE, losses.mse))


def theta():
    return {"w": numbers(0.5), **{name: w[0] for name, w in meta().items()}}


def test_two_steps_and_the_gradient_of_the_initial_cell_by_hand():
    """w₂ = 0.515062; loss (2w₂)²; ∂/∂w₀ = σ(5)²·8w₂, as gradients are constants."""
    method, start = line(), theta()
    state = method.start(start, *POINTS[:2])
    for _ in range(2):
        state = method.step(state, *POINTS[:2])
    np.testing.assert_allclose(state["network"]["w"], [[0.515062]], atol=5e-7)
    _, gradients = mean_meta_gradient(method, start, POINTS)
    np.testing.assert_allclose(gradients["w"], [4.065526], atol=5e-6)


def test_the_gradient_is_divided_by_the_number_of_examples_once_more_where_that_is_asked_for():
    """Two equal examples: w moves by σ(−4.5)·0.5 of the gradient −1 beside σ(5)·0.5."""
    doubled = POINTS._replace(support_x=tf.ones([1, 2, 1], tf.float64), support_y=tf.ones([1, 2, 1], tf.float64))
    for divide_again, part in ((True, 0.5), (False, 1.0)):
        method = line(divide_again=divide_again)
        state = method.step(method.start(theta(), *doubled[:2]), *doubled[:2])
        np.testing.assert_allclose(state["network"]["w"], [[0.993307 * 0.5 + part * 0.010987]], atol=1e-6)


def test_what_the_support_images_do_to_the_weights_is_a_constant():
    method, x = line(), POINTS.support_x
    with tf.GradientTape() as tape:
        tape.watch(x)
        state = method.step(method.start(theta(), x, POINTS.support_y), x, POINTS.support_y)
        w = state["network"]["w"]
    assert tape.gradient(w, x) is None


def test_a_given_step_size_is_a_plain_gradient_step():
    """From 0.5 by 0.1 against the gradient −1."""
    method = line()
    state = method.step(method.start(theta(), *POINTS[:2]), *POINTS[:2], inner_lr=0.1)
    np.testing.assert_allclose(state["network"]["w"], [[0.6]], rtol=1e-12)


def test_running_averages_begin_anew_with_every_task_and_move_with_the_steps():
    of = problem("dense", Norm(scale=True, averages=True, momentum=0.9), "cross_entropy")
    episode = random_episode("dense", 1, "cross_entropy")
    method = meta_lstm.build(Settings(), of)
    theta = method.init(0)
    state = method.start(theta, *episode[:2])
    assert not state["network"]["moving_mean0"].numpy().any()
    entering = episode.support_x.numpy()[0] @ theta["w1"].numpy()
    moved = method.step(state, *episode[:2])["network"]["moving_mean0"][0]
    np.testing.assert_allclose(moved, 0.9 * entering.mean(0), rtol=1e-9)


def test_the_loss_that_is_minimised_is_the_mean_over_the_queries():
    of, episode = problem("dense", "None", "cross_entropy"), random_episode("dense", 2, "cross_entropy")
    method = meta_lstm.build(Settings(2), of)
    result = method.objective(random_weights(method), episode, 0.0)
    np.testing.assert_allclose(result["loss"], result["query_loss"] * (4 / 3) / 5, rtol=1e-12)


def test_biases_of_the_gates_begin_open_and_nearly_shut():
    weights = meta_lstm.init_meta(0, tf.float64)
    assert 4 < weights[META + "forget_b"] < 5 and -5 < weights[META + "write_b"] < -4
    others = [w for name, w in weights.items() if name not in (META + "forget_b", META + "write_b")]
    assert all(np.abs(w).max() < 0.01 for w in others)


@pytest.mark.parametrize("shots, steps, momentum", [(1, 12, 0.9), (5, 8, 0.95)])
def test_presets_are_the_configurations_of_the_authors(shots, steps, momentum):
    preset = meta_lstm.preset(Task("miniimagenet", num_shots=shots))
    assert (preset["num_updates"], preset["norm_momentum"], preset["clip_norm"]) == (steps, momentum, 0.25)
