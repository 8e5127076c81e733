"""A GRU's step by hand. What it shares with the LSTM is tested there."""

import numpy as np
import tensorflow as tf

from maml.methods import gru


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def number(*values):
    return tf.constant([[values]], tf.float64)


def test_a_step_of_a_gru_by_hand():
    """Length 1, h = 0.5; keep, reset, new enter as 0.1, 0.2, 0.3, and h counts 1, 2, 3 times."""
    weights = {"recurrent": tf.constant([[1.0, 2, 3]], tf.float64)}
    h, said = gru.gru_cell(1).step(weights, number(0.5), number(0.1, 0.2, 0.3))
    z, n = sigmoid(0.6), np.tanh(0.3 + sigmoid(1.2) * 1.5)
    np.testing.assert_allclose(h, [[[(1 - z) * n + z * 0.5]]], rtol=1e-12)
    assert said is h
