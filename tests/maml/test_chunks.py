"""Many tasks, a few at a time."""

import numpy as np
import pytest
import tensorflow as tf

from maml.chunks import map_chunks


@pytest.mark.parametrize("one_kernel", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_the_chunks_together_are_the_whole_in_order(size, one_kernel):
    tasks = {"a": tf.range(5.0), "b": tf.reshape(tf.range(10.0), [5, 2])}

    def sums(chunk):
        return chunk["a"][:, None] + chunk["b"]

    mapped = tf.function(lambda t: map_chunks(sums, t, size, one_kernel=one_kernel))(tasks)
    assert [len(part) for part in mapped] == [min(size, 5 - i) for i in range(0, 5, size)]
    np.testing.assert_array_equal(tf.concat(mapped, 0), tasks["a"][:, None] + tasks["b"])


@pytest.mark.parametrize("num_tasks", [4, 32])
def test_the_graph_of_many_kernels_does_not_grow_with_the_tasks(num_tasks):
    function = tf.function(lambda t: map_chunks(lambda c: tf.square(tf.sin(c)), t, 1, one_kernel=False))
    graph = function.get_concrete_function(tf.TensorSpec([num_tasks, 3])).graph.as_graph_def()
    parts = (graph.node, *(function.node_def for function in graph.library.function))
    operations = [node.op for part in parts for node in part]
    assert operations.count("Sin") == 1
