"""Testing a trained policy: the adaptation curve as tables, the summary with its headline, the figures."""

import math

import numpy as np
import tqdm

from maml import records
from rl import plots, published, render

ADAPTATION_COLUMNS = ("step", "return", "return_std", "return_sem")
# Which test task the trajectories of 2-D navigation are shown on, and how many episodes. [D] point_paths_itr*.pkl
TRAJECTORY_TASK, TRAJECTORY_EPISODES = 6, 5


def test(run, protocol, command):
    """Tests a run, writes its tables, summary.json and figures, and returns the summary of this test.

    command: for the record. A test by another protocol than the published is added to the evaluations in summary.json
    and leaves the headline there as it is.
    """
    label = run.restore(protocol.checkpoint)
    config = run.config
    tasks = run.meta.kind.test_tasks()[: protocol.tasks]
    returns, diverged, trajectories = [], 0, []
    adaptation = run.meta.adapt(tasks, protocol.learning_rates, protocol.update_batch_size)
    for step, (_, sampled) in enumerate(tqdm.tqdm(adaptation, "test", protocol.steps + 1, leave=False, unit="step")):
        returns.append(sampled.returns)
        diverged += sampled.diverged
        if config.datasource == "point" and TRAJECTORY_TASK < len(tasks):
            trajectories += _trajectories(step, tasks[TRAJECTORY_TASK], sampled)
    returns = np.stack(returns)
    file = _write_tables(run.folder, protocol.suffix, tasks, returns)
    if trajectories and not protocol.suffix:
        records.write_table(run.folder / "trajectories_test.csv", list(trajectories[0]), trajectories)
    means, sems = returns.mean(1).tolist(), _sems(returns).tolist()
    evaluation = {
        "file": file,
        "tasks": protocol.tasks,
        "rollouts": protocol.update_batch_size,
        "learning_rates": protocol.learning_rates,
        "checkpoint": label,
        "iteration": run.iteration,
        "returns": means,
        "sems": sems,
    }
    curve = published.find(config.datasource, config.method) if config.is_papers and not protocol.suffix else None
    step = min(1, protocol.steps)
    summary = {
        **{name: value for name, value in evaluation.items() if name != "file"},
        "experiment": run.folder.parent.name,
        "datasource": config.datasource,
        "method": config.method,
        "command": command,
        "unit": "return",
        "split": "test",
        "step": step,
        "measured": means[step],
        "interval": 1.96 * sems[step],
        "published_returns": curve and list(curve.means),
        "published_sems": curve and list(curve.sems),
        "published": curve and curve.means[step],
        "published_interval": curve and 1.96 * curve.sems[step],
        "published_source": curve and curve.source,
        "iterations_total": max(run.checkpoints.iterations()),
        "seed": config.seed,
        "wall_time_seconds": float(run.state.seconds),
        "diverged": diverged,
        "evaluations": [evaluation],
        **records.provenance(("mujoco", "gymnasium")),
    }
    records.write_summary(run.folder / "summary.json", summary, is_headline=not protocol.suffix)
    for film in render.paths(run.folder, protocol):  # what it shows may be another policy by now
        film.unlink(missing_ok=True)
    plots.draw(run.folder)
    return summary


def _sems(returns):
    """Standard errors of the mean over tasks; as the published, of the sample standard deviation."""
    return returns.std(1, ddof=1) / math.sqrt(returns.shape[1])


def _write_tables(folder, suffix, tasks, returns):
    """The curve and the returns of each task behind it; returns the name of the first table."""
    name = f"adaptation_test{suffix}.csv"
    rows = zip(range(len(returns)), returns.mean(1), returns.std(1), _sems(returns))
    records.write_table(folder / name, ADAPTATION_COLUMNS, [dict(zip(ADAPTATION_COLUMNS, row)) for row in rows])
    rows = []
    for number, (task, of_task) in enumerate(zip(tasks, returns.T)):
        row = {"task": number} | {f"goal_{i}": goal for i, goal in enumerate(task, start=1)}
        rows.append(row | {f"step_{step}": value for step, value in enumerate(of_task)})
    records.write_table(folder / f"returns_test{suffix}.csv", list(rows[0]), rows)
    return name


def _trajectories(step, task, sampled):
    """Rows of the first episodes on a task: where the point was before each of its moves."""
    rows, episode = [], 0
    of_task = (values[TRAJECTORY_TASK] for values in (sampled.observations, sampled.times, sampled.ends))
    for (x, y, *_), time, end in zip(*of_task):
        row = {"task": TRAJECTORY_TASK, "goal_1": task[0], "goal_2": task[1], "step": step, "episode": episode}
        rows.append(row | {"time": time, "x": x, "y": y})
        episode += int(end)
        if episode == TRAJECTORY_EPISODES:
            break
    return rows


def headline(summary):
    """The summary in lines that can be quoted: the adaptation curve beside the published one."""
    s = summary
    checkpoint = f"{s['checkpoint']} checkpoint"
    checkpoint += "" if "iteration" in s["checkpoint"] else f" (iteration {s['iteration']:,})"
    full = published.iterations(s["datasource"], s["method"])
    short = f" of {full:,}" if s["iterations_total"] < full else ""
    rates = ", ".join(f"{rate:g}" for rate in s["learning_rates"])
    lines = [
        f"{published.title(s['experiment'])}: mean return of an episode, ± standard error over {s['tasks']} tasks",
        f"{checkpoint} of {s['iterations_total']:,}{short} iterations; {s['rollouts']} episodes of each policy"
        + (f", step sizes {rates}" if rates else ""),
        "gradient steps   measured" + ("            published" if s["published_returns"] else ""),
    ]
    for step, (value, sem) in enumerate(zip(s["returns"], s["sems"])):
        line = f"{step:14d}   {value:8.2f} ± {sem:5.2f}"
        if s["published_returns"]:
            line += f"    {s['published_returns'][step]:8.2f} ± {s['published_sems'][step]:5.2f}"
        lines.append(line)
    if s["published_returns"] is None:
        lines.append("nothing published to compare with")
    if s["diverged"]:
        lines.append(f"{s['diverged']} episodes ended because the simulation diverged")
    return "\n".join(lines)
