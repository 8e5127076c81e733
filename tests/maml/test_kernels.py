"""TensorFlow's own kernels against our layers: the same functions with the same first and second derivatives."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from test_layers import derivatives, normal
from toys import OUTPUTS, assert_close, mean_meta_gradient, network, problem, random_episode, random_weights

from maml import kernels, layers, networks
from maml.meta_training import Trainer, compiled_meta_gradient
from maml.methods import maml

M, N, C, F = 2, 3, 4, 5
MAP, ODD, CHANNELS, KERNEL = (M, N, 8, 6, C), (M, N, 7, 5, C), (M, C), (M, 3, 3, C, F)
NORMS = {  # of which each is tried with a max-pool behind it, too
    "batch_norm": ("batch_norm", [MAP, CHANNELS], {}),
    "batch_norm, odd sides": ("batch_norm", [ODD, CHANNELS], {}),
    "batch_norm of reference": ("batch_norm", [ODD, CHANNELS], {"num_reference": 2}),
    "batch_norm, epsilon": ("batch_norm", [MAP, CHANNELS], {"epsilon": 0.25}),
    "batch_norm with a scale": ("batch_norm", [MAP, CHANNELS, CHANNELS], {"epsilon": 0.25}),
    "batch_norm of reference with a scale": ("batch_norm", [MAP, CHANNELS, CHANNELS], {"num_reference": 2}),
}
CASES = {
    "conv3x3": ("conv3x3", [ODD, KERNEL], {"stride": 1}),
    "conv3x3 stride 2": ("conv3x3", [ODD, KERNEL], {"stride": 2}),
    "max_pool2x2": ("max_pool2x2", [ODD], {}),
    **NORMS,
    **{f"{case}, pooled": (name, shapes, {**how, "pool": True}) for case, (name, shapes, how) in NORMS.items()},
}


def function_of(module, case):
    """The module's function of that case, of the tensors alone: x, and a kernel or β and γ."""
    name, _, how = CASES[case]
    if name != "batch_norm":
        return functools.partial(getattr(module, name), **how)
    return lambda x, beta, gamma=None: module.batch_norm(x, beta, gamma=gamma, **how)


@pytest.mark.parametrize("dtype, tolerance", [(tf.float64, 1e-12), (tf.float32, 2e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize("graph", [True, False], ids=["graph", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_a_kernel_is_the_layer_with_its_derivatives(case, graph, dtype, tolerance):
    """float32: rounding, 6e-8 of a term, over sums of some hundred; the expected numbers are the layer's in float64."""
    exact = [1 + 2 * normal(*shape, seed=i) for i, shape in enumerate(CASES[case][1])]
    ours = [tf.cast(a, dtype) for a in exact]

    def all_of(function, arguments):
        return [function(*arguments), *derivatives(function, arguments)]

    expected = all_of(function_of(layers, case), exact)
    got = (tf.function(all_of) if graph else all_of)(function_of(kernels, case), ours)
    for what, a, b in zip(("value", "first", "second"), got, expected):
        for i, (x, y) in enumerate(zip(tf.nest.flatten(a), tf.nest.flatten(b))):
            assert_close(x, y, tolerance, f"{what} {i}")


@pytest.mark.parametrize("pool", [False, True])
def test_the_second_derivatives_of_batch_norm_are_those_of_central_differences(pool):
    """Independent of `layers`: float64, the closed forms alone, along one direction of x and one of g."""
    x, towards_x = normal(N, 5, 4, C, seed=0), normal(N, 5, 4, C, seed=1)
    value, gradient, second = kernels._FORMULAS

    def functional(x, g):
        y, *saved = value(x, None, layers.BATCH_NORM_EPSILON, pool)
        return tf.reduce_sum(w * gradient(x, g, *saved, y if pool else None))

    y, *saved = value(x, None, layers.BATCH_NORM_EPSILON, pool)
    w, g, towards_g = normal(*x.shape, seed=2), normal(*y.shape, seed=3), normal(*y.shape, seed=4)
    h = 1e-5  # truncation h² and rounding 1e-16/h are both about 1e-10
    plus, minus = (functional(x + h * sign * towards_x, g + h * sign * towards_g) for sign in (1, -1))
    in_x, in_g = second(x, g, w, *saved, y if pool else None)
    got = tf.reduce_sum(in_x * towards_x) + tf.reduce_sum(in_g * towards_g)
    np.testing.assert_allclose(got, (plus - minus) / (2 * h), rtol=1e-7)


@pytest.mark.parametrize("pool", [False, True])
def test_the_first_derivative_of_batch_norm_is_that_of_central_differences(pool):
    """As above, of the value."""
    x, towards_x = normal(N, 5, 4, C, seed=0), normal(N, 5, 4, C, seed=1)
    value, gradient, _ = kernels._FORMULAS
    y, *saved = value(x, None, layers.BATCH_NORM_EPSILON, pool)
    g, h = normal(*y.shape, seed=3), 1e-5
    plus, minus = (
        tf.reduce_sum(g * value(x + h * sign * towards_x, None, layers.BATCH_NORM_EPSILON, pool)[0]) for sign in (1, -1)
    )
    got = tf.reduce_sum(gradient(x, g, *saved, y if pool else None) * towards_x)
    np.testing.assert_allclose(got, (plus - minus) / (2 * h), rtol=1e-7)


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "eager"])
def test_among_equal_ones_the_first_is_chosen(graph):
    """As TensorFlow's own max-pool does: a blank area of an image gives equal features."""

    def pooled(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = kernels.batch_norm(x, tf.zeros([1, 1]), epsilon=0.0, pool=True)
        return y, tape.gradient(y, x, output_gradients=tf.constant([1.0, 0], shape=[1, 1, 1, 2, 1]))

    x = tf.constant([2.0, 2, 1, 1, 2, 1, 1, 1], shape=[1, 1, 2, 4, 1])
    y, gradient = (tf.function(pooled) if graph else pooled)(x)
    # mean 11/8, s = 8/sqrt(15); the chosen x̂ are 5/sqrt(15) and −3/sqrt(15). g = (1, 0): s·(g − 1/8 − x̂·5/(8·sqrt(15)))
    at = np.array([1.0, 0, 0, 0, 0, 0, 0, 0]) - 1 / 8 - np.where(np.ravel(x) == 2, 5, -3) * 5 / (8 * 15)
    np.testing.assert_allclose(np.ravel(y), [5 / 15**0.5, -3 / 15**0.5], rtol=1e-6)
    np.testing.assert_allclose(np.ravel(gradient), 8 / 15**0.5 * at, rtol=1e-5, atol=1e-6)


def test_a_third_derivative_is_refused():
    x, beta = normal(1, N, 4, 4, C), normal(1, C)
    with tf.GradientTape() as outermost:
        outermost.watch(x)
        _, second = derivatives(kernels.batch_norm, [x, beta])
    with pytest.raises(NotImplementedError, match="no third derivative"):
        outermost.gradient(second[0], x)


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
