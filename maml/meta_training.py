"""The outer loop's step: the gradient of a method's objective over chunks of tasks, and the optimiser's step on θ."""

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError
from maml import optimizers
from maml.chunks import map_chunks
from maml.inner_loop import check_flat
from maml.losses import check_one_a_task
from maml.method import num_tasks
from maml.networks import without_gradient
from maml.replicas import Alone, here

OPTIMIZERS = ("adam", "sgd")


def meta_gradient(objective, weights, batch, progress=0.0, may_stay=None, factors=None):
    """(metrics, gradients, carried) of an objective on M tasks, each a sum over the tasks.

    objective: as in `method.Method`.
    weights: θ, {name: tensor}.
    batch: an Episode or a Batch.
    may_stay: names of θ that the loss may not depend on, beside those carried; None: any, but not all.
    factors: [M], what "coupled" counts of each task in the gradient, beside its "loss"; None: nothing.
    metrics: {name: scalar}. gradients: {name: tensor} of the summed "loss" in θ. carried: {name: tensor}.
    UserError for weights that no gradient reaches though they may not stay, and for a loss or metric that isn't one
    number a task. Both are known from the graph alone: a compiled step checks them when it is traced, and never again.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        result = dict(objective(weights, batch, progress))
        total, coupled = tf.reduce_sum(result["loss"]), result.pop("coupled", None)
        if factors is not None:
            total += tf.reduce_sum(factors * coupled)
    found = tape.gradient(total, weights)
    carried = {name: tf.reduce_sum(value, 0) for name, value in result.pop("carried", {}).items()}
    _check_reached(found, weights if may_stay is None else {*may_stay, *carried})
    gradients = {name: tf.zeros_like(weights[name]) if g is None else g for name, g in found.items()}
    for name, value in result.items():
        check_one_a_task(value, num_tasks(batch), name)
    return {name: tf.reduce_sum(value) for name, value in result.items()}, gradients, carried


def _check_reached(gradients, may_stay):
    """UserError unless each weight has a gradient, but for those that may stay, and at least one has."""
    unreached = [name for name, gradient in gradients.items() if gradient is None]
    wrong = unreached if len(unreached) == len(gradients) else [name for name in unreached if name not in may_stay]
    if wrong:
        raise UserError(
            f"no gradient of the loss reaches {', '.join(wrong)}; expected a network that computes with the weights it "
            "is given, not with variables of its own, and a loss that can be differentiated in its outputs"
        )


def compiled_meta_gradient(objective, tasks_per_chunk=2, jit=True, may_stay=None, couple=None, replicas=None):
    """A function (weights, batch, progress, share=None) -> means over the tasks of what `meta_gradient` sums.

    It is to be called within a tf.function; of several replicas by each, with its share of the tasks.

    tasks_per_chunk: tasks whose gradient is computed together; a few, so that their activations stay in the processor's
    cache. jit: compile each chunk with XLA. may_stay: as in `meta_gradient`.
    couple: as in `method.Method`. Its gradient goes to θ through the tasks' numbers alone, so that it is exact in
        chunks: first the numbers of all tasks; then each chunk's gradient, in which they count as much as it says.
    replicas: those that have the tasks (see `replicas`); None: one.
    """
    replicas = replicas or Alone()
    chunk = tf.function(
        lambda weights, tasks, progress, *factors: meta_gradient(
            objective, weights, tasks, progress, may_stay, *factors
        ),
        jit_compile=jit,
    )
    # What the objective computes besides is left out when this is compiled.
    numbers = tf.function(lambda *arguments: objective(*arguments)["coupled"], jit_compile=jit)

    def in_chunks(function, tasks):
        return map_chunks(function, tasks, tasks_per_chunk, one_kernel=jit)

    def mean_meta_gradient(weights, batch, progress=0.0, share=None):
        if couple is None:
            parts = in_chunks(lambda tasks: chunk(weights, tasks, progress), batch)
            return replicas.mean(share, *_mean(parts, num_tasks(batch)))
        of_tasks = tf.concat(in_chunks(lambda tasks: numbers(weights, tasks, progress), batch), 0)
        of_tasks = replicas.of_all(share, of_tasks)
        with tf.GradientTape() as tape:
            tape.watch(of_tasks)
            joint = couple(of_tasks)
        factors = replicas.own(share, num_tasks(of_tasks) * tape.gradient(joint, of_tasks), num_tasks(batch))
        parts = in_chunks(lambda tasks: chunk(weights, tasks[0], progress, tasks[1]), (batch, factors))
        metrics, gradients, carried = replicas.mean(share, *_mean(parts, num_tasks(batch)))
        return {**metrics, "loss": metrics["loss"] + joint}, gradients, carried

    return mean_meta_gradient


def clipped(gradients, groups):
    """The gradients, {name: tensor}, with those of each group scaled to its norm (see `method.Method`)."""
    gradients = dict(gradients)
    for belongs, limit in groups:
        names = [name for name in gradients if belongs(name)]
        scaled, _ = tf.clip_by_global_norm([gradients[name] for name in names], limit)
        gradients |= zip(names, scaled)
    return gradients


def _mean(parts, count):
    """Sums over chunks of tasks as means over all tasks."""
    return tf.nest.map_structure(lambda *sums: tf.add_n(sums) / count, *parts)


class Trainer(tf.Module):
    """θ, the optimiser's moments and the iteration: the state of a run, and the compiled steps that move it.

    weights: the initial θ, {name: tensor}; UserError for a nest of them.
    learning_rate: β, the outer step size: a number, or a schedule (see `optimizers`).
    optimizer: "adam" or "sgd".
    clip: each entry of the meta-gradient is cut to ±clip; None: not cut.
    clip_norm: the meta-gradient is shrunk to this norm, over all weights, where it is longer; None: it isn't.
    skip: an update that is not finite is left out and counted, `skipped`; the iteration goes on.
    before: (iterations, step size): so many updates, before the others, are Adam's of that size, and nothing is cut;
        None: there are none.

    Made within a `tf.distribute` strategy's scope, its steps are those of all `replicas`, each with its share of the
    tasks: the same but for the order in which sums are rounded.
    """

    def __init__(  # noqa: PLR0913  (what an update is made of)
        self, weights, learning_rate=0.001, optimizer="adam", clip=None, skip=False, clip_norm=None, before=None
    ):
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {optimizer!r}, expected one of {', '.join(OPTIMIZERS)}")
        check_flat(weights)
        super().__init__()
        self.replicas = here()
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.clip = clip
        self.clip_norm = clip_norm
        self.before = before
        self.skip = skip
        if skip:  # or checkpoints of trainings without it would lack the count
            self.skipped = tf.Variable(0, dtype=tf.int64)
        self.weights = {name: tf.Variable(w) for name, w in weights.items()}
        moved = weights if optimizer == "adam" or before else {}
        self.first_moments = {name: tf.Variable(tf.zeros_like(w)) for name, w in moved.items()}
        self.second_moments = {name: tf.Variable(tf.zeros_like(w)) for name, w in moved.items()}
        self.iteration = tf.Variable(0, dtype=tf.int64)
        self.adam_updates = tf.Variable(0, dtype=tf.int64)

    def current_weights(self):
        """θ as plain tensors."""
        return {name: tf.convert_to_tensor(w) for name, w in self.weights.items()}

    def compile(self, method, tasks_per_chunk=2, jit=True, total=None, objective=None, begin=0):
        """A function: one update of θ on a batch of M tasks, or a `replicas.Part`; returns metrics, scalar tensors.

        They are the means over the tasks of what the objective returns, and "finite": whether the loss and the norm of
        the gradient were. Where they were not, nothing has changed but, with `skip`, the iteration and the count.
        method: a Method.
        tasks_per_chunk, jit: as in `compiled_meta_gradient`. ValueError for jit and a method that XLA gets wrong.
            The first step raises a UserError for weights that no gradient reaches, other than by design
            (`networks.without_gradient`), and for losses that aren't one number a task.
        total: iterations of the whole training, by which the objective's progress is told; None: it is 0.
        objective: to be minimised instead of the method's own, as in a phase before it, which may train a part of θ.
        begin: the iteration at which the progress is 0.
        """
        return self.replicas.compiled(self._update(method, tasks_per_chunk, jit, total, objective, begin))

    def compile_loop(self, method, tasks_per_chunk=2, jit=True, total=None, objective=None, begin=0):
        """As `compile`, for a list of batches in one call: an update on each, metrics of the last.

        For networks so small that calling a step costs more than computing it: the whole loop is one XLA function. It
        ends at the first update that is not finite, unless such are left out. Several replicas can't meet within such
        a function: they take a step after the other, and end at the first at which they are to stop, too.
        """
        if self.replicas.count > 1:
            return self._one_by_one(self.compile(method, tasks_per_chunk, jit, total, objective, begin))
        update = self._update(method, tasks_per_chunk, jit, total, objective, begin)

        @tf.function(jit_compile=jit)
        def loop(batches):
            metrics = update(tf.nest.map_structure(lambda t: t[0], batches))
            for i in tf.range(1, num_tasks(batches)):
                if metrics["finite"] or self.skip:
                    metrics = update(tf.nest.map_structure(lambda t, i=i: t[i], batches))
            return metrics

        return lambda batches: loop(tf.nest.map_structure(lambda *t: tf.convert_to_tensor(np.stack(t)), *batches))

    def _one_by_one(self, step):
        def loop(batches):
            for batch in batches:
                metrics = step(batch)
                if self.replicas.stopping or not (metrics["finite"] or self.skip):
                    break
            return metrics

        return loop

    def _update(self, method, tasks_per_chunk, jit, total, objective, begin):
        if jit and not method.xla:
            raise ValueError(
                "jit is True, but this network is made of kernels that XLA gets wrong (xla=False); expected jit=False"
            )
        may_stay = without_gradient(self.weights) | method.training_only if objective is None else None
        couple = method.couple if objective is None else None
        mean_gradient = compiled_meta_gradient(
            objective or method.objective, tasks_per_chunk, jit, may_stay, couple, self.replicas
        )

        def update(batch, share=None):
            progress = 0.0 if total is None else tf.cast(self.iteration - begin, tf.float32) / (total - begin)
            metrics, gradients, carried = mean_gradient(self.current_weights(), batch, progress, share)
            # By its norm, as what clips it and Adam square it: its squares must be finite, too.
            norm = tf.linalg.global_norm([metrics["loss"], *gradients.values(), *carried.values()])
            finite = tf.math.is_finite(norm)
            if finite:
                self.optimizer_step(clipped(gradients, method.clip_groups))
                for name, value in carried.items():
                    self.weights[name].assign(value)
                self.iteration.assign_add(1)
            elif self.skip:
                self.skipped.assign_add(1)
                self.iteration.assign_add(1)
            return {**metrics, "finite": finite}

        return update

    def restart_adam(self):
        """Forgets Adam's moments, as if θ were new to it."""
        for variable in (*self.first_moments.values(), *self.second_moments.values(), self.adam_updates):
            variable.assign(tf.zeros_like(variable))

    def optimizer_step(self, gradients):
        """One step of the optimiser on θ, by the mean gradient {name: tensor}."""
        if self.before is None:
            self._own_step(gradients)
        else:
            iterations, rate = self.before
            if self.iteration < iterations:
                self._adam_step(gradients, rate)
            else:
                self._own_step(gradients)

    def _own_step(self, gradients):
        rate = self.learning_rate(self.iteration) if callable(self.learning_rate) else self.learning_rate
        if self.clip is not None:
            gradients = {name: tf.clip_by_value(g, -self.clip, self.clip) for name, g in gradients.items()}
        if self.clip_norm is not None:
            shrunk, _ = tf.clip_by_global_norm(list(gradients.values()), self.clip_norm)
            gradients = dict(zip(gradients, shrunk))
        if self.optimizer == "sgd":
            optimizers.sgd_step(self.weights, gradients, rate)
        else:
            self._adam_step(gradients, rate)

    def _adam_step(self, gradients, rate):
        self.adam_updates.assign_add(1)
        moments = self.first_moments, self.second_moments
        optimizers.adam_step(self.weights, *moments, self.adam_updates, gradients, rate)
