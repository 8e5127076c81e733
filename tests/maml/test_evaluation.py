"""Adaptation curves: against stepping by hand, and their statistics."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from toys import loss_function, network, problem, random_episode, random_weights

from data_generators.episode import Episode
from maml import evaluation, inner_loop, losses, networks
from maml.method import Method
from maml.methods import maml

TASKS, STEPS = 5, 3
NET = network("dense", "layer_norm")
PROBLEM = problem("dense", "layer_norm", "cross_entropy")
METHOD = maml.build(maml.Settings(inner_lr=0.2), PROBLEM)
THETA = random_weights(NET)
EPISODE = random_episode("dense", TASKS, "cross_entropy")
ONE_BY_ONE = [Episode(*(part[i : i + 1].numpy() for part in EPISODE)) for i in range(TASKS)]
Evaluator = functools.partial(evaluation.Evaluator, METHOD, PROBLEM, jit=False)


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator()


def by_hand(inner_lr=0.2):
    """(loss, accuracy), each [tasks, steps + 1], on the query sets: `adapt`, then the loss of each step."""
    theta, loss = inner_loop.per_task(THETA, TASKS), loss_function("cross_entropy")

    def task_loss(weights):
        return loss(NET.forward(weights, EPISODE.support_x), EPISODE.support_y)

    trajectory = inner_loop.adapt(task_loss, theta, inner_lr, STEPS, is_adapted=networks.is_adapted)
    outputs = [NET.forward(weights, EPISODE.query_x) for weights in trajectory]
    return tuple(np.stack([f(o, EPISODE.query_y) for o in outputs], 1) for f in (loss, losses.accuracy))


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_the_evaluator_is_stepping_by_hand(jit):
    got = Evaluator(jit=jit)(THETA, ONE_BY_ONE, STEPS)
    loss, accuracy = by_hand()
    np.testing.assert_allclose(got.loss, loss, rtol=1e-10)
    np.testing.assert_allclose(got.metric, accuracy, rtol=1e-10)


def test_another_step_size_may_be_given(evaluator):
    got = evaluator(THETA, ONE_BY_ONE, STEPS, inner_lr=0.05)
    np.testing.assert_allclose(got.loss, by_hand(0.05)[0], rtol=1e-10)


@pytest.mark.parametrize("tasks_per_chunk", [1, 3, TASKS])  # with 2, the default, the tests around this one run
def test_the_evaluator_does_not_depend_on_the_chunks(tasks_per_chunk):
    got = Evaluator(tasks_per_chunk=tasks_per_chunk)(THETA, ONE_BY_ONE, STEPS)
    np.testing.assert_allclose(got.loss, by_hand()[0], rtol=1e-10)


def test_the_evaluator_does_not_depend_on_how_many_tasks_run_together(monkeypatch):
    monkeypatch.setattr(evaluation, "TASKS_AT_A_TIME", 2)  # 2, 2 and 1
    got = Evaluator()(THETA, ONE_BY_ONE, STEPS)
    np.testing.assert_allclose(got.loss, by_hand()[0], rtol=1e-10)


def test_one_evaluator_serves_several_weights(evaluator):
    other = evaluator({name: 2 * w for name, w in THETA.items()}, ONE_BY_ONE, STEPS)
    assert not np.allclose(other.loss, by_hand()[0])
    np.testing.assert_allclose(evaluator(THETA, ONE_BY_ONE, STEPS).loss, by_hand()[0], rtol=1e-10)


def test_tasks_may_come_from_a_generator(evaluator):
    got = evaluator(THETA, (task for task in ONE_BY_ONE), STEPS)
    np.testing.assert_allclose(got.loss, by_hand()[0], rtol=1e-10)


def test_no_steps_give_the_loss_of_the_weights_as_they_are(evaluator):
    np.testing.assert_allclose(evaluator(THETA, ONE_BY_ONE, 0).loss, by_hand()[0][:, :1], rtol=1e-10)


def test_without_a_metric_there_is_none():
    evaluator = evaluation.Evaluator(METHOD, PROBLEM._replace(metric=None), tasks_per_chunk=TASKS, jit=False)
    assert evaluator(THETA, ONE_BY_ONE, 1).metric is None


def test_a_task_that_diverges_has_no_accuracy(evaluator):
    """The largest of NaNs is the first: 1 of 3 outputs would pass for right."""
    got = evaluator(THETA, ONE_BY_ONE, STEPS, inner_lr=1e300)
    assert np.isfinite(got.metric[:, 0]).all() and np.isnan(got.loss[:, -1]).all() and np.isnan(got.metric[:, -1]).all()
    np.testing.assert_array_equal(np.isnan(got.metric), np.isnan(got.loss))


def test_the_results_are_float64_for_float32_weights():
    theta = {name: tf.cast(w, tf.float32) for name, w in THETA.items()}
    tasks = [Episode(*(part.astype(np.float32) for part in task)) for task in ONE_BY_ONE]
    got = Evaluator(tasks_per_chunk=TASKS)(theta, tasks, 1)
    assert got.loss.dtype == got.metric.dtype == np.float64


def test_a_method_without_inner_steps_has_a_curve_of_one_point(evaluator):
    got = evaluation.Evaluator(METHOD._replace(step=None), PROBLEM, jit=False)(THETA, ONE_BY_ONE, STEPS)
    np.testing.assert_allclose(got.loss, by_hand()[0][:, :1], rtol=1e-10)


@pytest.mark.parametrize("transductive", [True, False])
def test_queries_are_predicted_together_or_with_the_support_inputs_as_reference(transductive):
    """A Method whose outputs say what it was given: 1 for a reference that is the support set, else 0."""

    def predict(state, x, reference=None):
        given = 0.0 if reference is None else tf.reduce_mean(reference - EPISODE.support_x) + 1.0
        return tf.fill([*x.shape[:2], 1], tf.cast(given, tf.float64))

    told = Method(None, lambda theta, x, y: tf.zeros([x.shape[0]]), None, predict, None)
    first = PROBLEM._replace(loss=lambda outputs, targets, shots: outputs[:, 0, 0], metric=None)
    got = evaluation.Evaluator(told, first, TASKS, jit=False, transductive=transductive)(THETA, ONE_BY_ONE, 0)
    np.testing.assert_array_equal(got.loss, np.zeros([TASKS, 1]) if transductive else np.ones([TASKS, 1]))


def test_curve_by_hand():
    """Four tasks: 0, 0, 2, 2 has mean 1 and deviation 1 (not 1.15, the sample's); 5, 5, 5, 5 has 5 and 0."""
    mean, std, ci95 = evaluation.curve(np.array([[0.0, 5], [0, 5], [2, 5], [2, 5]]))
    np.testing.assert_allclose(mean, [1, 5])
    np.testing.assert_allclose(std, [1, 0])
    np.testing.assert_allclose(ci95, [1.96 * 1 / 2, 0])  # 1.96·std/√4
