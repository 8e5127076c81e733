"""Sine waves to regress: y = A·sin(x − φ). [P] 5.1; ranges as in the authors' data_generator.py."""

import numpy as np

from data_generators import streams
from data_generators.episode import Episode

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, np.pi)
INPUT = (-5.0, 5.0)


class SinusoidTasks:
    """Tasks of one sine wave each.

    There is no fixed data: "train", "val" and "test" are separate streams of one distribution.
    oracle: inputs carry the task's amplitude and phase, [x, A, φ], instead of x alone.
    """

    def __init__(self, oracle=False):
        self.oracle = oracle
        self.input_shape = (3 if oracle else 1,)

    def check(self, split, num_shots, num_queries, num_ways=None):
        """Never raises: any number of points can be drawn."""

    def sample(  # noqa: PLR0913  (as ImageTasks.sample)
        self,
        split,
        seed,
        step,
        num_tasks,
        num_shots,
        num_queries,
        num_ways=None,
        shuffled=False,
        distorted=None,
        part=None,
    ):
        """An Episode, pure in its arguments: x float32 [M, K, 1 or 3], y [M, K, 1]; the query set has Q points.

        split: "train", "val" or "test"
        seed, step: which of the split's episodes
        num_tasks, num_shots, num_queries: M, K and Q
        num_ways: ignored; there are no classes. Here so that images and waves are sampled alike
        shuffled, distorted: have no effect, as the points are drawn at random and are no images
        part: a slice of the tasks, which alone are returned; None: all
        """
        rng = streams.generator(split, seed, step)
        amplitude = rng.uniform(*AMPLITUDE, [num_tasks, 1, 1])
        phase = rng.uniform(*PHASE, [num_tasks, 1, 1])
        x = rng.uniform(*INPUT, [num_tasks, num_shots + num_queries, 1])
        y = amplitude * np.sin(x - phase)
        if self.oracle:
            x = np.concatenate([x, np.broadcast_to(amplitude, x.shape), np.broadcast_to(phase, x.shape)], -1)
        x, y = (values.astype(np.float32)[part or slice(None)] for values in (x, y))
        return Episode(x[:, :num_shots], y[:, :num_shots], x[:, num_shots:], y[:, num_shots:])
