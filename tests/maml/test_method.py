"""What every method is measured by: the losses before and after, by hand."""

import numpy as np
import pytest
import tensorflow as tf
from test_inner_loop import EPISODE, W, line

from data_generators.episode import Episode
from maml import inner_loop, losses
from maml.method import Problem, num_shots, num_tasks, query_loss


def problem(metric=None):
    return Problem((1,), 1, None, None, losses.mse, metric)


def predict(state, x, reference=None):
    return line(state, x)


INITIAL, ADAPTED = inner_loop.per_task(W, 1), {"w": W["w"][None] / 2}


def test_query_loss_is_that_of_the_adapted_on_the_query_and_of_the_initial_on_the_support_set():
    """(0.5 − 1)² and (1 − 0)²; what is minimised is the former."""
    result = query_loss(problem(), predict, INITIAL, ADAPTED, EPISODE)
    assert {name: float(value[0]) for name, value in result.items()} == {
        "loss": 0.25, "query_loss": 0.25, "support_loss": 1.0,
    }  # fmt: skip


def test_with_a_metric_it_is_there_of_the_same_outputs():
    """Outputs minus targets: 1 − 0 and 0.5 − 1."""
    measured = problem(lambda y, target: tf.reduce_mean(y - target, [1, 2]))
    result = query_loss(measured, predict, INITIAL, ADAPTED, EPISODE)
    assert result["support_accuracy"].numpy() == [1.0] and result["query_accuracy"].numpy() == [-0.5]


def test_without_a_step_it_is_the_plain_loss_of_the_query_set():
    assert query_loss(problem(), predict, INITIAL, INITIAL, EPISODE)["loss"].numpy() == [0.0]  # (1 − 1)²


def test_the_query_sets_loss_is_divided_by_the_shots_of_the_support_set():
    """2 ways, 1 shot, 3 queries a class: 6·ln 2 / 1."""
    labels = tf.eye(2)[None]
    episode = Episode(tf.zeros([1, 2, 2]), labels, tf.zeros([1, 6, 2]), tf.tile(labels, [1, 3, 1]))
    classifier = Problem((2,), 2, None, None, losses.cross_entropy, losses.accuracy)
    result = query_loss(classifier, lambda state, x, reference=None: x, None, None, episode)
    np.testing.assert_allclose(result["loss"], [6 * np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("ways, shots", [(5, 1), (5, 5), (20, 1)])
def test_num_shots_is_examples_over_ways(ways, shots):
    assert num_shots(tf.zeros([3, ways * shots, ways])) == shots


def test_num_tasks_is_the_leading_axis_of_any_nest():
    assert num_tasks(EPISODE) == 1 and num_tasks({"a": [tf.zeros([4, 2])], "b": tf.zeros([4])}) == 4
