"""The paper's networks: weight dicts and pure forward functions. No Keras, no state.

A `Network` is two functions. `init(seed)` gives the weights θ of one network, named as in the authors' code (w1, b1, …;
conv1, b1, …, w5, b5) with the normalisation parameters beside them (beta0, gamma0, …: one set a layer). `forward`
takes weights that carry the task axis M in front of every tensor, and the inputs of all M tasks.
"""

from typing import Callable, NamedTuple

import tensorflow as tf

from maml import layers
from maml.config import NORMS


class Network(NamedTuple):
    """init: seed -> {name: tensor}; forward: ({name: [M, ...]}, x [M, n, ...]) -> outputs [M, n, outputs]."""

    init: Callable
    forward: Callable


def is_adapted(name):
    """Whether the inner loop adapts this weight: all but the normalisation's (authors' maml.py: they are not in `weights`)."""
    return not name.startswith(("beta", "gamma"))


def dense_net(dim_input, dim_hidden, dim_output, norm="None", dtype=tf.float32):
    """Fully connected ReLU net; inputs are flattened to [M, n, dim_input].

    Sinusoid: hidden (40, 40), no norm ([P] 5.1). Omniglot without convolution: (256, 128, 64, 64), batch norm
    ([P] 5.2, A.1). Weights: truncated normal with σ = 0.01, biases 0 (authors' maml.py, construct_fc_weights).
    """
    _check_norm(norm)
    sizes = [dim_input, *dim_hidden, dim_output]

    def init(seed):
        weights = {}
        for i in range(1, len(sizes)):
            shape = [sizes[i - 1], sizes[i]]
            weights[f"w{i}"] = tf.random.stateless_truncated_normal(shape, [seed, i], stddev=0.01, dtype=dtype)
            weights[f"b{i}"] = tf.zeros([sizes[i]], dtype)
        for i, size in enumerate(dim_hidden):
            weights |= _init_norm(norm, i, size, dtype)
        return weights

    def forward(weights, x):
        hidden = tf.reshape(x, [x.shape[0], x.shape[1], dim_input])
        for i in range(1, len(sizes) - 1):
            hidden = layers.dense(hidden, weights[f"w{i}"], weights[f"b{i}"])
            hidden = tf.nn.relu(_normalise(norm, hidden, weights, i - 1))
        return layers.dense(hidden, weights[f"w{len(sizes) - 1}"], weights[f"b{len(sizes) - 1}"])

    return Network(init, forward)


def conv_net(input_shape, num_filters, dim_output, norm="batch_norm", max_pool=False, flatten=False, dtype=tf.float32):
    """Four blocks of 3x3 convolution, normalisation, ReLU; then one dense layer. input_shape is (H, W, C).

    max_pool: convolutions of stride 1, each block ending in a 2x2 max-pool (miniImagenet), instead of stride 2
    (Omniglot). flatten: the last map enters the dense layer whole (miniImagenet, Xavier-initialised) instead of
    averaged over space (Omniglot, initialised normal(0, 1), `tf.random_normal`'s default). Convolutions: Xavier
    uniform, biases 0. All as in the authors' maml.py, construct_conv_weights and forward_conv.
    """
    _check_norm(norm)
    height, width, channels = input_shape
    if max_pool and (height // 16 == 0 or width // 16 == 0):
        raise ValueError(f"four 2x2 max-pools need images of at least 16x16, got {height}x{width}")
    map_size = (height // 16) * (width // 16) if max_pool else -(-height // 16) * -(-width // 16)
    features = num_filters * map_size if flatten else num_filters

    def init(seed):
        weights = {}
        for i in range(1, 5):
            shape = [3, 3, channels if i == 1 else num_filters, num_filters]
            weights[f"conv{i}"] = _xavier_uniform(shape, 9 * shape[2], 9 * shape[3], [seed, i], dtype)
            weights[f"b{i}"] = tf.zeros([num_filters], dtype)
        if flatten:
            weights["w5"] = _xavier_uniform([features, dim_output], features, dim_output, [seed, 5], dtype)
        else:
            weights["w5"] = tf.random.stateless_normal([features, dim_output], [seed, 5], dtype=dtype)
        weights["b5"] = tf.zeros([dim_output], dtype)
        for i in range(4):
            weights |= _init_norm(norm, i, num_filters, dtype)
        return weights

    def forward(weights, x):
        hidden = tf.reshape(x, [x.shape[0], x.shape[1], height, width, channels])
        for i in range(1, 5):
            hidden = layers.conv3x3(hidden, weights[f"conv{i}"], weights[f"b{i}"], stride=1 if max_pool else 2)
            hidden = tf.nn.relu(_normalise(norm, hidden, weights, i - 1))
            hidden = layers.max_pool2x2(hidden) if max_pool else hidden
        if flatten:
            hidden = tf.reshape(hidden, [x.shape[0], x.shape[1], features])
        else:
            hidden = tf.reduce_mean(hidden, axis=[2, 3])
        return layers.dense(hidden, weights["w5"], weights["b5"])

    return Network(init, forward)


def _check_norm(norm):
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}, expected one of {NORMS}")


def _init_norm(norm, i, size, dtype):
    weights = {}
    if norm != "None":
        weights[f"beta{i}"] = tf.zeros([size], dtype)
    if norm == "layer_norm":
        weights[f"gamma{i}"] = tf.ones([size], dtype)
    return weights


def _normalise(norm, x, weights, i):
    if norm == "batch_norm":
        return layers.batch_norm(x, weights[f"beta{i}"])
    if norm == "layer_norm":
        return layers.layer_norm(x, weights[f"gamma{i}"], weights[f"beta{i}"])
    return x


def _xavier_uniform(shape, fan_in, fan_out, seed, dtype):
    limit = (6.0 / (fan_in + fan_out)) ** 0.5
    return tf.random.stateless_uniform(shape, seed, -limit, limit, dtype=dtype)
