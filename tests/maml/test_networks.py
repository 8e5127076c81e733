"""The networks: names, shapes and initial distributions of the authors', and what forward computes."""

import numpy as np
import pytest
import tensorflow as tf
from toys import KINDS, OUTPUTS, assert_close, network, random_episode, random_weights, reference_forward

from maml import inner_loop, networks


def shapes(net):
    return {name: tuple(w.shape) for name, w in net.init(0).items()}


def test_the_omniglot_net_has_the_authors_weights():
    kernels = {"conv1": (3, 3, 1, 64), **{f"conv{i}": (3, 3, 64, 64) for i in (2, 3, 4)}}
    biases = {**{f"b{i}": (64,) for i in (1, 2, 3, 4)}, "b5": (5,)}
    betas = {f"beta{i}": (64,) for i in range(4)}
    assert shapes(networks.conv_net((28, 28, 1), 64, 5)) == {**kernels, **biases, **betas, "w5": (64, 5)}


def test_the_miniimagenet_net_has_the_weights_of_the_authors_checkpoint():
    net = networks.conv_net((84, 84, 3), 32, 5, max_pool=True, flatten=True)
    kernels = {"conv1": (3, 3, 3, 32), **{f"conv{i}": (3, 3, 32, 32) for i in (2, 3, 4)}}
    biases = {**{f"b{i}": (32,) for i in (1, 2, 3, 4)}, "b5": (5,)}
    betas = {f"beta{i}": (32,) for i in range(4)}
    assert shapes(net) == {**kernels, **biases, **betas, "w5": (5 * 5 * 32, 5)}


def test_the_dense_omniglot_net_has_the_authors_weights():
    sizes = [784, 256, 128, 64, 64, 5]
    expected = {f"w{i}": (sizes[i - 1], sizes[i]) for i in range(1, 6)} | {f"b{i}": (sizes[i],) for i in range(1, 6)}
    expected |= {f"beta{i}": (sizes[i + 1],) for i in range(4)}
    assert shapes(networks.dense_net(784, (256, 128, 64, 64), 5, "batch_norm")) == expected


def test_the_sinusoid_net_has_no_normalisation():
    expected = {"w1": (1, 40), "b1": (40,), "w2": (40, 40), "b2": (40,), "w3": (40, 1), "b3": (1,)}
    assert shapes(networks.dense_net(1, (40, 40), 1)) == expected


@pytest.mark.parametrize("kind, num_layers", [("dense", 2), ("strided", 4)])
def test_layer_norm_has_a_scale_of_ones_and_an_offset_of_zeros_for_each_hidden_layer(kind, num_layers):
    weights = network(kind, "layer_norm").init(0)
    gammas, betas = ({k for k in weights if k.startswith(p)} for p in ("gamma", "beta"))
    assert gammas == {f"gamma{i}" for i in range(num_layers)} and betas == {f"beta{i}" for i in range(num_layers)}
    assert all((weights[k].numpy() == 1).all() for k in gammas)
    assert all((weights[k].numpy() == 0).all() for k in betas)


@pytest.mark.parametrize("kind", ["dense", "strided"])
def test_biases_and_batch_norm_offsets_start_at_zero(kind):
    weights = network(kind, "batch_norm").init(0)
    assert all((w.numpy() == 0).all() for name, w in weights.items() if name.startswith("b"))


def assert_uniform(w, limit):
    """Of n draws from U[-limit, limit]: none outside, the largest near it, variance limit²/3 within 5 of its errors."""
    w = w.numpy().ravel()
    assert 0.97 * limit < np.abs(w).max() <= limit
    np.testing.assert_allclose(w.var() * 3 / limit**2, 1, atol=5 * np.sqrt(0.8 / w.size))
    assert abs(w.mean()) < 5 * limit / np.sqrt(3 * w.size)


def test_convolutions_start_xavier_uniform():
    weights = networks.conv_net((28, 28, 1), 64, 5).init(0)
    assert_uniform(weights["conv1"], np.sqrt(6 / (9 * 1 + 9 * 64)))
    assert_uniform(weights["conv2"], np.sqrt(6 / (9 * 64 + 9 * 64)))


def test_the_omniglot_output_layer_starts_normal_with_deviation_1():
    w = networks.conv_net((28, 28, 1), 64, 20).init(0)["w5"].numpy()
    assert abs(w.std() - 1) < 5 / np.sqrt(2 * w.size) and abs(w.mean()) < 5 / np.sqrt(w.size)
    assert np.abs(w).max() > 2.5  # not truncated: 1,280 draws


def test_the_miniimagenet_output_layer_starts_xavier_uniform():
    net = networks.conv_net((84, 84, 3), 32, 5, max_pool=True, flatten=True)
    assert_uniform(net.init(0)["w5"], np.sqrt(6 / (800 + 5)))


def test_dense_layers_start_truncated_normal_with_deviation_a_hundredth():
    weights = networks.dense_net(784, (256, 128, 64, 64), 5).init(0)
    for name in ("w1", "w2", "w4"):
        w = weights[name].numpy()
        assert 0.0195 < np.abs(w).max() <= 0.02  # cut at two deviations
        np.testing.assert_allclose(w.std(), 0.01 * 0.8796, rtol=0.03)  # a normal cut at ±2 has deviation 0.8796


@pytest.mark.parametrize("kind", ["dense", "strided", "max-pool"])
def test_the_same_seed_gives_the_same_weights(kind):
    first, second = (network(kind, "None").init(7) for _ in range(2))
    assert all((first[name].numpy() == second[name].numpy()).all() for name in first)


@pytest.mark.parametrize("kind", ["dense", "strided", "max-pool"])
def test_another_seed_gives_other_weights_in_every_layer(kind):
    net = network(kind, "None")
    first, second = net.init(7), net.init(8)
    assert all((first[n].numpy() != second[n].numpy()).all() for n in first if n.startswith(("w", "conv")))


def test_layers_of_one_shape_start_differently():
    weights = networks.conv_net((28, 28, 1), 8, 5).init(0)
    assert not np.isclose(weights["conv2"], weights["conv3"]).any()


@pytest.mark.parametrize("norm", networks.NORMS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dense"])
def test_a_conv_net_is_that_of_tensorflows_own_layers_for_each_task(kind, norm):
    shape, options = KINDS[kind]
    net = network(kind, norm)
    tasks = [random_weights(net, seed) for seed in (0, 1)]
    weights = {name: tf.stack([w[name] for w in tasks]) for name in tasks[0]}
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 3, *shape)))
    reference = reference_forward(norm, options.get("max_pool", False), options.get("flatten", False))
    expected = [reference(tasks[i], x[i]) for i in range(2)]
    # Layer norm over the three channels of a 1x1 map divides by a variance that may be small: hence not 1e-12.
    assert_close(net.forward(weights, x), expected, 1e-10)


def test_a_dense_net_is_that_of_numpy():
    net = network("dense", "batch_norm")
    weights = random_weights(net)
    x = np.random.default_rng(0).normal(size=(1, 4, 6))
    w = {name: value.numpy() for name, value in weights.items()}
    hidden = x[0]
    for i in (1, 2):
        hidden = hidden @ w[f"w{i}"] + w[f"b{i}"]
        hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-3) + w[f"beta{i - 1}"]
        hidden = np.maximum(hidden, 0)
    expected = hidden @ w["w3"] + w["b3"]
    assert_close(net.forward(inner_loop.per_task(weights, 1), tf.constant(x))[0], expected, 1e-12)


def test_a_dense_net_flattens_images_itself():
    net = networks.dense_net(6, (7, 5), OUTPUTS, dtype=tf.float64)
    weights = inner_loop.per_task(random_weights(net), 2)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 3, 2, 1)))
    np.testing.assert_array_equal(net.forward(weights, x), net.forward(weights, tf.reshape(x, [2, 4, 6])))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("kind", ["dense", "strided", "max-pool"])
def test_weights_and_outputs_have_the_type_asked_for(kind, dtype):
    net = network(kind, "layer_norm", dtype)
    weights = net.init(0)
    outputs = net.forward(inner_loop.per_task(weights, 2), tf.zeros([2, 3, *KINDS[kind][0]], dtype))
    assert {w.dtype for w in weights.values()} == {dtype} and outputs.dtype == dtype


def test_all_but_the_normalisation_is_adapted():
    adapted = {name for name in network("dense", "layer_norm").init(0) if networks.is_adapted(name)}
    assert adapted == {"w1", "b1", "w2", "b2", "w3", "b3"}


SCALED = networks.Norm(scale=True, averages=True, epsilon=0.25)


@pytest.mark.parametrize("kind, num_layers", [("dense", 2), ("max-pool", 4)])
def test_a_batch_norm_may_have_a_scale_of_ones_and_running_averages_0_and_1(kind, num_layers):
    weights, plain = network(kind, SCALED).init(0), network(kind, "batch_norm").init(0)
    added = {"gamma": 1, "moving_mean": 0, "moving_variance": 1}
    assert weights.keys() - plain.keys() == {f"{name}{i}" for name in added for i in range(num_layers)}
    for name, value in added.items():
        assert all((weights[f"{name}{i}"].numpy() == value).all() for i in range(num_layers))


def test_neither_a_scale_nor_a_running_average_is_adapted():
    adapted = {name for name in network("dense", SCALED).init(0) if networks.is_adapted(name)}
    assert adapted == {"w1", "b1", "w2", "b2", "w3", "b3"}
    averages = {name for name in network("dense", SCALED).init(0) if networks.is_average(name)}
    assert averages == {f"moving_{moment}{i}" for moment in ("mean", "variance") for i in range(2)}


def dense_with_averages():
    """(network, weights of one task, x [1, 4, 6]): variances positive, everything else random."""
    net = network("dense", SCALED)
    weights = {n: w**2 + 1 if n.startswith("moving_variance") else w for n, w in random_weights(net).items()}
    return net, weights, tf.constant(np.random.default_rng(0).normal(size=(1, 4, 6)))


def numpy_dense(weights, x, moments):
    """The net of `dense_with_averages`, and what enters its batch norms; moments: (i, hidden) -> mean, variance."""
    w, hidden, entering = {name: value.numpy() for name, value in weights.items()}, x, []
    for i in (1, 2):
        hidden = hidden @ w[f"w{i}"]
        entering.append(hidden)
        mean, variance = moments(i - 1, hidden)
        hidden = w[f"gamma{i - 1}"] * (hidden - mean) / np.sqrt(variance + 0.25) + w[f"beta{i - 1}"]
        hidden = np.maximum(hidden, 0)
    return hidden @ w["w3"] + w["b3"], entering


def test_without_a_reference_the_statistics_are_those_of_the_batch():
    net, weights, x = dense_with_averages()
    expected, _ = numpy_dense(weights, x[0].numpy(), lambda i, hidden: (hidden.mean(0), hidden.var(0)))
    assert_close(net.forward(inner_loop.per_task(weights, 1), x)[0], expected, 1e-12)


@pytest.mark.parametrize("num_reference", [0, 2])
def test_with_a_reference_they_are_the_running_averages_for_all(num_reference):
    net, weights, x = dense_with_averages()
    averages = lambda i, hidden: (weights[f"moving_mean{i}"].numpy(), weights[f"moving_variance{i}"].numpy())  # noqa: E731
    expected, _ = numpy_dense(weights, x[0].numpy(), averages)
    assert_close(net.forward(inner_loop.per_task(weights, 1), x, num_reference)[0], expected, 1e-12)


def test_running_averages_move_as_far_as_the_momentum_says():
    net, fast = (network("dense", SCALED._replace(momentum=momentum)) for momentum in (0.1, 0.7))
    _, weights, x = dense_with_averages()
    one = inner_loop.per_task(weights, 1)
    slow, quick = (n.forward_with_averages(one, x)[1] for n in (net, fast))
    for name, value in slow.items():
        np.testing.assert_allclose(quick[name] - one[name], 7 * (value - one[name]), rtol=1e-9)


def test_running_averages_move_a_tenth_of_the_way_to_the_batchs_moments():
    """The outputs are `forward`'s; the variance that is kept is the unbiased one."""
    net, weights, x = dense_with_averages()
    one = inner_loop.per_task(weights, 1)
    outputs, averages = net.forward_with_averages(one, x)
    np.testing.assert_array_equal(outputs, net.forward(one, x))
    _, entering = numpy_dense(weights, x[0].numpy(), lambda i, hidden: (hidden.mean(0), hidden.var(0)))
    assert averages.keys() == {name for name in weights if networks.is_average(name)}
    for i, hidden in enumerate(entering):
        for name, moment in (("mean", hidden.mean(0)), ("variance", hidden.var(0, ddof=1))):
            expected = 0.9 * weights[f"moving_{name}{i}"].numpy() + 0.1 * moment
            assert_close(averages[f"moving_{name}{i}"][0], expected, 1e-12)


def test_a_network_without_running_averages_has_none_to_give():
    net = network("dense", "batch_norm")
    weights = inner_loop.per_task(random_weights(net), 2)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 6)))
    outputs, averages = net.forward_with_averages(weights, x)
    np.testing.assert_array_equal(outputs, net.forward(weights, x))
    assert averages == {}


@pytest.mark.parametrize("kind", ["dense", "strided", "max-pool"])
def test_features_are_what_enters_the_last_layer(kind):
    whole, features = network(kind, "batch_norm"), network(kind, "batch_norm", num_outputs=None)
    weights, last = random_weights(whole), "w3" if kind == "dense" else "w5"
    assert whole.init(0).keys() - features.init(0).keys() == {last, last.replace("w", "b")}
    one = inner_loop.per_task(weights, 1)
    x = tf.constant(np.random.default_rng(0).normal(size=(1, 3, *KINDS[kind][0])))
    expected = features.forward(one, x) @ one[last] + one[last.replace("w", "b")]
    assert_close(whole.forward(one, x), expected, 1e-12)


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(ValueError, match="batchnorm"):
        networks.dense_net(1, (40, 40), 1, norm="batchnorm")


def test_images_too_small_for_four_max_pools_are_refused():
    with pytest.raises(ValueError, match="16x16, got 15x28"):
        networks.conv_net((15, 28, 1), 8, 5, max_pool=True)


@pytest.mark.parametrize("num_reference", [None, 2])
@pytest.mark.parametrize("norm", networks.NORMS)
@pytest.mark.parametrize("kind", ["dense", "strided", "max-pool"])
def test_a_graph_of_tensorflows_own_kernels_may_leave_the_number_of_examples_open(kind, norm, num_reference):
    shape, options = KINDS[kind]
    if options is None:
        net = networks.dense_net(shape[0], (7, 5), OUTPUTS, norm)
    else:
        net = networks.conv_net(shape, 3, OUTPUTS, norm, xla=False, **options)
    weights = inner_loop.per_task(random_weights(net, dtype=tf.float32), 1)
    graph = tf.function(lambda x: net.forward(weights, x, num_reference), [tf.TensorSpec([1, None, *shape])])
    for n in (3, 5):
        x = tf.constant(np.random.default_rng(n).normal(size=(1, n, *shape)), tf.float32)
        assert_close(graph(x), net.forward(weights, x, num_reference), 1e-5)


# Blocks


BLOCKS = (networks.Block(pool=True, padded=False), networks.Block(), networks.Block(stride=2))


@pytest.mark.parametrize("side, size", [(28, 7), (84, 21), (4, 1), (3, 0)])
def test_the_size_of_a_map_by_hand(side, size):
    """28 → 26 → 13 → 13 → 7; 84 → 82 → 41 → 41 → 21; 4 → 2 → 1; of 3 nothing is left."""
    assert networks.map_size(side, BLOCKS) == size


@pytest.mark.parametrize("xla", [True, False])
def test_maps_are_those_of_tensorflows_own_layers(xla):
    net = networks.conv_maps((12, 9, 2), 3, BLOCKS, networks.Norm(scale=True), xla, tf.float64)
    weights, x = random_weights(net), np.random.default_rng(0).normal(size=(4, 12, 9, 2))
    expected = tf.constant(x)
    for i, block in enumerate(BLOCKS):
        padding = "SAME" if block.padded else "VALID"
        expected = tf.nn.conv2d(expected, weights[f"conv{i + 1}"], block.stride, padding)
        mean, variance = (f(expected, (0, 1, 2)) for f in (tf.reduce_mean, tf.math.reduce_variance))
        expected = (expected - mean) / tf.sqrt(variance + 1e-3) * weights[f"gamma{i}"] + weights[f"beta{i}"]
        expected = tf.nn.relu(expected)
        expected = tf.nn.max_pool2d(expected, 2, 2, "VALID") if block.pool else expected
    got = net.forward({name: w[None] for name, w in weights.items()}, tf.constant(x)[None])
    assert got.shape == (1, 4, 3, 2, 3)
    np.testing.assert_allclose(got[0], expected, rtol=0, atol=1e-9)


def test_images_of_which_nothing_would_be_left_are_refused():
    with pytest.raises(ValueError, match="these 3 blocks leave nothing of images of 9x3"):
        networks.conv_maps((9, 3, 1), 3, BLOCKS)


@pytest.mark.parametrize("kind, num_layers", [("dense", 2), ("max-pool", 4)])
def test_what_follows_a_layer_in_training_gets_its_outputs(kind, num_layers):
    net, seen = network(kind, "batch_norm"), []
    weights, x = inner_loop.per_task(random_weights(net), 2), random_episode(kind, 2, "mse").support_x
    expected = net.forward(weights, x)
    got, _ = net.forward_with_averages(weights, x, lambda hidden, i: seen.append(i) or hidden)
    np.testing.assert_array_equal(got, expected)
    assert seen == list(range(1, num_layers + 1))
    other, _ = net.forward_with_averages(weights, x, lambda hidden, i: 0 * hidden)
    assert np.ptp(other.numpy(), axis=1).max() < 1e-12 < np.ptp(got.numpy(), axis=1).max()
