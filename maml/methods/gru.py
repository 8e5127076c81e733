"""The sequence learner of lstm.py with a gated recurrent unit (Cho et al. 2014) for a cell; its tasks are as there."""

import tensorflow as tf

from maml.methods import lstm
from maml.methods._recurrent import Cell, glorot, linear
from maml.methods._recurrent import build as build_recurrent
from maml.methods.lstm import RECURRENT


def gru_cell(size):
    """The Cell: h ← (1 − z)·n + z·h, n = tanh(… + r·(U h)); z and r are sigmoids, linear in what enters and in h."""

    def init(seed, dtype):
        return {RECURRENT: glorot([size, 3 * size], [seed, 40], dtype)}

    def begin(num_tasks, dtype):
        return tf.zeros([num_tasks, 1, size], dtype)

    def step(weights, state, entering):
        keep, reset, new = tf.split(entering, 3, 2)
        from_keep, from_reset, from_new = tf.split(linear(state, weights[RECURRENT]), 3, 2)
        keep = tf.sigmoid(keep + from_keep)
        new = tf.tanh(new + tf.sigmoid(reset + from_reset) * from_new)
        h = (1 - keep) * new + keep * state
        return h, h

    return Cell(3 * size, size, init, begin, step)


def build(settings, problem):
    """The Method."""
    return build_recurrent(problem, gru_cell(settings.hidden), settings.body)


CARD = lstm.CARD._replace(
    title="GRU",
    paper="Cho et al. 2014, arXiv 1406.1078, for the cell; [S2] Santoro et al. 2016, arXiv 1605.06065, for the tasks",
    build=build,
    published=(),
    differs="Nothing is published of it on these tasks. " + lstm.CARD.differs,
)
