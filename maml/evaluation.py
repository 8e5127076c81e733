"""How well θ adapts: loss and accuracy on the query sets after 0, 1, … inner steps, over many tasks."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data_generators.episode import Episode
from maml import inner_loop
from maml.chunks import map_chunks

TASKS_AT_A_TIME = 20  # whole chunks of these run side by side on the cores


class Adaptation(NamedTuple):
    """loss and metric of every task after every step: float64 [tasks, steps + 1]; metric is None where there is none."""

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
    """Adapts θ to tasks it is given and measures each step. Compiled once a shape; θ and α may differ between calls.

    transductive: the queries of a task are normalised together, as in the paper. False: each query by itself, with the
    statistics of the support set; `learner.forward` then takes `num_reference` as well (see `networks`).
    """

    def __init__(self, learner, transductive=True):
        self.learner = learner
        self.transductive = transductive
        self._step = tf.function(self._measure_and_update)
        self._chunk = tf.function(self._chunk_measure_and_update, jit_compile=learner.jit)

    def __call__(self, weights, tasks, num_steps, inner_lr=None):
        """weights: θ. tasks: an iterable of Episodes of one task each. Returns an `Adaptation` of `num_steps` steps."""
        dtype = next(iter(weights.values())).dtype
        inner_lr = tf.constant(self.learner.inner_lr if inner_lr is None else inner_lr, dtype)
        batches = [self._adapt(weights, episode, num_steps, inner_lr) for episode in _batches(tasks)]
        losses, metrics = (np.concatenate(part) for part in zip(*batches))
        return Adaptation(losses, None if self.learner.metric is None else metrics)

    def _adapt(self, weights, episode, num_steps, inner_lr):
        adapted = inner_loop.per_task(weights, episode.support_x.shape[0])
        losses, metrics = [], []
        for _ in range(num_steps + 1):
            adapted, loss, metric = self._step(adapted, episode, inner_lr)
            losses.append(loss.numpy())
            metrics.append(metric.numpy())
        return np.stack(losses, 1).astype(np.float64), np.stack(metrics, 1).astype(np.float64)

    def _measure_and_update(self, adapted, episode, inner_lr):
        learner = self.learner
        parts = map_chunks(
            lambda tasks: self._chunk(*tasks, inner_lr), (adapted, episode), learner.tasks_per_chunk, learner.jit
        )
        return tf.nest.map_structure(lambda *p: tf.concat(p, 0), *parts)

    def _chunk_measure_and_update(self, adapted, episode, inner_lr):
        learner = self.learner
        outputs = self._query_outputs(adapted, episode)
        loss = learner.loss(outputs, episode.query_y)
        metric = loss if learner.metric is None else learner.metric(outputs, episode.query_y)
        adapted, _ = inner_loop.inner_update(
            lambda w: learner.loss(learner.forward(w, episode.support_x), episode.support_y),
            adapted,
            inner_lr,
            first_order=True,
            is_adapted=learner.is_adapted,
        )
        return adapted, loss, metric

    def _query_outputs(self, adapted, episode):
        if self.transductive:
            return self.learner.forward(adapted, episode.query_x)
        num_support = episode.support_x.shape[1]
        both = tf.concat([episode.support_x, episode.query_x], axis=1)
        return self.learner.forward(adapted, both, num_reference=num_support)[:, num_support:]


def _batches(tasks):
    """Episodes of one task each, joined along the task axis, TASKS_AT_A_TIME together."""
    waiting = []
    for task in tasks:
        waiting.append(task)
        if len(waiting) == TASKS_AT_A_TIME:
            yield _join(waiting)
            waiting = []
    if waiting:
        yield _join(waiting)


def _join(tasks):
    return Episode(*(tf.convert_to_tensor(np.concatenate(part)) for part in zip(*tasks)))
