"""The context vector: what it is joined to, that steps move it alone, and why it has a value for each pixel."""

import numpy as np
import pytest
import tensorflow as tf
from toys import network, problem, random_episode, random_weights

from maml import inner_loop, layers, losses, networks
from maml.meta_training import meta_gradient
from maml.methods import context_vector, maml
from maml.methods.card import Task
from maml.runs.settings import resolve

PROBLEM = problem("strided", "batch_norm", "cross_entropy")  # images of 16x16x1
EPISODE = random_episode("strided", 2, "cross_entropy")
CHANNELS = 3


def made(inner_lr=2.0, num_updates=1):
    """(Method, random θ)."""
    settings = context_vector.Settings(inner_lr, num_updates, CHANNELS)
    method = context_vector.build(settings, PROBLEM)
    return method, random_weights(method)


def test_the_context_starts_at_zero_and_has_a_value_for_each_pixel_and_channel():
    theta = made()[0].init(0)
    np.testing.assert_array_equal(theta["context"], np.zeros((16, 16, CHANNELS)))
    assert theta["conv1"].shape == (3, 3, 1 + CHANNELS, 3)


def test_each_image_of_a_task_is_seen_with_its_tasks_context():
    """As by the network of images with so many more channels."""
    method, theta = made()
    state = inner_loop.per_task(theta, 2)
    state["context"] *= tf.constant([1.0, 2.0], tf.float64)[:, None, None, None]
    joined = np.stack(
        [np.concatenate([x, np.tile(z, (len(x), 1, 1, 1))], -1) for x, z in zip(EPISODE.query_x, state["context"])]
    )
    expected = network("strided", "batch_norm", shape=(16, 16, 1 + CHANNELS)).forward(state, tf.constant(joined))
    np.testing.assert_allclose(method.predict(state, EPISODE.query_x), expected, rtol=1e-10)


def test_a_step_moves_the_context_and_nothing_else():
    method, theta = made()
    initial = method.start(theta, *EPISODE[:2])
    stepped = method.step(initial, *EPISODE[:2])
    assert {name for name in theta if not np.array_equal(initial[name], stepped[name])} == {"context"}
    assert np.abs(stepped["context"][0] - stepped["context"][1]).max() > 1e-3  # each task its own


def test_a_step_goes_against_the_gradient_of_the_support_sets_loss():
    method, theta = made()
    state = method.start(theta, *EPISODE[:2])

    def loss(context):
        outputs = method.predict({**state, "context": context}, EPISODE.support_x)
        return losses.cross_entropy(outputs, EPISODE.support_y, EPISODE.support_x.shape[1] / 3)

    direction, h = tf.constant(np.random.default_rng(0).normal(size=state["context"].shape)), 1e-6
    slope = (loss(state["context"] + h * direction) - loss(state["context"] - h * direction)) / (2 * h)
    moved = method.step(state, *EPISODE[:2])["context"] - state["context"]
    np.testing.assert_allclose(tf.reduce_sum(moved * direction, [1, 2, 3]), -2.0 * slope, rtol=1e-5)


def test_steps_of_size_0_leave_the_un_adapted_network():
    method, theta = made(inner_lr=1e-300, num_updates=2)
    state = method.start(theta, *EPISODE[:2])
    outputs = method.predict(state, EPISODE.query_x)
    result = method.objective(theta, EPISODE, 0.0)
    shots = EPISODE.support_x.shape[1] / 3
    np.testing.assert_allclose(result["loss"], losses.cross_entropy(outputs, EPISODE.query_y, shots), rtol=1e-12)


@pytest.mark.parametrize("num_updates", [1, 2])
def test_the_meta_gradient_is_that_of_central_differences(num_updates):
    """Through the inner steps: of all of θ, the context's start too."""
    method, theta = made(num_updates=num_updates)
    _, gradients, _ = meta_gradient(method.objective, theta, EPISODE)
    rng, h = np.random.default_rng(0), 1e-7
    largest = max(np.abs(g).max() for g in gradients.values())
    for name in ("context", "conv1", "conv3", "beta0", "w5"):
        direction = tf.constant(rng.normal(size=theta[name].shape))
        ends = [
            float(sum(method.objective({**theta, name: theta[name] + s * h * direction}, EPISODE, 0.0)["loss"]))
            for s in (1, -1)
        ]
        got = float(tf.reduce_sum(gradients[name] * direction))
        assert abs(got - (ends[0] - ends[1]) / (2 * h)) < 1e-5 * largest, name
        assert got != 0, name


# The trap


def first_norm(context, padded):
    """The outputs of the first convolution and batch norm for images of one task with this context."""
    rng = np.random.default_rng(0)
    images, kernel = rng.random((1, 4, 28, 28, 1)), tf.constant(rng.normal(size=(1, 3, 3, 2, 5)))
    joined = np.concatenate([images, np.broadcast_to(context, images.shape)], -1)
    maps = layers.conv3x3(tf.constant(joined), kernel, 2)
    maps = maps if padded else maps[:, :, :-1, :-1]  # stride 2 of 28 pads with zeros at the far side alone
    return layers.batch_norm(maps, tf.zeros([1, 5], tf.float64))


def test_one_number_for_a_whole_channel_would_be_subtracted_again():
    """It adds a constant to every filter's map, all but the border, where padding takes some of it away."""
    none = np.zeros((28, 28, 1))
    np.testing.assert_allclose(first_norm(none + 3, False), first_norm(none, False), rtol=0, atol=1e-12)
    assert np.abs(first_norm(none + 3, True) - first_norm(none, True)).max() > 1e-3


def test_a_value_for_each_pixel_is_not():
    image = np.random.default_rng(1).normal(size=(28, 28, 1))
    assert np.abs(first_norm(image, False) - first_norm(0 * image, False)).max() > 0.1


# Settings


def test_the_protocol_is_mamls():
    for task in (Task("omniglot"), Task("omniglot", num_classes=20), Task("miniimagenet")):
        mine, mamls = context_vector.preset(task), maml.preset(task)
        assert mine | {"inner_lr": mamls["inner_lr"]} == mamls | {"context_channels": mine["context_channels"]}
        assert context_vector.reading(task, context_vector.Settings()) == maml.reading(task, maml.Settings())


def test_its_training_adapts_and_is_no_baseline():
    settings = resolve("omniglot", "context_vector", metatrain_iterations=100)
    assert (settings.training.metatrain_iterations, settings.training.pretrain_iterations) == (100, 0)
    assert not context_vector.CARD.is_baseline and not networks.is_average("context")
