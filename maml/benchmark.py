"""How fast the meta-step is on this machine, and how far from what the machine could do.

Everything is measured in one run, alternating, so that what else the machine does falls on all alike.
"""

import itertools
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from data_generators.episode import Episode
from data_generators.image_classes import ImageClasses, ImageTasks
from maml import inner_loop, losses, networks
from maml.meta_training import Learner, MetaTrainer

ROUNDS = 5
SECONDS = 2.0  # of each measurement in a round
MATRIX = 2048
MATMUL_FLOPS = 2 * MATRIX**3


@dataclass(frozen=True)
class Case:
    """A 5-way 1-shot meta-step to measure, with the paper's settings ([P] A.1)."""

    title: str
    image_shape: tuple  # H, W, C
    filters: int
    max_pool: bool  # else strided; miniImagenet's last map is flattened besides, Omniglot's averaged
    num_queries: int  # Q
    inner_lr: float
    num_updates: int
    meta_batch: int  # M
    meta_batches: tuple  # to show that rate and memory don't depend on M
    tasks_per_chunk: int
    xla: bool
    images_per_class: int

    def network(self, xla=True):
        return networks.conv_net(
            self.image_shape, self.filters, 5, max_pool=self.max_pool, flatten=self.max_pool, xla=xla
        )

    def learner(self):
        """The library's own form."""
        forward = self.network(self.xla).forward
        return self.learner_of(forward, tasks_per_chunk=self.tasks_per_chunk, jit=self.xla)

    def learner_of(self, forward, **options):
        return Learner(
            forward,
            losses.cross_entropy(1),
            self.inner_lr,
            self.num_updates,
            metric=losses.accuracy,
            is_adapted=networks.is_adapted,
            **options,
        )

    def single_task_forward(self, weights, x):
        """The same network for one task, as one would write it: x [n, H, W, C] -> logits [n, 5]."""
        for i in range(1, 5):
            x = tf.nn.conv2d(x, weights[f"conv{i}"], 1 if self.max_pool else 2, "SAME") + weights[f"b{i}"]
            centred = x - tf.reduce_mean(x, [0, 1, 2])
            scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), [0, 1, 2]) + 1e-3)
            x = tf.nn.relu(centred * scale + weights[f"beta{i - 1}"])
            x = tf.nn.max_pool2d(x, 2, 2, "VALID") if self.max_pool else x
        x = tf.reshape(x, [x.shape[0], -1]) if self.max_pool else tf.reduce_mean(x, [1, 2])
        return tf.matmul(x, weights["w5"]) + weights["b5"]

    def adapter_learner(self):
        """Through the adapter for networks of a single task. Not compiled: XLA has no fast convolution here."""
        forward = inner_loop.single_task(self.single_task_forward)
        return self.learner_of(forward, tasks_per_chunk=self.meta_batch, jit=False)

    def trainer(self, learner):
        return MetaTrainer(self.network().init(0), 0.001).compile(learner)

    def flops(self, num_tasks):
        """Floating-point operations (2 a multiply-add) of the convolutions' products in one meta-gradient.

        Counted in passes, one product of patches and kernel each. Query set: forward 1, its gradient 2. Support set, for
        each inner step: forward 1, its gradient 2, and 6 to differentiate that gradient: 2 products for each of its two,
        and 2 more from its forward. The first layer has no gradient for its input: 2 instead of 3, 4 instead of 9.
        """
        total, size, channels = 0, self.image_shape[0], self.image_shape[2]
        for layer in range(4):
            outputs = size if self.max_pool else -(-size // 2)
            one_image = 2 * outputs**2 * 9 * channels * self.filters
            support, query = (4, 2) if layer == 0 else (9, 3)
            total += one_image * 5 * (self.num_updates * support + self.num_queries * query)
            size, channels = size // 2 if self.max_pool else outputs, self.filters
        return total * num_tasks

    def episodes(self):
        """A function that draws a meta-batch of so many tasks from random one-bit images, as training draws them."""
        rng, num_classes = np.random.default_rng(0), 1100 if self.image_shape[0] < 84 else 64
        shape = (num_classes * self.images_per_class, *self.image_shape)
        images = 255 * (rng.integers(10, size=shape, dtype=np.uint8) == 0).astype(np.uint8)
        offsets = np.arange(0, len(images) + 1, self.images_per_class)
        classes = ImageClasses(images, offsets, tuple(map(str, range(num_classes))))
        tasks, steps = ImageTasks({"train": classes}, num_classes=5, rotate=not self.max_pool), itertools.count()
        return lambda num_tasks: tasks.sample("train", 0, next(steps), num_tasks, 1, self.num_queries)


CASES = {
    "omniglot": Case(
        "Omniglot", (28, 28, 1), 64, False, 1, 0.4, 1, 32, (8, 16, 32, 64, 128, 256), 2, True, images_per_class=20
    ),
    "miniimagenet": Case(
        "miniImagenet", (84, 84, 3), 32, True, 15, 0.01, 5, 4, (2, 4, 8, 16, 32), 1, False, images_per_class=30
    ),
}


def main(name):
    """Prints meta-iterations/s in the library's form and in two others, the flatness, and the arithmetic."""
    case = CASES[name]
    print(
        f"{case.title} 5-way 1-shot, {case.meta_batch} tasks, {case.filters} filters, {case.num_updates} inner "
        f"step{'s' * (case.num_updates > 1)}, {case.num_queries} quer{'y' if case.num_queries == 1 else 'ies'} a class, "
        f"second order, random images; {os.cpu_count()} cores"
    )
    started = time.perf_counter()
    draw = case.episodes()
    step = case.trainer(case.learner())
    step(draw(case.meta_batch))
    print(f"first iteration {time.perf_counter() - started:.1f} s after the start of the trainer, compilation included")

    adapter = case.trainer(case.adapter_learner())
    whole = _whole_task_map(case)
    form = f"chunks of {case.tasks_per_chunk}, " + ("XLA" if case.xla else "TensorFlow's own kernels")
    contenders = {
        form: lambda: step(draw(case.meta_batch)),
        "single-task adapter, tf.map_fn and conv2d": lambda: adapter(draw(case.meta_batch)),
        "the authors' form: tf.map_fn over whole tasks, conv2d": lambda: whole(draw(case.meta_batch)),
    }
    rates, matmul = _alternate(contenders)
    for name_of, rate in rates.items():
        print(f"{rate:8.2f} meta-iterations/s  {name_of}")
    fast, *slow = rates.values()
    print(f"ratio to the adapter {fast / slow[0]:.2f}, to the authors' form {fast / slow[1]:.2f}")

    flops = case.flops(case.meta_batch)
    print(
        f"one meta-iteration is {flops / 1e9:.1f} GFLOP of matrix products: {fast * flops / 1e9:.0f} GFLOP/s, "
        f"{100 * fast * flops / matmul:.0f} % of the {matmul / 1e9:.0f} GFLOP/s this machine reaches on "
        f"{MATRIX} x {MATRIX} matrices"
    )
    sampling = 1 / calls_a_second(lambda: draw(case.meta_batch))
    print(f"drawing the tasks takes {1000 * sampling:.2f} ms, {100 * sampling * fast:.1f} % of a meta-iteration")
    print("meta-batch   tasks/s   peak memory, MiB (a process each)")
    for size in case.meta_batches:
        tasks, memory = _in_a_process(name, size)
        print(f"{size:10d} {tasks:9.1f} {memory:10.0f}")


def _whole_task_map(case):
    """The meta-step with `tf.map_fn` around each task's whole adaptation, as the authors wrote it for TensorFlow 1."""

    def forward(weights, x):
        return case.single_task_forward({k: w[0] for k, w in weights.items()}, x[0])[None]

    one = case.learner_of(forward, jit=False)

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
                    each = tf.map_fn(
                        task_loss, episode, fn_output_signature=tf.float32, parallel_iterations=case.meta_batch
                    )
                    mean = tf.reduce_mean(each)
                gradients = tape.gradient(mean, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
                return {"post_loss": mean}, gradients

            return meta_gradient

    return case.trainer(Mapped(one.forward, one.loss, one.inner_lr, jit=False))


def _alternate(contenders):
    """Median rate of each contender over ROUNDS rounds, all in each round, and the matrix-multiply rate in FLOP/s."""
    everything = {**contenders, "": matrix_product()}
    rates = {name: [] for name in everything}
    for call in everything.values():
        call()
    for _ in range(ROUNDS):
        for name, call in everything.items():
            rates[name].append(calls_a_second(call))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {name: medians[name] for name in contenders}, medians[""] * MATMUL_FLOPS


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


def _in_a_process(name, size):
    """(tasks/s, peak memory in MiB) of a fresh process that runs the meta-step with `size` tasks."""
    output = subprocess.run(
        [sys.executable, "-m", "maml.benchmark", name, str(size)], check=True, capture_output=True, text=True
    ).stdout
    tasks, memory = output.split()
    return float(tasks), float(memory)


def _measure_size(case, size):
    step, draw = case.trainer(case.learner()), case.episodes()
    step(draw(size))
    rate = statistics.median(calls_a_second(lambda: step(draw(size))) for _ in range(3))
    return rate * size, peak_memory()


def peak_memory():
    """MiB that this process has held at most. Not ru_maxrss, where Linux counts the parent that started it."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    print(*_measure_size(CASES[sys.argv[1]], int(sys.argv[2])))
