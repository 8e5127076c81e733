"""Small policies in float64, and steps of several tasks as if they had been sampled."""

import numpy as np
import tensorflow as tf

from maml import inner_loop
from rl import policy as policies
from rl.meta_policy import MetaBatch, Objective, Samples, inner_step

O, A = 3, 2  # noqa: E741 (O of an observation)
INNER_LR = 0.3


def small_policy(activation="tanh", **more):
    """Smooth, so that differences of the loss are derivatives."""
    return policies.gaussian_mlp(O, A, hidden=(4,), activation=activation, dtype=tf.float64, **more)


def theta(policy, seed=1):
    """Weights with nothing zero."""
    rng = np.random.default_rng(seed)
    return {name: w + 0.3 * rng.standard_normal(w.shape) for name, w in policy.init(seed).items()}


def plain_objective(policy, **settings):
    """Not compiled, all three tasks together."""
    return Objective(policy, INNER_LR, tasks_per_chunk=3, jit=False, **settings)


def random_samples(policy, weights, lengths=(5, 7, 6), seed=0):
    """Samples of tasks with so many steps each, actions drawn by policies with the task axis."""
    rng, padded = np.random.default_rng(seed), max(lengths) + 2
    mask = (np.arange(padded) < np.array(lengths)[:, None]).astype(float)
    observations = rng.standard_normal([len(lengths), padded, O]) * mask[:, :, None]
    means, log_stds = policy.forward(weights, tf.constant(observations))
    actions = policies.sample(means, log_stds[:, None], rng.standard_normal(means.shape))
    advantages = rng.standard_normal(mask.shape) * mask
    return Samples(
        tf.constant(observations),
        actions * mask[:, :, None],
        tf.constant(advantages),
        tf.constant(mask),
        means * mask[:, :, None],
        log_stds,
    )


def random_batch(policy, weights, num_updates=1, lengths=(5, 7, 6)):
    """A MetaBatch as training makes it: the steps of each phase sampled with the policies adapted on those before."""
    adapted, inner = inner_loop.per_task(weights, len(lengths)), []
    for phase in range(num_updates):
        inner.append(random_samples(policy, adapted, lengths, seed=phase))
        adapted = inner_step(policy, adapted, inner[-1], INNER_LR)
    return MetaBatch(tuple(inner), random_samples(policy, adapted, lengths[::-1], seed=9))


def central_differences(function, weights, step=1e-6):
    """{name: gradient} of a function of a dict of weights, entry by entry."""
    gradient = {}
    for name, w in weights.items():
        entries = np.zeros(w.shape)
        for i in np.ndindex(*w.shape):
            nudge = np.zeros(w.shape)
            nudge[i] = step
            up, down = (float(function({**weights, name: w + sign * nudge})) for sign in (1, -1))
            entries[i] = (up - down) / (2 * step)
        gradient[name] = entries
    return gradient
