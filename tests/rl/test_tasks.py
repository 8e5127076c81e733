"""Goal distributions, and the 40 tasks of the published curves."""

import numpy as np
import pytest

from data_generators.errors import UserError
from rl import envs

KINDS = list(envs.KINDS.values())


def first(kind):
    return kind.published_tasks()[:, 0]


# low and high of the uniform distributions, from the authors' environments (rl.tasks).
@pytest.mark.parametrize("name, low, high", [("point", -0.5, 0.5), ("cheetah_vel", 0.0, 2.0), ("ant_vel", 0.0, 3.0)])
def test_goals_are_uniform(name, low, high):
    goals = envs.get(name).sample_tasks(np.random.default_rng(0), 4000)
    assert goals.shape == (4000, 2 if name == "point" else 1)
    assert low <= goals.min() < low + 0.01 * (high - low) and high - 0.01 * (high - low) < goals.max() <= high
    # Mean and variance of a uniform distribution; five standard errors, the variance's relative one being √(4/5 / n).
    assert abs(goals.mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * goals.size)
    assert abs(goals.var() / ((high - low) ** 2 / 12) - 1) < 5 * np.sqrt(0.8 / goals.size)


@pytest.mark.parametrize("name", ["cheetah_dir", "ant_dir"])
def test_directions_are_a_fair_coin(name):
    directions = envs.get(name).sample_tasks(np.random.default_rng(0), 4000)
    assert directions.shape == (4000, 1) and set(np.unique(directions)) == {-1.0, 1.0}
    assert abs(directions.mean()) < 5 / np.sqrt(4000)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_sampling_is_pure_in_the_generator(kind):
    first, again, other = (kind.sample_tasks(np.random.default_rng(seed), 40) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_published_cheetah_goals():
    goals = first(envs.get("cheetah_vel"))
    np.testing.assert_allclose(goals[:4], [0.834, 1.441, 0.0002, 0.605], atol=5e-4)  # of the published results
    assert len(goals) == 40 and goals.mean() == pytest.approx(0.919, abs=5e-4)


def test_published_ant_goals_are_the_cheetahs_times_one_and_a_half():
    np.testing.assert_allclose(first(envs.get("ant_vel")), 1.5 * first(envs.get("cheetah_vel")), rtol=1e-12)


def test_published_navigation_goal():
    """Number 6, whose trajectories were published."""
    goals = envs.get("point").published_tasks()
    assert goals.shape == (40, 2)
    np.testing.assert_allclose(goals[6], [-0.2955, 0.3781], atol=5e-5)


# Backward tasks among the 40, counted in the published results.
@pytest.mark.parametrize("name, backward", [("cheetah_dir", 22), ("ant_dir", 20)])
def test_published_directions(name, backward):
    directions = first(envs.get(name))
    assert (directions == -1).sum() == backward and (directions == 1).sum() == 40 - backward


@pytest.mark.parametrize(
    "name, task",
    [
        ("point", 1.0),
        ("point", [0.1, np.nan]),
        ("cheetah_vel", [1.0, 2.0]),
        ("cheetah_dir", 0.5),
        ("ant_dir", 0),
        ("cheetah_dir", "left"),
        ("point", [[0.1], [0.2, 0.3]]),
        ("cheetah_vel", [10**400]),
        ("point", {"x": 1}),
    ],  # fmt: skip
)
def test_what_is_no_task_gets_one_line(name, task):
    with pytest.raises(UserError, match=r"^task is .*, expected [^\n]*$"):
        envs.get(name).goals.check(task, 1)


def test_unknown_environment_gets_one_line():
    with pytest.raises(UserError, match="environment is 'hopper', expected one of point, cheetah_vel"):
        envs.get("hopper")
