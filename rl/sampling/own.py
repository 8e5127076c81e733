"""Gymnasium environments of one's own, in place of the five experiments: for training, and to adapt a policy to.

Letters of shapes: B environments, G numbers of a task, O of an observation, A of an action.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import gymnasium
import numpy as np

from data_generators.errors import UserError
from rl.envs.kind import cut


@dataclass(frozen=True)
class OwnKind:
    """What `rl.envs.kind.Kind` is for the experiments: how environments are made, and which tasks there are.

    make: () -> a new gymnasium.Env. Its observations and actions are Boxes, of the actions with finite bounds: the
        policy's ±1, and what exceeds them is cut. An episode ends where the environment says that it is terminated or
        truncated, and at the horizon of the settings.
    sample_tasks: (NumPy generator, count) -> tasks [count, G]. `reset(options={"task": task})` then begins an episode
        of one, float64 [G]. None: the environment is the only task, and is told none.

    What is trained or adapted can be repeated if all that is random in the environment follows from `reset(seed=…)`.
    UserError for other spaces.
    """

    make: Callable
    sample_tasks: Callable | None = None

    def __post_init__(self):
        if self.sample_tasks is None:
            object.__setattr__(self, "sample_tasks", _only_task)  # frozen for others
        observations, actions = self._first.observation_space, self._first.action_space
        if not isinstance(observations, gymnasium.spaces.Box):
            raise UserError(f"the environment's observations are {observations}, expected a Box")
        if not isinstance(actions, gymnasium.spaces.Box) or not actions.is_bounded():
            raise UserError(f"the environment's actions are {actions}, expected a Box with finite bounds")

    @cached_property
    def _first(self):
        return self.make()

    @property
    def observation_size(self):
        return int(np.prod(self._first.observation_space.shape))

    @property
    def action_size(self):
        return int(np.prod(self._first.action_space.shape))

    @cached_property
    def task_size(self):
        return np.shape(self.sample_tasks(np.random.default_rng(0), 1))[1]

    def envs_per_task(self, rollouts):
        """How many environments episodes of a task are sampled from, where nothing else says it."""
        return 1

    def simulator(self, name, num_envs, num_threads, oracle, horizon):
        """`Environments`, B of them. Arguments as of `Simulator`, whose name and threads are of no use here."""
        return Environments(self, num_envs, oracle, horizon)

    def options(self, task):
        """Those of `reset` for a task."""
        return None if self.sample_tasks is _only_task else {"task": task}


def _only_task(rng, count):
    """[count, 1], zeros: nobody is told them."""
    return np.zeros([count, 1])


class Environments:
    """B environments that are used as a `Simulator` is, stepped one after the other.

    A step after which an observation or the reward is not finite has diverged: the episode ends there with reward 0 and
    the observation it had before. UserError where they are not B of them, and for a start that is not finite.
    """

    def __init__(self, kind, num_envs, oracle, horizon):
        self.kind, self.oracle, self.horizon = kind, oracle, horizon
        self._envs = [kind.make() for _ in range(num_envs)]
        if (different := len({id(env.unwrapped) for env in self._envs})) < num_envs:
            raise UserError(f"make gave {different} environments at {num_envs} calls, expected a new one at each")
        self.tasks = np.full([num_envs, kind.task_size], np.nan)
        self.observations = np.full([num_envs, kind.observation_size + oracle * kind.task_size], np.nan)
        self.steps = np.zeros(num_envs, np.int64)
        self.failed = np.zeros(num_envs, bool)

    def reset(self, tasks=None, seeds=None, where=None):
        """As `Simulator.reset`."""
        ids = np.arange(len(self._envs)) if where is None else np.arange(len(self._envs))[where]
        if tasks is not None:
            self.tasks[ids] = tasks
        self.observations = self.observations.copy()
        for number, i in enumerate(ids):
            seed = None if seeds is None else int(seeds[number])
            observation, _ = self._envs[i].reset(seed=seed, options=self.kind.options(self.tasks[i].copy()))
            self.observations[i] = self._seen(observation, i)
            if bad := np.count_nonzero(~np.isfinite(self.observations[i])):
                raise UserError(f"an observation at reset of the environment isn't finite in {bad} numbers, expected 0")
        self.steps[ids] = 0
        return self.observations

    def step(self, actions):
        """As `Simulator.step`; what an environment truncates counts as its horizon."""
        self.steps += 1
        self.observations = before = self.observations.copy()  # which the caller may have kept
        rewards, terminated, truncated = np.zeros(len(before)), np.zeros(len(before), bool), self.steps >= self.horizon
        self.failed = np.zeros(len(before), bool)
        for i, (env, action) in enumerate(zip(self._envs, actions)):
            observation, reward, terminated[i], over, _ = env.step(in_space(env.action_space, action))
            truncated[i] |= over
            seen = self._seen(observation, i)
            if np.isfinite(seen).all() and np.isfinite(reward):
                self.observations[i], rewards[i] = seen, reward
            else:
                self.failed[i] = terminated[i] = True
        return self.observations, rewards, terminated, truncated

    def _seen(self, observation, i):
        flat = np.asarray(observation, np.float64).ravel()
        return np.concatenate([flat, self.tasks[i]]) if self.oracle else flat


def in_space(space, action):
    """A policy's action [A] as one of a Box: ±1 are its bounds, and what exceeds them is cut."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    scaled = (low + high) / 2 + (high - low) / 2 * cut(action).reshape(space.shape)
    return scaled.astype(space.dtype)
