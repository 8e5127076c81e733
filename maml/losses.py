"""Losses and accuracy. One number a task: outputs [M, n, ...] and targets of the same shape give [M].

M tasks, n examples of a task, N ways, K shots.
"""

import tensorflow as tf

from data_generators.errors import UserError


def check_one_a_task(values, num_tasks, name="loss"):
    """UserError unless the shape is [M]. A number for each example would be summed: so many times too large."""
    if not values.shape.is_compatible_with([num_tasks]):
        raise UserError(f"{name} has the shape {values.shape.as_list()}, expected one number a task, [{num_tasks}]")


def mse(outputs, targets, num_shots=None):
    """[M]: squared error, **mean** over a task's examples and output dimensions ([P] 5.1; authors' utils.py).

    num_shots changes nothing: it is there so that all losses are called alike.
    """
    return tf.reduce_mean(tf.square(outputs - targets), axis=list(range(1, outputs.shape.rank)))


def cross_entropy(logits, labels, num_shots):
    """[M]: cross-entropy of logits [M, n, N] and one-hot labels [M, n, N], **summed** over examples, divided by K.

    K is `num_shots`, the number of *support* examples a class, for the query set too. This is what the authors' code
    differentiates (utils.py `xent`: a vector of losses over `update_batch_size`, and the gradient of a vector is that
    of its sum), so the published step sizes belong to it: on the support set it is N times the mean loss, and
    alpha = 0.4 at 5 ways acts like 2.0 on a mean loss.
    """
    per_example = tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_sum(per_example, axis=1) / num_shots


def accuracy(logits, labels):
    """[M]: fraction of a task's examples whose largest logit is at the label."""
    hits = tf.equal(tf.argmax(logits, axis=-1), tf.argmax(labels, axis=-1))
    return tf.reduce_mean(tf.cast(hits, logits.dtype), axis=1)
