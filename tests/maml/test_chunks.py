"""Many tasks, a few at a time."""

import os

import numpy as np
import pytest
import tensorflow as tf

from maml.chunks import map_chunks


@pytest.mark.parametrize("one_kernel", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_the_chunks_together_are_the_whole_in_order(size, one_kernel):
    tasks = {"a": tf.range(5.0), "b": tf.reshape(tf.range(10.0), [5, 2])}
    mapped = tf.function(lambda t: map_chunks(lambda c: c["a"][:, None] + c["b"], t, size, one_kernel))(tasks)
    assert [len(part) for part in mapped] == [min(size, 5 - i) for i in range(0, 5, size)]
    np.testing.assert_array_equal(tf.concat(mapped, 0), tasks["a"][:, None] + tasks["b"])


@pytest.mark.parametrize("one_kernel, waiting", [(True, 0), (False, 3)])
def test_without_one_kernel_no_more_chunks_are_under_way_than_there_are_cores(one_kernel, waiting, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    function = tf.function(lambda t: map_chunks(tf.square, t, 1, one_kernel))
    graph = function.get_concrete_function(tf.TensorSpec([5])).graph
    slices = [op for op in graph.get_operations() if op.type == "StridedSlice"]
    squares = [op.name for op in graph.get_operations() if op.type == "Square"]
    # Each chunk's tasks are handed over when the chunk two before it is done; TensorFlow hangs that on the slice's bounds.
    waits_for = [{before.name for bound in op.inputs for before in bound.op.control_inputs} for op in slices]
    assert waits_for == [set()] * (5 - waiting) + [{name} for name in squares[:waiting]]
