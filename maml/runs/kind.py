"""What a kind of learning brings along, so that runs, tests and the command line are the same for all of them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from data_generators.errors import UserError
from maml.replicas import STRATEGIES
from maml.runs.checkpoints import KEEP_BEST, Best, Latest


class Kind(NamedTuple):
    """A kind of learning: supervised, reinforcement.

    name: in summary.json. title: for readers.
    datasources, methods: the names it knows.
    test_flags: the options it understands beside its settings; `options`, below, is {option: value or None} of them.
    record_types: (datasource, method=None) -> {group title: Record type}, of which the settings are made.
    resolve: (datasource, options, **given by flag) -> Settings.
    from_dict: (record of config.json, its origin) -> Settings.
    protocol: (settings, options) -> how to test: has `checkpoint` and `is_headline(settings)`.
    learner: (settings, options) -> Learner, with its data.
    strategies: those of `replicas.STRATEGIES` that it knows.

    All raise UserError for what can't be.
    """

    name: str
    title: str
    datasources: tuple
    methods: tuple
    test_flags: tuple
    record_types: Callable
    resolve: Callable
    from_dict: Callable
    protocol: Callable
    learner: Callable
    strategies: tuple = STRATEGIES


class Progress(NamedTuple):
    """What a learner says of the iterations it moved on.

    row: of metrics.csv, {column: number} without "iteration"; None where none is due.
    score: the higher, the better the checkpoint of iteration `scored_at`, or of the iteration now where that is None.
    note: a line for the one who watches.
    failure: why the run can't go on; nothing of this is to be saved then.
    spoilt_since: with a failure, the iteration from which on the weights that were saved are no good; None: all are.
    """

    row: dict | None = None
    score: float | None = None
    scored_at: int | None = None
    note: str | None = None
    failure: str | None = None
    spoilt_since: int | None = None


class Tested(NamedTuple):
    """One adaptation curve of a test.

    evaluation: an entry of summary.json's evaluations, without "checkpoint" and "iteration".
    tables: {file name: (columns, rows)}; evaluation["file"] is among them.
    """

    evaluation: dict
    tables: dict


class Learner(Protocol):
    """What is trained and tested: state, and what moves it.

    settings: as config.json records them. They have name, title, full_title, seed, total_iterations, to_dict,
        check_same, differences and compared (see `maml.runs.settings.Settings`).
    state: a `Trainer`.
    columns: of metrics.csv, "iteration" first; what a row has besides gets columns behind them.
    old_columns: {name in folders of older versions: name now}.
    checkpoint_every: iterations between checkpoints.
    saves_untrained: whether the state before the first iteration is a checkpoint too.
    packages: those whose versions matter beside TensorFlow's.
    """

    settings: Any
    state: tf.Module
    columns: tuple
    old_columns: dict
    checkpoint_every: int
    saves_untrained: bool
    packages: tuple

    def check(self, folder: Path) -> None:
        """Raises UserError where the training can't begin, or can't go on from the state. Writes nothing."""

    def begin(self, folder: Path) -> None:
        """Reads and writes what is its own in the run folder, whose metrics.csv ends at the state's iteration."""

    def advance(self) -> Progress:
        """Moves the state some iterations on."""

    def describe(self, row: dict) -> str:
        """Text of a row for the progress bar."""

    def about(self) -> dict:
        """For summary.json: kind, method, method_title, datasource, dataset, num_classes, num_shots, unit, and
        paper_iterations, None where no paper trained on these data."""

    def tested_weights(self) -> dict[str, tf.Variable]:
        """The entries of θ that a test reads."""

    def evaluate(self, protocol: Any, folder: Path, members: tuple = ()) -> Iterable[Tested]:
        """Tests the state. The first is the one to quote.

        folder: of the run, to read what it was trained on. members: of an ensemble, to be tested instead: (θ, …).
        """


def checkpoint_of(settings, options) -> Best | Latest | int:
    """The checkpoint that --test_iter asks for, or those that --ensemble does."""
    asked, members = options.get("test_iter"), options.get("ensemble")
    if members is not None:
        if asked is not None:
            raise UserError("ensemble and test_iter given, expected one of them")
        if members > KEEP_BEST:
            raise UserError(f"ensemble is {members}, expected at most {KEEP_BEST}: as many are kept of the best")
        return Best(members)
    if asked is not None and asked < -1:
        raise UserError(f"test_iter is {asked}, expected an iteration, or -1 for the latest checkpoint")
    if options.get("train") and (asked or 0) > settings.total_iterations:
        raise UserError(f"test_iter is {asked}, expected at most {settings.total_iterations}, the last iteration")
    return {None: Best(), -1: Latest()}.get(asked, asked)
