"""The layers of large images by TensorFlow's own kernels and by closed forms, one task at a time.

The same functions as in `layers`, with the same first and second derivatives. On 84x84 maps memory traffic decides:
TensorFlow's convolution passes over a map once where a matrix of patches is nine maps, and what follows a convolution
is here one function whose derivatives are formulas of few passes. Not to be compiled by XLA as a whole: there the
second derivative of `tf.nn.max_pool2d` is wrong. Letters as in `layers`.
"""

import tensorflow as tf

from maml import layers


def conv3x3(x, kernel, stride):
    """As `layers.conv3x3`."""
    return _each_task(lambda x, kernel: tf.nn.conv2d(x, kernel, stride, "SAME"), x, kernel)


def max_pool2x2(x):
    """As `layers.max_pool2x2`."""
    y = tf.nn.max_pool2d(tf.reshape(x, [-1, *x.shape[2:]]), 2, 2, "VALID")
    return tf.reshape(y, [x.shape[0], layers.num_examples(x), *y.shape[1:]])


def batch_norm(x, beta, num_reference=None, gamma=None, epsilon=layers.BATCH_NORM_EPSILON, pool=False):
    """As `layers.batch_norm`, to second derivatives. A third derivative is a NotImplementedError."""
    if num_reference is not None:
        return layers.batch_norm(x, beta, num_reference, gamma, epsilon, pool)
    # The largest of four keeps its place under an increasing function. So of a map that is pooled afterwards only a
    # quarter is normalised; where γ is negative, the smallest of four.
    if gamma is None:
        y = _each_task(lambda x: _standardise(x, None, epsilon, pool), x)
    else:
        sign = tf.where(gamma < 0, -tf.ones_like(gamma), tf.ones_like(gamma))
        y = _each_task(lambda x, sign: _standardise(x, sign, epsilon, pool), x, sign)
        y = y * layers.per_channel(gamma, y)
    return y + layers.per_channel(beta, y)


def _each_task(function, *arguments):
    """function(of one task's x, its weight, …) for every task. Not by x[i], whose gradient is all of x in zeros."""
    return tf.stack([function(*of_one) for of_one in zip(*map(tf.unstack, arguments))])


def _standardise(x, sign, epsilon, pool):
    """x̂ = (x − mean)·s with s = 1/sqrt(var + ε) [n, H, W, C]; where it is pooled, one of each 2x2 window [n, h, w, C].

    sign [C], or None for 1: by 1 the largest of a window is chosen, by −1 the smallest. Among equal ones the first.
    """
    # In a graph each formula by itself is compiled by XLA, into few passes. A classifier in use is adapted without a
    # graph, so that it needn't wait for that; an exported one has n open.
    often = not tf.executing_eagerly() and x.shape.is_fully_defined()
    value, gradient, second = _COMPILED if often else _FORMULAS

    @tf.custom_gradient
    def standardise(x):
        y, *saved = value(x, sign, epsilon, pool)
        saved.append(y if pool else None)

        @tf.custom_gradient
        def in_x(x, upstream):
            return gradient(x, upstream, *saved), lambda w: _without_derivative(*second(x, upstream, w, *saved))

        return y, lambda upstream: in_x(x, upstream)

    return standardise(x)


# The closed forms. A bar is a mean over all n·H·W positions, also where the summands are at the chosen ones alone.


def _value(x, sign, epsilon, pool):
    """(x̂, where pooled the chosen ones, mean, s, which of its window is chosen: 0 to 3, or None)."""
    mean = _mean(x)
    s = tf.math.rsqrt(_mean(tf.square(x - mean)) + epsilon)
    if not pool:
        return (x - mean) * s, mean, s, None
    a, b, c, d = _window(x if sign is None else x * sign)
    largest = tf.maximum(tf.maximum(a, b), tf.maximum(c, d))
    which = tf.where(a == largest, 0, tf.where(b == largest, 1, tf.where(c == largest, 2, 3)))
    chosen = largest if sign is None else largest * sign
    return (chosen - mean) * s, mean, s, tf.cast(which, tf.int8)


def _gradient(x, g, mean, s, which, chosen):
    """s·(g − ḡ − x̂·a) for a = the bar of g·x̂: the gradient in x of the sum of g·x̂. It is linear in g."""
    standard = (x - mean) * s
    a = _mean_of_chosen(g * (standard if chosen is None else chosen), x)
    return s * (_spread(g, which, x) - _mean_of_chosen(g, x) - standard * a)


def _second(x, g, w, mean, s, which, chosen):
    """The gradients in x and in g of the sum of w·gradient(x, g).

    With c = the bar of w·x̂: in x, −s²·(x̂·(cov(w, g) − 3ac) + c·(g − ḡ) + a·(w − w̄)), from ds/dx = −s²·x̂/(n·H·W) and
    from da/dx, which is `_gradient` itself over n·H·W, as dc/dx is with w for g. In g, s·(w − w̄ − x̂·c).
    """
    standard = (x - mean) * s
    at_chosen = standard if chosen is None else chosen
    w_mean, w_chosen, c = _mean(w), _pick(w, which), _mean(w * standard)
    g_mean, a = _mean_of_chosen(g, x), _mean_of_chosen(g * at_chosen, x)
    covariance = _mean_of_chosen(g * w_chosen, x) - g_mean * w_mean
    curvature = standard * (covariance - 3 * a * c) + c * (_spread(g, which, x) - g_mean) + a * (w - w_mean)
    return -tf.square(s) * curvature, s * (w_chosen - w_mean - at_chosen * c)


def _mean(t):
    """Over examples and space. In two sums, of rows and within the sum row: that is exact to a few roundings."""
    width, channels = t.shape[2:]
    row = tf.reduce_sum(tf.reshape(t, [-1, width * channels]), 0)
    return tf.reduce_sum(tf.reshape(row, [width, channels]), 0) / _count(t)


def _mean_of_chosen(t, x):
    """As `_mean`, over the positions of x, of what is zero elsewhere than at the chosen ones."""
    return _mean(t) * (_count(t) / _count(x))


def _count(t):
    return tf.cast(tf.reduce_prod(tf.shape(t)[:-1]), t.dtype)


def _window(x):
    """The four of every 2x2 window, row by row, each [n, H//2, W//2, C]."""
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return [x[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]


def _pick(t, which):
    """Of every window the chosen one; all where nothing is pooled."""
    if which is None:
        return t
    a, b, c, d = _window(t)
    return tf.where(which == 0, a, tf.where(which == 1, b, tf.where(which == 2, c, d)))


def _spread(t, which, x):
    """The transpose of `_pick`: t at the chosen ones of x's positions, elsewhere 0."""
    if which is None:
        return t
    _, height, width, channels = x.shape
    place = tf.reshape(tf.constant([0, 1, 2, 3], which.dtype), [1, 1, 2, 1, 2, 1])
    windows = tf.where(which[:, :, None, :, None] == place, t[:, :, None, :, None], tf.zeros([], t.dtype))
    even = tf.reshape(windows, [-1, height // 2 * 2, width // 2 * 2, channels])
    return tf.pad(even, [[0, 0], [0, height % 2], [0, width % 2], [0, 0]]) if height % 2 or width % 2 else even


_FORMULAS = _value, _gradient, _second
_COMPILED = tuple(tf.function(formula, jit_compile=True) for formula in _FORMULAS)


@tf.custom_gradient
def _without_derivative(*tensors):
    def refuse(*_):
        raise NotImplementedError("the batch norm of large images has no third derivative; expected conv_net(xla=True)")

    return tensors, refuse
