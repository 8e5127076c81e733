"""Reptile: after k steps on minibatches of a task, the weights move towards where those steps led.

[N] is the paper; [N-code] is openai/supervised-reptile at 8f2b71c; [gist] is the authors' sine wave example,
joschu/f503500c.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from maml import inner_loop
from maml.method import Method, num_shots, num_tasks
from maml.methods._gradient import after_steps, distance, prediction
from maml.methods.card import (
    ALONE,
    AS_PRINTED,
    TOGETHER,
    Card,
    Episodes,
    Reading,
    Record,
    Task,
    accuracy,
    not_run,
    setting,
)

SECOND_MOMENT, COUNTER = "adam_v/", "adam_t"  # entries of θ: v beside each weight, and how many steps there were
TAKEN = "taken"  # entry of a state: int32 [M], inner steps on this task so far
BETA2, EPSILON = 0.999, 1e-8  # of the inner Adam; its β1 is 0 ([N-code])
PASSES = 100  # different orders of a pool; then they come again


@dataclass(frozen=True)
class Settings(Record):
    """Reptile's own settings."""

    inner_optimizer: str = setting("adam", "of the inner loop: Adam with β1 = 0, or sgd", choices=("adam", "sgd"))
    inner_lr: float = setting(0.001, "step size of the inner loop", flag="update_lr", positive=True)
    num_updates: int = setting(5, "k: inner steps in training", at_least=1)
    inner_batch: int = setting(10, "examples of an inner step in training", at_least=1)
    train_shots: int = setting(10, "K in training: examples a class", at_least=1)
    test_batch: int = setting(5, "examples of an inner step at test", at_least=1)


def minibatch(x, taken, size):
    """The rows of x [M, n, …] that inner step number `taken`, int32 [M] from 0, sees: [M, min(size, n), …].

    A walk through the n examples without replacement, each pass in another order; a batch may straddle two passes
    ([N-code] reptile.py). The orders are the same for all tasks, so that they are a function of the step alone.
    """
    size = min(size, x.shape[1])
    orders = np.concatenate([np.random.default_rng(i).permutation(x.shape[1]) for i in range(PASSES)])
    positions = (taken[:, None] * size + tf.range(size)) % len(orders)
    return tf.gather(x, tf.gather(tf.constant(orders, tf.int32), positions), axis=1, batch_dims=1)


def adam_update(gradients, state, rate):
    """What a step of TensorFlow 1's Adam with β1 = 0 makes of a state of M tasks: its weights, v and t."""
    t = state[COUNTER] + 1
    rate = tf.convert_to_tensor(rate, t.dtype) * tf.sqrt(1 - BETA2**t)
    new = {COUNTER: t}
    for name, gradient in gradients.items():
        v = BETA2 * state[SECOND_MOMENT + name] + (1 - BETA2) * tf.square(gradient)
        rates = tf.reshape(rate, [-1] + [1] * (v.shape.rank - 1))
        new[name] = state[name] - rates * gradient / (tf.sqrt(v) + EPSILON)
        new[SECOND_MOMENT + name] = v
    return {**state, **new}


def is_moved(name):
    """Whether this entry of θ or of a state is a weight. The steps move all of them, batch norm's too ([N-code])."""
    return name not in (COUNTER, TAKEN) and not name.startswith(SECOND_MOMENT)


def build(settings, problem):
    """The Method. Its state is each task's θ'_i, and how many inner steps it has taken."""
    network = problem.network(problem.num_outputs)
    adam = settings.inner_optimizer == "adam"

    def init(seed):
        weights = network.init(seed)
        if not adam:
            return weights
        dtype = next(iter(weights.values())).dtype
        moments = {SECOND_MOMENT + name: tf.zeros_like(w) for name, w in weights.items()}
        return {**weights, **moments, COUNTER: tf.zeros([], dtype)}

    def start(theta, support_x, support_y):
        count = num_tasks(support_x)
        return {**inner_loop.per_task(theta, count), TAKEN: tf.zeros([count], tf.int32)}

    def step_on(size, state, support_x, support_y, inner_lr=None):
        """(state after one step on a minibatch, its loss and metric before the step)."""

        def part(examples):
            return minibatch(examples, state[TAKEN], size)

        x, y = tf.nest.map_structure(part, (support_x, support_y))
        before = {}

        def task_loss(weights):
            outputs = network.forward(weights, x)
            before["loss"] = problem.loss(outputs, y, num_shots(y))
            if problem.metric is not None:
                before["accuracy"] = problem.metric(outputs, y)
            return before["loss"]

        rate = settings.inner_lr if inner_lr is None else inner_lr
        if adam:
            stepped = adam_update(inner_loop.task_gradients(task_loss, state, is_moved)[0], state, rate)
        else:
            stepped, _ = inner_loop.inner_update(task_loss, state, rate, is_adapted=is_moved)
        return {**stepped, TAKEN: state[TAKEN] + 1}, before

    def step(state, support_x, support_y, inner_lr=None):
        return step_on(settings.test_batch, state, support_x, support_y, inner_lr)[0]

    def step_of_training(state, support_x, support_y):
        return step_on(settings.inner_batch, state, support_x, support_y)[0]

    def objective(theta, episode, progress):
        initial = start(theta, episode.support_x, episode.support_y)
        pool = episode.support_x, episode.support_y
        adapted = tf.nest.map_structure(tf.stop_gradient, initial)
        adapted, first = step_on(settings.inner_batch, adapted, *pool)
        last = first
        if settings.num_updates > 1:
            adapted = after_steps(step_of_training, adapted, *pool, settings.num_updates - 2)
            adapted, last = step_on(settings.inner_batch, adapted, *pool)
        # Of θ on the first minibatch, and of what k − 1 steps made of it on the last: they cost nothing.
        result = {f"support_{name}": value for name, value in first.items()}
        result |= {f"adapted_{name}": value for name, value in last.items()}
        result["loss"] = distance(initial, {name: w for name, w in adapted.items() if is_moved(name)})
        result["carried"] = {name: adapted[name] for name in theta if not is_moved(name)}
        return result

    return Method(init, start, step, prediction(network.forward), objective, network.for_xla)


def preset(task: Task) -> dict:
    """The authors' settings for a data source and N; K does not enter."""
    common = dict(
        optimizer="sgd",  # [N]: θ + ε·mean(θ'_i − θ) is a gradient step of size ε on `distance`
        meta_lr=1.0,  # [N-code] README: ε, from 1
        schedule="linear",  # [N-code] README: to 0
    )
    if task.datasource == "sinusoid":
        return common | dict(
            metatrain_iterations=30000,  # [gist]
            num_tasks=5,  # ours: as for images; [gist] has 1, and ε from 0.1
            inner_optimizer="sgd",  # [gist]
            inner_lr=0.01,  # ours: by [gist]'s 0.02, made for tanh, some tasks diverge with ReLU
            num_updates=5,  # [gist]: one epoch of its pool
            inner_batch=10,  # [gist]
            train_shots=50,  # [gist]
            test_batch=10,  # ours: all points of a K that it was made for
            norm="None",  # [gist]
            tasks_per_chunk=5,  # ours, for speed: as MAML's
            iterations_per_call=100,
        )
    if task.photographs:
        return common | dict(
            metatrain_iterations=100000,  # [N-code] README, of this and all below
            num_tasks=5,
            inner_optimizer="adam",
            inner_lr=0.001,
            num_updates=8,
            inner_batch=10,
            train_shots=15,
            test_batch=15,  # with one shot all 5, as there
            norm="batch_norm",  # [N-code] models.py
            num_filters=32,  # [N-code] models.py
            max_pool=True,  # [N-code] models.py
            jit=False,  # ours, for speed: as MAML's
            tasks_per_chunk=1,
        )
    many = task.num_classes >= 20
    return common | dict(
        metatrain_iterations=200000 if many else 100000,  # [N-code] README, of this and all below
        num_tasks=5,
        inner_optimizer="adam",
        inner_lr=0.0005 if many else 0.001,
        num_updates=10 if many else 5,
        inner_batch=20 if many else 10,
        train_shots=10,
        test_batch=10 if many else 5,
        norm="batch_norm",  # [N-code] models.py
        num_filters=64,  # [N-code] models.py
        tasks_per_chunk=1,  # ours, for speed
    )


def episodes(task: Task, settings) -> Episodes:
    """A pool of examples to take minibatches from, whatever K is at test, and no queries."""
    return Episodes(task.num_classes, settings.train_shots, 0, shuffled=True)


def reading(task: Task, settings) -> Reading:
    """[N-code] README: 50 steps at test; [N]: 32 for the sine wave."""
    return Reading(50, 50) if task.classification else Reading(32, 32)


def _cells(dataset, num_classes, num_shots, alone, together):
    """The row "Reptile", one query at a time, and the row "Reptile + transduction": percents and intervals."""
    task, rest = (dataset, num_classes, num_shots), (50, "[N], second-hand", AS_PRINTED)
    return (
        accuracy(task, alone, *rest, digits=2, trained_shots=0, normalisation=ALONE),
        accuracy(task, together, *rest, digits=2, trained_shots=0, normalisation=TOGETHER),
    )


_FIRST_ORDER = {
    ("omniglot", 5, 1): (98.3, 0.5),
    ("omniglot", 5, 5): (99.2, 0.2),
    ("omniglot", 20, 1): (89.4, 0.5),
    ("omniglot", 20, 5): (97.9, 0.1),
}

CARD = Card(
    title="Reptile",
    paper="[N] Nichol, Achiam, Schulman 2018, arXiv 1803.02999",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        *_cells("omniglot", 5, 1, (95.39, 0.09), (97.68, 0.04)),
        *_cells("omniglot", 5, 5, (98.90, 0.10), (99.48, 0.06)),
        *_cells("omniglot", 20, 1, (88.14, 0.15), (89.43, 0.14)),
        *_cells("omniglot", 20, 5, (96.65, 0.33), (97.12, 0.32)),
        *_cells("miniimagenet", 5, 1, (47.07, 0.26), (49.97, 0.32)),
        *_cells("miniimagenet", 5, 5, (62.74, 0.37), (65.99, 0.58)),
        *not_run("first-order MAML by [N], queries together", "[N], second-hand", _FIRST_ORDER, AS_PRINTED),
    ),
    learns=("regression", "classification"),
    reading=reading,
    episodes=episodes,
    unused=("num_queries", "norm_averages"),  # nothing moves the latter
    curve="adapted",
    validation_tasks=100,  # ours
    curve_title="the last minibatch of a task, after the steps on those before",
    differs=(
        "The networks are MAML's: an offset and no scale in batch norm; on Omniglot the mean over the last map instead "
        "of the map, on miniImagenet pooling without padding; for the sine wave 40-40 ReLU, not 64-64 tanh. Adam's "
        "second moments run on through the training as theirs do, but the tasks of a meta-update start from the same "
        "ones, and their mean is kept: the authors' tasks come one after the other. One query at a time is here "
        "normalised by the support set alone, there by the support set and itself. Test characters are turned, theirs "
        "are not; the checkpoint is chosen by validation, theirs is the last. They test on 10,000 tasks with one query "
        "a class, here are 600 with K."
    ),
)
