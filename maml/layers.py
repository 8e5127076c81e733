"""Layers in which every task has its own weights: the task axis M leads in inputs and in weights.

M tasks, n examples of a task, H x W maps, C channels in, F channels out. No loop over tasks: a dense layer is a
batched matrix product, a convolution is the matrix of its patches times its kernel. Everything here may be
differentiated any number of times, compiled by XLA or not, in float32 or float64.
"""

import tensorflow as tf


def num_examples(x):
    """n of x [M, n, ...] or a nest of such: a number, or a scalar tensor where it is open, as in an exported model."""
    x = tf.nest.flatten(x)[0]
    return tf.shape(x)[1] if x.shape[1] is None else x.shape[1]


def dense(x, weight):
    """x [M, n, C], weight [M, C, F] -> [M, n, F]."""
    return tf.matmul(x, weight)


def add_bias(x, bias):
    """x [M, n, ..., F], bias [M, F] -> as x."""
    return x + per_channel(bias, x)


def conv3x3(x, kernel, stride):
    """3x3 convolution, TensorFlow's SAME padding. x [M, n, H, W, C], kernel [M, 3, 3, C, F].

    Returns [M, n, ceil(H/stride), ceil(W/stride), F]; stride is 1 or 2.
    """
    num_tasks, num_examples, height, width, channels = x.shape
    matrix = tf.reshape(kernel, [num_tasks, 9 * channels, kernel.shape[-1]])
    patches = _patches(x, stride)
    if channels * 9 < 32:  # a thin product, e.g. of the first layer: nothing to gain below
        y = tf.matmul(patches, matrix)
    else:
        # The kernel enters transposed because its gradient is then y_bar^T · patches, [F, 9C], which the matrix
        # libraries do about 1.8 times faster than patches^T · y_bar, [9C, F].
        y = tf.matmul(patches, tf.transpose(matrix, [0, 2, 1]), transpose_b=True)
    return tf.reshape(y, [num_tasks, num_examples, -(-height // stride), -(-width // stride), kernel.shape[-1]])


def max_pool2x2(x):
    """2x2 maximum, stride 2, VALID: [M, n, H, W, C] -> [M, n, H//2, W//2, C].

    Written with tf.maximum because the second derivative of `tf.nn.max_pool2d` is wrong under XLA (it compares in
    about bfloat16 and sends the gradient of near ties to the wrong cell).
    """
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    rows = tf.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
    return tf.maximum(rows[:, :, :, 0:width:2], rows[:, :, :, 1:width:2])


BATCH_NORM_EPSILON = 1e-3  # the default of `tf.contrib.layers.batch_norm`


def batch_norm(x, beta, num_reference=None, gamma=None, epsilon=BATCH_NORM_EPSILON, pool=False):
    """γ·(x − mean)/sqrt(var + ε) + β over examples and space, per task and channel.

    x [M, n, ..., C], beta and gamma [M, C]. pool: with `max_pool2x2` behind it.

    Always the statistics of the batch at hand, biased variance, an offset but no scale (gamma None), as the authors use
    `tf.contrib.layers.batch_norm` (its defaults: epsilon 0.001, center, no scale).
    num_reference: the statistics are those of the first so many examples only (None: of all), so that the others, each
    normalised by itself, don't see one another.
    """
    rows = _rows(x)
    reference = rows if num_reference is None else rows[:, : num_reference * x.shape[2:-1].num_elements()]
    y = _standardise(rows, [1], epsilon, reference)
    y = y if gamma is None else y * gamma[:, None, :]
    y = tf.reshape(y + beta[:, None, :], [x.shape[0], num_examples(x), *x.shape[2:]])
    return max_pool2x2(y) if pool else y


def fixed_norm(x, mean, variance, beta, gamma=None, epsilon=BATCH_NORM_EPSILON):
    """As `batch_norm`, with a mean and a variance that are given, [M, C]."""
    factor = tf.math.rsqrt(variance + epsilon) * (1 if gamma is None else gamma)
    return (x - per_channel(mean, x)) * per_channel(factor, x) + per_channel(beta, x)


def moments(x):
    """(mean, unbiased variance), each [M, C], of x [M, n, ..., C] over examples and space. No gradient goes through."""
    rows = tf.stop_gradient(_rows(x))
    count = tf.cast(tf.shape(rows)[1], x.dtype)
    mean = tf.reduce_mean(rows, 1)
    return mean, tf.reduce_sum(tf.square(rows - mean[:, None]), 1) / tf.maximum(count - 1, 1)


def _rows(x):
    """x [M, n, ..., C] as [M, n·…, C]: one reduction over rows; XLA is slower on three axes."""
    return tf.reshape(x, [x.shape[0], -1, x.shape[-1]])


def layer_norm(x, gamma, beta):
    """gamma·(x − mean)/sqrt(var + 1e-12) + beta over space and channels of each example. gamma, beta [M, C].

    As `tf.contrib.layers.layer_norm`, which the authors use: statistics over every axis but the examples', scale and
    offset per channel, epsilon 1e-12.
    """
    return _standardise(x, list(range(2, x.shape.rank)), 1e-12) * per_channel(gamma, x) + per_channel(beta, x)


def _standardise(x, axes, epsilon, reference=None):
    # Not tf.nn.moments: it stops the gradient at the mean inside the variance, which leaves first derivatives right
    # and makes second derivatives wrong.
    reference = x if reference is None else reference
    mean = tf.reduce_mean(reference, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(reference - mean), axes, keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + epsilon)


def per_channel(v, x):
    """[M, C] to [M, 1, ..., 1, C], to be broadcast against x."""
    return tf.reshape(v, [v.shape[0]] + [1] * (x.shape.rank - 2) + [v.shape[-1]])


# Taking the 3x3 patches of a map is a linear function, and so is its transpose, which adds patches up into a map. Each
# is the other's gradient, to any order. Saying so, instead of leaving it to the derivatives of nine slices, makes the
# transpose one pass over memory.


def _patches(x, stride):
    """[M, n, H, W, C] -> [M, n·H'·W', 9·C], rows in the order of the output, columns as in a kernel [3, 3, C]."""

    @tf.custom_gradient
    def patches(x):
        shape = x.shape
        return _gather_patches(x, stride), lambda upstream: _patches_transpose(upstream, shape, stride)

    return patches(x)


def _patches_transpose(p, shape, stride):
    """The transpose of `_patches`: p [M, n·H'·W', 9·C] -> [M, n, H, W, C] = shape."""

    @tf.custom_gradient
    def patches_transpose(p):
        return _scatter_patches(p, shape, stride), lambda upstream: _patches(upstream, stride)

    return patches_transpose(p)


def _same_padding(size, stride):
    """(output size, padding before, padding after) of a 3-wide window, TensorFlow's SAME rule."""
    out = -(-size // stride)
    total = max((out - 1) * stride + 3 - size, 0)
    return out, total // 2, total - total // 2


def _blocks(size, stride):
    """(output size, padding before, padding after) so that the padded size is a whole number of strides and holds every
    window: with stride 2 a row index splits into (block, phase), and each window row is a slice of one phase."""
    out, before, _ = _same_padding(size, stride)
    return out, before, stride * (out + 2 // stride) - size - before


def _gather_patches(x, stride):
    num_tasks, num_examples, height, width, channels = x.shape
    (out_h, *pad_h), (out_w, *pad_w) = _blocks(height, stride), _blocks(width, stride)
    x = tf.pad(x, [[0, 0], [0, 0], pad_h, pad_w, [0, 0]])
    x = tf.reshape(x, [num_tasks, num_examples, x.shape[2] // stride, stride, x.shape[3] // stride, stride, channels])
    windows = [
        x[:, :, i // stride : i // stride + out_h, i % stride, j // stride : j // stride + out_w, j % stride]
        for i in range(3)
        for j in range(3)
    ]
    return tf.reshape(tf.concat(windows, -1), [num_tasks, num_examples * out_h * out_w, 9 * channels])


def _scatter_patches(p, shape, stride):
    num_tasks, num_examples, height, width, channels = shape
    (out_h, *pad_h), (out_w, *pad_w) = _blocks(height, stride), _blocks(width, stride)
    p = tf.reshape(p, [num_tasks, num_examples, out_h, out_w, 9, channels])
    extra = 2 // stride  # blocks beyond the output's own

    def placed(i, j):
        down, right = i // stride, j // stride
        return tf.pad(p[:, :, :, :, 3 * i + j], [[0, 0], [0, 0], [down, extra - down], [right, extra - right], [0, 0]])

    def phase(a, b):
        return tf.add_n([placed(i, j) for i in range(a, 3, stride) for j in range(b, 3, stride)])

    x = tf.stack([tf.stack([phase(a, b) for b in range(stride)], 4) for a in range(stride)], 3)
    x = tf.reshape(x, [num_tasks, num_examples, height + sum(pad_h), width + sum(pad_w), channels])
    return x[:, :, pad_h[0] : pad_h[0] + height, pad_w[0] : pad_w[0] + width]
