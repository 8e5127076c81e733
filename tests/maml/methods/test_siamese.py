"""Siamese networks by hand: the weighted differences, the loss of pairs, the twin's last layer."""

import numpy as np
import pytest
import tensorflow as tf
from toys import network, problem, random_episode, random_weights

from data_generators.episode import Episode
from maml import losses, networks
from maml.meta_training import meta_gradient
from maml.method import Problem
from maml.methods import siamese
from maml.methods.card import Episodes, Task

NORM = networks.Norm(scale=True, averages=True)


def points(*rows):
    """[1, n, D]."""
    return tf.constant([rows], tf.float64)


def odds(queries, support, alpha, bias):
    return siamese.log_odds(queries, support, tf.constant([alpha], tf.float64), tf.constant([[bias]], tf.float64))


# Comparing


def test_the_log_odds_by_hand():
    """|0.8 − 0.3|·(−4) + 2 = 0: an even chance. The twins may change places."""
    for one, other in ((0.8, 0.3), (0.3, 0.8)):
        got = odds(points((one,)), points((other,)), [-4.0], 2.0)
        np.testing.assert_allclose(got, [[[0]]], rtol=0, atol=1e-12)


def test_equal_images_have_the_odds_of_the_bias():
    got = odds(points((0.1, 0.9)), points((0.1, 0.9)), [-3.0, 5.0], 0.7)
    np.testing.assert_allclose(got, [[[0.7]]])


def test_differences_are_weighted_one_by_one_for_every_pair():
    """|1 − 0|·1 + |0 − 2|·10 = 21, |1 − 3|·1 + 0·10 = 2; of the second query 0 + 20 and 3 + 0."""
    got = odds(points((1, 0), (0, 0)), points((0, 2), (3, 0)), [1.0, 10.0], 0.5)
    np.testing.assert_allclose(got, [[[21.5, 2.5], [20.5, 3.5]]])


def test_the_answer_is_the_best_pair_of_a_class():
    method, theta = made()
    e = random_episode("dense", 2, "cross_entropy", support=6)
    state = method.start(theta, *e[:2])
    of_pairs = siamese.log_odds(
        embed(theta, e.query_x), embed(theta, e.support_x), state["weights"]["alpha"], state["weights"]["bias"]
    )
    got = method.predict(state, e.query_x)
    for task in range(2):
        for n in range(3):
            expected = of_pairs[task].numpy()[:, e.support_y[task, :, n].numpy() > 0].max(1)
            np.testing.assert_allclose(got[task, :, n], expected, rtol=1e-10)


# The loss of pairs


def test_the_loss_is_the_cross_entropy_of_pairs():
    """P = 0.9 of a pair of one class and 0.2 of another: (0.105361 + 0.223144) / 2."""
    p = np.array([[[0.9, 0.2]]])
    got = siamese.verification_loss(tf.constant(np.log(p / (1 - p))), tf.constant([[[1.0, 0.0]]], tf.float64))
    np.testing.assert_allclose(got, [0.164252], rtol=0, atol=1e-6)


def test_pairs_of_one_class_count_as_much_as_all_the_others():
    """One of 0.9 beside three of 0.2: the same."""
    p = np.array([[[0.9, 0.2, 0.2, 0.2]]])
    got = siamese.verification_loss(tf.constant(np.log(p / (1 - p))), tf.constant([[[1.0, 0, 0, 0]]], tf.float64))
    np.testing.assert_allclose(got, [0.164252], rtol=0, atol=1e-6)


def test_knowing_nothing_it_is_the_logarithm_of_2():
    same = tf.constant([[[1.0, 0.0, 0.0]]], tf.float64)
    np.testing.assert_allclose(siamese.verification_loss(tf.zeros([1, 1, 3], tf.float64), same), [np.log(2)])


def test_the_pairs_are_every_query_with_every_support_example():
    """Of two classes and one image each: two pairs of one class, two of different ones."""
    identity = networks.Network(
        lambda seed: {"dtype": tf.zeros([], tf.float64)},
        lambda w, x, num_reference=None: x,
        lambda w, x, _=None: (x, {}),
        True,
        (1,),
    )
    line = Problem((1,), 2, None, lambda: identity, losses.cross_entropy, losses.accuracy)
    method = siamese.build(siamese.Settings(features=1), line)
    theta = {"dtype": 0.0, "twin_w": [[1.0]], "twin_b": [0.0], "alpha": [-2.0], "bias": [1.0]}
    theta = {name: tf.constant(value, tf.float64) for name, value in theta.items()}
    labels = tf.eye(2, dtype=tf.float64)[None]
    support, queries = np.array([0.5, -1.0]), np.array([0.3, 2.0])
    z, z_q = 1 / (1 + np.exp(-support)), 1 / (1 + np.exp(-queries))
    p = 1 / (1 + np.exp(-(1 - 2 * np.abs(z_q[:, None] - z))))
    expected = -(np.log(p[0, 0]) + np.log(p[1, 1]) + np.log(1 - p[0, 1]) + np.log(1 - p[1, 0])) / 4
    episode = Episode(points(*support[:, None]), labels, points(*queries[:, None]), labels)
    np.testing.assert_allclose(method.objective(theta, episode, 0.0)["loss"], [expected], rtol=1e-12)


# The twin


def made():
    """(Method, random θ) on dense layers."""
    method = siamese.build(siamese.Settings(features=4), problem("dense", NORM, "cross_entropy"))
    weights = random_weights(method)
    return method, {n: w**2 + 1 if n.startswith("moving_variance") else w for n, w in weights.items()}


def embed(theta, x):
    twin = siamese.twin(network("dense", NORM, num_outputs=None), 4)
    return twin.forward({name: tf.repeat(w[None], x.shape[0], 0) for name, w in theta.items()}, x)


def test_the_twin_ends_in_a_sigmoid():
    _, theta = made()
    x = random_episode("dense", 2, "cross_entropy").support_x
    hidden = network("dense", NORM, num_outputs=None).forward(
        {n: tf.repeat(w[None], 2, 0) for n, w in theta.items()}, x
    )
    expected = 1 / (1 + np.exp(-(hidden.numpy() @ theta["twin_w"].numpy() + theta["twin_b"].numpy())))
    np.testing.assert_allclose(embed(theta, x), expected, rtol=1e-10)


def test_its_layers_start_as_the_papers():
    """Dense weights N(0, 0.2²), biases N(0.5, 0.01²)."""
    of = problem("dense", NORM, "cross_entropy")
    theta = siamese.build(siamese.Settings(features=4096), of).init(0)
    for name, mean, deviation in (("twin_w", 0, 0.2), ("alpha", 0, 0.2), ("twin_b", 0.5, 0.01)):
        assert np.mean(theta[name]) == pytest.approx(mean, abs=0.02)
        assert np.std(theta[name]) == pytest.approx(deviation, rel=0.05)
    assert theta["twin_w"].shape == (5, 4096) and abs(float(theta["bias"][0]) - 0.5) < 0.05


def test_two_equal_images_pull_at_no_weight_but_the_bias():
    """Both halves are one network: what pulls at one side pushes at the other, and α is times 0."""
    method, theta = made()
    x = random_episode("dense", 1, "cross_entropy", support=1).support_x
    label = tf.constant([[[1.0, 0.0, 0.0]]], tf.float64)
    _, gradients, _ = meta_gradient(method.objective, theta, Episode(x, label, x, label))
    assert {name for name, g in gradients.items() if np.abs(g).max() > 1e-12} == {"bias"}


def test_episodes_are_of_pairs_whatever_the_shots():
    settings = siamese.Settings(train_ways=7, distorted=True)
    expected = Episodes(7, 1, 1, shuffled=False, distorted="affine")
    assert [siamese.episodes(Task("omniglot", num_shots=k), settings) for k in (1, 5)] == [expected, expected]


def test_drawings_are_distorted_and_photographs_are_not():
    presets = [siamese.preset(Task(source))["distorted"] for source in ("omniglot", "glyphs", "miniimagenet", "folder")]
    assert presets == [True, True, False, False]
