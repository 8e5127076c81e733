"""How a policy is tested.

Sources: [M] cbfinn/maml_rl, maml_examples/test_maml_point.py, test_maml_cheetah.py, test_maml_cheetah_direc.py,
test_maml_ant.py, test_maml_ant_direc.py.
"""

from dataclasses import dataclass
from typing import NamedTuple

from data_generators.errors import UserError
from maml.runs.checkpoints import Best, Latest
from rl.settings import preset
from rl.tasks import NUM_TEST_TASKS


@dataclass(frozen=True)
class Protocol:
    """Plain gradient steps on each of several tasks, fresh episodes before each of them and after the last."""

    steps: int  # gradient steps, 0 for the oracle
    first_lr: float  # step size of the first
    later_lr: float  # of those after it
    rollouts: int  # K, episodes of horizon H: K·H steps a task before each gradient step
    tasks: int  # the first so many of the published curves' tasks
    checkpoint: Best | Latest | int = Best()  # by return after adaptation in training, the newest, or an iteration
    changes: str = ""  # how it differs otherwise from the usual protocol, as in the names of tables and films

    def __post_init__(self):
        if not 2 <= self.tasks <= NUM_TEST_TASKS:
            raise UserError(f"eval_tasks is {self.tasks}, expected 2 to {NUM_TEST_TASKS}, as the published curves have")
        if self.rollouts < 1:
            raise UserError(f"update_batch_size is {self.rollouts}, expected at least 1")
        if not 0 < self.first_lr < float("inf"):
            raise UserError(f"update_lr is {self.first_lr}, expected a positive number")

    @property
    def suffix(self):
        """Of the tables' names; empty for the usual protocol."""
        if isinstance(self.checkpoint, int):
            return f"_iteration_{self.checkpoint}{self.changes}"
        return ("_latest" if isinstance(self.checkpoint, Latest) else "") + self.changes

    def is_headline(self, settings):
        """Whether a test by it is the one that is quoted."""
        return not self.suffix

    @property
    def learning_rates(self):
        """Step sizes of the gradient steps."""
        return [self.first_lr, *[self.later_lr] * (self.steps - 1)][: self.steps]


class _Published(NamedTuple):
    """How the curves of an experiment were made: gradient steps, K, and the first step size of the methods whose
    training has none; the others are tested with α of their training."""

    steps: int
    rollouts: int
    first_lr: dict


_PUBLISHED = {
    "point": _Published(4, 40, {"pretrained": 0.5, "random": 0.5}),
    "cheetah_vel": _Published(3, 20, {"pretrained": 0.02, "random": 0.1}),
    "cheetah_dir": _Published(3, 20, {"pretrained": 0.2, "random": 1.0}),
    "ant_vel": _Published(3, 20, {"pretrained": 0.2, "random": 1.0}),
    "ant_dir": _Published(3, 40, {"pretrained": 0.2, "random": 1.0}),
}


def protocol_of(settings, rollouts=None, first_lr=None, tasks=None, checkpoint=Protocol.checkpoint):
    """The Protocol of a run: the published curve's; what is adapted in training with another α or K, with those.

    What is given replaces it, and shows in the suffix.
    """
    usual = _usual(settings)
    asked = {"rollouts": rollouts, "tasks": tasks, "lr": first_lr}
    chosen = {what: usual[what] if value is None else value for what, value in asked.items()}
    changes = "".join(f"_{what}_{chosen[what]:g}" for what in usual if chosen[what] != usual[what])
    # [M] 0.01 in the last script for ant direction, and MAML's published curve is flat from there on; 0.5 in the other
    # scripts, and in that one when the curves of its baselines were made.
    decay = 0.01 if (settings.datasource, settings.method) == ("ant_dir", "maml") else 0.5
    return Protocol(
        steps=0 if settings.method == "oracle" else _PUBLISHED[settings.datasource].steps,
        first_lr=chosen["lr"],
        later_lr=chosen["lr"] * decay,
        rollouts=chosen["rollouts"],
        tasks=chosen["tasks"],
        checkpoint=checkpoint,
        changes=changes,
    )


def _usual(settings):
    """{"rollouts", "tasks", "lr"} where none is given."""
    published, paper = _PUBLISHED[settings.datasource], preset(settings.datasource, settings.method)
    first_lr = published.first_lr.get(settings.method, settings.inner_lr)
    with_its_own = paper.get("num_updates", 1) > 0 and settings.rollouts != paper.get("rollouts", settings.rollouts)
    rollouts = settings.rollouts if with_its_own else published.rollouts
    return {"rollouts": rollouts, "tasks": NUM_TEST_TASKS, "lr": first_lr}
