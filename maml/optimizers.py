"""The outer step: what Adam and SGD do to variables, and schedules of their step size.

A schedule is a function of the iteration, an int64 tensor counted from 0, that returns the step size.
"""

import numpy as np
import tensorflow as tf


def linear(rate, total):
    """A schedule: from `rate` at iteration 0 in a straight line to 0 at iteration `total`, which is never reached."""
    return lambda iteration: rate * (1.0 - tf.cast(iteration, tf.float64) / total)


def stepwise(rate, factor, every):
    """A schedule: `rate`, multiplied by `factor` after every so many iterations."""
    return lambda iteration: rate * factor ** tf.cast(iteration // every, tf.float64)


def cosine(rate, final, total):
    """A schedule: from `rate` at iteration 0 along half a cosine to `final` at iteration `total`."""

    def at(iteration):
        done = tf.cast(iteration, tf.float64) / total
        return final + 0.5 * (rate - final) * (1.0 + tf.cos(np.pi * done))

    return at


def averaging(rate):
    """A schedule: `rate` at iteration 0, then a half, a third, … of it."""
    return lambda iteration: rate / (1.0 + tf.cast(iteration, tf.float64))


def adam_step(weights, first_moments, second_moments, updates, gradients, rate):
    """One step of Adam, in TensorFlow's own kernel, with β1 = 0.9, β2 = 0.999 and ε = 1e-8, TensorFlow 1's default.

    weights, first_moments, second_moments: {name: variable}, changed.
    updates: the number of this step, from 1.
    gradients: {name: tensor}; a weight without one stays as it is.
    rate: the step size.
    """
    for name, gradient in gradients.items():
        dtype = gradient.dtype
        beta1, beta2, t = tf.constant(0.9, dtype), tf.constant(0.999, dtype), tf.cast(updates, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=weights[name].handle,
            m=first_moments[name].handle,
            v=second_moments[name].handle,
            beta1_power=tf.pow(beta1, t),
            beta2_power=tf.pow(beta2, t),
            lr=_as(rate, dtype),
            beta1=beta1,
            beta2=beta2,
            epsilon=tf.constant(1e-8, dtype),
            grad=gradient,
        )


def sgd_step(weights, gradients, rate):
    """One plain gradient step: weights − rate·gradients."""
    for name, gradient in gradients.items():
        weights[name].assign_sub(_as(rate, gradient.dtype) * gradient)


def _as(rate, dtype):
    return tf.cast(rate, dtype) if tf.is_tensor(rate) else tf.convert_to_tensor(rate, dtype)
