"""What every data generator yields and every learner eats: a batch of tasks, or a batch of labelled examples."""

from typing import Any, NamedTuple


class Episode(NamedTuple):
    """A batch of M few-shot tasks.

    Classification, N ways, K support and Q query examples a class: x is float32 [M, N·K, H, W, C] with pixels in
    [0, 1], y is one-hot float32 [M, N·K, N]; the query set has Q in place of K. Examples lie class by class, those of a
    shuffled support set in a random order. Regression: x is [M, K, inputs], y is [M, K, outputs].
    """

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any


class Batch(NamedTuple):
    """B labelled examples of all classes of a split, for ordinary supervised training.

    x is float32 [1, B, H, W, C] with pixels in [0, 1], y is one-hot float32 [1, B, classes]. The leading 1 stands where
    an Episode has M: a batch then goes through the same chunks, replicas and losses as a single task does.
    """

    x: Any
    y: Any
