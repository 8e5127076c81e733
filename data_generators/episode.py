"""What every data generator yields and every learner eats: a batch of tasks."""

from typing import Any, NamedTuple


class Episode(NamedTuple):
    """A batch of M few-shot tasks.

    Classification, N ways, K support and Q query examples a class: x is float32 [M, N·K, H, W, C] with pixels in
    [0, 1], y is one-hot float32 [M, N·K, N]; the query set has Q in place of K; examples lie class by class.
    Regression: x is [M, K, inputs], y is [M, K, outputs].
    """

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any
