"""The half-cheetah's formulas. [M] rllab/envs/mujoco/half_cheetah_env_rand.py and half_cheetah_env_rand_direc.py.

Every function takes a leading axis of B robots. Positions in m or rad, velocities in m/s or rad/s.
"""

from typing import NamedTuple

import mujoco
import numpy as np

from rl.envs.robot import TORSO, Robot

CONTROL_COST = 0.05  # [M]: 1e-1 · 0.5


class State(NamedTuple):
    """MuJoCo's fields of the same names. The torso's subtree is the whole robot."""

    qpos: np.ndarray  # [B, 9]
    qvel: np.ndarray  # [B, 9]
    subtree_com: np.ndarray  # [B, 8, 3]
    subtree_linvel: np.ndarray  # [B, 8, 3]


ROBOT = Robot(
    xml="half_cheetah.xml",  # timestep 0.01, actuators ±1, the same as [M]'s but for a camera
    start=(0.0,) * 9,
    state=State,
    stage=mujoco.mjtStage.mjSTAGE_VEL,
)


def observe(state):
    """[B, 20]: qpos without the root's x (8), qvel (9), centre of mass (3)."""
    return np.concatenate([state.qpos[:, 1:], state.qvel, state.subtree_com[:, TORSO]], axis=1)


def velocity_reward(state, tasks, actions):
    """[B]: minus how far the centre of mass's x velocity is off the goal, minus the control cost."""
    return -np.abs(_velocity(state) - tasks[:, 0]) - _control_cost(actions)


def direction_reward(state, tasks, actions):
    """[B]: the centre of mass's velocity in the task's direction, minus the control cost."""
    return tasks[:, 0] * _velocity(state) - _control_cost(actions)


def terminated(state, tasks):
    """bool [B]: never."""
    return np.zeros(len(tasks), bool)


def _velocity(state):
    return state.subtree_linvel[:, TORSO, 0]


def _control_cost(actions):
    return CONTROL_COST * np.vecdot(actions, actions)
