"""What methods share that learn a task by reading its examples one after the other, (x_t, y_{t−1}) at a time.

M tasks, T examples of a sequence, n examples side by side, N outputs, F numbers that enter a cell. A cell's weights are
the same for all tasks, [C, F], or each task's own, [M, C, F].
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from maml import inner_loop, layers
from maml.method import Method, embedding_of, num_tasks, shape_of_one_tensor

INSTANCES = (1, 2, 3, 4, 5, 10)  # of which accuracies are recorded: how often a class was seen, this time included
IN_X, IN_Y, IN_BIAS = "in_x", "in_y", "in_b"  # names in θ: from an example, and the last target, to a cell
OUT, OUT_BIAS = "out", "out_b"  # from what a cell says to the outputs


class Cell(NamedTuple):
    """A recurrent network of one step.

    num_inputs: F. num_outputs: length of what it says.
    init: (seed, dtype) -> weights of its own.
    begin: (M, dtype) -> state, each tensor [M, 1, …].
    step: (weights, state, what enters [M, n, F]) -> (state, what it says), for n > 1 from one state side by side.
    """

    num_inputs: int
    num_outputs: int
    init: Callable
    begin: Callable
    step: Callable


def linear(x, weight):
    """x [M, n, C] times weights [C, F], or each task's own, [M, C, F]."""
    return tf.tensordot(x, weight, 1) if weight.shape.rank == 2 else layers.dense(x, weight)


def add_bias(x, bias):
    """x [M, n, F] and a bias [F], or each task's own, [M, F]."""
    return x + (bias if bias.shape.rank == 1 else bias[:, None])


def glorot(shape, seed, dtype):
    """Glorot's uniform initial weights."""
    limit = (6 / (shape[0] + shape[-1])) ** 0.5
    return tf.random.stateless_uniform(shape, seed, -limit, limit, dtype)


def shifted(y):
    """y_{t−1} for each t of y [M, T, N]; zeros at the first."""
    return tf.concat([tf.zeros_like(y[:, :1]), y[:, :-1]], 1)


def read(cell, weights, entering):
    """(state after a sequence, what the cell says at each t [M, T, …]) of what enters it, [M, T, F]: one loop."""
    num_tasks, steps = entering.shape[:2]
    by_time = tf.transpose(entering, [1, 0, 2])[:, :, None]
    said = tf.TensorArray(entering.dtype, steps, element_shape=[num_tasks, 1, cell.num_outputs])

    def one(t, state, said):
        state, now = cell.step(weights, state, by_time[t])
        return t + 1, state, said.write(t, now)

    start = tf.constant(0), cell.begin(num_tasks, entering.dtype), said
    _, state, said = tf.while_loop(lambda t, *_: t < steps, one, start, maximum_iterations=steps)
    return state, tf.transpose(said.stack()[:, :, 0], [1, 0, 2])


def instance_accuracies(outputs, labels):
    """{"instance_1_accuracy": [M], …}: of all classes, when a class is seen for the first, second, … time.

    outputs, labels: [M, T, N], of sequences in which each class comes equally often.
    """
    seen = tf.reduce_sum(tf.cumsum(labels, 1) * labels, 2)
    hits = tf.cast(tf.equal(tf.argmax(outputs, 2), tf.argmax(labels, 2)), labels.dtype)
    found, most = {}, labels.shape[1] // labels.shape[2]
    for k in (k for k in INSTANCES if k <= most):
        now = tf.cast(tf.equal(seen, k), labels.dtype)
        found[f"instance_{k}_accuracy"] = tf.reduce_sum(hits * now, 1) / tf.reduce_sum(now, 1)
    return found


def build(problem, cell, with_body):
    """The Method of a Cell. Its state is the cell's after the support set, its last target, and each task's weights.

    with_body: the problem's network without its last layer is in front; else examples enter as they are.
    """
    body, shape = embedding_of(problem), shape_of_one_tensor(problem)
    of_body = body.init(0)
    dtype = next(iter(of_body.values())).dtype

    def features(copies, x):
        if with_body:
            return body.forward({name: copies[name] for name in of_body}, x)
        return tf.reshape(x, [x.shape[0], layers.num_examples(x), np.prod(shape)])

    def init(seed):
        weights = body.init(seed) if with_body else {}
        length = np.prod(shape)
        if with_body:
            one = inner_loop.per_task(weights, 1)
            length = features(one, tf.zeros([1, 1, *shape], dtype)).shape[-1]
        entering = {IN_X: [length, cell.num_inputs], IN_Y: [problem.num_outputs, cell.num_inputs]}
        entering = {name: glorot(shape, [seed, 20 + i], dtype) for i, (name, shape) in enumerate(entering.items())}
        out = glorot([cell.num_outputs, problem.num_outputs], [seed, 30], dtype)
        own = {OUT: out, OUT_BIAS: tf.zeros([problem.num_outputs], dtype), IN_BIAS: tf.zeros([cell.num_inputs], dtype)}
        return {**weights, **entering, **own, **cell.init(seed, dtype)}

    def entering(weights, x, last_y):
        return add_bias(linear(x, weights[IN_X]) + linear(last_y, weights[IN_Y]), weights[IN_BIAS])

    def outputs(weights, said):
        return add_bias(linear(said, weights[OUT]), weights[OUT_BIAS])

    def start(theta, support_x, support_y):
        copies = inner_loop.per_task(theta, num_tasks(support_x))
        # Class by class would tell more than a random order; this one is the same for all tasks of so many examples.
        order = np.random.default_rng(0).permutation(support_x.shape[1])
        x, y = tf.gather(features(copies, support_x), order, axis=1), tf.gather(support_y, order, axis=1)
        state, _ = read(cell, theta, entering(theta, x, shifted(y)))
        return {"cell": state, "last": y[:, -1:], "weights": copies}

    def predict(state, x, reference=None):
        """Each example by itself, in any case."""
        weights = state["weights"]
        examples = features(weights, x)
        last_y = tf.repeat(state["last"], layers.num_examples(examples), 1)
        return outputs(weights, cell.step(weights, state["cell"], entering(weights, examples, last_y))[1])

    def objective(theta, episode, progress):
        x, y = features(inner_loop.per_task(theta, num_tasks(episode)), episode.support_x), episode.support_y
        _, said = read(cell, theta, entering(theta, x, shifted(y)))
        answers = outputs(theta, said)
        loss = problem.loss(answers, y, 1)  # of a classifier the sum over the sequence
        result = {"loss": loss, "sequence_loss": loss}
        if problem.metric is not None:
            result |= {"sequence_accuracy": problem.metric(answers, y), **instance_accuracies(answers, y)}
        return result

    return Method(init, start, None, predict, objective, body.for_xla or not with_body)
