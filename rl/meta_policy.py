"""Algorithm 3 of the paper as functions of θ: adapt by the policy gradient, and what the outer loop minimises.

| here                              | paper                                                           |
|-----------------------------------|-----------------------------------------------------------------|
| `weights`, one policy             | θ                                                               |
| `weights`, task axis in front     | θ'_i, i = 1 … M                                                 |
| `MetaBatch.inner`, `.outer`       | D, D'_i: steps taken with θ, with θ'_i                          |
| `policy_gradient_loss` -> [M]     | L_{T_i} as its gradient is estimated at the policy that sampled |

Letters of shapes: M tasks, T steps of a task, padded, O of an observation, A of an action. [Q] is ProMP: Rothfuss, Lee,
Clavera, Asfour, Abbeel, ICLR 2019, arXiv 1810.06784, and its code, jonasrothfuss/ProMP.
"""

from typing import NamedTuple

import tensorflow as tf

from maml import inner_loop
from maml.chunks import map_chunks
from maml.replicas import here
from rl import policy as policies


class Samples(NamedTuple):
    """What learning needs of the steps of M tasks. Where the mask is 0 there is no step, and the rest is 0."""

    observations: tf.Tensor  # [M, T, O]
    actions: tf.Tensor  # [M, T, A], before they were cut
    advantages: tf.Tensor  # [M, T], standardised
    mask: tf.Tensor  # [M, T], 1 for a step
    means: tf.Tensor  # [M, T, A], of the policy that sampled
    log_stds: tf.Tensor  # [M, A], of the policy that sampled


class MetaBatch(NamedTuple):
    """inner: a tuple of the Samples of each inner step, none for learning without one; outer: those of θ'."""

    inner: tuple
    outer: Samples


def some_tasks(batch, tasks):
    """The MetaBatch of some of its tasks, whose numbers are `tasks`, [n]."""
    return tf.nest.map_structure(lambda t: tf.gather(t, tasks), batch)


def policy_gradient_loss(policy, weights, samples):
    """[M]: −mean over a task's steps of log π(a|s)·Â. weights: task axis in front."""
    log_likelihood = policies.log_likelihood(samples.actions, *policy.forward(weights, samples.observations))
    return -_mean(log_likelihood * samples.advantages, samples.mask)


def likelihood_ratio_loss(policy, weights, samples):
    """[M]: −mean over a task's steps of π(a|s)/π_old(a|s)·Â. weights: task axis in front.

    At the policy that sampled its gradient is that of `policy_gradient_loss`. Its second derivatives there are the
    low-variance curvature of [Q]: they also know how the gradient depends on which actions are sampled.
    """
    return surrogate_and_kl(policy, weights, samples)[0]


INNER_LOSSES = {"log_likelihood": policy_gradient_loss, "likelihood_ratio": likelihood_ratio_loss}


def inner_step(policy, weights, samples, inner_lr, first_order=False, loss=policy_gradient_loss):  # noqa: PLR0913
    """θ'_i of every task after one policy-gradient step on what the policy adapts.

    weights: task axis in front.
    loss: of INNER_LOSSES, which differ in what is differentiated again.
    """
    adapted, _ = inner_loop.inner_update(
        lambda w: loss(policy, w, samples), weights, inner_lr, first_order, policy.is_adapted
    )
    return adapted


def compiled_inner_step(policy, tasks_per_chunk=1, jit=True):
    """`inner_step` as a compiled function of (weights, samples, inner_lr), over chunks of tasks as an Objective's."""
    chunk = tf.function(lambda tasks, inner_lr: inner_step(policy, *tasks, inner_lr), jit_compile=jit or None)

    @tf.function
    def step(weights, samples, inner_lr):
        parts = map_chunks(lambda tasks: chunk(tasks, inner_lr), (weights, samples), tasks_per_chunk, one_kernel=jit)
        return {name: tf.concat([part[name] for part in parts], 0) for name in weights}

    # As a tensor, so that another step size is not another function.
    return lambda weights, samples, inner_lr: step(weights, samples, tf.constant(inner_lr, samples.mask.dtype))


def surrogate_and_kl(policy, weights, samples, ratio_clip=None):
    """([M], [M]) of policies with the task axis in front, against the ones that sampled.

    −mean over a task's steps of r·Â with r = π(a|s)/π_old(a|s), and the *sum* over its steps of KL(π_old‖π).
    ratio_clip: ε; of min(r·Â, r'·Â) instead, with r' cut to 1 ± ε.
    """
    means, log_stds = policy.forward(weights, samples.observations)
    log_ratio = policies.log_likelihood(samples.actions, means, log_stds)
    log_ratio -= policies.log_likelihood(samples.actions, samples.means, samples.log_stds)
    ratio = tf.exp(log_ratio * samples.mask)  # where there is no step the ratio could be infinite: not after masking
    gain = ratio * samples.advantages
    if ratio_clip is not None:
        gain = tf.minimum(gain, tf.clip_by_value(ratio, 1 - ratio_clip, 1 + ratio_clip) * samples.advantages)
    kl = policies.kl(samples.means, samples.log_stds, means, log_stds)
    return -_mean(gain, samples.mask), tf.reduce_sum(kl * samples.mask, 1)


def _mean(values, mask):
    return tf.reduce_sum(values * mask, 1) / tf.reduce_sum(mask, 1)


class Objective:
    """The outer loop's loss and KL of θ, through the inner steps, with their derivatives; all over a whole MetaBatch.

    Loss: the mean over tasks of each task's surrogate; KL: the mean over the steps of all tasks together ([M]
    sandbox/rocky/tf/algos/maml_npo.py). θ and derivatives are dicts of tensors.
    inner_lr: α.
    first_order: the inner gradient counts as a constant.
    tasks_per_chunk: tasks computed together; few, so that memory is bounded and their activations stay in the
        processor's cache.
    jit: compile with XLA.
    inner_loss: name of one of INNER_LOSSES.
    ratio_clip: ε of the surrogate, see `surrogate_and_kl`.
    kl_penalty: η; the loss has η·(mean over inner steps of the mean over a task's steps of KL(π_old‖π)) more, of the
        policies before each inner step ([Q]).
    """

    def __init__(  # noqa: PLR0913 (what the outer loop minimises)
        self, policy, inner_lr, first_order=False, tasks_per_chunk=1, jit=True,
        inner_loss="log_likelihood", ratio_clip=None, kl_penalty=0.0,
    ):  # fmt: skip
        self.policy, self.inner_lr, self.first_order = policy, inner_lr, first_order
        self.inner_loss, self.ratio_clip, self.kl_penalty = INNER_LOSSES[inner_loss], ratio_clip, kl_penalty
        self.tasks_per_chunk, self.jit = tasks_per_chunk, jit
        self.replicas = here()
        # Compiled once each, wherever they are called from.
        self._compiled_value = self._compile(self._value)
        self._compiled_loss_gradient = self._compile(self._loss_gradient)
        self._compiled_kl_gradient = self._compile(self._kl_gradient)
        self._compiled_kl_product = self._compile(self._kl_product)

    def value(self, weights, batch):
        """(loss, KL)."""
        (loss, kl), tasks, steps = self._total(self._compiled_value, batch, weights)
        return loss / tasks, kl / steps

    def loss_gradient(self, weights, batch):
        """(loss, gradient of the loss)."""
        total, tasks, _ = self._total(self._compiled_loss_gradient, batch, weights)
        return _scaled(total, tasks)

    def kl_gradient(self, weights, batch):
        """The gradient of the KL."""
        total, _, steps = self._total(self._compiled_kl_gradient, batch, weights)
        return _scaled(total, steps)

    def kl_product(self, weights, direction, batch):
        """The Hessian of the KL times a direction, exactly: the derivative of the gradient along it."""
        total, _, steps = self._total(self._compiled_kl_product, batch, weights, direction)
        return _scaled(total, steps)

    def _compile(self, chunk):
        return tf.function(chunk, jit_compile=self.jit or None)

    def _total(self, chunk, batch, *arguments):
        """(the sum over chunks of tasks, which depend on nothing but θ and their own steps; how many tasks, and steps).

        Of several workers, over the tasks of all of them.
        """
        parts = map_chunks(lambda tasks: chunk(*arguments, tasks), batch, self.tasks_per_chunk, one_kernel=self.jit)
        total = tf.nest.map_structure(lambda *terms: tf.add_n(terms), *parts)
        return self.replicas.over_workers((total, _num_tasks(batch), _num_steps(batch)))

    # Sums over the tasks, and the KL's over the steps, of a chunk.

    def _value(self, weights, batch):
        adapted, penalties = inner_loop.per_task(weights, _num_tasks(batch)), []
        for samples in batch.inner:
            if self.kl_penalty:
                _, kls = surrogate_and_kl(self.policy, adapted, samples)
                penalties.append(self.kl_penalty / len(batch.inner) * kls / tf.reduce_sum(samples.mask, 1))
            adapted = inner_step(self.policy, adapted, samples, self.inner_lr, self.first_order, self.inner_loss)
        losses, kls = surrogate_and_kl(self.policy, adapted, batch.outer, self.ratio_clip)
        return tf.reduce_sum(tf.add_n([losses, *penalties])), tf.reduce_sum(kls)

    def _loss_gradient(self, weights, batch):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss, _ = self._value(weights, batch)
        return loss, tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def _kl_gradient(self, weights, batch):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            _, kl = self._value(weights, batch)
        return tape.gradient(kl, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def _kl_product(self, weights, direction, batch):
        names = list(weights)
        with tf.autodiff.ForwardAccumulator([weights[n] for n in names], [direction[n] for n in names]) as forward:
            gradient = self._kl_gradient(weights, batch)
        return forward.jvp(gradient, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _num_tasks(batch):
    return batch.outer.mask.shape[0]


def _num_steps(batch):
    return tf.reduce_sum(batch.outer.mask)


def _scaled(nest, divisor):
    return tf.nest.map_structure(lambda t: t / tf.cast(divisor, t.dtype), nest)
