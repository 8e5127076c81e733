"""Pictures of episodes that were played before, by playing their actions again in a gymnasium environment."""

from contextlib import closing
from typing import NamedTuple

import gymnasium
import numpy as np

from rl import envs


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
    """uint8 [n, height, width, 3] of each Script: its n frames. UserError, in one line, where there is no renderer."""
    with closing(gymnasium.make(envs.get(name).id, render_mode="rgb_array").unwrapped) as env:
        return [_frames(env, script) for script in scripts]


def _frames(env, script):
    env.reset(seed=int(script.seed), options={"task": script.task})
    frames = [env.render()] if 0 in script.times else []
    for t, action in enumerate(script.actions, 1):
        env.step(action)
        if t in script.times:
            frames.append(env.render())
    return np.stack(frames)
