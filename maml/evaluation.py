"""How well a method learns new tasks from θ: loss and accuracy on the query sets after 0, 1, … inner steps."""

import functools
import itertools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from maml.chunks import map_chunks
from maml.losses import check_one_a_task
from maml.method import num_shots, num_tasks
from maml.replicas import here

TASKS_AT_A_TIME = 20  # whole chunks of these run side by side on the cores


class Adaptation(NamedTuple):
    """loss and metric of every task after every step: float64 [tasks, steps + 1]; metric: None where there is none.

    Where the loss is NaN, so is the metric: the largest of outputs that are no numbers is no answer.
    """

    loss: np.ndarray
    metric: np.ndarray | None


class Curve(NamedTuple):
    """Statistics over tasks, each [steps + 1]: mean, standard deviation, and 1.96·std/√tasks (authors' main.py)."""

    mean: np.ndarray
    std: np.ndarray
    ci95: np.ndarray


def curve(values):
    """values [tasks, steps + 1] -> Curve. Standard deviation over the tasks as they are (NumPy's, as the authors')."""
    std = values.std(axis=0)
    return Curve(values.mean(axis=0), std, 1.96 * std / np.sqrt(len(values)))


class Evaluator:
    """Learns each of the tasks it is given from θ and measures after each inner step. Compiled once a shape.

    method, problem: a Method and the Problem it was made for.
    tasks_per_chunk, jit: as in `meta_training.compiled_meta_gradient`.
    transductive: the queries of a task are normalised together, as in the MAML paper. False: each query by itself, with
        the support inputs as reference (see `method.Method.predict`).

    Made within a `tf.distribute` strategy's scope, its replicas share the tasks (see `replicas`).
    """

    def __init__(self, method, problem, tasks_per_chunk=2, jit=True, transductive=True):
        self.method = method
        self.problem = problem
        self.transductive = transductive
        self.replicas = here()
        self._tasks_per_chunk, self._jit = tasks_per_chunk, jit
        self._start = self._compiled(self._start_chunk)
        self._measure_and_step = self._compiled(self._measure_and_step_chunk)
        self._start_and_measure = self._compiled(self._start_and_measure_chunk)

    def __call__(self, weights, tasks, num_steps, inner_lr=None):
        """An `Adaptation` of so many steps; of none, [tasks, 1], where the method has no inner steps.

        weights: θ, or what else the method starts from.
        tasks: an iterable of Episodes of one task each, or of functions that draw one.
        inner_lr: α; None for the method's own.
        """
        if inner_lr is not None:  # a method without θ has none
            inner_lr = tf.constant(inner_lr, tf.nest.flatten(weights)[0].dtype)
        num_steps = num_steps if self.method.step else 0
        learn = functools.partial(self._learn, weights, num_steps=num_steps, inner_lr=inner_lr)
        learnt = np.concatenate(self.replicas.each(learn, _batches(tasks)))
        losses, metrics = np.moveaxis(learnt, -1, 0).copy()
        metrics[np.isnan(losses)] = np.nan
        return Adaptation(losses, None if self.problem.metric is None else metrics)

    def _learn(self, weights, episode, num_steps, inner_lr):
        """[tasks, steps + 1, 2]: losses and metrics."""
        run, array = self.replicas.run, self.replicas.array
        if self.method.step is None:
            measured = [run(self._start_and_measure, episode, weights)]
        else:
            state, measured = run(self._start, episode, weights), []
            for _ in range(num_steps + 1):
                state, *values = run(self._measure_and_step, (state, episode), inner_lr)
                measured.append(values)
        return np.array([[array(value) for value in values] for values in measured], np.float64).transpose(2, 0, 1)

    def _compiled(self, function):
        """A compiled function (tasks, other) -> `function` of each chunk of tasks, joined along the task axis."""
        chunk = tf.function(function, jit_compile=self._jit)

        @tf.function
        def of_all(tasks, other):
            parts = map_chunks(lambda part: chunk(part, other), tasks, self._tasks_per_chunk, one_kernel=self._jit)
            return tf.nest.map_structure(lambda *p: tf.concat(p, 0), *parts)

        return of_all

    def _start_chunk(self, episode, weights):
        return self.method.start(weights, episode.support_x, episode.support_y)

    def _measure_and_step_chunk(self, tasks, inner_lr):
        state, episode = tasks
        loss, metric = self._measure(state, episode)
        return self.method.step(state, episode.support_x, episode.support_y, inner_lr), loss, metric

    def _start_and_measure_chunk(self, episode, weights):
        """Of a method without inner steps: the states, each with a copy of the weights, are not kept for all tasks."""
        return self._measure(self._start_chunk(episode, weights), episode)

    def _measure(self, state, episode):
        reference = None if self.transductive else episode.support_x
        outputs = self.method.predict(state, episode.query_x, reference)
        loss = self.problem.loss(outputs, episode.query_y, num_shots(episode.support_y))
        metric = loss if self.problem.metric is None else self.problem.metric(outputs, episode.query_y)
        for name, values in (("loss", loss), ("metric", metric)):
            check_one_a_task(values, num_tasks(outputs), name)
        return loss, metric


def _batches(tasks):
    """Functions that draw episodes of one task each, joined along the task axis, TASKS_AT_A_TIME together."""
    tasks = iter(tasks)
    while batch := list(itertools.islice(tasks, TASKS_AT_A_TIME)):
        yield functools.partial(_join, batch)


def _join(tasks):
    drawn = [task() if callable(task) else task for task in tasks]
    return tf.nest.map_structure(lambda *parts: tf.convert_to_tensor(np.concatenate(parts)), *drawn)
