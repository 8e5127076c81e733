"""The trainings behind published results, the tests that these ask for, and which seeds of them are finished."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from maml import methods
from maml.methods.card import ALONE
from maml.reports.cells import (
    by_dataset,
    flags,
    flags_of_test,
    is_papers,
    settings_of,
    standing_beside,
    title,
    trained_as,
    training_task,
)
from maml.reports.comparison import in_its_column
from maml.reports.summaries import Summary

Seeds = Callable[[Iterable[Summary]], set[int]]


class Experiment(NamedTuple):
    """A training behind published results.

    title: for readers. datasource: its name on the command line.
    flags: the words behind `main.py` that train it.
    trained: summaries -> the seeds that were trained for as long as in the paper.
    tests: {further words with which the trained run is tested as a published result asks for, none for the usual test:
        summaries -> the seeds that were}.
    """

    title: str
    datasource: str
    flags: tuple
    trained: Seeds
    tests: dict[tuple, Seeds]

    def finished(self, runs: Iterable[Summary]) -> set[int]:
        """The seeds that lack nothing."""
        return set.intersection(self.trained(runs), *(tested(runs) for tested in self.tests.values()))

    def next_command(self, seed: int, runs: Iterable[Summary]) -> tuple | None:
        """The words behind `main.py` of what a seed lacks first: its training, with the usual test, or a further test.

        None where it lacks nothing.
        """
        one = (*self.flags, f"--seed={seed}")
        if seed not in self.trained(runs):
            return one
        lacking = [words for words, tested in self.tests.items() if seed not in tested(runs)]
        return (*one, "--train=False", "--test_set", *lacking[0]) if lacking else None


def experiments(method: str | None = None) -> list[Experiment]:
    """Those of one method, by its usual settings; None: those of MAML's own paper."""
    found = {}
    for name, cell in by_dataset():
        if is_papers(name) if method is None else name == method and not cell.variant:
            found.setdefault(tuple(flags(name, cell)), []).append((name, cell))
    return [_experiment(words, cells) for words, cells in found.items()]


def _experiment(words, cells):
    """The Experiment of (method, cell) pairs with one training."""
    tests = {}
    for name, cell in cells:
        tests.setdefault(_test_words(name, cell), []).append((name, cell))
    by_words = {test: _tested_for(of_test) for test, of_test in tests.items()}
    return Experiment(title(*cells[0]), cells[0][1].dataset, words, _trained_for(*cells[0]), by_words)


def _trained_for(name, cell):
    """Summaries -> the seeds of the training that `flags` runs."""
    task = training_task(name, cell)

    def trained(runs):
        mine = [run for run in trained_as(name, cell, runs) if (run.num_classes, run.num_shots) == task]
        return {run.seed for run in mine if not run.is_short}

    return trained


def _tested_for(cells):
    """Summaries -> the seeds whose tests stand beside all of these cells."""

    def tested(runs):
        beside = [in_its_column(name, cell, standing_beside(name, cell, runs)) for name, cell in cells]
        return set.intersection(*({result.run.seed for result in results if not result.is_short} for results in beside))

    return tested


def _test_words(name, cell):
    """Flags of the test that stands beside a cell, where it isn't the usual one. A wave is tested with every K."""
    if cell.num_classes is None:
        return ()
    words = flags_of_test(cell, training_task(name, cell))
    if methods.get(name).column(cell) == ALONE and settings_of(name, cell).get("norm") == "batch_norm":
        words.append("--transductive=False")
    return tuple(words)
