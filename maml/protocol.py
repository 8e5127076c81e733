"""How a trained network is tested."""

from dataclasses import dataclass
from pathlib import Path

from data_generators.errors import UserError

SINUSOID_SHOTS = (5, 10, 20)  # [P] 5.1, figure 3


@dataclass(frozen=True)
class Protocol:
    """How a trained network is tested. Defaults are the paper's.

    split: "test" or "val". shots: K, one curve each; the first is the headline. queries: query examples a class (None:
    K). tasks: how many. inner_lr: α (None: as in training; for a baseline, tuned on validation tasks).
    checkpoint: "best" by validation, "latest", an iteration, or the Path of an authors' checkpoint. transductive: a task's
    queries are normalised together, as in the paper; False: each by itself, with the statistics of the support set.
    Raises UserError for values that can't be.
    """

    split: str
    shots: tuple
    queries: int | None = None
    tasks: int = 600
    inner_lr: float | None = None
    checkpoint: object = "best"
    transductive: bool = True

    def __post_init__(self):
        counts = [("update_batch_size", shots) for shots in self.shots]
        counts += [("eval_tasks", self.tasks), ("eval_queries", 1 if self.queries is None else self.queries)]
        for name, count in counts:
            if count < 1:
                raise UserError(f"{name} is {count}, expected at least 1")
        if self.inner_lr is not None and not 0 < self.inner_lr < float("inf"):
            raise UserError(f"update_lr is {self.inner_lr}, expected a positive number")

    @property
    def suffix(self):
        """Of the tables' names: empty for the checkpoint, step size and mode that a run is tested with by default."""
        suffix = {"best": "", "latest": "_latest"}.get(self.checkpoint, f"_iteration_{self.checkpoint}")
        suffix = "" if isinstance(self.checkpoint, Path) else suffix
        suffix += "" if self.transductive else "_one_at_a_time"
        return suffix + ("" if self.inner_lr is None else f"_lr_{self.inner_lr:g}")

    def is_headline(self, config):
        """Whether this is how the run's one quotable number is measured, whatever the number of tasks."""
        shots = headline_shots(config)[0]
        return (self.split, self.shots[0], self.suffix) == ("test", shots, "") and self.queries in (None, shots)


def headline_shots(config):
    """K at test when nothing else is asked for; the first is the headline's."""
    if config.classification:
        return (config.update_batch_size,)
    return tuple(dict.fromkeys((*SINUSOID_SHOTS, config.update_batch_size)))
