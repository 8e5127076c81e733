"""Pictures of episodes that were played before, by playing their actions again in a gymnasium environment.

Robots are drawn in a process of their own, without TensorFlow: Mesa's software renderer and TensorFlow each bring an
LLVM, and in one process the second one to be used crashes it.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np

from data_generators.errors import UserError
from rl import envs

ROOT = Path(__file__).parents[2]


class Script(NamedTuple):
    """What decides an episode, and after which numbers of steps a frame is wanted."""

    task: np.ndarray  # [G], numbers that make a task
    seed: int  # of `reset`
    actions: np.ndarray  # [T, A]
    times: list  # of steps, ascending, 0 to T


def check_renderer(name):
    """UserError, in one line, where environments of that name can't be drawn; a second's work, before a training."""
    kind = envs.get(name)
    draw(name, [Script(kind.published_tasks()[0], 0, np.zeros([0, kind.action_size]), [0])])


def draw(name, scripts):
    """uint8 [n, height, width, 3] of each Script: its n frames. UserError, in one line, where there is no renderer.

    MUJOCO_GL says which renderer draws robots; on Linux, EGL unless it is set.
    """
    if envs.get(name).robot is None:
        return _draw(name, scripts)
    with tempfile.TemporaryDirectory() as folder:
        arrays = {f"{field}{i}": np.asarray(v) for i, s in enumerate(scripts) for field, v in s._asdict().items()}
        np.savez(Path(folder) / "scripts.npz", **arrays)
        variables = {"MUJOCO_GL": "egl"} if sys.platform == "linux" else {}
        variables |= os.environ
        variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "rl.film.frames", name, str(len(scripts)), os.path.abspath(folder)]
        child = subprocess.run(command, check=False, capture_output=True, text=True, env=variables, cwd=folder)
        if child.returncode:
            said = (child.stderr.strip().splitlines() or [""])[-1].partition("UserError: ")[2]
            raise UserError(
                said
                or f"the renderer of MUJOCO_GL={variables.get('MUJOCO_GL', '')!r} crashed, exit status "
                f"{child.returncode}, expected MUJOCO_GL=egl or osmesa and its library"
            )
        with np.load(Path(folder) / "frames.npz") as drawn:
            return [drawn[f"frames{i}"] for i in range(len(scripts))]


def _draw(name, scripts):
    env = gymnasium.make(envs.get(name).id, render_mode="rgb_array").unwrapped
    drawn = []
    for script in scripts:
        env.reset(seed=int(script.seed), options={"task": script.task})
        frames = [env.render()] if 0 in script.times else []
        for t, action in enumerate(script.actions, 1):
            env.step(action)
            if t in script.times:
                frames.append(env.render())
        drawn.append(np.stack(frames))
    env.close()
    return drawn


def _main(name, count, folder):
    with np.load(Path(folder) / "scripts.npz") as arrays:
        scripts = [Script(*(arrays[f"{field}{i}"] for field in Script._fields)) for i in range(int(count))]
    frames = _draw(name, scripts)
    np.savez(Path(folder) / "frames.npz", **{f"frames{i}": drawn for i, drawn in enumerate(frames)})


if __name__ == "__main__":
    _main(*sys.argv[1:])
