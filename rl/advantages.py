"""Advantages of sampled steps: discounted returns less a baseline that is fitted on the same steps.

Letters of shapes: M tasks, T steps of a task, padded, O of an observation, F = 2·O + 4 features. Sources: [M]
cbfinn/maml_rl, rllab/.
"""

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError
from maml.chunks import map_chunks

DISCOUNT = 0.99  # γ, [M] every training script
RIDGE = 1e-5  # [M] baselines/linear_feature_baseline.py
TRIES = 5  # of fitting, each with ten times the ridge of the one before; [M] as well
SMALLEST_STD = 1e-8  # [M] algos/util.py, center_advantages


def advantages(trajectories, discount=DISCOUNT):
    """float32 [M, T]: standardised advantages of Trajectories, 0 where there is no step.

    Generalised advantage estimation with λ = 1, whose sum of δ_t = r_t + γb_{t+1} − b_t is R_t − b_t: nothing is added
    for what might have come after an episode, not at the horizon either. The baseline b is linear in features, each
    task has its own. Then, for each task over all its steps, (A − mean)/(std + 1e-8) with the population's std ([M]
    sampler/base.py). Computed in float64.
    """
    returns = discounted_sums(trajectories.rewards, trajectories.ends, discount)
    steps = (trajectories.observations, trajectories.times, trajectories.mask)
    observations, times, mask = map(tf.convert_to_tensor, steps)
    coefficients = solve(*_normal_equations(observations, times, mask, returns))
    return _standardised_residuals(observations, times, mask, returns, coefficients)


def discounted_sums(rewards, ends, discount):
    """float64 [M, T]: r_t + γ·r_{t+1} + … to the end of the episode. rewards, ends: arrays [M, T]."""
    sums = np.zeros([rewards.shape[1] + 1, len(rewards)])
    factors = np.where(ends, 0.0, discount).T
    for t in range(rewards.shape[1] - 1, -1, -1):
        sums[t] = rewards[:, t] + factors[t] * sums[t + 1]
    return np.ascontiguousarray(sums[:-1].T)


def baseline_features(observations, times, mask):
    """float64 [M, T, F]: the observation cut to ±10, its square, τ, τ², τ³, 1, with τ = time/100; 0 without a step."""
    clipped = tf.clip_by_value(tf.cast(observations, tf.float64), -10, 10)
    tau = tf.cast(times, tf.float64)[:, :, None] / 100
    features = tf.concat([clipped, clipped**2, tau, tau**2, tau**3, tf.ones_like(tau)], 2)
    return features * tf.cast(mask, tf.float64)[:, :, None]


def solve(gram, moments, ridge=RIDGE):
    """c [M, F] of the ridge regression (FᵀF + ridge·I)c = Fᵀy. gram: FᵀF [M, F, F], moments: Fᵀy [M, F].

    Where one has no finite solution, all are tried again with ten times the ridge. UserError where the fifth has none.
    """
    for i in range(TRIES):
        damped = gram + ridge * 10**i * tf.eye(gram.shape[-1], dtype=gram.dtype)
        try:
            solution = tf.linalg.solve(damped, moments[:, :, None])[:, :, 0]
        except tf.errors.InvalidArgumentError:
            continue
        if tf.reduce_all(tf.math.is_finite(solution)):
            return solution
    raise UserError(
        f"the baseline's regression has no finite solution, with a ridge of {ridge * 10 ** (TRIES - 1):g} either; "
        "expected rewards and observations of a size that can be squared and summed"
    )


# A task at a time, as the features of all would be gigabytes for the ant; in TensorFlow rather than NumPy for one task
# a core, where NumPy's library has all cores at each small product, and they wait for one another.


@tf.function
def _normal_equations(*tasks):
    parts = map_chunks(lambda task: _normal_equations_of_chunk(*task), tasks, 1, one_kernel=True)
    return [tf.concat(field, 0) for field in zip(*parts)]


@tf.function(jit_compile=True)
def _normal_equations_of_chunk(observations, times, mask, returns):
    features = baseline_features(observations, times, mask)
    return tf.matmul(features, features, transpose_a=True), tf.einsum("mtf,mt->mf", features, returns)


@tf.function
def _standardised_residuals(*tasks):
    return tf.concat(map_chunks(lambda task: _standardised_residuals_of_chunk(*task), tasks, 1, one_kernel=True), 0)


@tf.function(jit_compile=True)
def _standardised_residuals_of_chunk(observations, times, mask, returns, coefficients):
    weights = tf.cast(mask, tf.float64)
    steps = tf.reduce_sum(weights, 1, keepdims=True)
    values = returns - tf.einsum("mtf,mf->mt", baseline_features(observations, times, mask), coefficients)
    centred = (values - tf.reduce_sum(values * weights, 1, keepdims=True) / steps) * weights
    std = tf.sqrt(tf.reduce_sum(centred**2, 1, keepdims=True) / steps)
    return tf.cast(centred / (std + SMALLEST_STD), tf.float32)
