"""A run of meta-reinforcement learning: train, and keep the best. What `main.py` calls."""

import collections
import statistics
import sys

import tqdm

from maml import records, runs
from rl.meta_rl import MetaRL

# Of metrics.csv. "iteration" counts the outer steps taken or rejected so far; the returns are those of θ before the last.
METRICS_COLUMNS = (
    "iteration", "pre_return", "post_return", "loss_before", "loss", "kl", "backtracks", "accepted", "steps", "diverged",
    "sampling_seconds", "learning_seconds",
)  # fmt: skip

# Over how many iterations the return that chooses a checkpoint is averaged. Ours: the tasks of one are a draw, whose
# goals move its return by more than many outer steps do.
WINDOW = 10


class Run(runs.Run):
    """One run: its settings, its state and its folder. config: a Config; folder: where everything about it goes."""

    def __init__(self, config, folder, log=True):
        self.meta = MetaRL(config)
        super().__init__(config, folder, self.meta.state, METRICS_COLUMNS, log)

    def train(self, resume=True):
        """Meta-trains to the configured iteration, from the newest checkpoint if there is one.

        There is a checkpoint of every iteration, so that whatever stops it costs one at most; the ten newest stay, and
        the best: by the return after adaptation on the tasks of training, as [P] A.2 chooses, averaged over its own and
        the WINDOW − 1 iterations before. resume: False starts anew; the old folder is set aside as <folder>.old-1, …
        """
        total = self.config.total_iterations
        self._begin(resume)
        if self.iteration not in self.checkpoints.iterations():
            self._save()  # of θ as it is initialised: a random policy has no other
        if self.iteration >= total:
            return
        returns = collections.deque(self._returns(), WINDOW)
        bar = tqdm.tqdm(total=total, initial=self.iteration, desc=self.config.experiment, smoothing=0.1, unit="it")
        with bar:
            while self.iteration < total:
                sampled = self.iteration
                metrics = self.meta.iterate()
                if reason := metrics.pop("reason"):
                    bar.write(f"iteration {self.iteration}: outer step rejected: {reason}", file=sys.stderr)
                returns.append(metrics["post_return"])
                full = len(returns) == min(WINDOW, total)
                if full and statistics.fmean(returns) > float(self.state.best_score):
                    self.state.best_score.assign(statistics.fmean(returns))
                    self.state.best_iteration.assign(sampled)  # the last whose returns these are: not θ after its step
                self._record({**metrics, "accepted": int(metrics["accepted"])})
                self._save()
                bar.set_postfix_str(_describe(metrics), refresh=False)
                bar.update()

    def _returns(self):
        """Those after adaptation of the iterations so far."""
        if not self.iteration:
            return []
        return [row["post_return"] for row in records.read_table(self.folder / "metrics.csv")]


def _describe(metrics):
    seconds = metrics["sampling_seconds"] + metrics["learning_seconds"]
    text = f"return {metrics['pre_return']:.1f} → {metrics['post_return']:.1f}, KL {metrics['kl']:.4f}"
    text += f", {metrics['steps'] / seconds:,.0f} steps/s"
    return text + (f", {metrics['diverged']} diverged" if metrics["diverged"] else "")
