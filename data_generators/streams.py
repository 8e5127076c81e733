"""Random streams: every draw is a pure function of (split, seed, step), so runs can be killed, resumed and compared."""

import numpy as np

# Their places in here are part of the seed: another order would draw other tasks.
SPLITS = ("train", "val", "test")


def generator(split, seed, step):
    """A NumPy generator of its own for each (split, seed, step)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, SPLITS.index(split), step))))
