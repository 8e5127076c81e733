"""TAML: measures of inequality and entropies by hand, and their gradients, of a meta-update in chunks or not."""

import numpy as np
import pytest
import tensorflow as tf
from toys import mean_meta_gradient, problem, random_episode, random_weights

from data_generators.errors import UserError
from maml.meta_training import Trainer, compiled_meta_gradient
from maml.methods import maml, taml
from maml.methods.taml import Settings, entropy, inequality

MEASURES = [  # of losses 1 and 3, by hand
    ("theil", 1.0, 0.130812),
    ("generalised_entropy", 1.0, 0.130812),
    ("generalised_entropy", 0.0, 0.143841),
    ("generalised_entropy", 2.0, 0.125),
    ("atkinson", 0.5, 0.066987),
    ("atkinson", 1.0, 0.133975),
    ("gini", 1.0, 0.25),
    ("variance_of_logarithms", 1.0, 0.301737),
]
measures = pytest.mark.parametrize("measure, order", [m[:2] for m in MEASURES])


def of(measure, order, losses):
    """(value, gradient) of a measure."""
    losses = tf.constant(losses, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        value = inequality(Settings(regulariser=measure, inequality_order=order), losses)
    return value.numpy(), tape.gradient(value, losses).numpy()


@pytest.mark.parametrize("measure, order, expected", MEASURES)
def test_measures_by_hand(measure, order, expected):
    np.testing.assert_allclose(of(measure, order, [1, 3])[0], expected, atol=5e-7)


def test_theils_gradient_by_hand():
    np.testing.assert_allclose(of("theil", 1.0, [1, 3])[1], [-0.205990, 0.068663], atol=5e-7)


@measures
def test_equal_losses_have_no_inequality_and_no_gradient(measure, order):
    value, gradient = of(measure, order, [2, 2, 2])
    np.testing.assert_allclose([value, *gradient], 0, atol=1e-12)


@measures
def test_what_all_losses_are_multiplied_by_does_not_count(measure, order):
    """So Σ ℓ_k ∂I/∂ℓ_k = 0."""
    losses = np.array([1, 3, 2, 0.5])
    value, gradient = of(measure, order, losses)
    np.testing.assert_allclose(of(measure, order, 7 * losses)[0], value, rtol=1e-9)
    assert abs(losses @ gradient) < 1e-10 and np.abs(gradient).max() > 0.01


@measures
def test_gradients_are_those_of_central_differences(measure, order):
    losses, h = np.array([1, 3, 2, 0.5]), 1e-6
    differences = [
        (of(measure, order, losses + h * e)[0] - of(measure, order, losses - h * e)[0]) / (2 * h) for e in np.eye(4)
    ]
    np.testing.assert_allclose(of(measure, order, losses)[1], differences, atol=1e-9)


@measures
def test_a_loss_of_zero_gives_something_finite(measure, order):
    value, gradient = of(measure, order, [0, 1])
    assert np.isfinite([value, *gradient]).all()


@pytest.mark.parametrize("logits, expected", [
    ([0] * 5, 1.609438), ([1000, 0, 0], 0), ([np.log(3), 0], 0.562335),
])  # fmt: skip
def test_entropies_by_hand(logits, expected):
    """Of two equal examples: their mean."""
    np.testing.assert_allclose(entropy(tf.constant([[logits] * 2], tf.float64)), [expected], atol=5e-7)


# In training

OF = problem("dense", "batch_norm", "cross_entropy")
EPISODE = random_episode("dense", 4, "cross_entropy")
WEIGHTS = random_weights(OF.network(3))


def of_batch(method, tasks_per_chunk, jit=False):
    """(metrics, gradients) of all tasks of EPISODE."""
    mean = compiled_meta_gradient(method.objective, tasks_per_chunk, jit, couple=method.couple)
    return tf.function(mean)(WEIGHTS, EPISODE)[:2]


@pytest.mark.parametrize("measure", ["theil", "gini", "entropy"])
@pytest.mark.parametrize("tasks_per_chunk, jit", [(1, False), (2, True), (3, False)])
def test_a_meta_update_in_chunks_is_that_of_all_tasks_at_once(measure, tasks_per_chunk, jit):
    """And that of the loss written down as a whole: mean_i L_i + λ·I(ℓ)."""
    settings = Settings(0.1, 2, regulariser=measure, regulariser_weight=0.5)
    method = taml.build(settings, OF)
    with tf.GradientTape() as tape:
        tape.watch(WEIGHTS)
        result = method.objective(WEIGHTS, EPISODE, 0.0)
        loss = tf.reduce_mean(result["loss"])
        if measure != "entropy":
            loss += 0.5 * inequality(settings, result["support_loss"])
    expected = tape.gradient(loss, WEIGHTS, unconnected_gradients="zero")
    metrics, gradients = of_batch(method, tasks_per_chunk, jit)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-9)
    for name, g in expected.items():
        np.testing.assert_allclose(gradients[name], g, rtol=1e-8, atol=1e-11, err_msg=name)


def test_the_entropy_is_raised_before_the_steps_and_lowered_after_them():
    method = taml.build(Settings(0.1, 1, regulariser="entropy", regulariser_weight=0.5), OF)
    result = method.objective(WEIGHTS, EPISODE, 0.0)
    state = method.start(WEIGHTS, *EPISODE[:2])
    before = entropy(method.predict(state, EPISODE.support_x))
    after = entropy(method.predict(method.step(state, *EPISODE[:2]), EPISODE.query_x))
    np.testing.assert_allclose(result["loss"] - result["query_loss"], 0.5 * (after - before), rtol=1e-9)


def test_training_has_the_inequality_in_its_loss():
    """Of a meta-update with a weight of 2, in chunks."""
    method = taml.build(Settings(0.1, 1, regulariser_weight=2.0), OF)
    metrics = Trainer(WEIGHTS).compile(method, tasks_per_chunk=1, jit=False)(EPISODE)
    losses = method.objective(WEIGHTS, EPISODE, 0.0)["support_loss"]
    np.testing.assert_allclose(metrics["loss"] - metrics["query_loss"], 2 * taml.theil(losses), rtol=1e-9)
    assert "coupled" not in metrics


def test_apart_from_that_it_is_maml():
    method, other = taml.build(Settings(0.1, 2), OF), maml.build(maml.Settings(0.1, 2), OF)
    for got, expected in zip(mean_meta_gradient(method, WEIGHTS, EPISODE), mean_meta_gradient(other, WEIGHTS, EPISODE)):
        for name, value in expected.items():
            np.testing.assert_array_equal(got[name], value, err_msg=name)


def test_there_is_no_entropy_without_classes():
    with pytest.raises(UserError, match="^regulariser is 'entropy', which is of classes; expected a measure of"):
        taml.build(Settings(regulariser="entropy"), problem("dense", "None", "mse"))


def test_one_task_has_no_inequality():
    one = tf.nest.map_structure(lambda part: part[:1], EPISODE)
    with pytest.raises(UserError, match="regulariser is 'theil' of 1 task a meta-update, expected 2 tasks or more"):
        Trainer(WEIGHTS).compile(taml.build(Settings(0.1, 1), OF), jit=False)(one)
