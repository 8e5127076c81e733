"""Discounted sums, baseline and advantages against plain loops."""

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from rl import advantages
from rl.sampling.sampler import Trajectories

EPISODES = ((4, 9, 2), (7, 7), (20,))  # lengths of the episodes of three tasks
PADDED, O, GAMMA = 23, 2, 0.9  # noqa: E741 (O of an observation)


def trajectories(seed=0):
    rng, num_tasks = np.random.default_rng(seed), len(EPISODES)
    fields = {
        "observations": np.zeros([num_tasks, PADDED, O], np.float32),
        "rewards": np.zeros([num_tasks, PADDED], np.float32),
        "times": np.zeros([num_tasks, PADDED], np.int32),
        "ends": np.zeros([num_tasks, PADDED], bool),
        "mask": np.zeros([num_tasks, PADDED], np.float32),
    }
    for m, lengths in enumerate(EPISODES):
        total = sum(lengths)
        fields["observations"][m, :total] = 8 * rng.standard_normal([total, O])  # some beyond ±10
        fields["rewards"][m, :total] = rng.standard_normal(total)
        fields["times"][m, :total] = np.concatenate([np.arange(length) for length in lengths])
        fields["ends"][m, np.cumsum(lengths) - 1] = True
        fields["mask"][m, :total] = 1
    return Trajectories(**fields, actions=None, means=None, log_stds=None, diverged=0)


def episodes(t, m):
    """[(observations, rewards)] of the episodes of a task."""
    starts = np.cumsum((0, *EPISODES[m]))
    return [(t.observations[m, a:b].astype(float), t.rewards[m, a:b].astype(float)) for a, b in zip(starts, starts[1:])]


def loop_sums(values, factor):
    return np.array([sum(factor ** (u - t) * values[u] for u in range(t, len(values))) for t in range(len(values))])


def loop_features(observations):
    rows = []
    for t, o in enumerate(observations):
        cut = [min(max(x, -10.0), 10.0) for x in o]
        rows.append([*cut, *(x * x for x in cut), t / 100, (t / 100) ** 2, (t / 100) ** 3, 1])
    return np.array(rows)


def test_discounted_sums():
    t = trajectories()
    sums = advantages.discounted_sums(t.rewards, t.ends, GAMMA)
    for m in range(len(EPISODES)):
        expected = np.concatenate([loop_sums(rewards, GAMMA) for _, rewards in episodes(t, m)])
        np.testing.assert_allclose(sums[m, : len(expected)], expected, rtol=1e-12)
        assert not sums[m, len(expected) :].any()


def test_a_sum_by_hand():
    """1 + 0.5·(2 + 0.5·4) = 3; the next episode is another one."""
    sums = advantages.discounted_sums(np.array([[1.0, 2, 4, 8]]), np.array([[False, False, True, True]]), 0.5)
    np.testing.assert_array_equal(sums, [[3, 4, 4, 8]])


def test_advantages_are_those_of_a_loop():
    """Each δ_t from rewards and baseline, summed with γλ, λ = 1; the baseline by least squares with ridge 1e-5."""
    t = trajectories()
    got = advantages.advantages(t, GAMMA).numpy()
    assert got.dtype == np.float32
    for m in range(len(EPISODES)):
        features = [loop_features(observations) for observations, _ in episodes(t, m)]
        targets = [loop_sums(rewards, GAMMA) for _, rewards in episodes(t, m)]
        rows, y = np.concatenate(features), np.concatenate(targets)
        c = np.linalg.lstsq(rows.T @ rows + 1e-5 * np.eye(rows.shape[1]), rows.T @ y, rcond=None)[0]
        a = []
        for f, (_, rewards) in zip(features, episodes(t, m)):
            b = np.append(f @ c, 0.0)
            a.append(loop_sums(rewards + GAMMA * b[1:] - b[:-1], GAMMA))
        a = np.concatenate(a)
        np.testing.assert_allclose(got[m, : len(a)], (a - a.mean()) / (a.std() + 1e-8), atol=1e-5)
        assert not got[m, len(a) :].any()


def test_each_task_has_its_own_baseline():
    t = trajectories()
    rewards = t.rewards.copy()
    rewards[1] = 5 * rewards[1] ** 2 + 3
    other = t._replace(rewards=rewards)
    a, b = advantages.advantages(t).numpy(), advantages.advantages(other).numpy()
    np.testing.assert_array_equal(a[[0, 2]], b[[0, 2]])
    assert (a[1] != b[1]).any()


def test_equal_rewards_have_no_advantage():
    """Nothing but rounding is left of the residuals where the baseline fits exactly; divided by 1e-8, not by 0."""
    t = trajectories()
    got = advantages.advantages(t._replace(rewards=np.zeros_like(t.rewards))).numpy()
    np.testing.assert_array_equal(got, np.zeros_like(got))


def test_the_ridge_grows_until_there_is_a_solution():
    """With −1e-5 on the diagonal, a ridge of 1e-5 leaves a zero matrix: the solution is that of 1e-4."""
    got = advantages.solve(-1e-5 * tf.eye(2, batch_shape=[1], dtype=tf.float64), tf.ones([1, 2], tf.float64))
    np.testing.assert_allclose(got, [[1 / 9e-5] * 2], rtol=1e-9)


def test_the_ridge_grows_until_the_solution_is_finite():
    """1e304 over a ridge of 1e-5 is beyond the largest double, 1.8e308; over 1e-4 it is 1e308."""
    got = advantages.solve(tf.zeros([1, 1, 1], tf.float64), tf.constant([[1e304]], tf.float64))
    np.testing.assert_allclose(got, [[1e308]])


@pytest.mark.parametrize("gram, moment", [(np.nan, 1.0), (1.0, np.inf)])
def test_without_a_finite_solution_there_is_one_line(gram, moment):
    with pytest.raises(
        UserError, match="^the baseline's regression has no finite solution, with a ridge of 0.1 either;"
    ):
        advantages.solve(tf.constant(np.full([1, 2, 2], gram)), tf.constant(np.full([1, 2], moment)))
