"""What `maml.runs` trains and tests of reinforcement learning (`maml.runs.kind.Learner`)."""

import math
import statistics

import numpy as np

from data_generators.errors import UserError
from maml.runs import files
from maml.runs.kind import Progress, Tested
from maml.runs.progress import Bar
from rl import published
from rl.meta_rl import MetaRL
from rl.settings import BY_ADAM, METHODS

# Of metrics.csv. "iteration": outer steps taken or rejected so far. The returns are those of θ before the last.
METRICS_COLUMNS = (
    "iteration", "pre_return", "post_return", "loss_before", "loss", "kl", "backtracks", "accepted", "steps",
    "diverged", "sampling_seconds", "learning_seconds", "episode_steps", "policy_std",
)  # fmt: skip
ADAPTATION_COLUMNS = ("step", "return", "return_std", "return_sem")
# Over how many iterations the return that chooses a checkpoint is averaged. Ours: the tasks of one are a draw, whose
# goals move its return by more than many outer steps do.
WINDOW = 10
# Which test task the trajectories of 2-D navigation are shown on, and how many episodes. [D] point_paths_itr*.pkl
TRAJECTORY_TASK, TRAJECTORY_EPISODES = 6, 5


class PolicyLearner:
    """A policy and what moves it, `meta`, as a run needs it.

    Every iteration has a checkpoint, so that whatever stops a run costs one at most. The best is chosen by the return
    after adaptation on the tasks of training, as in [P] A.2: the mean of its own and the WINDOW − 1 iterations before.
    """

    columns = METRICS_COLUMNS
    old_columns = {}
    checkpoint_every = 1
    saves_untrained = True  # a random policy has no other checkpoint
    packages = ("mujoco", "gymnasium")

    def __init__(self, settings):
        self.settings = settings
        self.meta = MetaRL(settings)
        self.state = self.meta.trainer
        self._returns = {}  # {iteration: return after adaptation}, of the last WINDOW

    # Training

    def check(self, folder):
        """Nothing can keep a training from beginning."""

    def begin(self, folder):
        """The mean of returns goes on over a restart. Where rows were lost, it waits for WINDOW new ones in a row."""
        table, last = folder / "metrics.csv", self.meta.iteration
        there = last and self.meta.replicas.is_chief  # alone has a table, and chooses the best
        rows = files.read_table(table) if there and files.read_columns(table) else []
        self._returns = {row["iteration"]: row["post_return"] for row in rows if row["iteration"] > last - WINDOW}

    def advance(self):
        """One meta-iteration."""
        sampled = self.meta.iteration
        metrics = self.meta.iterate()
        reason, failure, spoilt = (metrics.pop(name) for name in ("reason", "failure", "spoilt"))
        if failure:
            advice = f"--resume=False with a smaller {_step_sizes(self.settings)} starts anew"
            failure = f"{failure} at iteration {sampled + 1}; {advice}"
            return Progress(failure=failure, spoilt_since=sampled if spoilt else None)
        self._returns[self.meta.iteration] = metrics["post_return"]
        self._returns.pop(self.meta.iteration - WINDOW, None)
        full = len(self._returns) == min(WINDOW, self.settings.total_iterations)
        return Progress(
            row={**metrics, "accepted": int(metrics["accepted"])},
            score=statistics.fmean(self._returns.values()) if full else None,
            scored_at=sampled,  # the last whose returns these are: not θ after its step
            note=f"iteration {self.meta.iteration}: outer step rejected: {reason}" if reason else None,
        )

    def describe(self, row):
        """'return -80.2 → -40.1, KL 0.0080, 48,000 steps/s'."""
        seconds = row["sampling_seconds"] + row["learning_seconds"]
        text = f"return {row['pre_return']:.1f} → {row['post_return']:.1f}, KL {row['kl']:.4f}"
        text += f", {row['steps'] / seconds:,.0f} steps/s"
        return text + (f", {row['diverged']} diverged" if row["diverged"] else "")

    # Testing

    def about(self):
        """What summary.json says of these settings besides their record."""
        s = self.settings
        return {
            "kind": "rl",
            "method": s.method,
            "method_title": METHODS[s.method],
            "datasource": s.datasource,
            "dataset": s.datasource,
            "num_classes": None,
            "num_shots": None,
            "unit": "return",
            "paper_iterations": s.paper_iterations,
        }

    def tested_weights(self):
        """All of θ."""
        return self.state.weights

    def evaluate(self, protocol, folder, members=()):
        """[Tested]: the adaptation curve on the test tasks, and the returns of each task behind it.

        protocol: a Protocol. folder, members: not needed. UserError where all episodes of a task diverge.
        """
        tasks = self.meta.kind.published_tasks()[: protocol.tasks]
        returns, diverged, trajectories = [], 0, []
        own, of_all = self.meta.replicas.shared(len(tasks))
        adaptation = self.meta.adapt(tasks[own], protocol.learning_rates, protocol.rollouts, first=own.start)
        bar = Bar(adaptation, "test", protocol.steps + 1, leave=False, unit="step")
        for step, (_, sampled) in enumerate(bar):
            returns.append(np.array(of_all(sampled.returns.tolist())))
            if lost := np.count_nonzero(np.isnan(returns[-1])):
                expected = "another checkpoint" + (", or a smaller --update_lr" if step else "")
                raise UserError(
                    f"every simulation of {lost} of {len(tasks)} tasks diverged after {step} gradient steps, so that "
                    f"there is no return to quote; expected {expected}"
                )
            diverged += sum(of_all(sampled.diverged.sum(1).tolist()))
            if self.settings.datasource == "point" and TRAJECTORY_TASK < len(tasks):
                here = TRAJECTORY_TASK in range(own.start, own.stop)
                rows = _trajectories(step, tasks, sampled, TRAJECTORY_TASK - own.start) if here else []
                trajectories += of_all(rows)
        returns = np.stack(returns)
        curve = f"adaptation_test{protocol.suffix}.csv"
        tables = {curve: _curve(returns), f"returns_test{protocol.suffix}.csv": _returns(tasks, returns)}
        if trajectories and not protocol.suffix:
            tables["trajectories_test.csv"] = (tuple(trajectories[0]), trajectories)
        evaluation = {
            "file": curve,
            "split": "test",
            "tasks": protocol.tasks,
            "transductive": None,
            "step": min(1, protocol.steps),
            "values": returns.mean(1).tolist(),
            "errors": _sems(returns).tolist(),
            "error_is": published.SPREAD,
            "published": self._published(protocol),
            "rollouts": protocol.rollouts,
            "learning_rates": protocol.learning_rates,
            "diverged": diverged,
        }
        return [Tested(evaluation, tables)]

    def _published(self, protocol):
        """What the authors' curve says at each step, where a test by this protocol stands beside it, else None."""
        curve = published.find(self.settings.datasource, self.settings.method)
        if protocol.suffix or not self.settings.is_papers or curve is None:
            return None
        return {
            "values": {str(step): mean for step, mean in enumerate(curve.means)},
            "errors": {str(step): sem for step, sem in enumerate(curve.sems)},
            "error_is": published.SPREAD,
            "source": curve.source,
        }


def _step_sizes(settings):
    """The flags that settings of a training have for them: '--max_kl or --update_lr'."""
    outer = "--meta_lr" if settings.outer in BY_ADAM else "--max_kl"
    return f"{outer} or --update_lr" if settings.num_updates else outer


def _sems(returns):
    """Standard errors of the mean over tasks; as the published, of the sample standard deviation."""
    return returns.std(1, ddof=1) / math.sqrt(returns.shape[1])


def _curve(returns):
    """(columns, rows) of the returns [steps + 1, M] over tasks."""
    rows = zip(range(len(returns)), returns.mean(1), returns.std(1), _sems(returns))
    return ADAPTATION_COLUMNS, [dict(zip(ADAPTATION_COLUMNS, row)) for row in rows]


def _returns(tasks, returns):
    """(columns, rows) of the returns of each task."""
    rows = []
    for number, (task, of_task) in enumerate(zip(tasks, returns.T)):
        row = {"task": number} | {f"goal_{i}": goal for i, goal in enumerate(task, start=1)}
        rows.append(row | {f"step_{step}": value for step, value in enumerate(of_task)})
    return tuple(rows[0]), rows


def _trajectories(step, tasks, sampled, place):
    """Rows of the first episodes on TRAJECTORY_TASK: where the point was before each of its moves.

    place: of this task among those sampled.
    """
    rows, episode, goal = [], 0, [float(number) for number in tasks[TRAJECTORY_TASK]]
    steps = sampled.mask[place] > 0  # what stands behind them is padding, no episode
    of_task = (values[place][steps].tolist() for values in (sampled.observations, sampled.times, sampled.ends))
    for (x, y, *_), time, end in zip(*of_task):
        row = {"task": TRAJECTORY_TASK, "goal_1": goal[0], "goal_2": goal[1], "step": step, "episode": episode}
        rows.append(row | {"time": time, "x": x, "y": y})
        episode += int(end)
        if episode == TRAJECTORY_EPISODES:
            break
    return rows
