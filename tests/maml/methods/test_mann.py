"""MANN by hand: how it reads and writes its memory; and what a step may know."""

import numpy as np
import pytest
import tensorflow as tf
from toys import problem, random_episode, random_weights

from data_generators.errors import UserError
from maml.methods import _memory, mann
from maml.methods.card import Task


def tensor(values):
    return tf.constant(values, tf.float64)


def small(**settings):
    return mann.Settings(**{"hidden": 4, "memory_slots": 5, "memory_width": 3, "read_heads": 2, **settings})


def test_reading_by_content_by_hand():
    """Cosines 1 and 0; no strength: e/(e + 1)."""
    memory = tensor([[[[1, 0], [0, 1]]]])
    attention = tf.nn.softmax(_memory.cosine(tensor([[[[1, 0]]]]), memory))
    np.testing.assert_allclose(attention, [[[[0.731059, 0.268941]]]], atol=1e-6)
    np.testing.assert_allclose(_memory.read(attention, memory), [[[0.731059, 0.268941]]], atol=1e-6)


def test_what_is_empty_has_a_finite_cosine_and_gradient():
    keys, memory = tf.zeros([1, 1, 1, 2], tf.float64), tf.zeros([1, 1, 3, 2], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([keys, memory])
        alike = _memory.cosine(keys, memory)
    np.testing.assert_array_equal(alike, np.zeros([1, 1, 1, 3]))
    assert all(np.isfinite(g).all() for g in tape.gradient(alike, [keys, memory]))


def test_writing_to_the_least_used_slot_and_reading_by_hand():
    """Three slots, one head, gate ½: half to where was read, half to the least used slot, which is cleared first."""
    state = {"memory": tensor([[[[1, 0], [3, 3], [0, 1]]]]), "reading": tensor([[[[1, 0, 0]]]])}
    state["usage"] = tensor([[[0.9, 0.1, 0.5]]])
    new = mann.access(state, tensor([[[[0.6, 0.8]]]]), tensor([[[[0.5]]]]), 0.95)
    np.testing.assert_allclose(new["memory"], [[[[1.3, 0.4], [0.3, 0.4], [0, 1]]]], rtol=1e-12)
    np.testing.assert_allclose(new["reading"], [[[[0.312297, 0.378123, 0.309581]]]], atol=2e-6)
    np.testing.assert_allclose(new["usage"], [[[1.667297, 0.973123, 0.784581]]], atol=2e-6)
    np.testing.assert_allclose(_memory.read(new["reading"], new["memory"]), [[[0.519423, 0.585748]]], atol=2e-6)


def test_as_many_slots_as_heads_are_least_used_also_where_all_are_equal():
    mask, least = mann.least_used(tensor([[[1, 0, 0, 0]], [[3, 1, 2, 0]]]), 2)
    np.testing.assert_array_equal(mask[:, 0], [[0, 1, 1, 0], [0, 1, 0, 1]])
    np.testing.assert_array_equal(least[:, 0], [[0, 1, 0, 0], [0, 0, 0, 1]])


def test_all_heads_write_their_keys():
    """Two heads, gates 0: both to both of the least used slots, of which the very least was cleared."""
    state = {"memory": tensor([[[[5.0], [7.0], [9.0]]]]), "reading": tensor([[[[1, 0, 0], [1, 0, 0]]]])}
    state["usage"] = tensor([[[9, 1, 2]]])
    new = mann.access(state, tensor([[[[0.25], [0.5]]]]), tensor([[[[0], [0]]]]), 0.95)
    np.testing.assert_allclose(new["memory"], [[[[5.0], [0.75], [9.75]]]], rtol=1e-12)


def test_the_controller_sees_what_was_read_before():
    cell = mann.mann_cell(small())
    weights, state = cell.init(0, tf.float64), cell.begin(1, tf.float64)
    entering = tf.ones([1, 1, 16], tf.float64)
    plain, other = (cell.step(weights, {**state, "read": state["read"] + read}, entering)[1] for read in (0, 1))
    assert np.abs(plain - other).max() > 1e-3


def test_it_begins_with_an_empty_memory_and_its_attention_on_the_first_slot():
    state = mann.mann_cell(small()).begin(2, tf.float64)
    assert set(state["memory"].numpy().ravel()) == {1e-6} and state["memory"].shape == (2, 1, 5, 3)
    np.testing.assert_array_equal(state["reading"], np.broadcast_to([1, 0, 0, 0, 0], (2, 1, 2, 5)))
    np.testing.assert_array_equal(state["usage"], np.broadcast_to([1, 0, 0, 0, 0], (2, 1, 5)))


@pytest.mark.parametrize("at", [0, 3])
def test_a_target_is_known_from_the_next_example_on(at):
    """By the outputs of the training's sequence."""
    of, episode = problem("dense", "None", "cross_entropy"), random_episode("dense", 2, "cross_entropy", support=6)
    seen = []
    of = of._replace(loss=lambda outputs, targets, shots: seen.append(outputs.numpy()) or outputs[:, 0, 0])
    method = mann.build(small(), of)
    theta, y = random_weights(method), episode.support_y.numpy()
    other = y.copy()
    other[:, at] = np.roll(other[:, at], 1, -1)
    for labels in (y, other):
        method.objective(theta, episode._replace(support_y=tf.constant(labels)), 0.0)
    np.testing.assert_array_equal(seen[0][:, : at + 1], seen[1][:, : at + 1])
    assert (np.abs(seen[0][:, at + 1] - seen[1][:, at + 1]).max(-1) > 1e-6).all()


def test_there_are_no_more_heads_than_slots():
    with pytest.raises(UserError, match="^read_heads is 4, expected no more than memory_slots$"):
        mann.Settings(memory_slots=3)


def test_the_preset_has_the_papers_memory_and_sequences():
    preset, settings = mann.preset(Task("omniglot")), mann.Settings()
    assert (settings.memory_slots, settings.memory_width, settings.read_heads) == (128, 40, 4)
    assert (preset["hidden"], preset["num_tasks"], preset["sequence_shots"]) == (200, 16, 10)
