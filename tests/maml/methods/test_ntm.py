"""The neural Turing machine's addressing by hand."""

import numpy as np
import pytest
import tensorflow as tf

from maml.methods import _memory, ntm


def tensor(values):
    return tf.constant(values, tf.float64)


def test_content_with_a_strength_of_2_by_hand():
    alike = _memory.cosine(tensor([[[[1, 0]]]]), tensor([[[[1, 0], [0, 1]]]]))
    np.testing.assert_allclose(tf.nn.softmax(2 * alike), [[[[0.880797, 0.119203]]]], atol=1e-6)


def test_interpolation_by_hand():
    got = ntm.interpolate(tensor([0.880797, 0.119203]), tensor([0, 1]), 0.5)
    np.testing.assert_allclose(got, [0.440399, 0.559601], atol=1e-6)


@pytest.mark.parametrize("shifts, expected", [([0.1, 0.8, 0.1], [0.45, 0.31, 0.24]), ([0, 0, 1], [0.2, 0.5, 0.3])])
def test_shifting_by_hand(shifts, expected):
    np.testing.assert_allclose(ntm.shift(tensor([0.5, 0.3, 0.2]), tensor(shifts)), expected, rtol=1e-12)


def test_sharpening_by_hand():
    got = ntm.sharpen(tensor([0.45, 0.31, 0.24]), 2.0)
    np.testing.assert_allclose(got, [0.568501, 0.269792, 0.161707], atol=1e-6)


def test_a_high_power_of_small_weights_is_no_division_by_zero():
    even = tf.fill([128], tf.constant(1 / 128, tf.float32))
    np.testing.assert_allclose(ntm.sharpen(even, tf.constant(40.0)), even, rtol=1e-5)


def test_attention_of_0_has_a_finite_gradient_in_the_power():
    attention, power = tensor([1, 0]), tensor(1.5)
    with tf.GradientTape() as tape:
        tape.watch(power)
        first = ntm.sharpen(attention, power)[0]
    assert np.isfinite(tape.gradient(first, power))


def test_the_way_from_what_the_controller_says_to_an_attention_by_hand():
    """Content 0.880797, 0.119203 of strength 2; half of it, and half the second slot; shifted; to the power of 2."""
    settings = ntm.Settings(hidden=4, memory_slots=2, memory_width=2, read_heads=1)
    cell = ntm.ntm_cell(settings)
    weights = {name: tf.zeros_like(w) for name, w in cell.init(0, tf.float64).items()}
    said = {"key": [1.0, 0.0], "strength": [np.log(np.e**2 - 1)], "gate": [0.0], "shift": np.log([0.1, 0.8, 0.1])}
    said["power"] = [np.log(np.e - 1)]
    weights |= {f"{name}_b": tensor([[*values] * 2]) for name, values in said.items()}  # both heads, of the one task
    weights = {name: w if name.removesuffix("_b") in said else w[None] for name, w in weights.items()}
    state = cell.begin(1, tf.float64)
    state |= {"memory": tensor([[[[1, 0], [0, 1]]]]), "attention": tensor([[[[0, 1], [0, 1]]]])}
    new, _ = cell.step(weights, state, tf.zeros([1, 1, 16], tf.float64))
    np.testing.assert_allclose(new["attention"], [[[[0.428842, 0.571158]] * 2]], atol=1e-6)


def test_erasing_and_adding_by_hand():
    one = tensor([[[[0.5]]]])
    np.testing.assert_allclose(ntm.write(tensor([[[[1]]]]), one, tensor([[[[1]]]]), tensor([[[[2]]]])), [[[[1.5]]]])


def test_all_heads_erase_before_any_adds():
    """Two heads on one slot: 4·(1 − 0.5·1)·(1 − 1·0.5) + 0.5·2 + 1·3."""
    attention, erase, add = tensor([[[[0.5], [1.0]]]]), tensor([[[[1.0], [0.5]]]]), tensor([[[[2.0], [3.0]]]])
    np.testing.assert_allclose(ntm.write(tensor([[[[4.0]]]]), attention, erase, add), [[[[5.0]]]])


def test_a_step_reads_what_was_there_and_writes_for_the_next():
    settings = ntm.Settings(hidden=4, memory_slots=5, memory_width=3, read_heads=2)
    cell = ntm.ntm_cell(settings)
    weights, state = cell.init(0, tf.float64), cell.begin(1, tf.float64)
    new, said = cell.step(weights, state, tf.ones([1, 1, 16], tf.float64))
    np.testing.assert_allclose(new["read"], np.full([1, 1, 6], 1e-6), rtol=1e-9)
    np.testing.assert_array_equal(said[:, :, 4:], new["read"])
    assert np.abs(new["memory"]).max() > 1e-3
    np.testing.assert_allclose(tf.reduce_sum(new["attention"], 3), np.ones([1, 1, 3]), rtol=1e-12)
