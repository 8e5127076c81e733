"""How fast the meta-step is on this machine, and how far from what the machine could do.

Everything is measured in one run, alternating, so that what else the machine does falls on all alike.
"""

import itertools
import os
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf

from data_generators.episode import Episode
from data_generators.image_classes import ImageClasses, ImageTasks
from maml import inner_loop, losses, networks
from maml.meta_training import Learner, MetaTrainer

META_BATCH = 32  # [P] A.1: 5-way Omniglot
META_BATCHES = (8, 16, 32, 64, 128, 256)
ROUNDS = 5
SECONDS = 2.0  # of each measurement in a round


def main():
    """Prints meta-iterations/s through chunks and through the single-task adapter, the flatness, and the arithmetic."""
    print(f"Omniglot 5-way 1-shot, {META_BATCH} tasks, 64 filters, 1 inner step, second order, random images; {os.cpu_count()} cores")
    started = time.perf_counter()
    draw = _episodes()
    step = _trainer(_learner())
    step(draw(META_BATCH))
    print(f"first iteration {time.perf_counter() - started:.1f} s after the start of the trainer, compilation included")

    adapter = _trainer(_adapter_learner())
    whole = _whole_task_map()
    contenders = {
        "chunks of 2, XLA": lambda: step(draw(META_BATCH)),
        "single-task adapter, tf.map_fn and conv2d": lambda: adapter(draw(META_BATCH)),
        "the authors' form: tf.map_fn over whole tasks, conv2d": lambda: whole(draw(META_BATCH)),
    }
    rates, matmul = _alternate(contenders)
    for name, rate in rates.items():
        print(f"{rate:8.2f} meta-iterations/s  {name}")
    fast, *slow = rates.values()
    print(f"ratio to the adapter {fast / slow[0]:.2f}, to the authors' form {fast / slow[1]:.2f}")

    flops = meta_iteration_flops(META_BATCH)
    print(
        f"one meta-iteration is {flops / 1e9:.1f} GFLOP of matrix products: {fast * flops / 1e9:.0f} GFLOP/s, "
        f"{100 * fast * flops / matmul:.0f} % of the {matmul / 1e9:.0f} GFLOP/s this machine reaches on 2048 x 2048 matrices"
    )
    sampling = 1 / _rate(lambda: draw(META_BATCH))
    print(f"drawing the tasks takes {1000 * sampling:.2f} ms, {100 * sampling * fast:.1f} % of a meta-iteration")
    print("meta-batch   tasks/s   peak memory, MiB (a process each)")
    for size in META_BATCHES:
        tasks, memory = _in_a_process(size)
        print(f"{size:10d} {tasks:9.0f} {memory:10.0f}")


def meta_iteration_flops(num_tasks, image_size=28, filters=64, examples=5):
    """Floating-point operations (2 a multiply-add) of the convolutions' matrix products in a 1-step meta-gradient.

    Counted in passes, one product of patches and kernel each: support forward 1, its gradient 2, query forward 1, its
    gradient 2, and 6 to differentiate the support gradient: 2 products for each of its two, and 2 more from its forward.
    The first layer has no gradient for its input: 7 instead of 12.
    """
    total, size, channels = 0, image_size, 1
    for layer in range(4):
        size = -(-size // 2)
        one_pass = 2 * examples * size * size * 9 * channels * filters
        total += one_pass * (7 if layer == 0 else 12)
        channels = filters
    return total * num_tasks


def _network():
    return networks.conv_net((28, 28, 1), 64, 5)


def _learner():
    return Learner(_network().forward, losses.cross_entropy(1), 0.4, metric=losses.accuracy, is_adapted=networks.is_adapted)


def _adapter_learner():
    return Learner(
        inner_loop.single_task(_single_task_forward),
        losses.cross_entropy(1),
        0.4,
        metric=losses.accuracy,
        is_adapted=networks.is_adapted,
        tasks_per_chunk=META_BATCH,
        jit=False,  # XLA has no fast convolution here
    )


def _single_task_forward(weights, x):
    """The same network for one task, as one would write it: x [n, 28, 28, 1] -> logits [n, 5]."""
    for i in range(1, 5):
        x = tf.nn.conv2d(x, weights[f"conv{i}"], 2, "SAME") + weights[f"b{i}"]
        centred = x - tf.reduce_mean(x, [0, 1, 2])
        scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), [0, 1, 2]) + 1e-3)
        x = tf.nn.relu(centred * scale + weights[f"beta{i - 1}"])
    return tf.matmul(tf.reduce_mean(x, [1, 2]), weights["w5"]) + weights["b5"]


def _whole_task_map():
    """The meta-step with `tf.map_fn` around each task's whole adaptation, as the authors wrote it for TensorFlow 1."""

    def forward(weights, x):
        return _single_task_forward({k: w[0] for k, w in weights.items()}, x[0])[None]

    one = Learner(forward, losses.cross_entropy(1), 0.4, is_adapted=networks.is_adapted)

    class Mapped(Learner):
        def compiled_meta_gradient(self):
            def meta_gradient(weights, episode):
                def task_loss(task):
                    task = Episode(*(t[None] for t in task))
                    return inner_loop.meta_loss(
                        one.forward, one.loss, weights, task, one.inner_lr, one.num_updates, is_adapted=one.is_adapted
                    )["query_loss"][0]

                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(weights)
                    each = tf.map_fn(task_loss, episode, fn_output_signature=tf.float32, parallel_iterations=META_BATCH)
                    mean = tf.reduce_mean(each)
                return {"post_loss": mean}, tape.gradient(mean, weights)

            return meta_gradient

    return _trainer(Mapped(one.forward, one.loss, one.inner_lr))


def _trainer(learner):
    return MetaTrainer(_network().init(0), 0.001).compile(learner)


def _episodes():
    """A function that draws a meta-batch of so many tasks from random one-bit images, 1,100 classes of 20, as training does."""
    rng = np.random.default_rng(0)
    images = 255 * (rng.random((1100 * 20, 28, 28, 1), np.float32) < 0.1).astype(np.uint8)
    classes = ImageClasses(images, np.arange(0, len(images) + 1, 20), tuple(map(str, range(1100))))
    tasks, steps = ImageTasks({"train": classes}, num_classes=5, rotate=True), itertools.count()
    return lambda num_tasks: tasks.sample("train", 0, next(steps), num_tasks, 1, 1)


def _alternate(contenders):
    """Median rate of each contender over ROUNDS rounds, all in each round, and the matrix-multiply rate in FLOP/s."""
    matrix = tf.random.normal([2048, 2048])
    multiply = tf.function(tf.matmul)
    everything = {**contenders, "": lambda: multiply(matrix, matrix)}
    rates = {name: [] for name in everything}
    for call in everything.values():
        call()
    for _ in range(ROUNDS):
        for name, call in everything.items():
            rates[name].append(_rate(call))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {name: medians[name] for name in contenders}, medians[""] * 2 * 2048**3


def _rate(call):
    """Calls a second, each waited for."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        tf.nest.map_structure(np.asarray, call())
        count += 1
    return count / (time.perf_counter() - start)


def _in_a_process(size):
    """(tasks/s, peak memory in MiB) of a fresh process that runs the meta-step with `size` tasks."""
    output = subprocess.run(
        [sys.executable, "-m", "maml.benchmark", str(size)], check=True, capture_output=True, text=True
    ).stdout
    tasks, memory = output.split()
    return float(tasks), float(memory)


def _measure_size(size):
    step, draw = _trainer(_learner()), _episodes()
    step(draw(size))
    rate = statistics.median(_rate(lambda: step(draw(size))) for _ in range(3))
    return rate * size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(*_measure_size(int(sys.argv[1])))
