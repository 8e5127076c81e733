"""Many inner steps: a loop that computes what as many steps one after the other do."""

import time

import numpy as np
import pytest
import tensorflow as tf
from toys import problem, random_episode

from maml import methods
from maml.meta_training import compiled_meta_gradient
from maml.methods import _gradient
from maml.methods.card import Task
from maml.networks import Norm, without_gradient

METHODS = ("maml", "anil", "taml", "meta_lstm", "maml_plus_plus", "reptile")
NORM = Norm("batch_norm")


def built(name, kind, loss, **given):
    card = methods.get(name)
    preset = card.preset(Task("omniglot", 5, 1)) | {"num_updates": 3}
    own = {field: value for field, value in preset.items() if field in card.Settings.__dataclass_fields__}
    return card.build(card.Settings(**{**own, **given}), problem(kind, NORM, loss))


def gradient(method, episode, jit):
    theta = method.init(1)
    may_stay = without_gradient(theta) | method.training_only
    function = compiled_meta_gradient(method.objective, 2, jit, may_stay, method.couple)
    metrics, gradients, _ = tf.function(function)(theta, tf.nest.map_structure(tf.constant, episode))
    return metrics, gradients


CASES = [("maml", "dense", True), ("maml", "strided", False), *((name, "dense", False) for name in METHODS)]


@pytest.mark.parametrize("name, kind, jit", CASES)
def test_the_loop_has_the_meta_gradient_of_the_steps(name, kind, jit, monkeypatch):
    """Second order, float64: through every step of every task."""
    episode = random_episode(kind, 2, "cross_entropy")
    metrics, gradients = gradient(built(name, kind, "cross_entropy"), episode, jit)
    monkeypatch.setattr(_gradient, "UNROLLED", 0)
    in_loop, of_loop = gradient(built(name, kind, "cross_entropy"), episode, jit)
    for metric, value in metrics.items():
        np.testing.assert_allclose(in_loop[metric], value, rtol=1e-9)
    assert any(np.abs(g).max() > 0 for g in gradients.values())
    for weight, value in gradients.items():
        np.testing.assert_allclose(of_loop[weight], value, rtol=1e-6, atol=1e-10, err_msg=weight)


def test_no_preset_takes_so_many_steps_that_they_are_a_loop():
    for name in methods.names():
        for task in (Task("sinusoid", 5, 10), Task("omniglot", 20, 1), Task("miniimagenet", 5, 1)):
            assert methods.get(name).preset(task).get("num_updates", 0) <= _gradient.UNROLLED


@pytest.mark.parametrize("name", ["maml", "maml_plus_plus", "reptile"])
def test_two_thousand_steps_are_compiled_in_seconds(name):
    episode, begun = random_episode("dense", 2, "mse"), time.perf_counter()
    method = built(name, "dense", "mse", num_updates=2000, inner_lr=1e-4)
    metrics, gradients = gradient(method, episode, False)
    assert all(np.isfinite(g).all() for g in gradients.values()) and np.isfinite(metrics["loss"])
    assert time.perf_counter() - begun < 60
