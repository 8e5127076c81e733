"""What the machine can do, and how calls are timed."""

import math
import pathlib
import re
import statistics
import sys
import time

import numpy as np
import tensorflow as tf

try:
    import resource
except ImportError:  # Windows
    resource = None

ROUNDS = 5
SECONDS = 2.0  # of each measurement in a round
MATRIX = 2048
MATMUL_FLOPS = 2 * MATRIX**3


def matrix_product():
    """A function that multiplies two matrices of MATRIX rows and columns: MATMUL_FLOPS, as fast as TensorFlow can."""
    matrix, multiply = tf.random.normal([MATRIX, MATRIX]), tf.function(tf.matmul)
    return lambda: multiply(matrix, matrix)


def calls_a_second(call):
    """Calls a second, each waited for."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        tf.nest.map_structure(np.asarray, call())
        count += 1
    return count / (time.perf_counter() - start)


def alternate(contenders):
    """(median calls a second of each contender, by name; FLOP/s of matrix products) over ROUNDS rounds."""
    everything = {**contenders, "": matrix_product()}
    rates = {name: [] for name in everything}
    for call in everything.values():
        call()
    for _ in range(ROUNDS):
        for name, call in everything.items():
            rates[name].append(calls_a_second(call))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {name: medians[name] for name in contenders}, medians[""] * MATMUL_FLOPS


def peak_memory():
    """MiB that this process has held at most, NaN where the system doesn't say.

    Not ru_maxrss, where Linux counts the parent that started it.
    """
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024
    if resource is None:
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
