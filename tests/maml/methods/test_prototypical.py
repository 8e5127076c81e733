"""Prototypical networks by hand, and their traps: means, squared distances, what normalises what, ways in training."""

import numpy as np
import pytest
import tensorflow as tf
from toys import network, random_episode, random_weights

from data_generators.episode import Episode
from maml import inner_loop, losses, networks
from maml.method import Problem
from maml.methods import prototypical
from maml.methods.card import Episodes, Task

NORM = networks.Norm(scale=True, averages=True, epsilon=1e-5)


def line(*values):
    """[1, n, 1]."""
    return tf.constant(values, tf.float64)[None, :, None]


def one_hot(*classes):
    return tf.one_hot(classes, 2, dtype=tf.float64)[None]


def problem(embedding):
    return Problem((1,), 2, None, lambda: embedding, losses.cross_entropy, losses.accuracy)


def of_numbers():
    """The method on numbers that are their own features."""
    identity = networks.Network(
        lambda seed: {}, lambda weights, x, num_reference=None: x, lambda weights, x, _=None: (x, {})
    )
    return prototypical.build(prototypical.Settings(), problem(identity))


def with_averages():
    """(Method, network, θ, episode of two tasks): dense layers with a scale and running averages."""
    net = network("dense", NORM, num_outputs=None)
    method = prototypical.build(prototypical.Settings(), problem(net))
    theta = {n: w**2 + 1 if n.startswith("moving_variance") else w for n, w in random_weights(net).items()}
    return method, net, theta, random_episode("dense", 2, "cross_entropy", support=6)


# Class 0 has 0 and 2, class 1 has 5 and 3, in a mixed order: means 1 and 4.
SUPPORT = line(0, 5, 2, 3), one_hot(0, 1, 0, 1)


def test_a_prototype_is_the_mean_of_its_class_in_any_order():
    np.testing.assert_array_equal(of_numbers().start({}, *SUPPORT)["prototypes"], [[[1], [4]]])


def test_classes_may_have_different_numbers_of_examples():
    np.testing.assert_array_equal(prototypical.prototypes(line(1, 2, 6), one_hot(0, 1, 1)), [[[1], [4]]])


def test_logits_are_minus_the_squared_distance_summed_over_the_features():
    """(1, 2) from (0, 0) and from (1, −1): 1 + 4 and 9."""
    features, means = tf.constant([[[1.0, 2.0]]]), tf.constant([[[0.0, 0.0], [1.0, -1.0]]])
    np.testing.assert_array_equal(prototypical.logits(features, means), [[[-5, -9]]])


@pytest.mark.parametrize("columns, share", [(1, 0.993307), (2, 0.999955)])
def test_probabilities_by_hand(columns, share):
    """Prototypes 1 and 6 of {0, 2} and {4, 8}, query 3: e^−4 and e^−9; of two equal columns the sum, not the mean."""
    support, query = (tf.repeat(x, columns, 2) for x in (line(0, 2, 4, 8), line(3)))
    state = of_numbers().start({}, support, one_hot(0, 0, 1, 1))
    shares = tf.nn.softmax(of_numbers().predict(state, query))
    np.testing.assert_allclose(shares, [[[share, 1 - share]]], atol=1e-6)
    moved = of_numbers().start({}, support + 7, one_hot(0, 0, 1, 1))
    np.testing.assert_allclose(tf.nn.softmax(of_numbers().predict(moved, query + 7)), shares, rtol=1e-9)


def test_the_same_example_several_times_is_one_shot():
    once, twice = (
        of_numbers().start({}, line(*support), one_hot(*labels))
        for support, labels in (((1, 6), (0, 1)), ((1, 1, 6, 6), (0, 0, 1, 1)))
    )
    np.testing.assert_array_equal(once["prototypes"], twice["prototypes"])


def test_logits_are_a_linear_classifiers():
    """[S] equation 8: weights 2c, biases −‖c‖², but for what all classes share."""
    rng = np.random.default_rng(0)
    features, means = rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 3, 4))
    linear = 2 * features @ means.transpose(0, 2, 1) - (means**2).sum(2)[:, None]
    shared = (features**2).sum(2, keepdims=True)
    np.testing.assert_allclose(
        prototypical.logits(tf.constant(features), tf.constant(means)), linear - shared, rtol=1e-10
    )


def test_the_loss_is_the_mean_over_all_queries():
    """Query 2 of class 0: 1 and 4 away, so log(1 + e^−3); 4 of class 1: 9 and 0; 3 of class 0: 4 and 1, so wrong."""
    episode = Episode(*SUPPORT, line(2, 4, 3), one_hot(0, 1, 0))
    result = of_numbers().objective({}, episode, 0.0)
    expected = np.mean(np.log1p(np.exp([-3.0, -9.0, 3.0])))
    np.testing.assert_allclose(result["loss"], [expected], rtol=1e-12)
    np.testing.assert_allclose(result["query_loss"], [expected], rtol=1e-12)
    np.testing.assert_allclose(result["query_accuracy"], [2 / 3])


def test_features_that_tell_nothing_apart_are_right_by_chance():
    method = of_numbers()
    state = method.start({}, line(7, 7), one_hot(0, 1))
    logits = method.predict(state, line(7, 7, 7, 7))
    np.testing.assert_array_equal(losses.accuracy(logits, one_hot(0, 0, 1, 1)), [0.5])


def test_training_may_have_other_ways_than_the_problem():
    """Five classes, where the problem has two outputs."""
    labels = tf.eye(5, dtype=tf.float64)[None]
    result = of_numbers().objective({}, Episode(line(0, 1, 2, 3, 4), labels, line(0, 1, 2, 3, 4), labels), 0.0)
    np.testing.assert_array_equal(result["query_accuracy"], [1])


def test_in_training_support_and_queries_are_normalised_together():
    method, net, theta, e = with_averages()
    features = net.forward(inner_loop.per_task(theta, 2), tf.concat([e.support_x, e.query_x], 1))
    means = prototypical.prototypes(features[:, :6], e.support_y)
    logits = prototypical.logits(features[:, 6:], means)
    expected = losses.cross_entropy(logits, e.query_y, num_shots=5)  # 5 queries
    np.testing.assert_allclose(method.objective(theta, e, 0.0)["loss"], expected, rtol=1e-12)


def test_training_carries_the_running_averages_after_that_batch():
    method, net, theta, e = with_averages()
    both = tf.concat([e.support_x, e.query_x], 1)
    _, expected = net.forward_with_averages(inner_loop.per_task(theta, 2), both)
    got = method.objective(theta, e, 0.0)["carried"]
    assert got.keys() == expected.keys() == {name for name in theta if networks.is_average(name)}
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12)


def test_at_test_support_and_queries_are_normalised_apart():
    method, net, theta, e = with_averages()
    weights = inner_loop.per_task(theta, 2)
    means = prototypical.prototypes(net.forward(weights, e.support_x), e.support_y)
    got = method.predict(method.start(theta, e.support_x, e.support_y), e.query_x)
    np.testing.assert_allclose(got, prototypical.logits(net.forward(weights, e.query_x), means), rtol=1e-12)


def test_one_query_at_a_time_the_support_too_is_embedded_by_the_running_averages():
    method, net, theta, e = with_averages()
    weights = inner_loop.per_task(theta, 2)

    def embed(x):
        return net.forward(weights, x, num_reference=0)

    got = method.predict(method.start(theta, e.support_x, e.support_y), e.query_x, e.support_x)
    expected = prototypical.logits(embed(e.query_x), prototypical.prototypes(embed(e.support_x), e.support_y))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_episodes_of_training_have_more_ways_and_the_shots_of_the_test():
    task = Task("omniglot", num_classes=5, num_shots=5)
    assert prototypical.episodes(task, prototypical.Settings()) == Episodes(60, 5, 5)


def test_photographs_have_30_ways_for_one_shot_and_20_for_five():
    ways = [prototypical.preset(Task("miniimagenet", num_shots=shots))["train_ways"] for shots in (1, 5)]
    assert ways == [30, 20]
