"""The five experiments: how long an episode is, which goals training draws, and the 40 tasks of the published curves.

A task is a vector of G numbers: a goal position (G = 2), a goal velocity in m/s, or a direction, ±1 (G = 1).
Needs neither MuJoCo nor TensorFlow. Sources: [P] the paper, arXiv 1703.03400v3; [M] cbfinn/maml_rl; [D] worked out
from the published results' pickles.
"""

import reprlib
from dataclasses import dataclass

import numpy as np

from data_generators.errors import UserError

HORIZONS = {"point": 100, "cheetah_vel": 200, "cheetah_dir": 200, "ant_vel": 200, "ant_dir": 200}  # H: [P] A.2
DATASOURCES = tuple(HORIZONS)
TITLES = {
    "point": "2-D navigation",
    "cheetah_vel": "Half-cheetah, goal velocity",
    "cheetah_dir": "Half-cheetah, goal direction",
    "ant_vel": "Ant, goal velocity",
    "ant_dir": "Ant, goal direction",
}
NUM_TEST_TASKS = 40  # [M] maml_examples/test_maml_*.py


@dataclass(frozen=True)
class Goals:
    """Uniform on [low, high] in each of `size` coordinates; with a threshold, directions: −1 below it, else +1."""

    low: float
    high: float
    size: int = 1
    threshold: float | None = None

    def sample(self, rng, count):
        """float64 [count, G], pure in the NumPy generator `rng`."""
        drawn = rng.uniform(self.low, self.high, [count, self.size])
        return drawn if self.threshold is None else np.where(drawn < self.threshold, -1.0, 1.0)

    def check(self, tasks, count):
        """`tasks` as float64 [count, G]; UserError unless it is that, finite, and ±1 where tasks are directions."""
        numbers = f"{count * self.size} finite number(s)" if self.threshold is None else f"{count} times -1 or 1"
        try:
            array = np.asarray(tasks, np.float64)
        except (TypeError, ValueError, OverflowError):  # a text, numbers in rows of different lengths, too large a one
            shown = " ".join(reprlib.repr(tasks).split())
            raise UserError(f"task is {shown}, expected {numbers}") from None
        fits = array.size == count * self.size and np.isfinite(array).all()
        if not fits or (self.threshold is not None and not (np.abs(array) == 1).all()):
            shown = np.array2string(array, threshold=8).replace("\n", "")
            raise UserError(f"task is {shown}, expected {numbers}")
        return array.reshape(count, self.size)


# What training draws from. [M] maml_examples/point_env_randgoal.py and, in rllab/envs/mujoco/,
# half_cheetah_env_rand.py, half_cheetah_env_rand_direc.py, ant_env_rand.py, ant_env_rand_direc.py.
TRAINING = {
    "point": Goals(-0.5, 0.5, size=2),
    "cheetah_vel": Goals(0.0, 2.0),
    "cheetah_dir": Goals(0.0, 2.0, threshold=1.0),
    "ant_vel": Goals(0.0, 3.0),
    "ant_dir": Goals(0.0, 3.0, threshold=1.5),
}

# The test tasks are drawn with NumPy's legacy generator from this seed ([M] test_maml_*.py).
TEST_SEED = {"point": 1, "cheetah_vel": 1, "cheetah_dir": 1, "ant_vel": 1, "ant_dir": 2}
# The published ant-direction tasks are 20 backward, 20 forward [D]: the range and threshold that [M] had before
# 7a92e6e. Today's would give 25 and 15.
TEST_GOALS = TRAINING | {"ant_dir": Goals(0.1, 0.8, threshold=0.4)}


def published_tasks(name):
    """float64 [40, G]: the tasks of the published curves of one experiment."""
    return TEST_GOALS[name].sample(np.random.RandomState(TEST_SEED[name]), NUM_TEST_TASKS)
