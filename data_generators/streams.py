"""Random streams: every draw is a pure function of (split, seed, step), so runs can be killed, resumed and compared."""

import numpy as np

# Their places in here are part of the seed: another order would draw other tasks.
SPLITS = ("train", "val", "test")

# What is drawn. Part of the seed, so that a task and a batch of the same step share no random numbers.
TASKS, BATCHES, DISTORTIONS = (), (1,), (2,)


def generator(split, seed, step, drawn=TASKS):
    """A NumPy generator of its own for each (split, seed, step, drawn).

    split: one of SPLITS
    seed: an integer from 0
    step: an integer from 0
    drawn: TASKS, BATCHES or DISTORTIONS
    """
    sequence = np.random.SeedSequence((seed, SPLITS.index(split), step), spawn_key=drawn)
    return np.random.Generator(np.random.Philox(sequence))
