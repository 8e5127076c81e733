"""Environments of one's own, where the experiments' stand otherwise."""

import gymnasium
import numpy as np
import pytest

import rl.envs  # noqa: F401 (registers the environments)
from data_generators.errors import UserError
from maml import inner_loop
from rl.meta_rl import MetaRL
from rl.policy import gaussian_mlp
from rl.sampling.own import OwnKind, in_space
from rl.sampling.sampler import Sampler, Sampling
from rl.settings import resolve


class Line(gymnasium.Env):
    """A walk on a line: an action is a speed between 1 and 3 for an hour, the reward minus the way left to the task."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, [1, 1])
    action_space = gymnasium.spaces.Box(1.0, 3.0, [1])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.goal, self.place = (options or {}).get("task", [9.0])[0], self.np_random.uniform(0, 1)
        return np.array([[self.place]]), {}

    def step(self, action):
        assert action.shape == (1,) and self.action_space.contains(action)
        self.place += float(action[0])
        reward = -abs(self.goal - self.place)
        return np.array([[self.place]]), reward, self.place > 20, False, {}


LINE = OwnKind(Line, lambda rng, count: rng.uniform(5, 15, [count, 1]))


@pytest.mark.parametrize("name, id", [("point", "maml/Point-v0"), ("cheetah_dir", "maml/CheetahDir-v0")])
def test_sampled_through_gymnasium_as_by_the_simulator(name, id):
    """Bit for bit, over several episodes of two tasks."""
    kind = rl.envs.get(name)
    own = OwnKind(lambda: gymnasium.make(id), kind.sample_tasks)
    assert (own.observation_size, own.action_size) == (kind.observation_size, kind.action_size)
    assert own.task_size == kind.task_size
    policy = gaussian_mlp(kind.observation_size, kind.action_size)
    weights = inner_loop.per_task(policy.init(1), 2)
    sampling = Sampling(name, num_tasks=2, rollouts=3, horizon=7)
    tasks = kind.sample_tasks(np.random.default_rng(0), 2)
    expected = Sampler(policy, sampling)(weights, tasks, (1, 2))
    got = Sampler(policy, sampling, simulator=own.simulator)(weights, tasks, (1, 2))
    for field in expected._fields:
        np.testing.assert_array_equal(getattr(got, field), getattr(expected, field), err_msg=field)


@pytest.mark.parametrize("method", ["maml", "oracle"])
def test_an_environment_of_ones_own_is_trained_on(method):
    """The oracle is told the task: a second number beside the place."""
    few = dict(meta_batch_size=2 if method == "maml" else 1, update_batch_size=3, horizon=5, jit=False)
    run = MetaRL(resolve("point", method, **few), kind=LINE)
    assert run.policy.init(1)["w1"].shape == (2 if method == "oracle" else 1, 100)
    metrics = run.iterate()
    assert metrics["accepted"] and metrics["steps"] >= 15 and metrics["diverged"] == 0
    again = MetaRL(resolve("point", method, **few), kind=LINE)
    assert again.iterate()["post_return"] == metrics["post_return"]


def test_without_tasks_the_environment_is_the_only_one_and_is_told_none():
    class Told(Line):
        def reset(self, *, seed=None, options=None):
            assert options is None
            return super().reset(seed=seed)

    run = MetaRL(resolve("point", meta_batch_size=2, update_batch_size=3, horizon=5, jit=False), kind=OwnKind(Told))
    assert run.iterate()["post_return"] < 0 and run.tasks(0).shape == (2, 1)


def test_the_same_environment_again_gets_one_line():
    """Wrapped anew, too."""
    env = Line()
    for make in (lambda: env, lambda: gymnasium.Wrapper(env)):
        assert OwnKind(make).simulator("", 1, None, False, 5).reset(seeds=[1]).shape == (1, 1)
        with pytest.raises(UserError, match="^make gave 1 environments at 3 calls, expected a new one at each$"):
            OwnKind(make).simulator("", 3, None, False, 5)


def test_a_start_that_is_not_finite_gets_one_line():
    class Nowhere(Line):
        def reset(self, *, seed=None, options=None):
            return np.array([[np.nan]]), {}

    with pytest.raises(
        UserError, match="^an observation at reset of the environment isn't finite in 1 numbers, expected 0$"
    ):
        OwnKind(Nowhere).simulator("", 2, None, False, 5).reset(np.zeros([2, 1]), [1, 2])


def test_an_action_of_one_is_a_bound_and_what_exceeds_it_is_cut():
    space = gymnasium.spaces.Box(np.float32([1, -4]), np.float32([3, 0]))
    for action, expected in (([0, 0], [2, -2]), ([1, -1], [3, -4]), ([-0.5, 0.5], [1.5, -1]), ([7, -7], [3, -4])):
        np.testing.assert_array_equal(in_space(space, np.array(action, np.float32)), np.float32(expected))


class Broken(Line):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, np.nan if self.place > 4 else reward, *rest


def test_what_is_not_finite_has_diverged():
    environments = OwnKind(Broken).simulator("", 2, None, False, 50)
    first = environments.reset(np.zeros([2, 1]), [1, 2])
    for _ in range(2):
        before = environments.observations
        after, rewards, terminated, _ = environments.step(np.array([[1.0], [-1.0]]))
    np.testing.assert_array_equal(environments.failed, [True, False])
    np.testing.assert_array_equal(terminated, environments.failed)
    assert rewards[0] == 0 and rewards[1] == -(9 - after[1, 0]) and after[0] == before[0] > first[0]
    assert environments.reset(where=environments.failed)[1] == after[1] and environments.steps.tolist() == [0, 2]


@pytest.mark.parametrize(
    "spaces, message",
    [
        (dict(observation_space=gymnasium.spaces.Discrete(4)), "observations are Discrete.4., expected a Box"),
        (dict(action_space=gymnasium.spaces.Discrete(4)), "actions are Discrete.4., expected a Box with finite bounds"),
        (dict(action_space=gymnasium.spaces.Box(-1, np.inf, [1])), "actions are Box.*, expected a Box with finite"),
    ],
)
def test_other_spaces_get_one_line(spaces, message):
    with pytest.raises(UserError, match=message):
        OwnKind(type("Other", (Line,), spaces))
