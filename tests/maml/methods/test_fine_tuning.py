"""The fine-tuning baseline: its two last layers, the loss of its training, and its steps on a support set."""

import numpy as np
import pytest
import tensorflow as tf
from toys import OUTPUTS, TRAIN_CLASSES, network, problem, random_episode, random_weights

from data_generators.episode import Batch
from maml import inner_loop, losses, networks
from maml.meta_training import meta_gradient
from maml.methods import fine_tuning, maml
from maml.methods.card import Task
from maml.runs.problems import problem_of
from maml.runs.settings import resolve

NORM = networks.Norm(scale=True, averages=True)
PROBLEM = problem("dense", NORM, "cross_entropy")
METHOD = fine_tuning.build(fine_tuning.Settings(inner_lr=0.2), PROBLEM)
TRAINING = fine_tuning.pretraining(fine_tuning.Settings(), PROBLEM)
EPISODE = random_episode("dense", 2, "cross_entropy")


def theta():
    """Random; variances positive."""
    weights = random_weights(METHOD)
    return {name: w**2 + 1 if name.startswith("moving_variance") else w for name, w in weights.items()}


def batch(num_examples=7):
    rng = np.random.default_rng(0)
    labels = np.eye(TRAIN_CLASSES)[rng.integers(TRAIN_CLASSES, size=(1, num_examples))]
    return Batch(tf.constant(rng.normal(size=(1, num_examples, 6))), tf.constant(labels))


# The two last layers


def test_theta_has_a_last_layer_of_the_training_and_a_new_one():
    shapes = {name: tuple(w.shape) for name, w in METHOD.init(0).items()}
    assert shapes["w3"] == (5, OUTPUTS) and shapes["train_w3"] == (5, TRAIN_CLASSES)
    assert shapes["b3"] == (OUTPUTS,) and shapes["train_b3"] == (TRAIN_CLASSES,)
    assert {name for name in shapes if name.startswith("train_")} == METHOD.training_only == {"train_w3", "train_b3"}


def test_the_new_layer_is_drawn_as_torchs():
    """U(±1/√inputs): so small that a network knows next to nothing at first, whatever MAML's own layer is."""
    of = problem_of(resolve("omniglot", "fine_tuning", num_classes=20))
    method = fine_tuning.build(fine_tuning.Settings(), of._replace(num_train_classes=TRAIN_CLASSES))
    drawn = {name: method.init(3)[name].numpy() for name in ("w5", "b5")}
    assert all(np.abs(w).max() < 1 / 8 for w in drawn.values())  # of 64 features
    np.testing.assert_allclose(drawn["w5"].std(), 1 / 8 / 3**0.5, rtol=0.05)
    assert not np.array_equal(drawn["w5"], method.init(4)["w5"])


def test_a_convolutional_network_has_them_too():
    init = fine_tuning.build(fine_tuning.Settings(), problem("max-pool", NORM, "cross_entropy")).init
    assert {name for name in init(0) if name.startswith("train_")} == {"train_w5", "train_b5"}


def test_a_new_task_starts_with_the_new_layer_the_same_for_all():
    state = METHOD.start(theta(), *EPISODE[:2])
    assert not any(name.startswith("train_") for name in state)
    for name, w in state.items():
        np.testing.assert_array_equal(w, [theta()[name]] * 2)


def test_training_goes_through_its_own_last_layer_and_leaves_the_new_one():
    _, gradients, _ = meta_gradient(TRAINING, theta(), batch())
    assert not gradients["w3"].numpy().any() and not gradients["b3"].numpy().any()
    assert all(np.abs(gradients[name]).max() > 1e-3 for name in ("w1", "gamma0", "beta0", "train_w3", "train_b3"))


# Training


def test_knowing_nothing_the_loss_is_the_logarithm_of_the_number_of_classes():
    """A mean over the batch, whatever its size."""
    weights = {name: tf.zeros_like(w) if name.startswith("train_") else w for name, w in theta().items()}
    for size in (3, 7):
        np.testing.assert_allclose(TRAINING(weights, batch(size), 0.0)["loss"], [np.log(TRAIN_CLASSES)], rtol=1e-12)


def test_training_normalises_by_the_batch_and_carries_the_running_averages_after_it():
    classifier, weights = network("dense", NORM, num_outputs=TRAIN_CLASSES), theta()
    own = {name: weights.get(f"train_{name}", w) for name, w in weights.items() if not name.startswith("train_")}
    outputs, averages = classifier.forward_with_averages(inner_loop.per_task(own, 1), batch().x)
    result = TRAINING(weights, batch(), 0.0)
    np.testing.assert_allclose(result["loss"], losses.cross_entropy(outputs, batch().y, 7), rtol=1e-12)
    np.testing.assert_allclose(result["support_accuracy"], losses.accuracy(outputs, batch().y))
    assert result["carried"].keys() == averages.keys() == {name for name in weights if networks.is_average(name)}
    for name, value in averages.items():
        np.testing.assert_allclose(result["carried"][name], value, rtol=1e-12)


# A new task


def test_a_step_goes_against_the_gradient_of_the_mean_loss():
    """A step of MAML's loss, N times the mean, by α / N is the same."""
    state = METHOD.start(theta(), *EPISODE[:2])
    got = METHOD.step(state, *EPISODE[:2])
    expected = maml.build(maml.Settings(0.2 / OUTPUTS), PROBLEM).step(state, *EPISODE[:2])
    for name in ("w1", "w2", "w3", "b3"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-10, err_msg=name)


def test_a_step_moves_all_weights_and_batch_norms():
    state = METHOD.start(theta(), *EPISODE[:2])
    stepped = METHOD.step(state, *EPISODE[:2])
    same = {name for name in state if np.array_equal(state[name], stepped[name])}
    assert stepped.keys() == state.keys() and same == {"b1", "b2"}  # which a batch norm subtracts again


def test_a_step_moves_the_running_averages_by_its_forward_pass():
    state = METHOD.start(theta(), *EPISODE[:2])
    _, expected = network("dense", NORM).forward_with_averages(state, EPISODE.support_x)
    stepped = METHOD.step(state, *EPISODE[:2])
    for name, value in expected.items():
        np.testing.assert_array_equal(stepped[name], value)


def test_a_step_size_given_is_taken():
    state = METHOD.start(theta(), *EPISODE[:2])
    half, whole = (METHOD.step(state, *EPISODE[:2], inner_lr=rate)["w3"] - state["w3"] for rate in (0.1, None))
    np.testing.assert_allclose(2 * half, whole, rtol=1e-9)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_it_predicts_by_the_statistics_of_the_queries_or_by_the_running_averages(one_by_one):
    state = METHOD.start(theta(), *EPISODE[:2])
    expected = network("dense", NORM).forward(state, EPISODE.query_x, 0 if one_by_one else None)
    got = METHOD.predict(state, EPISODE.query_x, EPISODE.support_x if one_by_one else None)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_all_its_training_is_on_batches():
    for datasource in ("omniglot", "miniimagenet", "glyphs", "folder"):
        preset = fine_tuning.preset(Task(datasource))
        assert preset["metatrain_iterations"] == 0 and preset["pretrain_iterations"] > 0
