"""index.html: every tested run in one file that needs no network, with tables that sort and curves side by side."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from maml.reports.plots import points_of, smooth
from maml.reports.summaries import Summary
from maml.reports.tables import duration, length, number
from maml.runs import files

TEMPLATE = Path(__file__).with_name("web.html")
MOST_POINTS = 120  # of a learning curve


def write(runs: Iterable[Summary], path: Path) -> Path:
    """Writes the page of runs of any kind, and returns its path."""
    records = json.dumps([_record(run) for run in runs], ensure_ascii=False, allow_nan=False, sort_keys=True)
    text = TEMPLATE.read_text(encoding="utf-8").replace("RUNS", records.replace("<", "\\u003c"))
    files.write_bytes(path, text.encode())
    return path


def _record(run):
    """What the page shows of a run, and what it sorts by."""
    test = run.quoted
    reference = None if test.published is None else test.published.values.get(test.step)
    return {
        "experiment": run.title,
        "method": run.method_title,
        "seed": run.seed,
        "unit": run.unit,
        "measured": number(test.value, run.unit, test.error),
        "value": test.value,
        "published": "" if reference is None else number(reference, run.unit, test.published.errors.get(test.step)),
        "reference": reference,
        "the ± are": _spread(test),
        "iterations": length(run.trained, run.iterations.paper),
        "trained": run.trained,
        "short": run.is_short,
        "time": duration(run.wall_time_seconds),
        "seconds": run.wall_time_seconds,
        "command": run.command,
        "learning": _learning(run),
        "adaptation": [[step, round(value, 5)] for step, value in enumerate(test.values) if np.isfinite(value)],
        "cross": [] if test.published is None else [[step, value] for step, value in test.published.values.items()],
    }


def _spread(test):
    """What the ± of a test are, and those of what is published beside it, where they are others."""
    theirs = None if test.published is None else test.published.error_is
    has_errors = theirs is not None and any(error is not None for error in test.published.errors.values())
    return test.error_is if not has_errors or theirs == test.error_is else f"{test.error_is}; published: {theirs}"


def _learning(run):
    """Points [iteration, value] of what is quoted, on the tasks of training, smoothed; [] for none."""
    path = run.folder / "metrics.csv"
    rows = files.read_table(path) if path.exists() else []
    points = [(row["iteration"], row.get(_column(run, rows))) for row in rows]
    points = [point for point in points if point[1] is not None]
    if not points:
        return []
    iterations, values = np.array(points, float).T
    values = smooth(values, len(values) // 50)
    kept = np.unique(np.linspace(0, len(values) - 1, MOST_POINTS).astype(int))
    return [[int(iterations[i]), round(float(values[i]), 5)] for i in kept if np.isfinite(values[i])]


def _column(run, rows):
    """The column of metrics.csv for what is quoted."""
    if run.unit == "return":
        return "post_return"
    return f"{points_of(rows, run.method)[0]}_{'accuracy' if run.unit == 'accuracy' else 'loss'}"
