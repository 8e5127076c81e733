"""Environments of the paper's five reinforcement-learning experiments, registered with gymnasium when this is imported.

    name          id                     task                        observation   action   steps    step
    point         maml/Point-v0          goal in [−0.5, 0.5]²                  2        2      100
    cheetah_vel   maml/CheetahVel-v0     goal velocity in [0, 2]              20        6      200    10 ms
    cheetah_dir   maml/CheetahDir-v0     direction, −1 or 1                   20        6      200    10 ms
    ant_vel       maml/AntVel-v0         goal velocity in [0, 3]             125        8      200    20 ms
    ant_dir       maml/AntDir-v0         direction, −1 or 1                  125        8      200    20 ms

    env = gymnasium.make("maml/CheetahVel-v0", oracle=False, render_mode=None)
    observation, info = env.reset(seed=1, options={"task": 1.5})   # info["task"] is the task, [G]

`rl.sampling` steps many of one name together, bit for bit the same.
"""

import os

from data_generators.errors import UserError

try:
    import mujoco  # noqa: F401
except ImportError as error:
    raise UserError(
        f"MuJoCo can't be imported ({error}), expected mujoco 4, which needs Python 3.11 or newer"
    ) from error
except (RuntimeError, AttributeError) as error:  # it loads the renderer that MUJOCO_GL names, wanted or not
    raise UserError(
        f"MuJoCo can't load the renderer MUJOCO_GL={os.environ.get('MUJOCO_GL')!r} ({error}), "
        "expected egl, osmesa or glfw, with its library, or nothing"
    ) from error

import gymnasium

from rl.envs.kind import KINDS, get

__all__ = ["KINDS", "get"]

for _kind in KINDS.values():
    if _kind.id not in gymnasium.registry:
        gymnasium.register(
            _kind.id,
            entry_point="rl.envs.single:RobotEnv" if _kind.robot else "rl.envs.single:PointEnv",
            max_episode_steps=_kind.horizon,
            kwargs={"name": _kind.name},
        )
