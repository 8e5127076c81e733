"""An ensemble: each member learns by itself, and the outputs are averaged."""

import numpy as np
import pytest
import tensorflow as tf
from toys import network, problem, random_episode, random_weights

from maml.ensemble import ensemble
from maml.evaluation import Evaluator
from maml.methods import maml, prototypical

PROBLEM = problem("dense", "layer_norm", "cross_entropy")
THETAS = tuple(random_weights(network("dense", "layer_norm"), seed) for seed in (1, 2, 3))
EPISODE = random_episode("dense", 4, "cross_entropy")


def outputs(method, theta, steps):
    state = method.start(theta, EPISODE.support_x, EPISODE.support_y)
    for _ in range(steps):
        state = method.step(state, EPISODE.support_x, EPISODE.support_y)
    return method.predict(state, EPISODE.query_x)


@pytest.mark.parametrize("steps", [0, 2])
def test_the_outputs_are_the_mean_of_those_of_members_that_learn_apart(steps):
    method = maml.build(maml.Settings(inner_lr=0.2), PROBLEM)
    each = [outputs(method, theta, steps) for theta in THETAS]
    assert not np.allclose(each[0], each[1])
    np.testing.assert_allclose(outputs(ensemble(method), THETAS, steps), np.mean(each, 0), rtol=1e-12)


def test_a_method_without_inner_steps_has_none_in_an_ensemble_either():
    method = prototypical.build(prototypical.Settings(), PROBLEM)
    assert ensemble(method).step is None


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("inner_lr", [None, 0.05])
def test_an_evaluator_learns_tasks_by_an_ensemble(jit, inner_lr):
    method = maml.build(maml.Settings(inner_lr=0.2), PROBLEM)
    tasks = [tf.nest.map_structure(lambda part, i=i: part[i : i + 1].numpy(), EPISODE) for i in range(4)]
    one = Evaluator(method, PROBLEM, jit=jit)(THETAS[0], tasks, 2, inner_lr)
    of_three = Evaluator(ensemble(method), PROBLEM, jit=jit)
    np.testing.assert_allclose(of_three((THETAS[0],) * 3, tasks, 2, inner_lr).loss, one.loss, rtol=1e-6)
    assert not np.allclose(of_three(THETAS, tasks, 2, inner_lr).loss, one.loss)
