"""Checkpoints that are whole or not there: weights, Adam's moments, iteration, what was best so far, settings.

`tf.train.Checkpoint` writes into a hidden folder beside the others, which is then renamed: <folder>/iteration_00001000.
TensorFlow stores a checksum with every tensor and verifies it when reading.
"""

import contextlib
import json
import math
import numbers
import os
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError
from maml.runs import files

KEEP = 10  # the newest ones, as the authors' Saver(max_to_keep=10); the best ones are kept besides
KEEP_BEST = 5  # as many as MAML++ averages
SETTINGS, TABLE, SCORE = "settings.json", "table.json", "score.json"  # in a checkpoint's folder
_NAME = re.compile(r"iteration_(\d{8,})")


def newest_settings(folder) -> Path | None:
    """The settings in the newest checkpoint in a folder of them; None where there is none that has them."""
    found = {int(m[1]): path for path in Path(folder).glob(f"*/{SETTINGS}") if (m := _NAME.fullmatch(path.parent.name))}
    return found[max(found)] if found else None


class Best(NamedTuple):
    """The checkpoint to restore: the best by the run's own score; the latest where it has none.

    count: of an ensemble, the so many best together.
    """

    count: int = 1


def is_ensemble(checkpoint) -> bool:
    """Whether it is several, whose outputs are averaged."""
    return isinstance(checkpoint, Best) and checkpoint.count > 1


class Latest(NamedTuple):
    """The checkpoint to restore: the newest."""


def chosen(name: str | int) -> Best | Latest | int:
    """The checkpoint to restore, of "best", "latest" or an iteration. UserError for others."""
    if isinstance(name, numbers.Integral):
        return int(name)
    if name not in ("best", "latest"):
        raise UserError(f"checkpoint is {name!r}, expected best, latest or an iteration")
    return Best() if name == "best" else Latest()


class State(tf.Module):
    """What a checkpoint of a run holds.

    trainer: θ, the optimiser's moments and the iteration.
    """

    def __init__(self, trainer):
        super().__init__()
        self.trainer = trainer
        self.best_iteration = tf.Variable(-1, dtype=tf.int64)  # by the run's own score; -1 before there is one
        self.best_score = tf.Variable(-np.inf, dtype=tf.float64)
        self.seconds = tf.Variable(0.0, dtype=tf.float64)  # of training so far, over all starts


class Checkpoints:
    """The checkpoints of one run.

    folder: where they lie.
    state: anything that `tf.train.Checkpoint` tracks.
    settings: plain values, written beside each of them.
    """

    def __init__(self, folder, state, settings):
        self.folder = Path(folder)
        self.settings = settings
        self._checkpoint = tf.train.Checkpoint(state=state)

    def iterations(self) -> list[int]:
        """The iterations there is a checkpoint of, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(m[1]) for m in map(_NAME.fullmatch, os.listdir(self.folder)) if m)

    def save(self, iteration, keep=None, table=None, score=None):
        """Writes the checkpoint of `iteration`; then drops all but the KEEP newest, the KEEP_BEST best and `keep`.

        keep: an iteration.
        table: of metrics.csv, what `files.seal_table` says.
        score: of these weights, the higher, the better; None where they have none.
        Raises OSError where it can't be written, on a full disk for example; those that are there stay.
        """
        target = self._path(iteration)
        unfinished = self.folder / f".unfinished_{target.name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            self._checkpoint.write(str(unfinished / "state"))
        except tf.errors.OpError as error:
            reason = error.message.rpartition("; ")[2].split(" [")[0]
            raise OSError(f"checkpoint {unfinished} can't be written: {reason}") from error
        records = {SETTINGS: self.settings, TABLE: table, SCORE: None if score is None else {"score": float(score)}}
        for name, record in records.items():
            if record is not None:
                (unfinished / name).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
        for file in unfinished.iterdir():
            _sync(file)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(unfinished, target)
        _sync(self.folder)
        for old in set(self.iterations()[:-KEEP]) - {keep, *self.best(KEEP_BEST)}:
            shutil.rmtree(self._path(old), ignore_errors=True)  # what somebody has open goes the next time

    def table(self, iteration) -> dict | None:
        """What was said of metrics.csv when this checkpoint was saved; None where nothing was."""
        path = self._path(iteration) / TABLE
        return files.read_json(path) if path.exists() else None

    def best(self, count) -> list[int]:
        """The iterations of the highest scores among the checkpoints that are there, best first; `count` at most."""
        scores = {}
        for iteration in self.iterations():
            with contextlib.suppress(UserError):  # older checkpoints have none, and a damaged one is as good as none
                scores[iteration] = files.read_json(self._path(iteration) / SCORE).get("score")
        scored = [iteration for iteration, score in scores.items() if isinstance(score, float) and math.isfinite(score)]
        return sorted(scored, key=lambda iteration: (-scores[iteration], iteration))[:count]

    def restore(self, iteration):
        """Sets the state to what it was then. Raises UserError where that checkpoint is missing or damaged."""
        if iteration not in self.iterations():
            there = ", ".join(map(str, self.iterations())) or "none"
            raise UserError(f"no checkpoint of iteration {iteration} in {self.folder}; there: {there}")
        try:
            self._checkpoint.read(str(self._path(iteration) / "state")).assert_consumed()
        except (tf.errors.OpError, AssertionError, ValueError, LookupError, RuntimeError) as error:
            reason = str(error).splitlines()[0][:200]
            raise UserError(f"checkpoint {self._path(iteration)} is damaged: {reason}") from error

    def restore_latest(self):
        """Restores the newest checkpoint that can be read and returns its iteration; None where there is none.

        Damaged ones are passed over, with a line on stderr, and put aside under hidden names once an older one is read.
        Raises UserError where there are checkpoints and none can be read; then all stay, lest the next start take the
        folder for an empty one.
        """
        found = self.iterations()
        for i in reversed(range(len(found))):
            try:
                self.restore(found[i])
            except UserError as error:
                print(f"{error}; falling back to the one before", file=sys.stderr)
                continue
            for damaged in map(self._path, found[i + 1 :]):
                aside = self.folder / f".damaged_{damaged.name}"
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(damaged, aside)
            return found[i]
        if found:
            known = f"none of the {len(found)} checkpoints in {self.folder}"
            raise UserError(f"{known} can be read; start again with --resume=False")
        return None

    def _path(self, iteration):
        return self.folder / f"iteration_{iteration:08d}"


def _sync(path):
    """Asks the operating system to have it on disk before we go on."""
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows syncs what may be written to
    except PermissionError:
        if path.is_dir():  # Windows opens none, and needs no sync of them
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
