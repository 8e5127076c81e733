"""Matching networks by hand: the attention on cosines, its two options, and the LSTMs of full context embeddings."""

import numpy as np
import pytest
import tensorflow as tf
from toys import network, problem, random_episode, random_weights

from data_generators.episode import Episode
from maml import inner_loop, losses, networks
from maml.meta_training import meta_gradient
from maml.method import Problem
from maml.methods import matching
from maml.methods.card import Episodes, Task

NORM = networks.Norm(scale=True, averages=True)


def points(*rows):
    """[1, n, D]."""
    return tf.constant([rows], tf.float64)


def one_hot(*classes):
    return tf.one_hot(classes, 2, dtype=tf.float64)[None]


def of_points(**settings):
    """The method on points of the plane that are their own embedding."""
    identity = networks.Network(
        lambda seed: {}, lambda weights, x, num_reference=None: x, lambda weights, x, _=None: (x, {})
    )
    plane = Problem((2,), 2, None, lambda: identity, losses.cross_entropy, losses.accuracy)
    return matching.build(matching.Settings(**settings), plane)


def probabilities(method, support, labels, queries):
    return tf.nn.softmax(method.predict(method.start({}, support, labels), queries)).numpy()


# Comparing

ONE_SHOT = points((1, 0), (0, 1)), one_hot(0, 1)
# Class 0 has (1, 0) and (0, 1), class 1 (0, 1) and (−1, 0).
TWO_SHOT = points((1, 0), (0, 1), (0, 1), (-1, 0)), one_hot(0, 0, 1, 1)


def test_the_share_of_a_class_is_the_softmax_of_cosines():
    """(3, 4) has the cosines 0.6 and 0.8 with the two supports."""
    got = probabilities(of_points(), *ONE_SHOT, points((3, 4)))
    np.testing.assert_allclose(got, [[[0.450166, 0.549834]]], rtol=0, atol=1e-6)


def test_the_loss_is_the_mean_of_minus_the_logarithm_of_the_right_share():
    """−log of 0.549834 and of 0.450166."""
    episode = Episode(*ONE_SHOT, points((3, 4), (3, 4)), one_hot(1, 0))
    result = of_points().objective({}, episode, 0.0)
    np.testing.assert_allclose(result["loss"], [(0.598139 + 0.798139) / 2], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(result["query_accuracy"], [0.5])


def test_normalising_the_support_alone_leaves_the_querys_length():
    """(3, 4) then has 3 and 4 instead of 0.6 and 0.8."""
    got = probabilities(of_points(normalised="support"), *ONE_SHOT, points((3, 4)))
    np.testing.assert_allclose(got[0, 0, 1], 0.731059, rtol=0, atol=1e-6)


def test_the_softmax_is_over_all_supports_and_a_class_has_the_sum_of_its_shares():
    """(1, 0) has cosines 1, 0, 0, −1: shares 0.534447, 0.196612, 0.196612, 0.072329."""
    got = probabilities(of_points(), *TWO_SHOT, points((1, 0)))
    np.testing.assert_allclose(got[0, 0, 0], 0.731059, rtol=0, atol=1e-6)


def test_sums_of_cosines_are_another_function():
    """1 + 0 against 0 − 1, as logits."""
    got = probabilities(of_points(votes="sums"), *TWO_SHOT, points((1, 0)))
    np.testing.assert_allclose(got[0, 0, 0], 0.880797, rtol=0, atol=1e-6)


def test_for_one_shot_sums_are_the_same():
    softmax, sums = (probabilities(of_points(votes=v), *ONE_SHOT, points((3, 4))) for v in ("softmax", "sums"))
    np.testing.assert_allclose(sums, softmax, rtol=1e-12)


@pytest.mark.parametrize("normalised, same", [("both", True), ("support", False)])
def test_lengths(normalised, same):
    """Of supports they never matter, of queries where both are normalised."""
    method, (support, labels) = of_points(normalised=normalised), TWO_SHOT
    first = probabilities(method, support, labels, points((3, 4)))
    np.testing.assert_allclose(probabilities(method, 7 * support, labels, points((3, 4))), first, rtol=1e-12)
    longer = probabilities(method, support, labels, points((21, 28)))
    assert np.allclose(longer, first, rtol=1e-12) == same


def test_the_order_of_the_support_does_not_matter_without_fce():
    order = [2, 0, 3, 1]
    mixed = [tf.gather(part, order, axis=1) for part in TWO_SHOT]
    expected = probabilities(of_points(), *TWO_SHOT, points((1, 2)))
    np.testing.assert_allclose(probabilities(of_points(), *mixed, points((1, 2))), expected, rtol=1e-12)


# Full context embeddings


def lstm(name, inputs, **columns):
    """θ of an LSTM of one cell, zero but for the candidate's weight on the input of that number."""
    weight = np.zeros((1, inputs, 4))
    weight[0, columns["number"], 3] = columns["weight"]
    return {f"{name}w": tf.constant(weight), f"{name}b": tf.zeros([1, 4], tf.float64)}


def both_directions():
    """Of g: only the candidates' weights on the input are 1."""
    return lstm(matching.FORWARD, 2, number=0, weight=1) | lstm(matching.BACKWARD, 2, number=0, weight=1)


def test_g_is_what_was_read_from_both_ends_beside_the_embedding():
    """All gates are ½. From the front: c = ½·tanh 1 = 0.380797, h = ½·tanh c = 0.181700; then c = ½·0.380797 + ½·tanh 2
    = 0.672412, h = 0.293302. From the back: c = 0.482014, h = 0.223907; then c = 0.621804, h = 0.276191."""
    got = matching.embed_support(both_directions(), points((1,), (2,)))
    np.testing.assert_allclose(got, [[[1.457891], [2.517210]]], rtol=0, atol=1e-6)


def test_g_depends_on_the_order():
    """What 3 has behind it are 1 and 2 in either order."""
    got, other = (
        matching.embed_support(both_directions(), points(*rows)) for rows in ([(1,), (2,), (3,)], [(2,), (1,), (3,)])
    )
    assert np.abs(got - other)[0, 2, 0] > 1e-3


ATTENTION = lstm(matching.ATTENTION, 3, number=2, weight=2)  # only the candidate's weight on r is 2


@pytest.mark.parametrize("steps, expected", [(1, 1.181700), (2, 1.284369)])
def test_f_attends_to_the_support_in_each_step(steps, expected):
    """f' = 1, g = {1, 0}. Step 1: r = ½, c = ½·tanh 1 = 0.380797, h = 1 + ½·tanh c = 1.181700. Step 2: r = the share
    σ(h) = 0.765253 of 1, c = ½·0.380797 + ½·tanh 1.530506 = 0.645654, h = 1 + ½·tanh c = 1.284369."""
    got = matching.embed_queries(ATTENTION, points((1,)), points((1,), (0,)), steps)
    np.testing.assert_allclose(got, [[[expected]]], rtol=0, atol=1e-6)


def test_f_does_not_depend_on_the_order_of_g():
    got, other = (matching.embed_queries(ATTENTION, points((1,)), points(*g), 3) for g in ([(1,), (0,)], [(0,), (1,)]))
    np.testing.assert_allclose(got, other, rtol=1e-12)


def fce(dtype=tf.float64):
    """(Method, θ as training begins) with full context embeddings, on dense layers."""
    method = matching.build(matching.Settings(fce=True), problem("dense", NORM, "cross_entropy", dtype))
    return method, method.init(0)


def test_it_begins_as_plain_matching_bit_for_bit():
    plain = matching.build(matching.Settings(), problem("dense", NORM, "cross_entropy"))
    episode, (method, theta) = random_episode("dense", 2, "cross_entropy", support=6), fce()
    got, expected = (m.predict(m.start(theta, *episode[:2]), episode.query_x) for m in (method, plain))
    np.testing.assert_array_equal(got, expected)


def moved():
    """(Method, θ) away from its start."""
    method, _ = fce()
    weights = random_weights(method)
    return method, {n: w**2 + 1 if n.startswith("moving_variance") else w for n, w in weights.items()}


def test_gradients_with_lstms_are_those_of_central_differences():
    (method, theta), episode, h = moved(), random_episode("dense", 2, "cross_entropy", support=6), 1e-6
    _, gradients, _ = meta_gradient(method.objective, theta, episode)
    rng = np.random.default_rng(0)
    for name in (n for n in theta if n.startswith("fce") or n == "w1"):
        direction = tf.constant(rng.normal(size=theta[name].shape))
        ends = [
            float(sum(method.objective({**theta, name: theta[name] + s * direction}, episode, 0.0)["loss"]))
            for s in (h, -h)
        ]
        got = float(tf.reduce_sum(gradients[name] * direction))
        assert got == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5, abs=1e-9), name
        assert abs(got) > 1e-6


def test_tasks_with_lstms_are_each_alone():
    (method, theta), e = moved(), random_episode("dense", 2, "cross_entropy", support=6)
    together = method.predict(method.start(theta, *e[:2]), e.query_x, e.support_x)
    for i in range(2):
        x, y, queries = (part[i : i + 1] for part in e[:3])
        np.testing.assert_allclose(
            method.predict(method.start(theta, x, y), queries, x), together[i : i + 1], rtol=1e-9
        )


def test_the_support_is_read_in_an_order_that_is_not_class_by_class_and_put_back():
    sequence = tf.range(25.0)[None, :, None]
    seen = []
    got = matching.in_random_order(lambda s: seen.append(s) or s, sequence)
    np.testing.assert_array_equal(got, sequence)
    assert sorted(seen[0].numpy().ravel()) == list(range(25))
    neighbours = np.diff(seen[0].numpy().ravel() // 5)  # five shots: the same class where it is 0
    assert (neighbours == 0).sum() < 10  # of 24; class by class it would be 20


def test_only_the_attentions_gradient_is_limited():
    method, theta = fce()
    ((belongs, limit),) = method.clip_groups
    assert limit == 0.25 and {n for n in theta if belongs(n)} == {"fce_attention/w", "fce_attention/b"}


# Training


def test_support_and_queries_are_normalised_apart_and_the_averages_move_by_both():
    toy = problem("dense", NORM, "cross_entropy")
    method, net = matching.build(matching.Settings(), toy), network("dense", NORM, num_outputs=None)
    _, theta = moved()
    theta = {name: theta[name] for name in method.init(0)}
    e, weights = random_episode("dense", 2, "cross_entropy", support=6), inner_loop.per_task(theta, 2)
    result = method.objective(theta, e, 0.0)
    outputs = method.predict(method.start(theta, *e[:2]), e.query_x)
    np.testing.assert_allclose(result["loss"], losses.cross_entropy(outputs, e.query_y, 5), rtol=1e-12)
    _, first = net.forward_with_averages(weights, e.support_x)
    _, both = net.forward_with_averages({**weights, **first}, e.query_x)
    assert result["carried"].keys() == both.keys()
    for name, value in both.items():
        np.testing.assert_allclose(result["carried"][name], value, rtol=1e-12)


def test_dropout_scales_what_it_keeps_and_is_a_function_of_the_progress():
    ones = tf.ones([2, 500, 4])
    first, again, later = (matching.dropout(0.25, progress, 0)(ones, 1) for progress in (0.3, 0.3, 0.6))
    assert set(np.unique(first)) == {0, np.float32(1 / 0.75)}
    assert np.mean(first == 0) == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[0], first[1])  # the same for all tasks
    others = [later, matching.dropout(0.25, 0.3, 0)(ones, 2), matching.dropout(0.25, 0.3, 1)(ones, 1)]
    assert not any(np.array_equal(first, other) for other in others)  # of a later step, of a layer, of the queries


def test_dropout_is_for_training_alone():
    toy, e = problem("dense", NORM, "cross_entropy"), random_episode("dense", 2, "cross_entropy", support=6)
    plain, dropping = (matching.build(matching.Settings(dropout=rate), toy) for rate in (0.0, 0.5))
    theta = random_weights(plain)
    theta = {n: w**2 + 1 if n.startswith("moving_variance") else w for n, w in theta.items()}
    got, expected = (m.predict(m.start(theta, *e[:2]), e.query_x) for m in (dropping, plain))
    np.testing.assert_array_equal(got, expected)
    assert np.abs(dropping.objective(theta, e, 0.5)["loss"] - plain.objective(theta, e, 0.5)["loss"]).max() > 1e-3


def test_episodes_are_as_at_test_with_15_queries_and_for_lstms_shuffled():
    task = Task("miniimagenet", num_classes=5, num_shots=5, num_queries=15)
    for fce in (False, True):
        assert matching.episodes(task, matching.Settings(fce=fce)) == Episodes(5, 5, 15, shuffled=fce)


def test_full_context_embeddings_are_for_photographs():
    presets = {source: matching.preset(Task(source)) for source in ("omniglot", "glyphs", "miniimagenet", "folder")}
    assert [preset["fce"] for preset in presets.values()] == [False, False, True, True]
    assert [preset["dropout"] for preset in presets.values()] == [0, 0, 0.1, 0.1]
