"""What freshly initialised policies get, which fixes the scale of rewards, time step, bonuses and costs.

Reference: another implementation of the same environments, in which five policies of this initialisation ran eight
episodes each; the published random policies are near. The ranges are those over the five policies; the mean over
NUM_POLICIES policies must lie within, three standard errors of that mean allowed.
"""

import itertools

import numpy as np
import pytest

from rl import envs
from rl.sampling.simulator import Simulator

NUM_POLICIES = 16


def policies(rng, sizes):
    """Weights of NUM_POLICIES networks: Xavier uniform, no biases (they are zero)."""
    pairs = [(size, np.sqrt(6 / sum(size))) for size in itertools.pairwise(sizes)]
    return [rng.uniform(-limit, limit, [NUM_POLICIES, *size]) for size, limit in pairs]


def returns(name, tasks, same_trajectories):
    """[NUM_POLICIES, tasks]: the return of an episode of each policy in each task; ReLU, standard deviation 1.

    same_trajectories: a policy has the same starts and action noise in all its tasks, which it can't tell apart.
    """
    kind, rng, count = envs.get(name), np.random.default_rng(0), len(tasks)
    first, second, last = policies(rng, [kind.observation_size, 100, 100, kind.action_size])
    simulator = Simulator(name, NUM_POLICIES * count)
    seeds = np.arange(NUM_POLICIES * count) // (count if same_trajectories else 1)
    observations = simulator.reset(np.tile(tasks, [NUM_POLICIES, 1]), seeds)
    total, alive = np.zeros(len(seeds)), np.ones(len(seeds), bool)
    while alive.any():
        hidden = np.maximum(observations.reshape(NUM_POLICIES, count, -1) @ first, 0)
        mean = np.maximum(hidden @ second, 0) @ last
        noise = rng.standard_normal([NUM_POLICIES, 1 if same_trajectories else count, kind.action_size])
        observations, rewards, terminated, truncated = simulator.step((mean + noise).reshape(len(seeds), -1))
        total += np.where(alive, rewards, 0)
        alive &= ~(terminated | truncated)
    assert simulator.diverged == 0
    return total.reshape(NUM_POLICIES, count)


def assert_mean_in(values, low, high):
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert low - 3 * error < values.mean() < high + 3 * error, (values.mean(), error)


@pytest.mark.parametrize(
    "name, fastest, a, b", [("cheetah_vel", 2.0, (-82, -52), (-187, -126)), ("ant_vel", 3.0, (68, 151), (-164, -83))]
)
def test_return_against_goal_velocity(name, fastest, a, b):
    """A line, return ≈ a + b·v*, fitted to each policy's eight episodes."""
    goals = np.linspace(0, fastest, 8)
    slope, intercept = np.polyfit(goals, returns(name, goals[:, None], same_trajectories=False).T, 1)
    assert_mean_in(intercept, *a)
    assert_mean_in(slope, *b)


@pytest.mark.parametrize("name, low, high", [("cheetah_dir", -86, -76), ("ant_dir", 4, 9)])
def test_forward_and_backward_together_are_costs_and_bonuses(name, low, high):
    """Along the same trajectories the velocities cancel in the sum."""
    assert_mean_in(returns(name, [[-1.0], [1.0]], same_trajectories=True).sum(axis=1), low, high)
