"""β over a training: the schedules by name, of the settings of `maml.optimizers`' functions."""

from collections.abc import Callable
from typing import NamedTuple

from maml import optimizers


class Schedule(NamedTuple):
    """A schedule that a run may name.

    make: (Training, iterations) -> function of the iteration (see `maml.optimizers`); None: β stays as it is.
    setting: of Training, the one that is this schedule's own; None: it has none.
    by_length: whether it depends on how long the training is, which is fixed then.
    """

    make: Callable | None
    setting: str | None = None
    by_length: bool = False


SCHEDULES = {
    "constant": Schedule(None),
    "linear": Schedule(lambda training, total: optimizers.linear(training.meta_lr, total), by_length=True),
    "averaging": Schedule(lambda training, _: optimizers.averaging(training.meta_lr)),
    "halving": Schedule(
        lambda training, _: optimizers.stepwise(training.meta_lr, 0.5, training.halve_every), "halve_every"
    ),
    "decaying": Schedule(
        lambda training, _: optimizers.stepwise(training.meta_lr, 0.99, training.decay_every), "decay_every"
    ),
    "cosine": Schedule(
        lambda training, total: optimizers.cosine(training.meta_lr, training.final_lr, total), "final_lr", True
    ),
}
OF_SCHEDULES = {schedule.setting: name for name, schedule in SCHEDULES.items() if schedule.setting}
