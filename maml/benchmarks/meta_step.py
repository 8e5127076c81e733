"""How fast a method's meta-step is on this machine: MAML's beside the same step written in two other forms, that of
another method with inner steps beside MAML's.

Everything is measured in one run, alternating, so that what else the machine does falls on all alike.
"""

import itertools
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from data_generators.episode import Episode
from data_generators.errors import UserError
from data_generators.image_classes import ImageClasses, ImageTasks
from maml import inner_loop, losses, methods
from maml.benchmarks import machine
from maml.chunks import map_chunks
from maml.meta_training import Trainer
from maml.method import Problem
from maml.methods.card import Episodes
from maml.networks import Network
from maml.runs.allocation import keep_freed_memory
from maml.runs.problems import input_shape_of, problem_of
from maml.runs.settings import Settings, resolve

DATASOURCES = ("omniglot", "miniimagenet")
SIZES = ("num_classes", "update_batch_size")  # N and K may be others than 5 and 1
# To show that rate and memory don't depend on M.
META_BATCHES = {"omniglot": (8, 16, 32, 64, 128, 256), "miniimagenet": (2, 4, 8, 16, 32)}
# Of the random data that stands in for the data source: training classes and images of each.
RANDOM_DATA = {"omniglot": (1100, 20), "miniimagenet": (64, 30)}


@dataclass(frozen=True)
class Case:
    """A meta-step to measure, with a method's preset."""

    settings: Settings

    @property
    def shape(self):
        """(H, W, C)."""
        return input_shape_of(self.settings)

    @property
    def problem(self):
        return problem_of(self.settings)

    @property
    def episodes(self) -> Episodes:
        return self.settings.card.episodes(self.settings.task, self.settings.own)

    def method(self):
        return self.settings.card.build(self.settings.own, self.problem)

    @property
    def is_beside_maml(self) -> bool:
        """Whether it is a method that learns a task by steps, as MAML does, and trains on tasks alone."""
        return self.settings.method != "maml" and self.method().step is not None and not self.objective

    @property
    def objective(self):
        """What most of the training minimises, where that isn't the method's own objective; else None."""
        card = self.settings.card
        return card.pretraining(self.settings.own, self.problem) if card.pretraining else None

    def step(self, method, tasks_per_chunk=None, jit=None):
        """A compiled meta-update by a method on the preset's network, in chunks as the preset has them or as given."""
        engine, training = self.settings.engine, self.settings.training
        trainer = Trainer(self.method().init(0), training.meta_lr, training.optimizer)
        jit = engine.jit if jit is None else jit
        return trainer.compile(method, tasks_per_chunk or engine.tasks_per_chunk, jit, objective=self.objective)

    def learning(self, method):
        """A compiled function: tasks -> outputs for their queries, after as many inner steps as the headline reads."""
        engine, theta = self.settings.engine, method.init(0)
        steps = self.settings.card.reading(self.settings.task, self.settings.own).step

        def learn(episode):
            state = method.start(theta, episode.support_x, episode.support_y)
            for _ in range(steps):
                state = method.step(state, episode.support_x, episode.support_y)
            return method.predict(state, episode.query_x)

        chunk = tf.function(learn, jit_compile=engine.jit)
        return tf.function(lambda tasks: map_chunks(chunk, tasks, engine.tasks_per_chunk, one_kernel=engine.jit))

    def draw(self):
        """A function that draws a meta-batch of so many tasks from random one-bit images, as training draws them."""
        (num_classes, per_class), rng = RANDOM_DATA[self.settings.task.datasource], np.random.default_rng(0)
        shape = (num_classes * per_class, *self.shape)
        images = 255 * (rng.integers(10, size=shape, dtype=np.uint8) == 0).astype(np.uint8)
        offsets = np.arange(0, len(images) + 1, per_class)
        classes = ImageClasses(images, offsets, tuple(map(str, range(num_classes))))
        rotate = not self.settings.task.photographs
        tasks = ImageTasks({"train": classes}, self.settings.task.num_classes, rotate)
        steps, of = itertools.count(), self.episodes
        if self.objective:
            return lambda _: tasks.batch("train", 0, next(steps), self.settings.own.batch_size)
        ways, shots, queries, *how = of._replace(num_ways=min(of.num_ways, num_classes))
        return lambda num_tasks: tasks.sample("train", 0, next(steps), num_tasks, shots, queries, ways, *how)

    def flops(self, num_tasks):
        """Floating-point operations (2 a multiply-add) of the convolutions' products in one of MAML's meta-gradients.

        Counted in passes, one product of patches and kernel each. Query set: forward 1, its gradient 2. Support set,
        for each inner step: forward 1, its gradient 2, and 6 to differentiate that gradient: 2 products for each of its
        two, and 2 more from its forward. The first layer has no gradient for its input: 2 instead of 3, 4 instead of 9.
        """
        network, own, of = self.settings.network, self.settings.own, self.episodes
        total, (size, _, channels) = 0, self.shape
        for layer in range(4):
            outputs = size if network.max_pool else -(-size // 2)
            one_image = 2 * outputs**2 * 9 * channels * network.num_filters
            support, query = (4, 2) if layer == 0 else (9, 3)
            images = of.num_shots * own.num_updates * support + of.num_queries * query  # of a class
            total += one_image * of.num_ways * images
            size, channels = size // 2 if network.max_pool else outputs, network.num_filters
        return total * num_tasks

    # The same step in other forms

    def forward_of_one_task(self, weights, x):
        """The same network for one task, as one would write it: x [n, H, W, C] -> logits [n, N]."""
        pool = self.settings.network.max_pool
        for i in range(1, 5):
            x = tf.nn.conv2d(x, weights[f"conv{i}"], 1 if pool else 2, "SAME") + weights[f"b{i}"]
            centred = x - tf.reduce_mean(x, [0, 1, 2])
            scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), [0, 1, 2]) + 1e-3)
            x = tf.nn.relu(centred * scale + weights[f"beta{i - 1}"])
            x = tf.nn.max_pool2d(x, 2, 2, "VALID") if pool else x
        x = tf.reshape(x, [x.shape[0], -1]) if self.settings.task.photographs else tf.reduce_mean(x, [1, 2])
        return tf.matmul(x, weights["w5"]) + weights["b5"]

    def method_of(self, forward):
        """MAML on a network with this forward."""
        learnt = losses.cross_entropy, losses.accuracy
        outputs = self.settings.task.num_classes
        problem = Problem(self.shape, outputs, lambda _: Network(None, forward), None, *learnt)
        return self.settings.card.build(self.settings.own, problem)

    def adapter_step(self):
        """Through the adapter for networks of a single task. Not compiled: XLA has no fast convolution here."""
        method = self.method_of(inner_loop.single_task(self.forward_of_one_task))
        return self.step(method, tasks_per_chunk=self.settings.training.num_tasks, jit=False)

    def whole_task_step(self):
        """With `tf.map_fn` around each task's whole adaptation, as the authors wrote it for TensorFlow 1."""

        def forward(weights, x):
            return self.forward_of_one_task({name: w[0] for name, w in weights.items()}, x[0])[None]

        one, num_tasks = self.method_of(forward), self.settings.training.num_tasks

        def objective(theta, episode, progress):
            def task_loss(task):
                return one.objective(theta, Episode(*(t[None] for t in task)), progress)["loss"][0]

            losses = tf.map_fn(task_loss, episode, fn_output_signature=tf.float32, parallel_iterations=num_tasks)
            return {"loss": losses}

        return self.step(one._replace(objective=objective), tasks_per_chunk=num_tasks, jit=False)


def case_of(datasource, method="maml", **given):
    """The Case of a method's preset, with other settings where they are given, by flag. UserError for a method that has
    nothing to train."""
    if not methods.get(method).is_trained:
        raise UserError(f"{method} has nothing to train, expected a method that has")
    num_classes, _ = RANDOM_DATA[datasource]
    turns = 1 if datasource == "miniimagenet" else 4
    keep_freed_memory()  # as a run does
    settings = resolve(datasource, method, train_classes=turns * num_classes, **given)
    if settings.task.num_classes > num_classes:
        raise UserError(f"num_classes is {settings.task.num_classes}, the benchmark has {num_classes} random ones")
    return Case(settings)


def main(datasource, method="maml", **sizes):
    """Prints meta-iterations a second. Of MAML in other chunks and two other forms too, the flatness, and the
    arithmetic; of another method with inner steps what it takes beside MAML.

    sizes: those of SIZES that are given, by flag.
    """
    case = case_of(datasource, method, **sizes)
    print(headline(case))
    started, draw, num_tasks = time.perf_counter(), case.draw(), case.settings.training.num_tasks
    step = case.step(case.method())
    step(draw(num_tasks))
    print(f"first iteration {time.perf_counter() - started:.1f} s after the start of the trainer, compilation included")

    rates, matmul = machine.alternate(_contenders(case, step, draw))
    for name, rate in rates.items():
        print(f"{rate:8.2f} meta-iterations/s  {name}")
    fast, *slow = rates.values()
    if case.is_beside_maml:
        _print_beside_maml(case, sizes)
    if slow:
        others = zip(("the other chunks", "the adapter", "the authors' form"), slow, strict=True)
        print("ratio to " + ", to ".join(f"{form} {fast / rate:.2f}" for form, rate in others))
        _print_arithmetic(case.flops(num_tasks), fast, matmul)
    sampling = 1 / machine.calls_a_second(lambda: draw(num_tasks))
    print(f"drawing the tasks takes {1000 * sampling:.2f} ms, {100 * sampling * fast:.1f} % of a meta-iteration")
    if slow:
        print("meta-batch   tasks/s   peak memory, MiB (a process each)")
        for size in META_BATCHES[datasource]:
            tasks, memory = _in_a_process(case, size)
            print(f"{size:10d} {tasks:9.1f} {memory:10.0f}")


def headline(case):
    """'Omniglot, 5-way 1-shot: MAML, 32 tasks, …': what is measured."""
    settings, of = case.settings, case.episodes
    ways = "" if of.num_ways == 5 else f"{of.num_ways} ways in training, "
    steps = ""
    if settings.method == "maml":
        steps = f"{settings.own.num_updates} inner step{'s' * (settings.own.num_updates > 1)}, "
    if case.objective:
        return f"{settings.title}: batches of {settings.own.batch_size} random images; {os.cpu_count()} cores"
    return (
        f"{settings.title}: {settings.card.title}, {settings.training.num_tasks} tasks, {settings.network.num_filters} "
        f"filters, {ways}{steps}{of.num_queries} quer{'y' if of.num_queries == 1 else 'ies'} a class, random images; "
        f"{os.cpu_count()} cores"
    )


def _contenders(case, step, draw):
    """{form: a function that makes one meta-update in it}: of MAML in other chunks and two other forms, too."""
    engine, num_tasks = case.settings.engine, case.settings.training.num_tasks
    kernels = "XLA" if engine.jit else "TensorFlow's own kernels"
    steps = {f"chunks of {engine.tasks_per_chunk}, {kernels}": step}
    if case.settings.method == "maml":
        other = 2 if engine.tasks_per_chunk == 1 else 1
        steps[f"chunks of {other}, {kernels}"] = case.step(case.method(), tasks_per_chunk=other)
        steps["single-task adapter, tf.map_fn and conv2d"] = case.adapter_step()
        steps["the authors' form: tf.map_fn over whole tasks, conv2d"] = case.whole_task_step()
    return {name: lambda one=one: one(draw(num_tasks)) for name, one in steps.items()}


def _print_beside_maml(case, sizes):
    """Tasks a second in training and in learning new ones, and MAML's, alternating."""
    cases = {case.settings.card.title: case, "MAML": case_of(case.settings.task.datasource, **sizes)}
    contenders, tasks = {}, {}
    for title, one in cases.items():
        draw, step, learn = one.draw(), one.step(one.method()), one.learning(one.method())
        num_tasks = one.settings.training.num_tasks
        for what, function in ((f"{title} in training", step), (f"{title} learning new ones", learn)):
            contenders[what] = lambda function=function, draw=draw, num_tasks=num_tasks: function(draw(num_tasks))
            tasks[what] = num_tasks
    rates, _ = machine.alternate(contenders)
    rates = {what: rate * tasks[what] for what, rate in rates.items()}
    for what, rate in rates.items():
        print(f"{rate:8.1f} tasks/s  {what}")
    training, learning, mamls_training, mamls_learning = rates.values()
    print(f"ratio to MAML in training {training / mamls_training:.2f}, in learning {learning / mamls_learning:.2f}")


def _print_arithmetic(flops, rate, matmul):
    print(
        f"one meta-iteration is {flops / 1e9:.1f} GFLOP of matrix products: {rate * flops / 1e9:.0f} GFLOP/s, "
        f"{100 * rate * flops / matmul:.0f} % of the {matmul / 1e9:.0f} GFLOP/s this machine reaches on "
        f"{machine.MATRIX} x {machine.MATRIX} matrices"
    )


def _in_a_process(case, size):
    """(tasks/s, peak memory in MiB) of a fresh process that runs MAML's meta-step with `size` tasks."""
    task = case.settings.task
    words = task.datasource, task.num_classes, task.num_shots, size
    command = [sys.executable, "-m", "maml.benchmarks.meta_step", *map(str, words)]
    tasks, memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(tasks), float(memory)


def _measure_size(case, size):
    step, draw = case.step(case.method()), case.draw()
    step(draw(size))
    rate = statistics.median(machine.calls_a_second(lambda: step(draw(size))) for _ in range(3))
    return rate * size, machine.peak_memory()


if __name__ == "__main__":
    ways, shots, size = map(int, sys.argv[2:])
    print(*_measure_size(case_of(sys.argv[1], num_classes=ways, update_batch_size=shots), size))
