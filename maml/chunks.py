"""Many tasks, a few at a time: so that what they need stays in the processor's cache, and memory is bounded."""

import os

import tensorflow as tf


def map_chunks(function, tasks, size, *, one_kernel):
    """[function(chunk) for each chunk of at most `size` tasks], to be called within a tf.function.

    tasks: any nest of tensors with the task axis in front. The chunks don't depend on one another, so that TensorFlow
    runs them at the same time, one on each core.
    one_kernel: whether `function` is compiled into one kernel. If not, its many kernels stand in the graph once, in a
    loop: copies for every chunk would take memory, and time to optimise, that grow with the number of tasks, and all
    of them would be begun at once.
    """
    num_tasks = tf.nest.flatten(tasks)[0].shape[0]

    def part(start, stop):
        return tf.nest.map_structure(lambda t: t[start:stop], tasks)

    whole = 0 if one_kernel else num_tasks // size
    results = _loop(function, part(0, whole * size), whole) if whole > 1 else []
    starts = range(len(results) * size, num_tasks, size)
    return results + [function(part(start, start + size)) for start in starts]


def _loop(function, tasks, count):
    """The same for `count` chunks of equal size, by a loop of as many parallel iterations as there are cores."""
    chunks = tf.nest.map_structure(lambda t: tf.reshape(t, [count, t.shape[0] // count, *t.shape[1:]]), tasks)
    one = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), chunks)
    outputs = tf.function(function).get_concrete_function(one).structured_outputs
    signature = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), outputs)
    stacked = tf.map_fn(
        lambda i: function(tf.nest.map_structure(lambda t: t[i], chunks)),  # by number: no copy of all tasks is made
        tf.range(count),
        fn_output_signature=signature,
        parallel_iterations=os.cpu_count(),
    )
    return [tf.nest.map_structure(lambda t, i=i: t[i], stacked) for i in range(count)]
