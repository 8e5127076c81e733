"""The paper's policy: a Gaussian whose mean is a small network of the observation, with a free standard deviation.

It may see a context vector z beside each observation, and tells which of its weights an inner step moves.

Weight dicts and pure functions, as in `maml.networks`. Letters of shapes: M tasks, T steps, O of an observation, A of
an action, Z of a context. Sources: [M] cbfinn/maml_rl, sandbox/rocky/tf/.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from maml import layers

HIDDEN = (100, 100)  # [P] A.2; [M] hidden_sizes of every training script
CONTEXT = "context"  # the entry of θ: z, [Z]
ADAPTED = ("all", "head", "context")  # what an inner step moves
MIN_STD = 1e-6  # [M] policies/maml_minimal_gauss_mlp_policy.py
# OpenBLAS, NumPy's, sets all cores on products of more than 64³ multiplications, and waits for them longer than it
# takes to multiply: 20 rows at a time, of at most 130 inputs and 100 outputs, stay below.
MOST_ROWS = 20
ACTIVATIONS = {"relu": (tf.nn.relu, lambda x: np.maximum(x, 0, out=x)), "tanh": (tf.tanh, lambda x: np.tanh(x, out=x))}


class Policy(NamedTuple):
    """init: seed -> θ, {name: tensor}; forward: ({name: [M, ...]}, [M, T, O]) -> (means [M, T, A], log-stds [M, A]).

    forward_numpy: the same for arrays, [M, E, O] at a time: for a few rows a task a call of TensorFlow costs ten times
    what it computes.
    is_adapted: name of a weight -> whether an inner step moves it.
    """

    init: Callable
    forward: Callable
    forward_numpy: Callable
    is_adapted: Callable


def gaussian_mlp(  # noqa: PLR0913 (what a policy is)
    observation_size, action_size, hidden=HIDDEN, activation="relu", dtype=tf.float32, context_size=0, adapted="all"
):
    """Policy with weights w1, b1, …: Xavier uniform, biases 0, linear output; and "log_std" [A], 0 at first.

    Standard deviations never get below MIN_STD. A context, the same for all steps of a task, is joined to each
    observation ([P] C.2), and is 0 at first.
    observation_size, action_size: O and A.
    hidden: sizes of the hidden layers.
    activation: theirs, "relu" or, as [M] has for the random policy of 2-D navigation, "tanh".
    dtype: of the weights.
    context_size: Z; 0: none.
    adapted: what an inner step moves, one of ADAPTED: all weights; the head, which makes the Gaussian of the last
        hidden layer's features: the last layer and "log_std"; or the context alone.
    """
    in_tensorflow, in_numpy = ACTIVATIONS[activation]
    sizes = [observation_size + context_size, *hidden, action_size]
    last = len(sizes) - 1
    head = (f"w{last}", f"b{last}", "log_std")

    def init(seed):
        weights = {}
        for i in range(1, last + 1):
            fan_in, fan_out = sizes[i - 1], sizes[i]
            limit = math.sqrt(6 / (fan_in + fan_out))
            weights[f"w{i}"] = tf.random.stateless_uniform([fan_in, fan_out], [seed, i], -limit, limit, dtype)
            weights[f"b{i}"] = tf.zeros([fan_out], dtype)
        weights["log_std"] = tf.zeros([action_size], dtype)
        return weights | ({CONTEXT: tf.zeros([context_size], dtype)} if context_size else {})

    def forward(weights, observations):
        x = observations
        if context_size:
            x = tf.concat([x, _beside(x, weights[CONTEXT], tf.broadcast_to)], -1)
        for i in range(1, last + 1):
            x = layers.add_bias(layers.dense(x, weights[f"w{i}"]), weights[f"b{i}"])
            x = in_tensorflow(x) if i < last else x
        return x, tf.maximum(weights["log_std"], tf.constant(math.log(MIN_STD), dtype))

    def forward_numpy(weights, observations):
        num_tasks, rows, _ = observations.shape
        if context_size:
            beside = _beside(observations, weights[CONTEXT], np.broadcast_to)
            observations = np.concatenate([observations, beside], -1)
        block = max(size for size in range(1, MOST_ROWS + 1) if rows % size == 0)
        x = observations.reshape(num_tasks, rows // block, block, -1)
        for i in range(1, last + 1):
            x = np.matmul(x, weights[f"w{i}"][:, None])
            x += weights[f"b{i}"][:, None, None]
            x = in_numpy(x) if i < last else x
        return x.reshape(num_tasks, rows, -1), np.maximum(weights["log_std"], np.float32(math.log(MIN_STD)))

    def is_adapted(name):
        return {"all": True, "head": name in head, "context": name == CONTEXT}[adapted]

    return Policy(init, forward, forward_numpy, is_adapted)


def _beside(observations, context, broadcast_to):
    """The contexts [M, Z] of observations [M, T, O], for each step, [M, T, Z]."""
    num_tasks, size = context.shape
    return broadcast_to(context[:, None], [num_tasks, observations.shape[1], size])


def sample(means, log_stds, noise):
    """Actions of Gaussians. Standard normal `noise` and the others of shapes that broadcast; arrays or tensors."""
    return means + (np.exp(log_stds) if isinstance(log_stds, np.ndarray) else tf.exp(log_stds)) * noise


def log_likelihood(actions, means, log_stds):
    """log π(a) of diagonal Gaussians, [M, T]. actions, means [M, T, A], log_stds [M, A]."""
    log_stds = log_stds[:, None]
    z = (actions - means) * tf.exp(-log_stds)
    constant = 0.5 * actions.shape[-1] * math.log(2 * math.pi)
    return -0.5 * tf.reduce_sum(tf.square(z), -1) - tf.reduce_sum(log_stds, -1) - constant


def kl(old_means, old_log_stds, means, log_stds):
    """KL(old‖new) of diagonal Gaussians, summed over the A action dimensions, [M, T].

    ((μ_old − μ)² + σ_old² − σ²)/(2σ² + 1e-8) + log σ − log σ_old, 1e-8 as in [M] distributions/diagonal_gaussian.py.
    """
    old_log_stds, log_stds = old_log_stds[:, None], log_stds[:, None]
    old_variances, variances = tf.exp(2 * old_log_stds), tf.exp(2 * log_stds)
    quotient = (tf.square(old_means - means) + old_variances - variances) / (2 * variances + 1e-8)
    return tf.reduce_sum(quotient + log_stds - old_log_stds, -1)
