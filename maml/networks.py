"""The paper's networks: weight dicts and pure forward functions. No Keras, no state.

A `Network` is two functions. `init(seed)` gives the weights θ of one network, named as in the authors' code (w1, b1, …;
conv1, b1, …, w5, b5) with the normalisation parameters beside them (beta0, gamma0, …: one set a layer). `forward`
takes weights that carry the task axis M in front of every tensor, and the inputs of all M tasks.

A bias in front of a batch norm is subtracted again by it: it exists, as in the authors' networks, and is left out of
the sum, so that its gradient is exactly zero.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from data_generators.errors import UserError
from maml import kernels, layers

NORMS = ("batch_norm", "layer_norm", "None")
MOMENTUM = 0.1  # of running averages, where nothing else is said (PyTorch's default, which their users have)


class Norm(NamedTuple):
    """A network's normalisation. The defaults are the MAML authors' (`tf.contrib.layers.batch_norm`).

    kind: one of NORMS. epsilon: added to the variance by a batch norm.
    scale: whether a batch norm has a factor γ beside its offset β (a layer norm always has).
    averages: whether a batch norm keeps running averages of its moments, by which single examples are then normalised.
    momentum: how much of a running average is replaced by a new batch: new = (1 − momentum)·old + momentum·batch.
    """

    kind: str = "batch_norm"
    scale: bool = False
    averages: bool = False
    epsilon: float = layers.BATCH_NORM_EPSILON
    momentum: float = MOMENTUM


class Block(NamedTuple):
    """A 3x3 convolution with what follows it.

    stride: of the convolution. pool: a 2x2 max-pool at the end.
    padded: zeros around the map, so that it keeps its size. False, for a stride of 1: it loses a pixel at every side.
    """

    stride: int = 1
    pool: bool = False
    padded: bool = True


class Network(NamedTuple):
    """init: seed -> {name: tensor}. forward: ({name: [M, ...]}, x [M, n, ...]) -> outputs [M, n, outputs].

    forward(weights, x, num_reference=r): each example by itself. Batch norm then uses the running averages among the
    weights, or where the network keeps none, the statistics of the first r examples for all.
    forward_with_averages(weights, x, after_layer=None) -> (outputs, {name: [M, F]}): the running averages after this
    batch besides; {} where there are none. It is the form for training: after_layer(hidden, i) is what becomes of the
    outputs of layer i = 1, 2, …, such as dropout; None: nothing. A network of one's own may do without (`in_training`).
    for_xla: whether `forward` may be compiled by XLA; XLA gets the others wrong.
    output_shape: of the outputs for one example: (outputs,), or (h, w, F) of maps; None where it isn't known.
    """

    init: Callable
    forward: Callable
    forward_with_averages: Callable | None = None
    for_xla: bool = True
    output_shape: tuple | None = None

    def in_training(self, weights, x, after_layer=None):
        """What `forward_with_averages` returns; of a network without it (outputs, {})."""
        dropout = () if after_layer is None else (after_layer,)
        if self.forward_with_averages is not None:
            return self.forward_with_averages(weights, x, *dropout)
        if dropout:
            raise UserError("the network has no forward_with_averages, expected one that lets a layer be dropped out")
        return self.forward(weights, x), {}


def is_average(name):
    """Whether this weight is a running average, which no gradient moves."""
    return name.startswith(("moving_mean", "moving_variance"))


def is_adapted(name):
    """Whether the inner loop adapts this weight: all but the normalisation's (authors' maml.py has them elsewhere)."""
    return not name.startswith(("beta", "gamma")) and not is_average(name)


def without_gradient(names):
    """Those of θ's names whose weights may have no gradient: running averages, and biases in front of a norm.

    names: all of them, as `Network.init` gives them; also under a prefix, as a step size of b1 is alpha/b1.
    """
    normalised = {f"b{i + 1}" for i in range(len(names)) if f"beta{i}" in names}
    return {name for name in names if is_average(name) or name.rpartition("/")[2] in normalised}


def dense_net(dim_input, dim_hidden, dim_output, norm="None", dtype=tf.float32):
    """Fully connected ReLU net; inputs are flattened to [M, n, dim_input].

    Sinusoid: hidden (40, 40), no norm ([P] 5.1). Omniglot without convolution: (256, 128, 64, 64), batch norm
    ([P] 5.2, A.1). Weights: truncated normal with σ = 0.01, biases 0 (authors' maml.py, construct_fc_weights).
    dim_output: None for the last hidden layer as features. norm: a Norm, or its kind.
    """
    norm = _as_norm(norm)
    sizes = [dim_input, *dim_hidden, *([] if dim_output is None else [dim_output])]

    def init(seed):
        weights = {}
        for i in range(1, len(sizes)):
            shape = [sizes[i - 1], sizes[i]]
            weights[f"w{i}"] = tf.random.stateless_truncated_normal(shape, [seed, i], stddev=0.01, dtype=dtype)
            weights[f"b{i}"] = tf.zeros([sizes[i]], dtype)
        for i, size in enumerate(dim_hidden):
            weights |= _init_norm(norm, i, size, dtype)
        return weights

    def run(weights, x, num_reference, averages, after_layer):
        hidden = tf.reshape(x, [x.shape[0], layers.num_examples(x), dim_input])
        for i in range(1, len(dim_hidden) + 1):
            hidden = layers.dense(hidden, weights[f"w{i}"])
            hidden = tf.nn.relu(_normalise(norm, layers, hidden, weights, i, num_reference, averages))
            hidden = after_layer(hidden, i) if after_layer else hidden
        if dim_output is None:
            return hidden
        last = len(sizes) - 1
        return layers.add_bias(layers.dense(hidden, weights[f"w{last}"]), weights[f"b{last}"])

    return Network(init, *_forms(run), output_shape=(sizes[-1],))


def conv_net(  # noqa: PLR0913  (all but the first three have the authors' value for Omniglot)
    input_shape, num_filters, dim_output, norm="batch_norm", max_pool=False, flatten=False, xla=True, dtype=tf.float32
):
    """Four blocks of 3x3 convolution, normalisation, ReLU; then one dense layer. input_shape is (H, W, C).

    dim_output: None for features, what enters the dense layer. norm: a Norm, or its kind.
    max_pool: convolutions of stride 1, each block ending in a 2x2 max-pool (miniImagenet), instead of stride 2
    (Omniglot). flatten: the last map enters the dense layer whole (miniImagenet, Xavier-initialised) instead of
    averaged over space (Omniglot, initialised normal(0, 1), `tf.random_normal`'s default). Convolutions: Xavier
    uniform, biases 0. All as in the authors' maml.py, construct_conv_weights and forward_conv.
    xla: whether `forward` is for compilation by XLA, which is faster where a task's maps fit the processor's cache
    (Omniglot), or made of TensorFlow's own kernels, faster beyond (miniImagenet) and not to be compiled. Only the
    latter leaves the number of examples open in a graph.
    """
    height, width, _ = input_shape
    if max_pool and (height // 16 == 0 or width // 16 == 0):
        raise ValueError(f"four 2x2 max-pools need images of at least 16x16, got {height}x{width}")
    blocks = 4 * (Block(pool=True) if max_pool else Block(stride=2),)
    maps = conv_maps(input_shape, num_filters, blocks, norm, xla, dtype)
    features = math.prod(maps.output_shape) if flatten else num_filters

    def init(seed):
        head = {} if dim_output is None else init_head(features, dim_output, flatten, seed, dtype)
        return maps.init(seed) | head

    def to_outputs(hidden, weights):
        if flatten:
            hidden = tf.reshape(hidden, [hidden.shape[0], layers.num_examples(hidden), features])
        else:
            hidden = tf.reduce_mean(hidden, axis=[2, 3])
        if dim_output is None:
            return hidden
        return layers.add_bias(layers.dense(hidden, weights["w5"]), weights["b5"])

    def forward(weights, x, num_reference=None):
        return to_outputs(maps.forward(weights, x, num_reference), weights)

    def forward_with_averages(weights, x, after_layer=None):
        hidden, averages = maps.in_training(weights, x, after_layer)
        return to_outputs(hidden, weights), averages

    return Network(init, forward, forward_with_averages, xla, (dim_output or features,))


def conv_maps(input_shape, num_filters, blocks, norm="batch_norm", xla=True, dtype=tf.float32):
    """Blocks of 3x3 convolution, normalisation, ReLU, from (H, W, C) to maps: outputs [M, n, h, w, num_filters].

    blocks: of `Block`; h and w are `map_size` of H and W. ValueError where nothing would be left of the map.
    Others as in `conv_net`.
    """
    norm = _as_norm(norm)
    height, width, channels = input_shape
    output_shape = (map_size(height, blocks), map_size(width, blocks), num_filters)
    if min(output_shape) < 1:
        raise ValueError(f"these {len(blocks)} blocks leave nothing of images of {height}x{width}")
    form = layers if xla else kernels

    def init(seed):
        weights = {}
        for i in range(1, len(blocks) + 1):
            shape = [3, 3, channels if i == 1 else num_filters, num_filters]
            weights[f"conv{i}"] = _xavier_uniform(shape, 9 * shape[2], 9 * shape[3], [seed, i], dtype)
            weights[f"b{i}"] = tf.zeros([num_filters], dtype)
            weights |= _init_norm(norm, i - 1, num_filters, dtype)
        return weights

    def run(weights, x, num_reference, averages, after_layer):
        hidden = tf.reshape(x, [x.shape[0], layers.num_examples(x), height, width, channels])
        for i, block in enumerate(blocks, 1):
            hidden = form.conv3x3(hidden, weights[f"conv{i}"], stride=block.stride)
            hidden = hidden if block.padded else hidden[:, :, 1:-1, 1:-1]
            # Pooling and ReLU may change places: the larger of four is positive where one is. A quarter of the work.
            hidden = tf.nn.relu(_normalise(norm, form, hidden, weights, i, num_reference, averages, block.pool))
            hidden = after_layer(hidden, i) if after_layer else hidden
        return hidden

    return Network(init, *_forms(run), xla, output_shape)


def map_size(size, blocks):
    """The side of the map that is left of one of `size` by these blocks; below 1 where nothing is."""
    for block in blocks:
        size = -(-size // block.stride) - (0 if block.padded else 2)
        size = size // 2 if block.pool else size
    return size


def init_head(features, dim_output, flatten, seed, dtype=tf.float32):
    """{"w5", "b5"}: the last dense layer of `conv_net`, as it is initialised there."""
    if flatten:
        weight = _xavier_uniform([features, dim_output], features, dim_output, [seed, 5], dtype)
    else:
        weight = tf.random.stateless_normal([features, dim_output], [seed, 5], dtype=dtype)
    return {"w5": weight, "b5": tf.zeros([dim_output], dtype)}


def _forms(run):
    """`forward` and `forward_with_averages`, of a `run` with all their arguments, which fills the dict `averages`."""

    def forward(weights, x, num_reference=None):
        return run(weights, x, num_reference, None, None)

    def forward_with_averages(weights, x, after_layer=None):
        averages = {}
        return run(weights, x, None, averages, after_layer), averages

    return forward, forward_with_averages


def _as_norm(norm):
    norm = Norm(norm) if isinstance(norm, str) else norm
    if norm.kind not in NORMS:
        raise ValueError(f"norm is {norm.kind!r}, expected one of {NORMS}")
    return norm


def _init_norm(norm, i, size, dtype):
    weights = {}
    if norm.kind != "None":
        weights[f"beta{i}"] = tf.zeros([size], dtype)
    if norm.kind == "layer_norm" or (norm.kind == "batch_norm" and norm.scale):
        weights[f"gamma{i}"] = tf.ones([size], dtype)
    if norm.kind == "batch_norm" and norm.averages:
        weights[f"moving_mean{i}"] = tf.zeros([size], dtype)
        weights[f"moving_variance{i}"] = tf.ones([size], dtype)
    return weights


def _normalise(norm, form, x, weights, i, num_reference, averages, pool=False):  # noqa: PLR0913
    """The bias and the normalisation of layer i = 1, 2, …, as far as there are any, and a 2x2 max-pool where asked.

    form: the module that the layers are from.
    averages: a dict to which the layer's running averages after this batch are added, or None.
    """
    offset, scale = weights.get(f"beta{i - 1}"), weights.get(f"gamma{i - 1}")
    if norm.kind == "batch_norm":
        mean, variance = (weights.get(f"moving_{moment}{i - 1}") for moment in ("mean", "variance"))
        if mean is not None and averages is not None:
            batch_mean, batch_variance = layers.moments(x)
            averages[f"moving_mean{i - 1}"] = mean + norm.momentum * (batch_mean - mean)
            averages[f"moving_variance{i - 1}"] = variance + norm.momentum * (batch_variance - variance)
        if mean is None or num_reference is None:
            return form.batch_norm(x, offset, num_reference, scale, norm.epsilon, pool)
        x = layers.fixed_norm(x, mean, variance, offset, scale, norm.epsilon)
    else:
        x = layers.add_bias(x, weights[f"b{i}"])
        x = layers.layer_norm(x, scale, offset) if norm.kind == "layer_norm" else x
    return form.max_pool2x2(x) if pool else x


def _xavier_uniform(shape, fan_in, fan_out, seed, dtype):
    limit = (6.0 / (fan_in + fan_out)) ** 0.5
    return tf.random.stateless_uniform(shape, seed, -limit, limit, dtype=dtype)
