"""What Adam and plain gradient steps do to variables, and the schedules, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from maml import optimizers


def test_a_linear_schedule_starts_at_the_rate_and_never_reaches_zero():
    """Reptile's ε over 4 iterations: 1, 0.75, 0.5, 0.25."""
    schedule = optimizers.linear(1.0, 4)
    assert [float(schedule(tf.constant(i, tf.int64))) for i in range(4)] == [1, 0.75, 0.5, 0.25]


def test_a_halving_schedule_halves_after_every_so_many_iterations():
    schedule = optimizers.stepwise(0.001, 0.5, 2000)
    got = [float(schedule(tf.constant(i, tf.int64))) for i in (0, 1999, 2000, 3999, 4000, 10000)]
    assert got == [0.001, 0.001, 0.0005, 0.0005, 0.00025, 0.001 / 32]


def test_a_cosine_schedule_ends_at_its_final_step_size():
    """MAML++'s, of 100 epochs: 1e-3 at the first, 5.05e-4 at the 50th, 1e-5 at the end."""
    schedule = optimizers.cosine(1e-3, 1e-5, 100)
    got = [float(schedule(tf.constant(i, tf.int64))) for i in (0, 50, 100)]
    np.testing.assert_allclose(got, [1e-3, 5.05e-4, 1e-5], rtol=1e-12)


def test_a_gradient_step_by_hand():
    weights = {"w": tf.Variable([1.0, 2.0]), "v": tf.Variable(3.0)}
    optimizers.sgd_step(weights, {"w": tf.constant([0.5, -1.0])}, 0.5)
    np.testing.assert_array_equal(weights["w"], [0.75, 2.5])
    assert float(weights["v"]) == 3.0  # without a gradient it stays


def test_adams_first_step_has_the_size_of_the_rate_whatever_the_gradient():
    weights, first, second = ({"w": tf.Variable(start, dtype=tf.float64)} for start in ([1, 2], [0, 0], [0, 0]))
    optimizers.adam_step(weights, first, second, 1, {"w": tf.constant([0.5, -1e3], tf.float64)}, 0.25)
    np.testing.assert_allclose(weights["w"], [0.75, 2.25], rtol=1e-6)


def test_the_rate_may_be_a_tensor_of_another_type():
    """A schedule's is float64; float32 weights stay so."""
    weights = {"w": tf.Variable([1.0])}
    optimizers.sgd_step(weights, {"w": tf.constant([1.0])}, tf.constant(0.5, tf.float64))
    assert weights["w"].numpy() == [0.5] and weights["w"].dtype == tf.float32


def test_a_decaying_schedule_by_hand():
    schedule = optimizers.stepwise(0.5, 0.99, 10)
    assert [float(schedule(tf.constant(i, tf.int64))) for i in (9, 10, 25)] == [0.5, 0.495, pytest.approx(0.490050)]


def test_the_averaging_schedule_makes_means():
    """w ← w − β_t (w − a_t), β_t = 1, 1/2, 1/3: the mean of a, whatever w was."""
    schedule, w = optimizers.averaging(1.0), 7.0
    for t, a in enumerate((1.0, 2.0, 6.0)):
        w -= float(schedule(tf.constant(t, tf.int64))) * (w - a)
    assert w == pytest.approx(3.0, rel=1e-15)
