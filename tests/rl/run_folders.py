"""Made-up run folders of reinforcement learning, in the form that a test writes them."""

import numpy as np

from maml.runs import files
from rl import published
from rl.settings import resolve

METRICS = ("iteration", "pre_return", "post_return")


def evaluation(**changes):
    """An entry of a summary's evaluations, of MAML on the half-cheetah."""
    return {
        "file": "adaptation_test.csv", "split": "test", "tasks": 40, "checkpoint": "best", "iteration": 500,
        "transductive": None, "step": 1, "values": [-3.0, -2.0, -1.5, -1.0], "errors": [0.25] * 4,
        "error_is": published.SPREAD, "published": None, "rollouts": 20, "learning_rates": [0.1, 0.05, 0.05],
        "diverged": 0, **changes,
    }  # fmt: skip


def write_run(base, datasource="cheetah_vel", method="maml", seed=1, trained=None, others=(), given=None, **changes):
    """A run folder whose summary has the published returns plus 1, and standard errors of 2; returns its path.

    trained: iterations of its training, where not the paper's.
    others: evaluations beside the headline.
    given: settings other than the preset's, by flag.
    changes: of the headline's evaluation.
    """
    settings, curve = resolve(datasource, method, **(given or {})), published.find(datasource, method)
    values = [mean + 1 for mean in curve.means] if curve else [-4.0, -3.0, -2.0, -1.0]
    trained = settings.paper_iterations if trained is None else trained
    theirs = curve and {
        "values": {str(step): mean for step, mean in enumerate(curve.means)},
        "errors": {str(step): sem for step, sem in enumerate(curve.sems)},
        "error_is": published.SPREAD,
        "source": curve.source,
    }
    usual = {"values": values, "errors": [2.0] * len(values), "step": min(1, len(values) - 1), "iteration": trained}
    headline = evaluation(**{**usual, "published": theirs if settings.is_papers else None, **changes})
    summary = {
        "experiment": settings.name, "title": settings.title, "kind": "rl", "method": method,
        "method_title": settings.title.split(": ")[1], "datasource": datasource, "dataset": datasource,
        "num_classes": None, "num_shots": None, "variant": settings.differences(), "unit": "return", "seed": seed,
        "command": f"python main.py --seed={seed}",
        "iterations": {"trained": trained, "paper": settings.paper_iterations},
        "wall_time_seconds": 3720.4, "commit": "abc", "versions": {"python": "3.11"}, "hardware": "a machine",
        "headline": headline["file"], "evaluations": [headline, *others],
    }  # fmt: skip
    folder = files.run_folder(base, settings.name, seed)
    files.write_json(folder / "summary.json", summary)
    return folder


def write_config(folder, datasource="cheetah_vel", method="maml", **given):
    """config.json alone, as a run has it before it is tested."""
    files.write_json(folder / "config.json", resolve(datasource, method, **given).to_dict())
    return folder


def write_metrics(folder, before, after):
    """metrics.csv with these returns of an episode."""
    rows = [dict(zip(METRICS, row, strict=True)) for row in zip(range(1, len(before) + 1), before, after, strict=True)]
    files.write_table(folder / "metrics.csv", METRICS, rows)


def write_trajectories(folder, steps=5, episodes=3, goal=(-0.3, 0.4), task=6):
    """trajectories_test.csv of straight paths, each after more gradient steps ending nearer to the goal."""
    rng, rows = np.random.default_rng(0), []
    for step in range(steps):
        for episode in range(episodes):
            end = step / (steps - 1) * np.array(goal) + 0.05 * rng.standard_normal(2)
            for time in range(20):
                x, y = end * time / 19
                rows.append({"task": task, "goal_1": goal[0], "goal_2": goal[1], "step": step, "episode": episode,
                             "time": time, "x": x, "y": y})  # fmt: skip
    files.write_table(folder / "trajectories_test.csv", list(rows[0]), rows)
