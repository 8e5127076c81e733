"""The classifier of all training classes that a gradient method may begin from."""

import numpy as np
import tensorflow as tf
from toys import TRAIN_CLASSES, problem, random_weights

from data_generators.episode import Batch
from maml.meta_training import meta_gradient
from maml.methods import _pretraining, maml, maml_plus_plus

OF = problem("dense", "batch_norm", "cross_entropy")
RNG = np.random.default_rng(0)
BATCH = Batch(tf.constant(RNG.normal(size=(1, 7, 6))), tf.constant(np.eye(TRAIN_CLASSES)[RNG.integers(5, size=(1, 7))]))


def pretrained(method):
    """(Method with a classifier, random θ, gradients of the pre-training)."""
    method = _pretraining.with_classifier(method, OF)
    theta = random_weights(method)
    _, gradients, _ = meta_gradient(_pretraining.objective_of(OF), theta, BATCH)
    return method, theta, gradients


def test_it_is_the_mean_cross_entropy_of_the_body_with_the_classifiers_last_layer():
    _, theta, gradients = pretrained(maml.build(maml.Settings(), OF))
    weights = theta | {"w3": theta["train_w3"], "b3": theta["train_b3"]}
    with tf.GradientTape() as tape:
        tape.watch(weights)
        outputs = OF.network(TRAIN_CLASSES).forward({n: w[None] for n, w in weights.items()}, BATCH.x)
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(BATCH.y, outputs))
    result = _pretraining.objective_of(OF)(theta, BATCH, 0.0)
    np.testing.assert_allclose(result["loss"], [loss], rtol=1e-12)
    expected = tape.gradient(loss, weights, unconnected_gradients="zero")
    for name in ("w1", "beta0", "w2", "beta1"):
        np.testing.assert_allclose(gradients[name], expected[name], rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(gradients["train_w3"], expected["w3"], rtol=1e-9, atol=1e-13)
    assert not gradients["w3"].numpy().any()


def test_what_there_is_for_each_step_is_taken_by_its_mean():
    settings = maml_plus_plus.Settings(num_updates=2)
    _, theta, gradients = pretrained(maml_plus_plus.build(settings, OF))
    assert theta["beta0"].shape[0] == 2 and gradients["beta0"].numpy().any()
    np.testing.assert_array_equal(gradients["beta0"][0], gradients["beta0"][1])
    means = theta | {n: tf.repeat(tf.reduce_mean(theta[n], 0)[None], 2, 0) for n in ("beta0", "beta1")}
    got, expected = (_pretraining.objective_of(OF)(t, BATCH, 0.0)["loss"] for t in (theta, means))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_task_does_not_see_the_classifier():
    method, theta, _ = pretrained(maml.build(maml.Settings(), OF))
    state = method.start(theta, tf.zeros([2, 3, 6], tf.float64), tf.zeros([2, 3, 3], tf.float64))
    assert method.training_only == {"train_w3", "train_b3"} == theta.keys() - state.keys()
