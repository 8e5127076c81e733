"""Every layer against TensorFlow's own or NumPy's, task by task, in float64."""

import numpy as np
import pytest
import tensorflow as tf
from toys import assert_close

from maml import layers

M, N, F = 2, 3, 4
EXACT = 1e-12  # of the largest entry: float64's 1e-16 over some hundred additions
SIZES = [(8, 8), (7, 7), (6, 9), (5, 4), (2, 3), (1, 1)]


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape))


def conv_inputs(size, channels):
    return normal(M, N, *size, channels), normal(M, 3, 3, channels, F, seed=1)


def conv2d(x, kernel, stride):
    """TensorFlow's convolution, one task after the other."""
    return tf.stack([tf.nn.conv2d(x[i], kernel[i], stride, "SAME") for i in range(M)])


def derivatives(function, arguments):
    """First derivatives of a non-linear functional of function(*arguments), and second derivatives along them."""
    with tf.GradientTape() as outer:
        outer.watch(arguments)
        with tf.GradientTape() as inner:
            inner.watch(arguments)
            value = tf.reduce_sum(tf.sin(function(*arguments)))
        first = inner.gradient(value, arguments)
        squares = tf.add_n([tf.reduce_sum(g**2) for g in first])
    return first, outer.gradient(squares, arguments)


def test_dense_is_the_matrix_product_of_each_task():
    x, w, b = normal(M, N, 5), normal(M, 5, F, seed=1), normal(M, F, seed=2)
    expected = np.stack([x[i].numpy() @ w[i].numpy() + b[i].numpy() for i in range(M)])
    assert_close(layers.add_bias(layers.dense(x, w), b), expected, EXACT)


# 1 channel takes the thin product, 4 channels (36 columns) the transposed one.
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_conv3x3_is_tensorflows_same_convolution(size, stride, channels):
    arguments = conv_inputs(size, channels)
    assert_close(layers.conv3x3(*arguments, stride), conv2d(*arguments, stride), EXACT)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (7, 7), (6, 9), (1, 1)])
def test_conv3x3_has_the_first_and_second_derivatives_of_tensorflows(size, stride, channels):
    arguments = conv_inputs(size, channels)
    got = derivatives(lambda *a: layers.conv3x3(*a, stride), arguments)
    expected = derivatives(lambda *a: conv2d(*a, stride), arguments)
    for order, (ours, theirs) in enumerate(zip(got, expected), start=1):
        for name, a, b in zip(("x", "kernel"), ours, theirs):
            assert_close(a, b, EXACT, f"derivative {order} in {name}")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_patches_transpose_is_the_transpose_of_patches(size, stride):
    """<patches(x), p> = <x, patches_transpose(p)>, for any x and p."""
    x = normal(M, N, *size, 2)
    patches = layers._patches(x, stride)
    p = normal(*patches.shape, seed=1)
    left = tf.reduce_sum(patches * p)
    right = tf.reduce_sum(x * layers._patches_transpose(p, x.shape, stride))
    np.testing.assert_allclose(left, right, rtol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradient_of_patches_transpose_is_patches(stride):
    x = normal(M, N, 7, 6, 2)
    p = tf.zeros_like(layers._patches(x, stride))
    with tf.GradientTape() as tape:
        tape.watch(p)
        y = layers._patches_transpose(p, x.shape, stride)
    np.testing.assert_array_equal(tape.gradient(y, p, output_gradients=x), layers._patches(x, stride))


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (6, 9), (2, 3)])
def test_max_pool2x2_is_tensorflows_valid_pooling_with_its_derivatives(size):
    x = normal(M, N, *size, F)

    def pool(x):
        return tf.stack([tf.nn.max_pool2d(x[i], 2, 2, "VALID") for i in range(M)])

    np.testing.assert_array_equal(layers.max_pool2x2(x), pool(x))
    for got, expected in zip(derivatives(layers.max_pool2x2, [x]), derivatives(pool, [x])):
        assert_close(got[0], expected[0], EXACT)


@pytest.mark.parametrize("shape", [(M, N, F), (M, N, 5, 6, F)])
def test_batch_norm_is_numpys(shape):
    x, beta = 3 * normal(*shape) + 1, normal(M, F, seed=1)
    got, axes = layers.batch_norm(x, beta), tuple(range(len(shape) - 2))
    for i in range(M):
        v = x[i].numpy()
        expected = (v - v.mean(axes)) / np.sqrt(v.var(axes) + 1e-3) + beta[i].numpy()  # np.var is the biased one
        assert_close(got[i], expected, EXACT)


@pytest.mark.parametrize("num_reference", [None, 2])
@pytest.mark.parametrize("shape", [(M, N, F), (M, N, 5, 6, F)])
def test_batch_norm_may_have_a_scale_another_epsilon_and_the_statistics_of_the_first_examples(shape, num_reference):
    x, beta, gamma = 3 * normal(*shape) + 1, normal(M, F, seed=1), normal(M, F, seed=2)
    got, axes = layers.batch_norm(x, beta, num_reference, gamma, epsilon=0.25), tuple(range(len(shape) - 2))
    for i in range(M):
        v = x[i].numpy()
        of = v[:num_reference]
        expected = gamma[i].numpy() * (v - of.mean(axes)) / np.sqrt(of.var(axes) + 0.25) + beta[i].numpy()
        assert_close(got[i], expected, EXACT)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("shape", [(M, N, F), (M, N, 5, 6, F)])
def test_fixed_norm_is_batch_norm_by_moments_that_are_given(shape, scaled):
    x, beta, gamma = normal(*shape), normal(M, F, seed=1), normal(M, F, seed=2) if scaled else None
    mean, variance = normal(M, F, seed=3), tf.square(normal(M, F, seed=4))
    got = layers.fixed_norm(x, mean, variance, beta, gamma, epsilon=0.25)
    for i in range(M):
        factor = (gamma[i].numpy() if scaled else 1) / np.sqrt(variance[i].numpy() + 0.25)
        assert_close(got[i], (x[i].numpy() - mean[i].numpy()) * factor + beta[i].numpy(), EXACT)


@pytest.mark.parametrize("shape", [(M, N, F), (M, N, 5, 6, F)])
def test_moments_are_the_mean_and_the_unbiased_variance_of_each_channel(shape):
    x, axes = 3 * normal(*shape) + 1, tuple(range(1, len(shape) - 1))
    mean, variance = layers.moments(x)
    assert_close(mean, x.numpy().mean(axes), EXACT)
    assert_close(variance, x.numpy().var(axes, ddof=1), EXACT)


def test_moments_have_no_gradient():
    x = normal(M, N, F)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.add_n([tf.reduce_sum(moment) for moment in layers.moments(x)])
    assert tape.gradient(total, x) is None


def test_the_variance_of_a_single_example_is_zero():
    """Not 0/0, where its unbiased estimate has no denominator."""
    assert (layers.moments(normal(M, 1, F))[1].numpy() == 0).all()


@pytest.mark.parametrize("shape", [(M, N, F), (M, N, 5, 6, F)])
def test_layer_norm_is_numpys(shape):
    x, gamma, beta = 3 * normal(*shape) + 1, normal(M, F, seed=1), normal(M, F, seed=2)
    got = layers.layer_norm(x, gamma, beta)
    for i in range(M):
        for n in range(N):
            v = x[i, n].numpy()
            expected = (v - v.mean()) / np.sqrt(v.var() + 1e-12) * gamma[i].numpy() + beta[i].numpy()
            assert_close(got[i, n], expected, EXACT)


@pytest.mark.parametrize("axes, epsilon", [([1], 1e-3), ([1, 2], 1e-12)])
def test_second_derivatives_of_standardising_are_those_of_central_differences(axes, epsilon):
    """Where tf.nn.moments fails: it is right to first order only."""
    x, direction, upstream = (normal(2, 4, 3, seed=i) for i in range(3))

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(upstream * layers._standardise(x, axes, epsilon))
        return tape.gradient(y, x)

    with tf.GradientTape() as tape:
        tape.watch(x)
        along = tf.reduce_sum(gradient(x) * direction)
    h = 1e-5  # truncation h² and rounding 1e-16/h are both about 1e-10
    expected = (gradient(x + h * direction) - gradient(x - h * direction)) / (2 * h)
    assert_close(tape.gradient(along, x), expected, 1e-8)


LAYERS = {
    "dense": (layers.dense, [(5,), (5, F)]),
    "add_bias": (layers.add_bias, [(6, 5, F), (F,)]),
    "conv3x3": (lambda *a: layers.conv3x3(*a, 2), [(6, 5, 2), (3, 3, 2, F)]),
    "batch_norm": (layers.batch_norm, [(6, 5, F), (F,)]),
    "fixed_norm": (layers.fixed_norm, [(6, 5, F), (F,), (F,), (F,)]),
    "layer_norm": (layers.layer_norm, [(6, 5, F), (F,), (F,)]),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_task_sees_only_its_own_weights_and_inputs(layer):
    function, (input_shape, *weight_shapes) = LAYERS[layer]
    shapes = [(N, *input_shape), *weight_shapes]
    first = [tf.abs(normal(1, *shape, seed=i)) for i, shape in enumerate(shapes)]  # a variance is not negative
    together = [tf.concat([a, tf.abs(normal(1, *a.shape[1:], seed=9))], 0) for a in first]
    assert_close(function(*together)[0], function(*first)[0], EXACT)
