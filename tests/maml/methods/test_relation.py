"""Relation networks by hand: sums of maps, pairs with the class first, squared error, the sizes of both networks."""

import math

import numpy as np
import pytest
import tensorflow as tf
from toys import random_weights

from data_generators.episode import Episode
from data_generators.errors import UserError
from maml import inner_loop, losses, networks
from maml.meta_training import meta_gradient
from maml.method import Problem
from maml.methods import relation
from maml.methods.card import Task
from maml.runs.problems import problem_of
from maml.runs.settings import resolve

SHAPE = (22, 22, 1)  # the smallest


def problem(averages=True, dtype=tf.float64):
    """Of three classes of small images, and three filters."""
    norm = networks.Norm(scale=True, averages=averages)

    def maps(shape, blocks):
        return networks.conv_maps(shape, 3, blocks, norm, dtype=dtype)

    return Problem(SHAPE, 3, None, None, losses.cross_entropy, losses.accuracy, maps=maps)


def made(averages=True):
    """(Method, random θ)."""
    method = relation.build(relation.Settings(), problem(averages))
    weights = random_weights(method)
    return method, {n: w**2 + 1 if "moving_variance" in n else w for n, w in weights.items()}


def episode(num_shots=1, num_queries=2):
    """Two tasks."""
    rng = np.random.default_rng(0)
    parts = []
    for n in (num_shots, num_queries):
        parts += [rng.random((2, 3 * n, *SHAPE)), np.tile(np.repeat(np.eye(3), n, 0), (2, 1, 1))]
    return Episode(*(tf.constant(part) for part in parts))


# The loss


def test_the_loss_is_the_mean_squared_error_over_all_pairs():
    """Relations 0.9 and 0.2 of a query of class 0: ½·(0.01 + 0.04) = 0.025. As much of class 1: ½·(0.81 + 0.64)."""
    relations = tf.constant([[[0.9, 0.2], [0.9, 0.2]]], tf.float64)
    labels = tf.constant([[[1.0, 0.0], [0.0, 1.0]]], tf.float64)
    got = relation.squared_error(tf.math.log(relations / (1 - relations)), labels)
    np.testing.assert_allclose(got, [(0.025 + 0.725) / 2], rtol=1e-12)


@pytest.mark.parametrize("ways, expected", [(5, 0.442), (20, 0.511)])
def test_at_first_every_relation_is_that_of_a_bias_of_1(ways, expected):
    """σ(1) = 0.731: (0.269² + (N − 1)·0.731²) / N."""
    settings = resolve("omniglot", "relation", num_classes=ways, num_filters=4)
    method = relation.build(settings.own, problem_of(settings))
    x = np.random.default_rng(0).random((1, ways, 28, 28, 1), np.float32)
    labels = np.eye(ways, dtype=np.float32)[None]
    result = method.objective(method.init(1), Episode(x, labels, x[:, ::-1], labels), 0.0)
    np.testing.assert_allclose(result["loss"], [expected], rtol=0, atol=0.01)


def test_the_objective_is_the_error_of_what_it_predicts():
    """Support and queries are normalised apart, by the batch, in training as at test."""
    (method, theta), e = made(), episode()
    outputs = method.predict(method.start(theta, *e[:2]), e.query_x)
    result = method.objective(theta, e, 0.0)
    np.testing.assert_allclose(result["loss"], relation.squared_error(outputs, e.query_y), rtol=1e-10)
    np.testing.assert_array_equal(result["query_accuracy"], losses.accuracy(outputs, e.query_y))


# Classes and pairs


def test_a_class_is_the_sum_of_its_maps():
    """In any order, of maps or of vectors."""
    maps = tf.constant(np.arange(3 * 4, dtype=np.float64).reshape(1, 3, 2, 1, 2))
    labels = tf.constant([[[1.0, 0], [0, 1], [1, 0]]], tf.float64)
    expected = np.stack([maps[0, 0] + maps[0, 2], maps[0, 1]])[None]
    np.testing.assert_array_equal(relation.sums(maps, labels), expected)
    vectors = tf.reshape(maps, [1, 3, 4])
    np.testing.assert_array_equal(relation.sums(vectors, labels), expected.reshape(1, 2, 4))


def test_of_k_equal_supports_it_is_k_times_one():
    (method, theta), e = made(), episode()
    once, thrice = (
        method.start(theta, tf.repeat(e.support_x, k, 1), tf.repeat(e.support_y, k, 1))["sums"] for k in (1, 3)
    )
    np.testing.assert_allclose(thrice, 3 * once, rtol=0, atol=1e-9 * np.abs(once).max())


def test_pairs_have_the_classes_channels_first_and_go_query_by_query():
    classes, queries = (tf.constant(np.array(v, float).reshape(1, -1, 1, 1, 1)) for v in ([1, 2], [10, 20, 30]))
    got = relation.pairs(classes, queries)
    assert got.shape == (1, 6, 1, 1, 2)
    np.testing.assert_array_equal(got[0, :, 0, 0], [[1, 10], [2, 10], [1, 20], [2, 20], [1, 30], [2, 30]])


def test_a_relation_is_not_symmetric():
    module = relation.relation_module(problem(), (4, 4, 3))
    random = random_weights(networks.Network(lambda seed: module.init(seed, tf.float64), None))
    weights = {name: w[None] for name, w in random.items()}
    rng = np.random.default_rng(0)
    a, b = (tf.constant(rng.normal(size=(1, 1, 4, 4, 3))) for _ in range(2))
    one, other = (module.forward(weights, relation.pairs(*both)) for both in ((a, b), (b, a)))
    assert np.abs(one - other).max() > 1e-3


# The networks


@pytest.mark.parametrize(
    "datasource, side, into_dense, parameters", [("omniglot", 5, 64, 111505), ("miniimagenet", 19, 576, 115601)]
)
def test_sizes(datasource, side, into_dense, parameters):
    """28 → 26 → 13 → 11 → 5 and, padded, 5 → 2 → 1; 84 → 82 → 41 → 39 → 19 and, not padded, 17 → 8 → 6 → 3. The
    module: 9·128·64 + 9·64·64 + 2·64 in convolutions, 4·64 in norms, 8·(into it + 1) + 8 + 1 in dense layers."""
    settings = resolve(datasource, "relation")
    of = problem_of(settings)
    embedding = of.maps(of.input_shape, relation.EMBEDDING)
    assert embedding.output_shape == (side, side, 64)
    theta = relation.build(settings.own, of).init(1)
    module = {n: w for n, w in relation.module_weights(theta).items() if not networks.is_average(n)}
    assert module["hidden_w"].shape == (into_dense, 8)
    assert sum(math.prod(w.shape) for w in module.values()) == parameters
    images = tf.zeros([1, 1, *of.input_shape])
    assert embedding.forward({n: w[None] for n, w in theta.items()}, images).shape == (1, 1, side, side, 64)


def test_the_relation_modules_dense_biases_start_at_1_and_its_weights_near_0():
    theta = made()[0].init(0)
    for name in ("hidden", "relation"):
        np.testing.assert_array_equal(theta[f"module/{name}_b"], np.ones_like(theta[f"module/{name}_b"]))
        assert 0 < np.abs(theta[f"module/{name}_w"]).max() < 0.05


def test_images_that_are_too_small_are_refused():
    with pytest.raises(UserError, match="relation networks need images of at least 22x22, got 21x30"):
        relation.build(relation.Settings(), problem()._replace(input_shape=(21, 30, 3)))
    relation.build(relation.Settings(), problem()._replace(input_shape=(22, 30, 3)))


# Training and test


def test_gradients_through_both_networks_are_those_of_central_differences():
    (method, theta), e, h = made(), episode(), 1e-7
    _, gradients, carried = meta_gradient(method.objective, theta, e)
    rng = np.random.default_rng(0)
    largest = max(np.abs(g).max() for g in gradients.values())
    for name in ("conv1", "conv4", "module/conv1", "module/gamma1", "module/hidden_w", "module/relation_b"):
        direction = tf.constant(rng.normal(size=theta[name].shape))
        moved = ({**theta, name: theta[name] + sign * h * direction} for sign in (1, -1))
        plus, minus = (float(sum(method.objective(there, e, 0.0)["loss"])) for there in moved)
        got = float(tf.reduce_sum(gradients[name] * direction))
        assert abs(got - (plus - minus) / (2 * h)) < 1e-5 * largest, name
    assert carried.keys() == {n for n in theta if "moving" in n}


def test_both_networks_keep_running_averages_of_all_that_passes():
    """Of the embedding the support set's batch, then the queries'; of the module all pairs."""
    (method, theta), e = made(), episode()
    of, weights = problem(), inner_loop.per_task(theta, 2)
    embedding = of.maps(SHAPE, relation.EMBEDDING)
    support, first = embedding.forward_with_averages(weights, e.support_x)
    queries, second = embedding.forward_with_averages({**weights, **first}, e.query_x)
    together = relation.pairs(relation.sums(support, e.support_y), queries)
    module = relation.relation_module(of, embedding.output_shape)
    _, third = module.forward_with_averages(relation.module_weights(weights), together)
    expected = second | {f"module/{name}": value for name, value in third.items()}
    got = method.objective(theta, e, 0.0)["carried"]
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-9)


@pytest.mark.parametrize("averages", [True, False])
def test_one_query_at_a_time_is_not_touched_by_the_others(averages):
    (method, theta), e = made(averages), episode(num_shots=2)
    state = method.start(theta, *e[:2])
    together = method.predict(state, e.query_x, e.support_x)
    alone = [method.predict(state, e.query_x[:, i : i + 1], e.support_x) for i in range(6)]
    np.testing.assert_allclose(tf.concat(alone, 1), together, rtol=0, atol=1e-9)
    assert np.abs(together - method.predict(state, e.query_x)).max() > 1e-3


def test_the_gradient_is_limited_in_each_network():
    method, theta = made()
    of_module, of_embedding = ({n for n in theta if belongs(n)} for belongs, _ in method.clip_groups)
    assert of_module == {n for n in theta if n.startswith("module/")} and of_embedding == theta.keys() - of_module
    assert [limit for _, limit in method.clip_groups] == [0.5, 0.5]
    assert resolve("omniglot", "relation").training.clip_norm is None  # not once more, over both


@pytest.mark.parametrize(
    "datasource, cells",
    [("omniglot", {(5, 1): 19, (5, 5): 15, (20, 1): 10, (20, 5): 5}), ("miniimagenet", {(5, 1): 15, (5, 5): 10})],
)
def test_the_published_queries_of_each_cell(datasource, cells):
    for (ways, shots), queries in cells.items():
        settings = resolve(datasource, "relation", num_classes=ways, update_batch_size=shots)
        assert relation.episodes(settings.task, settings.own)[:3] == (ways, shots, queries)
    assert relation.preset(Task("omniglot", num_classes=5, num_shots=30))["num_queries"] == 1
