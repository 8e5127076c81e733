"""The nearest-neighbour baseline by hand; the training of its classifier is tested with the fine-tuning baseline."""

import numpy as np
import tensorflow as tf
from toys import TRAIN_CLASSES, problem, random_episode, random_weights

from maml import inner_loop, losses, networks
from maml.method import Problem
from maml.methods import fine_tuning, nearest_neighbour
from maml.methods._embedding import best_of_class
from maml.methods.card import Task

NORM = networks.Norm(scale=True, averages=True)
PROBLEM = problem("dense", NORM, "cross_entropy")
METHOD = nearest_neighbour.build(nearest_neighbour.Settings(), PROBLEM)
EPISODE = random_episode("dense", 2, "cross_entropy", support=6)


def points(*rows):
    """[1, n, 2]."""
    return tf.constant([rows], tf.float64)


def theta():
    weights = random_weights(METHOD)
    return {name: w**2 + 1 if name.startswith("moving_variance") else w for name, w in weights.items()}


def of_points():
    """(predictions of the method on points of the plane that are their own embedding) from support, labels, queries."""
    identity = networks.Network(
        lambda seed: {}, lambda weights, x, num_reference=None: x, lambda weights, x, _=None: (x, {})
    )
    plane = Problem((2,), 2, lambda outputs: identity, lambda: identity, losses.cross_entropy, losses.accuracy)
    method = nearest_neighbour.build(nearest_neighbour.Settings(), plane)
    return lambda support, labels, queries: method.predict(method.start({}, support, labels), queries)


def test_an_output_is_the_cosine_with_the_nearest_of_the_class():
    """(3, 4): 0.6 and 0.8 with class 0's (2, 0) and (0, 1), −0.6 and 0.96 with class 1's (−1, 0) and (4, 3)."""
    labels = tf.one_hot([[0, 0, 1, 1]], 2, dtype=tf.float64)
    got = of_points()(points((2, 0), (0, 1), (-1, 0), (4, 3)), labels, points((3, 4)))
    np.testing.assert_allclose(got, [[[0.8, 0.96]]], rtol=1e-12)


def test_it_is_the_single_nearest_and_not_the_nearest_mean():
    """Class 0's (1, 0) is the query's own direction, its mean (1, 5) / 2 far from it; class 1's are both 45° away."""
    labels = tf.one_hot([[0, 0, 1, 1]], 2, dtype=tf.float64)
    got = of_points()(points((1, 0), (0, 5), (1, 1), (1, 1)), labels, points((2, 0)))
    np.testing.assert_allclose(got, [[[1, np.sqrt(0.5)]]], rtol=1e-12)


def test_the_best_of_each_class_in_any_order_of_examples():
    similar = tf.constant([[[0.1, -0.3, 0.2, -0.4]]], tf.float64)
    labels = tf.one_hot([[1, 0, 1, 0]], 2, dtype=tf.float64)
    np.testing.assert_allclose(best_of_class(similar, labels), [[[-0.3, 0.2]]])


def test_theta_is_an_embedding_and_the_last_layer_of_the_training_of_which_a_task_needs_the_first():
    shapes = {name: tuple(w.shape) for name, w in METHOD.init(0).items()}
    assert shapes["train_w3"] == (5, TRAIN_CLASSES) and "w3" not in shapes
    state = METHOD.start(theta(), *EPISODE[:2])
    assert state["weights"].keys() == {name for name in shapes if not name.startswith("train_")}


def test_one_query_at_a_time_all_is_embedded_by_the_running_averages():
    """As in the paper's test."""
    got = METHOD.predict(METHOD.start(theta(), *EPISODE[:2]), EPISODE.query_x, EPISODE.support_x)
    weights = inner_loop.per_task(theta(), 2)
    support, queries = (
        tf.math.l2_normalize(PROBLEM.embedding().forward(weights, x, num_reference=0), -1).numpy()
        for x in (EPISODE.support_x, EPISODE.query_x)
    )
    for task in range(2):
        for n in range(3):
            of_class = EPISODE.support_y[task, :, n].numpy() > 0
            expected = (queries[task] @ support[task, of_class].T).max(1)
            np.testing.assert_allclose(got[task, :, n], expected, rtol=0, atol=1e-12)


def test_its_training_is_that_of_the_fine_tuning_baseline():
    assert nearest_neighbour.CARD.pretraining is fine_tuning.CARD.pretraining
    for datasource in ("omniglot", "miniimagenet", "glyphs", "folder"):
        other = fine_tuning.preset(Task(datasource))
        assert nearest_neighbour.preset(Task(datasource)) == {n: v for n, v in other.items() if n != "inner_lr"}
