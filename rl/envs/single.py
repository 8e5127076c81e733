"""The gymnasium environments, one robot or point each."""

import gymnasium
import mujoco
import numpy as np

from data_generators.errors import UserError
from rl.envs import kind as kinds
from rl.envs import offscreen, point

# MuJoCo takes larger positions and velocities for a divergence, so this bounds what can be observed.
LIMIT = mujoco.mjMAXVAL
HEIGHT, WIDTH = 360, 480  # of a rendered robot
SIZE = 240  # of a rendered point


class TaskEnv(gymnasium.Env):
    """What the environments have in common: the task.

    The task is set by `reset(options={"task": ...})` and stays until another is given; `info["task"]`, float64 [G],
    shows it. Where none was ever given it is drawn from the task distribution with the environment's own generator, at
    the first reset and at every reset with a seed. `info["diverged"]` tells of a step at which the simulation failed:
    the episode ends there, with reward 0. With oracle=True the task is appended to the observations.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, name, oracle=False, render_mode=None):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UserError(f"render_mode is {render_mode!r}, expected rgb_array, or None")
        self.kind, self.oracle, self.render_mode = kinds.get(name), oracle, render_mode
        size = self.kind.observation_size + oracle * self.kind.goals.size
        self.observation_space = gymnasium.spaces.Box(-LIMIT, LIMIT, [size], np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, [self.kind.action_size], np.float32)
        self._task, self._task_given = None, False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        options = options or {}
        if unknown := set(options) - {"task"}:
            raise UserError(f"reset options have {', '.join(sorted(map(str, unknown)))}, expected task alone")
        if "task" in options:
            self._task, self._task_given = self.kind.goals.check(options["task"], 1), True
        self._start()
        if self._task is None or (seed is not None and not self._task_given):
            self._task = self.kind.sample_tasks(self.np_random, 1)
        self._observation = kinds.observe(self.kind, self._state(), self._task, self.oracle)
        return self._observation[0].copy(), self._info(False)

    def step(self, action):
        actions = kinds.cut(action)[None]
        failed = [0] if self._advance(actions) else []
        self._observation, reward, terminated, diverged = kinds.outcome(
            self.kind, self._state(), self._task, actions, self._observation, failed, self.oracle
        )
        return self._observation[0].copy(), float(reward[0]), bool(terminated[0]), False, self._info(len(diverged) > 0)

    def __getstate__(self):
        """For `copy.deepcopy` and pickle: all but the formulas, which are looked up again by their name."""
        return {**self.__dict__, "kind": self.kind.name}

    def __setstate__(self, state):
        self.__dict__.update(state, kind=kinds.get(state["kind"]))

    def _info(self, diverged):
        return {"task": self._task[0].copy(), "diverged": diverged}


class PointEnv(TaskEnv):
    """2-D navigation, `rl.envs.point`."""

    def _start(self):
        self._position = np.array([point.START])
        self._path = [self._position[0]]  # for pictures

    def _advance(self, actions):
        self._position = point.advance(self._state(), actions)
        self._path.append(self._position[0])
        return False

    def _state(self):
        return point.State(self._position)

    def render(self):
        if self.render_mode == "rgb_array":
            return point.draw(self._path, self._task[0], SIZE)


class RobotEnv(TaskEnv):
    """A robot in MuJoCo: `rl.envs.half_cheetah`, `rl.envs.ant`. `model` and `data` are MuJoCo's."""

    def __init__(self, name, oracle=False, render_mode=None):
        super().__init__(name, oracle, render_mode)
        self.metadata = {**self.metadata, "render_fps": round(1 / self.kind.dt)}
        self.model = self.kind.robot.load()
        self.data = mujoco.MjData(self.model)
        self._renderer = self._new_renderer()
        self._look_at_data()

    def _look_at_data(self):
        """Makes what belongs to `data` and can't be copied with it: live views, and MuJoCo's functions."""
        at_acceleration = self.kind.robot.stage == mujoco.mjtStage.mjSTAGE_ACC
        self._derive = mujoco.mj_forward if at_acceleration else mujoco.mj_step1
        fields = self.kind.robot.state._fields
        self._state_now = self.kind.robot.state(*(getattr(self.data, field)[None] for field in fields))
        self._warnings = self.data.warning.number

    def __getstate__(self):
        left = ("_derive", "_state_now", "_warnings", "_renderer")
        return {name: value for name, value in super().__getstate__().items() if name not in left}

    def __setstate__(self, state):
        super().__setstate__(state)
        self._renderer = self._new_renderer()
        self._look_at_data()

    def _new_renderer(self):
        return offscreen.Renderer(self.model, HEIGHT, WIDTH) if self.render_mode == "rgb_array" else None

    def _start(self):
        mujoco.mj_resetData(self.model, self.data)
        (self.data.qpos,), (self.data.qvel,) = self.kind.robot.draw_starts(self.model, [self.np_random])
        self._derive(self.model, self.data)

    def _advance(self, actions):
        self.data.ctrl = actions[0]
        mujoco.mj_step(self.model, self.data)
        self._derive(self.model, self.data)
        failed = self._warnings.any()
        self._warnings[:] = 0
        return failed

    def _state(self):
        return self._state_now

    def render(self):
        """uint8 [360, 480, 3] from the camera that follows the robot."""
        if self._renderer:
            return self._renderer.draw(self.data)

    def close(self):
        if self._renderer:
            self._renderer.close()
            self._renderer = None
