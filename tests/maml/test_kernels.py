"""TensorFlow's own kernels against our layers: the same functions with the same first and second derivatives."""

import numpy as np
import pytest
import tensorflow as tf
from test_layers import derivatives, normal
from toys import OUTPUTS, assert_close, mean_meta_gradient, network, problem, random_episode, random_weights

from maml import kernels, layers, networks
from maml.meta_training import Trainer, compiled_meta_gradient
from maml.methods import maml

M, N, C, F = 2, 3, 4, 5
CASES = {
    "conv3x3": ("conv3x3", [(M, N, 7, 6, C), (M, 3, 3, C, F)], (1,)),
    "conv3x3 stride 2": ("conv3x3", [(M, N, 7, 6, C), (M, 3, 3, C, F)], (2,)),
    "max_pool2x2": ("max_pool2x2", [(M, N, 7, 6, C)], ()),
    "batch_norm": ("batch_norm", [(M, N, 7, 6, C), (M, C)], ()),
    "batch_norm of reference": ("batch_norm", [(M, N, 7, 6, C), (M, C)], (2,)),
    "batch_norm, epsilon": ("batch_norm", [(M, N, 7, 6, C), (M, C)], (None, None, 0.25)),
    "batch_norm with a scale": ("scaled", [(M, N, 7, 6, C), (M, C), (M, C)], (None, 0.25)),
    "batch_norm of reference with a scale": ("scaled", [(M, N, 7, 6, C), (M, C), (M, C)], (2, 0.25)),
}


def function_of(module, name):
    """The module's function of that name; "scaled": its batch norm of (x, β, γ)."""
    if name == "scaled":
        return lambda x, beta, gamma, num_reference, epsilon: module.batch_norm(x, beta, num_reference, gamma, epsilon)
    return getattr(module, name)


@pytest.mark.parametrize("dtype, tolerance", [(tf.float64, 1e-12), (tf.float32, 2e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_a_kernel_is_the_layer_with_its_derivatives(case, dtype, tolerance):
    """float32: rounding, 6e-8 of a term, over sums of some hundred; the expected numbers are the layer's in float64."""
    name, shapes, rest = CASES[case]
    exact = [1 + 2 * normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    ours = [tf.cast(a, dtype) for a in exact]
    expected, got = (
        [function(*arguments, *rest), *derivatives(lambda *a, function=function: function(*a, *rest), arguments)]
        for function, arguments in ((function_of(layers, name), exact), (function_of(kernels, name), ours))
    )
    for what, a, b in zip(("value", "first", "second"), got, expected):
        for i, (x, y) in enumerate(zip(tf.nest.flatten(a), tf.nest.flatten(b))):
            assert_close(x, y, tolerance, f"{what} {i}")


def test_the_second_derivative_of_batch_norm_is_that_of_central_differences():
    """Independent of `layers`: float64, the formula alone, along one direction."""
    x, g, u, direction = (normal(N * 4, C, seed=i) for i in range(4))

    def functional(x):
        mean, variance = tf.reduce_mean(x, 0), tf.math.reduce_variance(x, 0)
        s = tf.math.rsqrt(variance + layers.BATCH_NORM_EPSILON)
        standard = (x - mean) * s
        gradient = s * (g - tf.reduce_mean(g, 0) - standard * tf.reduce_mean(g * standard, 0))
        return tf.reduce_sum(u * gradient)

    h = 1e-5  # truncation h² and rounding 1e-16/h are both about 1e-10
    expected = (functional(x + h * direction) - functional(x - h * direction)) / (2 * h)
    x, g, u, direction = (tf.reshape(t, [N, 2, 2, C]) for t in (x, g, u, direction))
    got = tf.reduce_sum(kernels._gradient_in_x(x, g, u, layers.BATCH_NORM_EPSILON) * direction)
    np.testing.assert_allclose(got, expected, rtol=1e-7)


def test_a_network_of_kernels_is_not_compiled_by_xla():
    """There the second derivative of tf.nn.max_pool2d is wrong."""
    method = of_kernels(tf.float32, xla=False)
    trainer = Trainer(method.init(0))
    for compile_ in (trainer.compile, trainer.compile_loop):
        with pytest.raises(ValueError, match="xla=False"):
            compile_(method)
        assert callable(compile_(method, jit=False))


@pytest.mark.parametrize("norm", ["batch_norm", "layer_norm", "None"])
@pytest.mark.parametrize("max_pool", [False, True])
def test_the_network_of_kernels_is_the_compiled_one(norm, max_pool):
    ours, theirs = (
        networks.conv_net((17, 19, 2), 3, 2, norm, max_pool, flatten=True, xla=xla, dtype=tf.float64)
        for xla in (False, True)
    )
    weights = {name: tf.stack([w, w + 0.1 * normal(*w.shape, seed=1)]) for name, w in theirs.init(0).items()}
    x = normal(M, N, 17, 19, 2)
    assert_close(ours.forward(weights, x), theirs.forward(weights, x), 1e-12)


def of_kernels(dtype, xla, num_updates=1):
    """MAML on a network with max-pooling; xla=False: of TensorFlow's own kernels."""
    of = problem("max-pool", "batch_norm", "cross_entropy")
    net = networks.conv_net((16, 16, 1), 3, OUTPUTS, max_pool=True, flatten=True, xla=xla, dtype=dtype)
    return maml.build(maml.Settings(0.05, num_updates), of._replace(network=lambda outputs: net))


@pytest.mark.parametrize("num_updates", [1, 3])
def test_the_meta_gradient_through_kernels_is_that_of_the_layers(num_updates):
    """Compiled chunk by chunk in float32 against the layers' in float64: rounding, some dozen layers deep and back."""
    weights = random_weights(network("max-pool", "batch_norm"))
    episode = random_episode("max-pool", 5, "cross_entropy")
    _, expected = mean_meta_gradient(of_kernels(tf.float64, True, num_updates), weights, episode)
    weights, episode = tf.nest.map_structure(lambda t: tf.cast(t, tf.float32), (weights, episode))
    objective = of_kernels(tf.float32, False, num_updates).objective
    _, got, _ = tf.function(compiled_meta_gradient(objective, tasks_per_chunk=1, jit=False))(weights, episode)
    largest = max(np.abs(g).max() for g in expected.values())
    for name in expected:
        assert np.abs(got[name].numpy() - expected[name].numpy()).max() < 2e-5 * largest, name
