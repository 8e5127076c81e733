"""The summaries of reinforcement-learning runs, read and checked: what figures and tables are made from."""

import reprlib
from pathlib import Path

from data_generators.errors import UserError
from maml import records, report
from rl.config import DATASOURCES, METHODS

UNIT = "return"
NUMBERS = ("measured", "interval", "step", "tasks", "rollouts", "iteration", "iterations_total", "seed",
           "wall_time_seconds", "diverged")  # fmt: skip
TEXTS = ("experiment", "datasource", "method", "split", "checkpoint", "command", "commit", "hardware")
LISTS = ("returns", "sems", "learning_rates")
PROTOCOL = ("tasks", "rollouts", "learning_rates", "checkpoint", "iteration")  # how it was tested


def load(folder):
    """The maml.report.Run of a run folder. UserError names the file and what of it is damaged."""
    path = Path(folder) / "summary.json"
    return _run(path, records.read_json(path))


def load_all(results_dir):
    """The reinforcement-learning runs under results_dir, sorted by experiment and seed."""
    runs = [_run(path, summary) for path, summary in report.summaries(results_dir) if summary.get("unit") == UNIT]
    return sorted(runs, key=lambda run: (run.experiment, run.seed, str(run.folder)))


def _run(path, summary):
    report.check(path, summary, NUMBERS, TEXTS, LISTS)
    if wrong := [name for name, right in _plausible(summary).items() if not right]:
        got = ", ".join(f"{name} {reprlib.repr(summary.get(name))}" for name in wrong)
        raise UserError(f"{path}: damaged, got {got}, expected what a test of one of the five experiments gives")
    return report.Run(path.parent, summary)


def _plausible(summary):
    """Whether each field is what figures and tables take for granted."""
    returns, sems = summary["returns"], summary["sems"]
    return {
        "datasource": summary["datasource"] in DATASOURCES,
        "method": summary["method"] in METHODS,
        "returns": returns and _are_numbers(returns),
        "sems": len(sems) == len(returns) and _are_numbers(sems),
        "step": summary["step"] in range(len(returns)),
        "published_returns": isinstance(summary.get("published_returns", 0), (list, type(None))),
        "evaluations": all(_is_evaluation(entry) for entry in summary["evaluations"]),
    }


def _is_evaluation(entry):
    curves = [entry.get(name) for name in LISTS]
    if not all(isinstance(values, list) and _are_numbers(values) for values in curves):
        return False
    returns, sems, _ = curves
    return len(returns) == len(sems) and entry.keys() >= set(PROTOCOL)


def _are_numbers(values):
    return all(isinstance(value, (int, float)) for value in values)
