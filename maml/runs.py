"""What a run of any kind has: a folder with its settings, metrics and checkpoints, from which it goes on."""

import itertools
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError
from maml import records
from maml.checkpoints import Checkpoints


class State(tf.Module):
    """What a checkpoint of a run holds. trainer: θ, Adam's moments and the iteration."""

    def __init__(self, trainer):
        super().__init__()
        self.trainer = trainer
        self.best_iteration = tf.Variable(-1, dtype=tf.int64)  # by the run's own score; -1 before there is one
        self.best_score = tf.Variable(-np.inf, dtype=tf.float64)
        self.seconds = tf.Variable(0.0, dtype=tf.float64)  # of training so far, over all starts


def restore(state, checkpoints, checkpoint):
    """Sets `state` to a checkpoint: "best" by the run's own score (the latest where it has none), "latest", or an iteration.

    Returns the label for the record. Raises UserError where there is none.
    """
    if checkpoint not in ("best", "latest"):
        checkpoints.restore(checkpoint)
        return f"iteration {checkpoint}"
    if checkpoints.restore_latest() is None:
        raise UserError(
            f"no checkpoint in {checkpoints.folder}: nothing is trained there yet, or not on this machine; expected a run that was trained"
        )
    best, seconds = int(state.best_iteration), float(state.seconds)
    if checkpoint == "latest" or best < 0:
        return "latest"
    if best != int(state.trainer.iteration):
        try:
            checkpoints.restore(best)
            state.seconds.assign(seconds)  # choosing the best took the whole run
        except UserError as error:
            print(f"{error}; taking the latest checkpoint instead", file=sys.stderr)
            checkpoints.restore_latest()
            return "latest"
    return "best"


class Run:
    """Base of a run: its settings, its state and its folder.

    config: Settings with `total_iterations`. folder: where everything about it goes. trainer: a MetaTrainer. columns: of
    metrics.csv. log: write TensorBoard events too.
    """

    def __init__(self, config, folder, trainer, columns, log):
        self.config = config
        self.folder = Path(folder)
        self.trainer = trainer
        self.state = State(trainer)
        self.checkpoints = Checkpoints(self.folder / "checkpoints", self.state, config.to_dict())
        self._columns = columns
        self._log = log
        self._writer = None
        self._since = None  # when the training that `state.seconds` doesn't count yet began

    @property
    def iteration(self):
        return int(self.trainer.iteration)

    def restore(self, checkpoint):
        """As the function `restore`."""
        return restore(self.state, self.checkpoints, checkpoint)

    def _begin(self, resume):
        """The state of the newest checkpoint, and a folder in which training goes on from there.

        resume: False sets the old folder aside as <folder>.old-1, -2, …
        """
        if not resume and self.folder.exists():
            number = next(i for i in itertools.count(1) if not Path(f"{self.folder}.old-{i}").exists())
            self.folder.rename(f"{self.folder}.old-{number}")
        self.checkpoints.restore_latest()
        if self.iteration > self.config.total_iterations:
            raise UserError(
                f"{self.folder} is trained to iteration {self.iteration} already, expected no more than the "
                f"{self.config.total_iterations} asked for; --train=False --test_iter=… tests an earlier checkpoint"
            )
        self._check_resumed()
        records.write_json(self.folder / "config.json", self.config.to_dict())
        records.truncate_table(self.folder / "metrics.csv", self.iteration)
        self._since = time.monotonic()

    def _check_resumed(self):
        """Raises UserError where the run can't go on from its state; writes nothing."""

    def _record(self, row):
        """A row of metrics.csv for this iteration, and TensorBoard's scalars; before the checkpoint, if there is one."""
        records.append_row(self.folder / "metrics.csv", self._columns, {"iteration": self.iteration, **row})
        if self._log:
            self._writer = self._writer or tf.summary.create_file_writer(str(self.folder / "tensorboard"))
            with self._writer.as_default(step=self.iteration):
                for name, value in row.items():
                    tf.summary.scalar(name, value)
            self._writer.flush()

    def _save(self):
        """A checkpoint of this iteration."""
        now = time.monotonic()
        self.state.seconds.assign_add(now - self._since)
        self._since = now
        self.checkpoints.save(self.iteration, keep=int(self.state.best_iteration))
