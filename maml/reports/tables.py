"""Tables of results: numbers as text, rows of runs that differ in the seed alone, and what stands around them."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple
from urllib.parse import quote

from maml.reports.summaries import Evaluation, Summary
from maml.runs.progress import duration

MADE = """Behind a commit "+changes" says that the code had changes that weren't committed. A training that was stopped
has the command of its last test; its own is that without the flags of tests.
"""
BETWEEN_SEEDS = "standard deviation between seeds"


class Row(NamedTuple):
    """A line of the page's opening table, as texts.

    experiment, published, measured: what is compared; spread: what their ± are. tasks: how many. seeds: which.
    iterations: of the training. time: of the training of one seed. front: whether the project's README shows it too,
    where it was run: of MAML itself.
    """

    experiment: str
    published: str
    measured: str = "not run"
    spread: str = ""
    tasks: str = ""
    seeds: str = ""
    iterations: str = ""
    time: str = ""
    front: bool = False

    @property
    def is_run(self):
        return self.measured != "not run"


class Result(NamedTuple):
    """A run, and the one of its evaluations that is meant."""

    run: Summary
    evaluation: Evaluation

    @property
    def trained(self):
        return self.run.trained_for(self.evaluation)

    @property
    def is_short(self):
        """Whether the training was shorter than the paper's."""
        return self.run.iterations.paper is not None and self.trained < self.run.iterations.paper


def quoted(runs: Iterable[Summary]) -> list[Result]:
    """The runs with their headlines."""
    return [Result(run, run.quoted) for run in runs]


def groups(results: Iterable[Result]) -> list[list[Result]]:
    """Lists of results that differ in nothing but the seed, the longest training of an experiment first."""
    return _alike(results, lambda result: result.trained)


def representative(results: Iterable[Result]) -> list[Result]:
    """The seeds that speak for an experiment, of several groups those of the longest training, then of the most seeds.

    All that were trained for as long as in the paper; where none was, all, however far they came. Empty for none.
    """
    of_results = _alike(results, lambda result: "short" if result.is_short else result.trained)
    return max(of_results, key=lambda group: (not group[0].is_short, group[0].trained, len(group)), default=[])


def _alike(results, length):
    """`groups` whose trainings agree in length(result)."""
    found = {}
    for result in sorted(results, key=lambda result: (result.run.experiment, -result.trained, result.run.seed)):
        found.setdefault((_all_but_seed(result), length(result)), []).append(result)
    return list(found.values())


def _all_but_seed(result):
    """What runs must share, beside the length of the training, for their mean to mean something."""
    run, evaluation = result
    task = (run.kind, run.method, run.datasource, run.dataset, run.num_classes, run.num_shots)
    names = ("split", "ways", "shots", "queries", "rollouts", "learning_rates", "tasks", "step", "checkpoint")
    protocol = tuple(getattr(evaluation, name) for name in (*names, "transductive"))
    return task, json.dumps(run.variant, sort_keys=True), protocol


# Numbers


def number(value: float, unit: str, error: float | None = None) -> str:
    """'99.33 ± 0.32 %', '0.694 ± 0.055' of a squared error, '−40.26 ± 2.11' of a return."""
    scale, digits, end = {"accuracy": (100, 2, " %"), "mse": (1, 3, ""), "return": (1, 2, "")}[unit]
    text = f"{scale * value:.{digits}f}" + ("" if error is None else f" ± {scale * error:.{digits}f}") + end
    return text.replace("-", "−")


def bold(text: str, really: bool = True) -> str:
    return f"**{text}**" if really and text else text


def mean(results: list[Result]) -> str:
    """Mean over seeds of what is read, ± the mean of its errors over tasks; '' for none."""
    if not results:
        return ""
    tests = [evaluation for _, evaluation in results]
    return number(fmean(test.value for test in tests), results[0].run.unit, fmean(test.error for test in tests))


def between_seeds(values: list[float]) -> float | None:
    """The standard deviation of several values, None of one."""
    return stdev(values) if len(values) > 1 else None


def length(trained: int, paper: int | None) -> str:
    """'60,000', or '1,000 of 60,000 iterations' of a training that is shorter than the paper's."""
    return f"{trained:,}" if paper is None or trained >= paper else f"{trained:,} of {paper:,} iterations"


def iterations(result: Result) -> str:
    """`length` of a result's training."""
    return length(result.trained, result.run.iterations.paper)


def _iterations_of_all(group):
    """`iterations` of a group; of trainings of several lengths '100 to 200 of 500 iterations'."""
    least = min(result.trained for result in group)
    most = max(group, key=lambda result: result.trained)
    return iterations(most) if least == most.trained else f"{least:,} to {iterations(most)}"


def with_checkpoint(result: Result) -> str:
    """`iterations`, and which checkpoint was tested: '60,000 (best: 36,000)'."""
    checkpoint, iteration = result.evaluation.checkpoint, result.evaluation.iteration
    if checkpoint == "latest" and not result.run.iterations.trained:
        return "nothing to train"
    return f"{iterations(result)} ({checkpoint}{f': {iteration:,}' if result.evaluation.is_chosen else ''})"


def about(group: list[Result]) -> dict[str, str]:
    """The fields of a Row that say how a group came about: tasks, seeds, iterations, time."""
    counts = sorted({evaluation.tasks for _, evaluation in group})
    return {
        "tasks": ", ".join(f"{count:,}" for count in counts),
        "seeds": ", ".join(map(str, sorted(run.seed for run, _ in group))),
        "iterations": _iterations_of_all(group),
        "time": duration(fmean(run.wall_time_seconds for run, _ in group)),
    }


# Markdown


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def link(path: Path, base: Path) -> str:
    return quote(path.relative_to(base).as_posix())


def figures(runs: Iterable[Summary], base: Path, names: Iterable[str], caption: Callable) -> str:
    """Those of the figures `names` that the run folders hold, of the lowest seed of each experiment; '' if none.

    caption(run, kind): what stands above, where kind is "learning curve" for learning_curve.png.
    """
    seen, text = set(), ""
    for name in names:
        for run in runs:
            path = run.folder / name
            if path.exists() and (run.experiment, name) not in seen:
                seen.add((run.experiment, name))
                kind = name.removesuffix(".png").replace("_", " ")
                text += f"\n{caption(run, kind)}\n\n![{kind}]({link(path, base)})\n"
    return text


def how(runs: list[Summary], base: Path) -> str:
    """Commands, wall time and commit of every run, by the machine it was made on."""
    text = f"\n## How the runs were made\n\n{MADE}" if runs else ""
    for machine in sorted({_machine(run) for run in runs}):
        rows = [_made(run, base) for run in runs if _machine(run) == machine]
        text += f"\n{machine}\n\n" + table(["run", "command", "wall time", "commit"], rows)
    return text


def _machine(run):
    """Without the build of the operating system: 'AMD EPYC, 2 cores, 24 GiB, Linux; python 3.11.7, …'."""
    hardware = re.sub(r"(\w+)-\S+$", r"\1", run.hardware)
    return f"{hardware}; " + ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))


def _made(run, base):
    commit = run.commit[:10] + ("+changes" if "+" in run.commit else "")
    folder = f"[{run.experiment}, seed {run.seed}]({link(run.folder, base)})"
    return [folder, f"`{run.command}`", duration(run.wall_time_seconds), commit]
