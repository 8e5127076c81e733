"""Made-up run folders of reinforcement learning, in the form that a test writes them."""

import numpy as np

from maml import records
from rl import config, published

METRICS = ("iteration", "pre_return", "post_return")


def write_run(base, datasource="cheetah_vel", method="maml", seed=1, experiment=None, papers=True, **changes):
    """A run folder whose summary has the published returns plus 1, and standard errors of 2; returns its path.

    papers: whether a published curve stands beside it.
    """
    curve = published.find(datasource, method)
    experiment = experiment or config.resolve(datasource, method).experiment
    returns = [mean + 1 for mean in curve.means]
    step = min(1, len(returns) - 1)
    total = published.iterations(datasource, method)
    summary = {
        "experiment": experiment, "datasource": datasource, "method": method, "unit": "return",
        "command": f"python main.py --seed={seed}",
        "returns": returns, "sems": [2.0] * len(returns), "step": step, "measured": returns[step],
        "interval": 3.92, "published_returns": list(curve.means) if papers else None,
        "tasks": 40, "rollouts": 20, "learning_rates": [0.1, 0.05, 0.05], "split": "test", "checkpoint": "best",
        "iteration": total, "iterations_total": total, "seed": seed, "wall_time_seconds": 3720.4, "diverged": 0,
        "commit": "abc", "versions": {"python": "3.11"}, "hardware": "a machine", "evaluations": [], **changes,
    }  # fmt: skip
    folder = records.run_folder(base, experiment, seed)
    records.write_json(folder / "summary.json", summary)
    return folder


def write_metrics(folder, before, after):
    """metrics.csv with these returns of an episode."""
    rows = [dict(zip(METRICS, row, strict=True)) for row in zip(range(1, len(before) + 1), before, after, strict=True)]
    records.write_table(folder / "metrics.csv", METRICS, rows)


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
    records.write_table(folder / "trajectories_test.csv", list(rows[0]), rows)
