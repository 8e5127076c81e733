"""The ant's formulas. [M] rllab/envs/mujoco/ant_env_rand.py and ant_env_rand_direc.py.

Every function takes a leading axis of B robots. Positions in m or rad, velocities in m/s or rad/s, forces
in N, torques in N·m.
"""

from typing import NamedTuple

import mujoco
import numpy as np

from rl.envs.robot import TORSO, Robot

CONTROL_COST = 0.005  # [M]: 0.5 · 1e-2, of controls divided by their bound
CONTACT_COST = 0.0005  # [M]: 0.5 · 1e-3, of contact forces cut to ±1
SURVIVAL = 0.05  # [M]; paid on the last step too
VELOCITY_BONUS = 1.0  # [M]; in the goal-velocity task only, beside SURVIVAL
HEIGHTS = (0.2, 1.0)  # of the torso; elsewhere the episode ends
TIMESTEP = 0.02  # [M] vendor/mujoco_models/ant.xml
SOLIMP = (0.8, 0.8, 0.01, 0.5, 2.0)  # ibid.: solimp=".8 .8 .01", and MuJoCo's defaults for what came after 1.31


class State(NamedTuple):
    """MuJoCo's fields of the same names. The torso's subtree is the whole robot."""

    qpos: np.ndarray  # [B, 15]
    qvel: np.ndarray  # [B, 14]
    subtree_com: np.ndarray  # [B, 14, 3]
    subtree_linvel: np.ndarray  # [B, 14, 3]
    xmat: np.ndarray  # [B, 14, 9]
    cfrc_ext: np.ndarray  # [B, 14, 6]


def _patch(spec):
    """From gymnasium's ant to [M]'s. Its gear 150 with controls in ±1 is [M]'s gear 1 with ±150."""
    spec.option.timestep = TIMESTEP
    for geom in spec.geoms:
        geom.solimp = SOLIMP


ROBOT = Robot(
    xml="ant.xml",
    start=(0, 0, 0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1),  # the XML's init_qpos, which gymnasium's ant ignores
    state=State,
    stage=mujoco.mjtStage.mjSTAGE_ACC,  # contact forces belong to accelerations
    patch=_patch,
)


def observe(state):
    """[B, 125]: qpos (15), qvel (14), contact forces on all bodies, the world's zeros first (84), the torso's rotation
    matrix (9), centre of mass (3)."""
    parts = [state.qpos, state.qvel, _contact_forces(state), state.xmat[:, TORSO], state.subtree_com[:, TORSO]]
    return np.concatenate(parts, axis=1)


def velocity_reward(state, tasks, actions):
    """[B]: VELOCITY_BONUS, minus how far the centre of mass's x velocity is off the goal, SURVIVAL, minus costs."""
    return VELOCITY_BONUS - np.abs(_velocity(state) - tasks[:, 0]) + SURVIVAL - _costs(state, actions)


def direction_reward(state, tasks, actions):
    """[B]: the centre of mass's velocity in the task's direction, SURVIVAL, minus costs."""
    return tasks[:, 0] * _velocity(state) + SURVIVAL - _costs(state, actions)


def terminated(state, tasks):
    """bool [B]: the torso is out of HEIGHTS, or its height is no number."""
    low, high = HEIGHTS
    height = state.qpos[:, 2]
    return ~((height >= low) & (height <= high))


def _velocity(state):
    return state.subtree_linvel[:, TORSO, 0]


def _costs(state, actions):
    forces = _contact_forces(state)
    return CONTROL_COST * np.vecdot(actions, actions) + CONTACT_COST * np.vecdot(forces, forces)


def _contact_forces(state):
    """[B, 84]: torque and force on each of 14 bodies, each number cut to ±1."""
    return np.clip(state.cfrc_ext, -1.0, 1.0).reshape(len(state.cfrc_ext), -1)
