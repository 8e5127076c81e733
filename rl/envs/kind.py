"""The five kinds of environment as records of formulas, which the single environment and the batched simulator share.

Letters of shapes: B environments, G numbers of a task, O of an observation, A of an action.

Actions are in the policy's units: ±1 are the bounds of the actuators, and what exceeds them is cut in the environment;
rewards see the cut actions. This is [M] rllab/envs/normalized_env.py, clip(low + (a + 1)/2 · (high − low), low, high),
as all bounds are symmetric. (Likelihoods belong to the actions before the cut: keep those.)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_generators.errors import UserError
from rl import tasks
from rl.envs import ant, half_cheetah, point
from rl.envs.robot import Robot


@dataclass(frozen=True)
class Kind:
    """What makes an environment. Its formulas take a `State` of arrays [B, ...], tasks [B, G], cut actions [B, A]."""

    name: str  # as on the command line
    id: str  # as registered with gymnasium
    observation_size: int  # O, without the task
    action_size: int  # A
    dt: float | None  # seconds of a step
    observe: Callable  # state -> [B, O]
    reward: Callable  # state after the step, tasks, actions -> [B]
    terminated: Callable  # state after the step, tasks -> bool [B]
    robot: Robot | None = None  # None: the point

    @property
    def horizon(self):
        """Steps of an episode that doesn't end before."""
        return tasks.HORIZONS[self.name]

    @property
    def goals(self):
        return tasks.TRAINING[self.name]

    @property
    def task_size(self):
        """G."""
        return self.goals.size

    def envs_per_task(self, rollouts):
        """How many environments episodes of a task are sampled from, where nothing else says it."""
        return rollouts

    def sample_tasks(self, rng, count):
        """float64 [count, G] from the task distribution, pure in the NumPy generator."""
        return self.goals.sample(rng, count)

    def published_tasks(self):
        """float64 [40, G]: the tasks of the published curves."""
        return tasks.published_tasks(self.name)


_CHEETAH = dict(
    observation_size=20,
    action_size=6,
    dt=0.01,
    observe=half_cheetah.observe,
    terminated=half_cheetah.terminated,
    robot=half_cheetah.ROBOT,
)
_ANT = dict(
    observation_size=125,
    action_size=8,
    dt=ant.TIMESTEP,
    observe=ant.observe,
    terminated=ant.terminated,
    robot=ant.ROBOT,
)
KINDS = {
    kind.name: kind
    for kind in (
        Kind("point", "maml/Point-v0", 2, 2, None, point.observe, point.reward, point.terminated),
        Kind("cheetah_vel", "maml/CheetahVel-v0", reward=half_cheetah.velocity_reward, **_CHEETAH),
        Kind("cheetah_dir", "maml/CheetahDir-v0", reward=half_cheetah.direction_reward, **_CHEETAH),
        Kind("ant_vel", "maml/AntVel-v0", reward=ant.velocity_reward, **_ANT),
        Kind("ant_dir", "maml/AntDir-v0", reward=ant.direction_reward, **_ANT),
    )
}


def get(name):
    """The Kind of that name; UserError if there is none."""
    if name not in KINDS:
        raise UserError(f"environment is {name!r}, expected one of {', '.join(KINDS)}")
    return KINDS[name]


def cut(actions):
    """`actions` as float64, cut to ±1."""
    return np.minimum(np.maximum(np.asarray(actions, np.float64), -1.0), 1.0)  # a third of np.clip's time for so few


def observe(kind, state, tasks, oracle):
    """[B, O]; an oracle's observations end with the task, [B, O + G]."""
    observations = kind.observe(state)
    return np.concatenate([observations, tasks], axis=1) if oracle else observations


def outcome(kind, state, tasks, actions, before, failed, oracle):
    """(observations [B, O], rewards [B], terminated bool [B], indices of the diverged) of the step that led to `state`.

    failed: indices of environments whose physics warned or failed. There, and where the observation is not finite, the
    simulation has diverged: the episode ends with reward 0 and the observation it had `before` the step.
    """
    observations = observe(kind, state, tasks, oracle)
    rewards = kind.reward(state, tasks, actions)
    terminated = kind.terminated(state, tasks)
    # A sum that is finite has finite terms, and takes less time than looking at each.
    if not len(failed) and np.isfinite(np.add.reduce(observations, axis=None)):
        return observations, rewards, terminated, failed
    diverged = np.union1d(failed, np.flatnonzero(~np.isfinite(observations).all(axis=1))).astype(int)
    observations[diverged] = before[diverged]
    rewards[diverged] = 0.0
    terminated[diverged] = True
    return observations, rewards, terminated, diverged
