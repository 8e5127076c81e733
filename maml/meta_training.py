"""The outer loop's step: the meta-gradient over chunks of tasks, and Adam on θ."""

from dataclasses import dataclass
from typing import Callable

import numpy as np
import tensorflow as tf

from data_generators.episode import Episode
from maml import inner_loop
from maml.chunks import map_chunks


@dataclass(frozen=True)
class Learner:
    """What is learnt and how a task is learnt from it: everything `meta_loss` needs but the weights and the data.

    forward(weights, x) and loss(outputs, targets) -> [M] have the task axis in front (see `inner_loop.single_task`);
    metric(outputs, targets) -> [M] is reported beside the loss (accuracy), None for none.
    inner_lr: α. num_updates: inner steps in training; 0 trains on the un-adapted loss of the support sets, which is
    the paper's pretraining. first_order: drop the second derivatives. is_adapted: name -> bool, which weights the
    inner loop changes (None: all).
    tasks_per_chunk: tasks whose meta-gradient is computed together; a few, so that their activations stay in the
    processor's cache. jit: compile with XLA; ValueError for a network whose `forward` is not made for it.
    """

    forward: Callable
    loss: Callable
    inner_lr: float
    num_updates: int = 1
    metric: Callable | None = None
    first_order: bool = False
    is_adapted: Callable | None = None
    tasks_per_chunk: int = 2
    jit: bool = True

    def __post_init__(self):
        if self.jit and not getattr(self.forward, "for_xla", True):
            raise ValueError("jit is True, but this network is made of kernels that XLA gets wrong (xla=False); expected jit=False")

    def meta_gradient(self, weights, episode):
        """The mean over tasks of the query loss, its gradient in θ (both over the whole batch), and the metrics.

        weights: θ, {name: tensor}. episode: M tasks. Returns (metrics, {name: gradient}); metrics are scalars, means
        over the tasks: pre_loss and pre_metric of θ on the support sets, post_loss and post_metric of θ' on the
        query sets. Not compiled; see `compiled_meta_gradient`.
        """
        return self._mean_of_chunks([self._chunk(weights, episode)], episode.support_x.shape[0])

    def compiled_meta_gradient(self):
        """`meta_gradient` as one XLA function over chunks of `tasks_per_chunk` tasks. Call it within a tf.function."""
        chunk = tf.function(self._chunk, jit_compile=self.jit)

        def meta_gradient(weights, episode):
            parts = map_chunks(lambda tasks: chunk(weights, tasks), episode, self.tasks_per_chunk, self.jit)
            return self._mean_of_chunks(parts, episode.support_x.shape[0])

        return meta_gradient

    def _chunk(self, weights, episode):
        """Sums over the chunk's tasks: metrics and the gradient of the meta-loss."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            result = inner_loop.meta_loss(
                self.forward,
                self.loss,
                weights,
                episode,
                self.inner_lr,
                self.num_updates,
                self.first_order,
                self.is_adapted,
            )
            # The paper's pretraining minimises the loss of θ on the support set (authors' maml.py, pretrain_op).
            objective = tf.reduce_sum(result["query_loss"] if self.num_updates else result["support_loss"])
        gradients = tape.gradient(objective, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        metrics = {"pre_loss": result["support_loss"], "post_loss": result["query_loss"]}
        if self.metric is not None:
            metrics["pre_metric"] = self.metric(result["support_outputs"], episode.support_y)
            metrics["post_metric"] = self.metric(result["query_outputs"], episode.query_y)
        return {name: tf.reduce_sum(value) for name, value in metrics.items()}, gradients

    @staticmethod
    def _mean_of_chunks(parts, num_tasks):
        return tf.nest.map_structure(lambda *sums: tf.add_n(sums) / num_tasks, *parts)


class MetaTrainer(tf.Module):
    """θ, Adam's moments and the iteration: the state of a run, and the compiled steps that move it.

    weights: the initial θ. meta_lr: β. clip: each entry of the meta-gradient is cut to ±clip (None: not cut). Adam with
    β1 = 0.9, β2 = 0.999 and ε = 1e-8, TensorFlow 1's default (Keras has 1e-7), in TensorFlow's own kernel.
    """

    def __init__(self, weights, meta_lr, clip=None):
        super().__init__()
        self.meta_lr = meta_lr
        self.clip = clip
        self.weights = {name: tf.Variable(w) for name, w in weights.items()}
        self.first_moments = {name: tf.Variable(tf.zeros_like(w)) for name, w in weights.items()}
        self.second_moments = {name: tf.Variable(tf.zeros_like(w)) for name, w in weights.items()}
        self.iteration = tf.Variable(0, dtype=tf.int64)
        self.adam_updates = tf.Variable(0, dtype=tf.int64)

    def current_weights(self):
        """θ as plain tensors."""
        return {name: tf.convert_to_tensor(w) for name, w in self.weights.items()}

    def compile(self, learner):
        """A function: one meta-update of θ by `learner` on an Episode of M tasks; returns metrics, scalar tensors.

        They are those of `Learner.meta_gradient`, and "finite": whether the loss and the whole meta-gradient were.
        Where they were not, nothing has changed.
        """
        step = tf.function(self._update(learner))
        return lambda episode: step(Episode(*(tf.convert_to_tensor(t) for t in episode)))

    def compile_loop(self, learner):
        """Like `compile`, for a list of Episodes in one call: a meta-update on each, metrics of the last.

        For networks so small that calling a step costs more than computing it: the whole loop is one XLA function.
        It ends at the first update that is not finite.
        """
        update = self._update(learner)

        @tf.function(jit_compile=learner.jit)
        def loop(episodes):
            metrics = update(Episode(*(t[0] for t in episodes)))
            for i in tf.range(1, episodes.support_x.shape[0]):
                if metrics["finite"]:
                    metrics = update(Episode(*(t[i] for t in episodes)))
            return metrics

        return lambda episodes: loop(Episode(*(tf.convert_to_tensor(np.stack(t)) for t in zip(*episodes))))

    def _update(self, learner):
        meta_gradient = learner.compiled_meta_gradient()

        def update(episode):
            metrics, gradients = meta_gradient(self.current_weights(), episode)
            everything = [metrics["post_loss"], *gradients.values()]
            finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(t)) for t in everything])
            if finite:
                self.iteration.assign_add(1)
                self.adam_step(gradients)
            return {**metrics, "finite": finite}

        return update

    def restart_adam(self):
        """Forgets Adam's moments, as if θ were new to it."""
        for variable in (*self.first_moments.values(), *self.second_moments.values(), self.adam_updates):
            variable.assign(tf.zeros_like(variable))

    def adam_step(self, gradients):
        """One step of Adam on θ."""
        self.adam_updates.assign_add(1)
        for name, gradient in gradients.items():
            if self.clip is not None:
                gradient = tf.clip_by_value(gradient, -self.clip, self.clip)
            dtype = gradient.dtype
            beta1, beta2, t = tf.constant(0.9, dtype), tf.constant(0.999, dtype), tf.cast(self.adam_updates, dtype)
            tf.raw_ops.ResourceApplyAdam(
                var=self.weights[name].handle,
                m=self.first_moments[name].handle,
                v=self.second_moments[name].handle,
                beta1_power=tf.pow(beta1, t),
                beta2_power=tf.pow(beta2, t),
                lr=tf.convert_to_tensor(self.meta_lr, dtype),
                beta1=beta1,
                beta2=beta2,
                epsilon=tf.constant(1e-8, dtype),
                grad=gradient,
            )
