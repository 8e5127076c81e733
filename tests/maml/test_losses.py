"""Losses and accuracy: their reductions, by hand and by NumPy."""

import numpy as np
import tensorflow as tf

from maml import losses

# Two tasks, three examples, two classes.
LOGITS = np.array([[[2.0, 1.0], [0.0, 3.0], [-1.0, 1.0]], [[0.0, 0.0], [5.0, 4.0], [1.0, -2.0]]])
LABELS = np.eye(2)[[[0, 0, 1], [1, 0, 0]]]


def test_mse_is_the_mean_over_examples_and_outputs_of_each_task():
    outputs = tf.constant([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 2.0]]])
    targets = tf.constant([[[1.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 1.0]]])
    np.testing.assert_allclose(losses.mse(outputs, targets), [(4 + 9) / 4, 1 / 4])  # by hand


def test_cross_entropy_is_the_sum_over_examples_divided_by_the_shots():
    log_softmax = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    expected = -(LABELS * log_softmax).sum((1, 2)) / 4
    np.testing.assert_allclose(losses.cross_entropy(tf.constant(LOGITS), tf.constant(LABELS), 4), expected, rtol=1e-12)


def test_cross_entropy_of_a_support_set_without_knowledge_is_n_log_n():
    """N·K examples at log N each, divided by K: N times the mean loss."""
    ways, shots = 5, 3
    labels = tf.repeat(tf.eye(ways, dtype=tf.float64), shots, 0)[None]
    got = losses.cross_entropy(tf.zeros_like(labels), labels, shots)
    np.testing.assert_allclose(got, [5 * np.log(5)], rtol=1e-12)


def test_cross_entropy_divides_by_the_support_shots_on_query_sets_of_other_size_too():
    """miniImagenet 1-shot with 15 queries: 75 times the mean loss."""
    labels = tf.repeat(tf.eye(5, dtype=tf.float64), 15, 0)[None]
    got = losses.cross_entropy(tf.zeros_like(labels), labels, 1)
    np.testing.assert_allclose(got, [75 * np.log(5)], rtol=1e-12)


def test_cross_entropy_of_large_logits_is_finite():
    got = losses.cross_entropy(tf.constant([[[1000.0, 0.0]]]), tf.constant([[[0.0, 1.0]]]), 1)
    np.testing.assert_allclose(got, [1000.0])  # log(1 + e^-1000) + 1000


def test_the_gradient_of_cross_entropy_is_softmax_minus_label_over_the_shots():
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.cross_entropy(logits, tf.constant(LABELS), 4)
    softmax = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    np.testing.assert_allclose(tape.gradient(loss, logits), (softmax - LABELS) / 4, rtol=1e-12)


def test_accuracy_is_the_fraction_of_each_tasks_examples():
    logits = tf.constant(LOGITS[:, :, ::-1] * 1.0)  # classes exchanged: right where LOGITS is wrong, but for the tie
    np.testing.assert_allclose(losses.accuracy(tf.constant(LOGITS), tf.constant(LABELS)), [2 / 3, 2 / 3])
    np.testing.assert_allclose(losses.accuracy(logits, tf.constant(LABELS)), [1 / 3, 0])
