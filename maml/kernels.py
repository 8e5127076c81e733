"""The layers of large images by TensorFlow's own kernels, convolution, batch norm and pooling, one task at a time.

The same functions as in `layers`, with the same derivatives. On 84x84 maps memory traffic decides, and these kernels
pass over a map once where a matrix of patches is nine maps. Not to be compiled by XLA: there the second derivative of
`tf.nn.max_pool2d` is wrong. Letters as in `layers`.
"""

import functools

import tensorflow as tf

from maml import layers


def conv3x3(x, kernel, stride):
    """As `layers.conv3x3`."""
    return _each_task(lambda x, kernel: tf.nn.conv2d(x, kernel, stride, "SAME"), x, kernel)


def max_pool2x2(x):
    """As `layers.max_pool2x2`."""
    y = tf.nn.max_pool2d(tf.reshape(x, [-1, *x.shape[2:]]), 2, 2, "VALID")
    return tf.reshape(y, [x.shape[0], layers.num_examples(x), *y.shape[1:]])


def batch_norm(x, beta, num_reference=None, gamma=None, epsilon=layers.BATCH_NORM_EPSILON):
    """As `layers.batch_norm`."""
    if x.dtype != tf.float32 or num_reference is not None:  # which the kernel has not
        return layers.batch_norm(x, beta, num_reference, gamma, epsilon)
    function = functools.partial(_batch_norm, epsilon)
    if gamma is None:
        return _each_task(function, x, beta)
    # The kernel's own second derivative leaves the scale out: γ goes outside.
    return _each_task(function, x, tf.zeros_like(beta)) * layers.per_channel(gamma, x) + layers.per_channel(beta, x)


def _each_task(function, x, weight):
    return tf.stack([function(x[i], weight[i]) for i in range(x.shape[0])])


def _batch_norm(epsilon, x, beta):
    """x [n, H, W, C], beta [C]. The kernel's own second derivative is dozens of passes; here it is a formula."""

    @tf.custom_gradient
    def normalise(x, beta):
        ones = tf.ones_like(beta)
        y, _, _, *saved = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=ones, offset=beta, mean=[], variance=[], epsilon=epsilon
        )

        @tf.custom_gradient
        def gradient(x, upstream):
            """s·(g − mean(g) − x̂·mean(g·x̂)) for g = upstream, s = 1/sqrt(var + ε), x̂ = (x − mean)·s. Symmetric in g."""
            space = dict(zip(("reserve_space_1", "reserve_space_2", "reserve_space_3"), saved))
            g = tf.raw_ops.FusedBatchNormGradV3(y_backprop=upstream, x=x, scale=ones, epsilon=epsilon, **space)
            return g.x_backprop, lambda u: (_gradient_in_x(x, upstream, u, epsilon), gradient(x, u))

        return y, lambda upstream: (gradient(x, upstream), tf.reduce_sum(upstream, [0, 1, 2]))

    return normalise(x, beta)


@tf.function(jit_compile=True)  # reductions and one linear combination: XLA fuses them into few passes
def _gradient_in_x(x, g, u, epsilon):
    """The gradient in x of sum(u · gradient(x, g)): −s²·(x̂·(cov(u, g) − 3ab) + b·(u − mean(u)) + a·(g − mean(g))).

    a = mean(u·x̂), b = mean(g·x̂). From ds/dx = −s²·x̂/n, and from da/dx, which is `gradient` itself applied to u/n.
    """
    shape = x.shape
    x, g, u = (tf.reshape(t, [-1, shape[-1]]) for t in (x, g, u))

    def mean(t):
        return tf.reduce_mean(t, axis=0)

    centred = x - mean(x)
    s = tf.math.rsqrt(mean(tf.square(centred)) + epsilon)
    x = centred * s
    u, g = u - mean(u), g - mean(g)
    a, b = mean(u * x), mean(g * x)
    return tf.reshape(-tf.square(s) * (x * (mean(u * g) - 3 * a * b) + b * u + a * g), shape)
