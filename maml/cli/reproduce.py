"""`--reproduce`: runs what the tables of published results lack, each training and test in a process of its own."""

import contextlib
import itertools
import shlex
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from data_generators import sources
from data_generators.errors import UserError
from maml import launch
from maml.cli import estimate, flags, kinds
from maml.cli.plans import INSTEAD, REPRODUCE, no_use, plan, refuse
from maml.reports import experiments, page, summaries
from maml.runs import workers
from maml.runs.run import check_trainable
from rl import page as reinforcement_page

RESULTS = "results"
LIST, ALL = "list", "all"
PROGRAM = (sys.executable, "-m", "maml.cli")


class Missing(NamedTuple):
    """What is to be run of an experiment.

    finished: its seeds that lack nothing. seeds: those to run. hours: how long the training of one will take; None if
    it can't be run, for the `reason`.
    """

    experiment: experiments.Experiment
    finished: tuple
    seeds: tuple
    hours: float | None
    reason: str


def reproduce(asked):
    """Lists what is missing, and runs it, the cheapest first. The exit code: 130 if it was stopped, 1 if one failed."""
    refuse(asked, {*INSTEAD, *REPRODUCE, "method", "logdir", "strategy"}, no_use("--reproduce"))
    own = _sharing(asked["strategy"])
    results = asked["logdir"] or RESULTS
    method = kinds.method_of(kinds.SUPERVISED, {"method": asked["method"]}) if asked["method"] else None
    chosen = _chosen(asked["reproduce"], method)
    missing = []
    for experiment in chosen:
        missing.append(_missing(experiment, results, asked["seeds"] or 1))
        print(_line(missing[-1]), flush=True)
    if asked["reproduce"] == LIST:
        return 0
    page.check_place(results)  # before hours of training
    until = time.monotonic() + 3600 * asked["budget"] if asked["budget"] else None
    failed = [one for one in missing if one.hours is None]
    try:
        for one in sorted((one for one in missing if one.seeds and one.hours is not None), key=lambda one: one.hours):
            failed += [one for seed in one.seeds if not _run(one.experiment, seed, results, until, own)]
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        print("stopped and saved; the same command goes on from there")
        return 130
    return 1 if failed else 0


def _sharing(strategy):
    """The flags by which each run shares its tasks among the GPUs of this machine. UserError for several workers."""
    if strategy == "multi_worker" or workers.plan(None, ("none", "multi_worker")).cluster:
        raise UserError(
            "reproduce runs one process after another, which several workers can't share; expected --strategy=mirrored "
            "or none, and no TF_CONFIG"
        )
    return () if strategy is None else (f"--strategy={strategy}",)


def _chosen(name, method):
    """The experiments that a name stands for. UserError for one that is unknown."""
    everything = experiments.experiments(method)
    if method and not everything:
        raise UserError(
            f"method {method} has no published result that a command here is for; expected one that --methods shows "
            "with a result"
        )
    if method is None:
        everything += reinforcement_page.experiments()
    groups = dict.fromkeys(one.datasource.split("_")[0] for one in everything)
    chosen = [one for one in everything if name in (LIST, ALL, one.datasource, one.datasource.split("_")[0])]
    if not chosen:
        known = (*groups, ALL, LIST)
        expected = kinds.suggestion(name, known) or f", expected one of {', '.join(known)}"
        raise UserError(f"reproduce is {name!r}{expected}")
    return chosen


# What is missing


def _missing(experiment, results, wanted):
    runs = summaries.load_all(results)
    finished = tuple(sorted(experiment.finished(runs)))
    if len(finished) >= wanted:
        return Missing(experiment, finished, (), 0.0, "")
    try:
        _check_data(experiment.datasource)
        seeds = _open_seeds(experiment, runs, results, wanted - len(finished))
        return Missing(experiment, finished, seeds, estimate.once(experiment.flags), "")
    except UserError as error:
        return Missing(experiment, finished, (), None, str(error))


def _check_data(datasource):
    """UserError where the data that lie there are a stand-in, which never stands beside a published number."""
    if datasource in sources.SOURCES and (found := sources.dataset_name(datasource)) != datasource:
        raise UserError(f"these data are {sources.title(found)}, expected {sources.title(datasource)}")


def _open_seeds(experiment, runs, results, count):
    """The first so many seeds that are not finished and that can be: 1, 2, …"""
    finished, trained = experiment.finished(runs), experiment.trained(runs)
    unfinished = (seed for seed in itertools.count(1) if seed not in finished)
    is_open = (seed for seed in unfinished if seed in trained or _trainable(experiment, seed, results))
    return tuple(itertools.islice(is_open, count))


def _trainable(experiment, seed, results):
    """Whether its folder is new or can be gone on with: not one that was published without its checkpoints."""
    words = (*experiment.flags, f"--seed={seed}", f"--logdir={results}", "--resume=False")
    folder = plan(flags.parse(words)).folder
    with contextlib.suppress(UserError):
        check_trainable(folder)
        return True
    return False


def _line(one):
    """'Omniglot, 5-way 5-shot: MAML: seeds finished none, to run 1, 5.2 h each by python main.py …'."""
    said = [f"seeds finished {_seeds(one.finished)}"]
    if one.hours is None:
        said.append(f"cannot be run: {one.reason}")
    elif one.seeds:
        command = shlex.join(["python", "main.py", *one.experiment.flags])
        said += [f"to run {_seeds(one.seeds)}", f"{one.hours:.1f} h each by {command}"]
    return f"{one.experiment.title}: {', '.join(said)}"


def _seeds(seeds):
    return ", ".join(map(str, seeds)) or "none"


# Running it


def _run(experiment, seed, results, until, own):
    """Runs what one seed lacks, and rebuilds the page after each run; False where one failed.

    own: flags for each training and test, which are no part of the experiment.

    KeyboardInterrupt or subprocess.TimeoutExpired, where it was stopped, or the budget is used up: the run has saved.
    """
    before = None
    while words := experiment.next_command(seed, summaries.load_all(results)):
        if words == before:  # it ended without an error, and without what it is for
            print(f"{experiment.title}: still missing after {shlex.join(words)}", file=sys.stderr)
            return False
        before = words
        print(f"+ python main.py {shlex.join(words)}", flush=True)
        if _call([*PROGRAM, *words, *own, f"--logdir={results}"], until):
            return False
        page.rebuild(results, parts=[reinforcement_page])
    return True


def _call(command, until):
    """The exit code of a command. What stops this process, or the end of the budget, stops it, by one Ctrl-C."""
    if until is not None and time.monotonic() >= until:
        raise subprocess.TimeoutExpired(command, 0)
    with _terminated_as_interrupted():
        process = launch.child(command)
        try:
            return process.wait(None if until is None else max(0.0, until - time.monotonic()))
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            process.send_signal(signal.SIGINT)
            process.wait()
            raise


@contextlib.contextmanager
def _terminated_as_interrupted():
    """Within, SIGTERM is a KeyboardInterrupt."""

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
