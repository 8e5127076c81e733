"""Many tasks, a few at a time: so that what they need stays in the processor's cache, and memory is bounded."""

import os

import tensorflow as tf


def map_chunks(function, tasks, size, one_kernel):
    """[function(chunk) for each chunk of at most `size` tasks], to be called within a tf.function.

    tasks: any nest of tensors with the task axis in front. The chunks don't depend on one another, so that TensorFlow runs
    them at the same time. one_kernel: whether `function` is compiled into one kernel, of which only as many run as there
    are cores. If not, the kernels of all chunks would run in any order and all activations be alive at once: so each
    chunk waits until no more than one a core is under way.
    """
    num_tasks = tf.nest.flatten(tasks)[0].shape[0]
    at_once = os.cpu_count()
    results = []
    for i in range(0, num_tasks, size):
        wait = not one_kernel and len(results) >= at_once
        with tf.control_dependencies(tf.nest.flatten(results[-at_once]) if wait else []):
            results.append(function(tf.nest.map_structure(lambda t, i=i: t[i : i + size], tasks)))
    return results
