"""Meta-reinforcement learning on an environment of one's own: a vehicle in a wind that it can't see.

    python examples/robot.py

Each task is a wind. After one policy-gradient step on its own episodes the policy has to hold against it.
"""

import argparse

import gymnasium
import numpy as np

from rl.meta_rl import MetaRL
from rl.sampling.own import OwnKind
from rl.settings import resolve


class Windy(gymnasium.Env):
    """A vehicle on a plane is to stay in the middle. Observation: its place. Action: a push. Task: the wind."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, [2])
    action_space = gymnasium.spaces.Box(-0.1, 0.1, [2])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.wind = (options or {}).get("task", np.zeros(2))
        self.place = self.np_random.normal(0, 0.05, 2)
        return self.place, {}

    def step(self, action):
        self.place = self.place + action + self.wind
        return self.place, -np.linalg.norm(self.place), False, False, {}


def winds(rng, count):
    """[count, 2]: wherever they blow to, 0.05 a step strong."""
    angle = rng.uniform(0, 2 * np.pi, count)
    return 0.05 * np.stack([np.cos(angle), np.sin(angle)], 1)


def main(iterations, tasks=20, horizon=30):
    """Mean returns on new winds after 0 and 1 gradient steps."""
    settings = resolve("point", horizon=horizon, meta_batch_size=tasks)  # the rest as for 2-D navigation
    run = MetaRL(settings, kind=OwnKind(Windy, sample_tasks=winds))
    for i in range(iterations):
        row = run.iterate()
        print(f"{i + 1}: return {row['pre_return']:.1f} before the step, {row['post_return']:.1f} after it")
    new = winds(np.random.default_rng(7), tasks)
    returns = run.evaluate(tasks=new, learning_rates=[settings.inner_lr], rollouts=20).mean(1)
    print(f"on new winds: {returns[0]:.1f} before the step, {returns[1]:.1f} after it")
    return returns


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=30)
    main(parser.parse_args().iterations)
