"""ANIL by hand: f(x) = v·(u·x), squared error, u = 1, v = 0, support (1, 1), query (2, 0), α = 0.1; and its claims."""

import numpy as np
import pytest
import tensorflow as tf
from toys import mean_meta_gradient, problem, random_episode, random_weights

from data_generators.episode import Episode
from maml import losses
from maml.method import Problem
from maml.methods import anil, maml
from maml.methods.card import Task
from maml.networks import Network

THETA = {"u": tf.constant([[1.0]], tf.float64), "v": tf.constant([[0.0]], tf.float64)}
POINTS = Episode(*(tf.constant([[[part]]], tf.float64) for part in (1, 1, 2, 0)))


def line(seen=None, **settings):
    """ANIL on f. seen: a list to which what goes through the body is added."""

    def embed(weights, x, num_reference=None):
        if seen is not None:
            seen.append(x)
        return x @ weights["u"]

    body = Network(lambda seed: {"u": THETA["u"]}, embed)
    whole = Network(lambda seed: THETA, lambda weights, x, num_reference=None: x @ weights["u"] @ weights["v"])
    of = Problem((1,), 1, lambda outputs: whole, lambda: body, losses.mse, None)
    return anil.build(maml.Settings(inner_lr=0.1, **settings), of)


@pytest.mark.parametrize("first_order, of_v, of_u", [(False, 1.28, 0.64), (True, 1.6, 0.32)])
def test_by_hand(first_order, of_v, of_u):
    """g = −2, v' = 0.2, the query's loss (2·0.2)². Half of u's gradient comes through the inner step."""
    metrics, gradients = mean_meta_gradient(line(first_order=first_order), THETA, POINTS)
    np.testing.assert_allclose(metrics["loss"], 0.16, rtol=1e-12)
    np.testing.assert_allclose(gradients["v"], [[of_v]], rtol=1e-12)
    np.testing.assert_allclose(gradients["u"], [[of_u]], rtol=1e-12)


def test_each_image_goes_through_the_body_once():
    seen = []
    line(seen, num_updates=5).objective(THETA, POINTS, 0.0)
    assert [float(x[0, 0, 0]) for x in seen] == [1, 2]


def test_an_inner_step_leaves_the_body_as_it_is():
    method = line()
    before = method.start(THETA, *POINTS[:2])
    after = method.step(before, *POINTS[:2])
    assert after["body"]["u"] is before["body"]["u"] and after["features"] is before["features"]
    np.testing.assert_allclose(after["head"]["v"], [[[0.2]]], rtol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "strided", "max-pool"])
def test_it_is_maml_with_all_but_the_last_layer_held(kind):
    """Outputs after two steps are those of MAML's network with the head that ANIL found, either way of normalising."""
    of, episode = problem(kind, "batch_norm", "cross_entropy"), random_episode(kind, 2, "cross_entropy")
    method, other = (m.build(maml.Settings(0.1), of) for m in (anil, maml))
    theta = random_weights(method)
    state, whole = method.start(theta, *episode[:2]), other.start(theta, *episode[:2])
    for _ in range(2):
        state = method.step(state, *episode[:2])
        stepped = other.step(whole, *episode[:2])
        whole |= {name: stepped[name] for name in state["head"]}
    for reference in (None, episode.support_x):
        got, expected = (m.predict(s, episode.query_x, reference) for m, s in ((method, state), (other, whole)))
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_sine_waves_are_read_after_the_steps_of_the_training():
    assert anil.reading(Task("sinusoid"), maml.Settings(num_updates=2)) == (2, 2)
    assert anil.reading(Task("omniglot"), maml.Settings()) == (10, 3)
