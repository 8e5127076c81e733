"""The sine waves of [P] 5.1."""

import numpy as np
import pytest

from data_generators.sinusoid import SinusoidTasks


def draw(oracle=False, split="train", seed=1, step=0, num_tasks=2000, num_shots=5, num_queries=7):
    return SinusoidTasks(oracle).sample(split, seed, step, num_tasks, num_shots, num_queries)


def test_shapes_and_types():
    episode = draw(num_tasks=3)
    assert [t.shape for t in episode] == [(3, 5, 1), (3, 5, 1), (3, 7, 1), (3, 7, 1)]
    assert {t.dtype for t in episode} == {np.dtype(np.float32)}


def test_the_oracle_sees_amplitude_and_phase_of_y_equals_a_sin_x_minus_phi():
    episode = draw(oracle=True)
    for x, y in ((episode.support_x, episode.support_y), (episode.query_x, episode.query_y)):
        expected = x[..., 1] * np.sin(x[..., 0] - x[..., 2])
        np.testing.assert_allclose(y[..., 0], expected, atol=1e-5)
        assert (np.ptp(x[..., 1:], axis=1) == 0).all()  # one amplitude and phase a task


def test_the_oracle_has_the_same_tasks():
    plain, oracle = draw(), draw(oracle=True)
    np.testing.assert_array_equal(plain.support_x, oracle.support_x[..., :1])
    np.testing.assert_array_equal(plain.query_y, oracle.query_y)


# Uniform on [low, high]: mean (low + high) / 2, standard deviation (high − low) / √12; 2,000 tasks, five of its errors.
@pytest.mark.parametrize("column, low, high", [(0, -5.0, 5.0), (1, 0.1, 5.0), (2, 0.0, np.pi)])
def test_ranges(column, low, high):
    values = draw(oracle=True).support_x[:, 0, column]
    assert low <= values.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < values.max() <= np.float32(high)
    assert abs(values.mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * len(values))


def test_a_pure_function_of_split_seed_and_step():
    first = draw(num_tasks=2)
    assert all((a == b).all() for a, b in zip(first, draw(num_tasks=2)))
    for other in (dict(split="val"), dict(split="test"), dict(seed=2), dict(step=1)):
        assert (draw(num_tasks=2, **other).support_x != first.support_x).all(), other


def test_the_points_that_were_always_drawn():
    """Runs of before are compared with runs of today. From commit 97c578b."""
    episode = SinusoidTasks(oracle=True).sample("val", 7, 8, 1, 1, 1)
    expected = [-4.13866472, 3.38100004, 0.91853338], [3.18199420], [0.21782908, 3.38100004, 0.91853338], [-2.17992067]
    for values, wanted in zip(episode, expected):
        np.testing.assert_allclose(values[0, 0], wanted, rtol=1e-6)


def test_ways_and_shuffling_change_nothing():
    tasks = SinusoidTasks()
    plain = tasks.sample("train", 1, 0, 3, 5, 7)
    other = tasks.sample("train", 1, 0, 3, 5, 7, num_ways=None, shuffled=True)
    assert all((a == b).all() for a, b in zip(plain, other))
    tasks.check("train", 5, 7, num_ways=None)


def test_a_query_set_may_be_empty():
    assert [t.shape for t in draw(num_tasks=3, num_queries=0)] == [(3, 5, 1), (3, 5, 1), (3, 0, 1), (3, 0, 1)]
