"""A run: a learner and its folder, with settings, metrics and checkpoints to go on from. The one training loop."""

import itertools
import math
import signal
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from data_generators import locks
from data_generators.errors import UserError
from maml.runs import files
from maml.runs.allocation import keep_freed_memory
from maml.runs.checkpoints import KEEP, Best, Checkpoints, Latest, State
from maml.runs.events import Events
from maml.runs.kind import Kind, Learner
from maml.runs.progress import Bar

REPLICAS = "replicas"  # column of metrics.csv: how many trained, where it was ever more than one
# Ctrl-C; what schedulers and `docker stop` send; a terminal that is closed, where the system has that.
STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def make_run(kind: Kind, settings, folder: str | Path, options: dict | None = None, log: bool = True) -> "Run":
    """The Run of a kind of learning, with its data.

    settings: as `resolve.settle` gives them.
    folder: where everything about it goes.
    options: {option: value} of those in kind.test_flags.
    log: write TensorBoard events too.
    The process keeps the memory it frees from then on.
    """
    keep_freed_memory()
    return Run(kind.learner(settings, options or {}), folder, log)


class Run:
    """A learner (see `kind.Learner`) and the folder where everything about it goes."""

    def __init__(self, learner: Learner, folder: str | Path, log: bool = True):
        self.learner = learner
        self.settings = learner.settings
        self.folder = Path(folder)
        self.state = State(learner.state)
        self.replicas = learner.state.replicas
        self.checkpoints = Checkpoints(self.folder / "checkpoints", self.state, self.settings.to_dict())
        self._events = Events(self.folder / "tensorboard", self.settings.to_dict()) if log else None
        self._columns = ()
        self._trained = None  # iterations of a training whose checkpoints aren't here
        self.stopped_by = None  # the signal that ended the training before its time
        self._since = None  # when the training that `state.seconds` doesn't count yet began

    @property
    def iteration(self) -> int:
        """That of the weights at hand."""
        return int(self.state.trainer.iteration.numpy())

    @property
    def iterations_trained(self) -> int:
        """The highest iteration of the training."""
        return max(self.checkpoints.iterations(), default=self._trained or self.iteration)

    def replicas_trained(self) -> dict:
        """{"replicas": how many trained, all numbers there were}; {} where it was never more than one."""
        path = self.folder / "metrics.csv"
        if REPLICAS not in files.read_columns(path):
            return {}
        return {REPLICAS: sorted({row[REPLICAS] or 1 for row in files.read_table(path)})}

    # Training

    def train(self, resume: bool = True) -> bool:
        """Trains to the settings' last iteration, from the newest checkpoint if there is one.

        resume: False starts anew; the old folder is set aside as <folder>.old-1, -2, …
        Returns True if it got there, False if it was stopped by `stopped_by`, one of STOPS: it then finishes what it is
        at and saves; a second Ctrl-C interrupts at once. Raises UserError where another process trains it, and where
        the learner can't go on; the last checkpoint is then the last good one.
        """
        self._check(resume)
        lock = self.folder.with_name(f".{self.folder.name}.lock")  # beside the folder, which may be set aside
        with locks.held(lock, str(self.folder)):
            self._begin(resume)
            return self._train()

    def check_kept(self, checkpoint: Best | Latest | int, resume: bool = True) -> None:
        """UserError for an iteration that the training leaves no checkpoint of, or more of the best than it has."""
        total, every = self.settings.total_iterations, self.learner.checkpoint_every
        if isinstance(checkpoint, Best) and checkpoint.count > max(1, math.ceil(total / every)):
            raise UserError(
                f"ensemble is {checkpoint.count}, but {total} iterations have {math.ceil(total / every)} checkpoints, "
                f"one every {every}; expected no more than these"
            )
        there = self.checkpoints.iterations() if resume else []
        kept = sorted({total, *range(every, total, every)[-KEEP:], *there})[-KEEP:]
        done = there and max(there) == total
        if isinstance(checkpoint, int) and checkpoint not in (there if done else kept):
            expected = f"one of {', '.join(map(str, there if done else kept))}, or --test_iter beside --train=False"
            raise UserError(
                f"test_iter is {checkpoint}, which the training leaves no checkpoint of; expected {expected}"
            )

    def _train(self):
        learner, replicas, total = self.learner, self.replicas, self.settings.total_iterations
        if self.iteration >= total:
            return True
        print(self._announcement(), file=sys.stderr, flush=True)
        bar = Bar(total=total, initial=self.iteration, desc=self.settings.name, smoothing=0.05, unit="it")
        with bar, _stops() as stopped:
            replicas.told_to_stop, begun = stopped, self.iteration
            while self.iteration < total:
                before = self.iteration
                progress = learner.advance()
                if progress.failure:
                    raise self._failed(progress)
                if progress.note:
                    bar.write(progress.note, file=sys.stderr)
                self._remember_best(progress)
                if progress.row is not None:
                    bar.set_postfix_str(learner.describe(progress.row), refresh=False)
                    self._record(progress.row)
                bar.measure_from(self.iteration) if before == begun else bar.update(self.iteration - before)
                bar.say_how_long()
                if self.iteration == total:
                    replicas.settle_stop()
                stopping = replicas.stopping
                if self.iteration % learner.checkpoint_every == 0 or self.iteration == total or stopping:
                    self._save(progress.score if progress.scored_at is None else None)
                if stopping:
                    self.stopped_by = stopped[0] if stopped else signal.SIGTERM  # another process may have been told
                    return False
        return True

    def _announcement(self):
        """'training Omniglot, 5-way 1-shot, MAML: iterations 0 to 60,000, in logs/…'; then a step is compiled."""
        done, total = self.iteration, self.settings.total_iterations
        return f"training {self.settings.full_title}: iterations {done:,} to {total:,}, in {self.folder}; compiling …"

    def _check(self, resume):
        """UserError where the training can't go on from the newest checkpoint. Writes nothing."""
        if resume:
            check_trainable(self.folder)
            self.checkpoints.restore_latest()
        self._check_length()
        self.learner.check(self.folder)

    def _begin(self, resume):
        """The state of the newest checkpoint, and a folder in which training goes on from there."""
        if resume:
            self.checkpoints.restore_latest()  # again: another process may have gone on until the lock was ours
            self._check_length()
        else:
            set_aside(self.folder)
        self.take_chiefs()
        self.checkpoints.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(self.folder / "config.json", self.settings.to_dict())
        files.truncate_table(self.folder / "metrics.csv", self.iteration)
        files.rename_columns(self.folder / "metrics.csv", self.learner.old_columns)
        self._check_table()
        self._columns = files.read_columns(self.folder / "metrics.csv") or self.learner.columns
        self._since = time.monotonic()
        self.learner.begin(self.folder)
        if self.learner.saves_untrained and self.iteration not in self.checkpoints.iterations():
            self._save()

    def _check_length(self):
        if self.iteration > self.settings.total_iterations:
            raise UserError(
                f"{self.folder} is trained to iteration {self.iteration} already, expected no more than the "
                f"{self.settings.total_iterations} asked for; --train=False --test_iter=… tests an earlier checkpoint"
            )

    def _check_table(self):
        """A line on stderr where rows of metrics.csv were lost or changed since the checkpoint."""
        table = self.checkpoints.table(self.iteration) if self.iteration in self.checkpoints.iterations() else None
        if table and (said := files.check_sealed(self.folder / "metrics.csv", table)):
            print(f"{said} (iteration {self.iteration}); the weights are right, figures lack it", file=sys.stderr)

    def _check_there(self):
        """UserError where the folder is gone: what is written from now on would be half a run."""
        missing = [name for name in ("config.json", "checkpoints") if not (self.folder / name).exists()]
        if missing:
            raise UserError(
                f"{self.folder} has lost {' and '.join(missing)} while the run trained (iteration {self.iteration}); "
                "expected a folder that nobody moves or clears"
            )

    def _failed(self, progress):
        since = math.inf if progress.spoilt_since is None else progress.spoilt_since
        good = max((iteration for iteration in self.checkpoints.iterations() if iteration < since), default=None)
        none = "there is no checkpoint yet" if progress.spoilt_since is None else "none before it was kept"
        last = none if good is None else f"the last good checkpoint is of iteration {good}"
        return UserError(f"{progress.failure}; {last} in {self.checkpoints.folder}")

    def _remember_best(self, progress):
        if progress.score is not None and progress.score > self.state.best_score.numpy():
            self.state.best_score.assign(progress.score)
            self.state.best_iteration.assign(self.iteration if progress.scored_at is None else progress.scored_at)

    def _record(self, row):
        """A row of metrics.csv for this iteration, and TensorBoard's scalars; before the checkpoint, if any."""
        self._check_there()
        path = self.folder / "metrics.csv"
        if self.replicas.count > 1 or REPLICAS in self._columns:
            row = {**row, REPLICAS: self.replicas.count}
        if new := [name for name in row if name not in self._columns]:
            self._columns = (*self._columns, *new)
            files.add_columns(path, new)
        files.append_row(path, self._columns, {"iteration": self.iteration, **row})
        if self._events:
            self._events.scalars(self.iteration, row)

    def _save(self, score=None):
        """A checkpoint of this iteration, whose weights have that score, once its rows of metrics.csv are on disk."""
        self._check_there()
        now = time.monotonic()
        self.state.seconds.assign_add(now - self._since)
        self._since = now
        table = files.seal_table(self.folder / "metrics.csv")
        self.checkpoints.save(self.iteration, int(self.state.best_iteration.numpy()), table, score)

    def show_figures(self) -> None:
        """Adds the figures in the folder to TensorBoard's events."""
        if self._events:
            self._events.pictures(self.iteration, sorted(self.folder.glob("*.png")))

    # Restoring

    def take_chiefs(self) -> None:
        """Sets the state to the chief's, which alone has a folder to restore it from."""
        self.replicas.take_chiefs(self.state.variables)

    def restore(self, checkpoint: Best | Latest | int) -> str:
        """Sets the state to a checkpoint, and returns its label for the record: "best", "latest", "iteration 500".

        Where there are no checkpoints, as in a run folder that was published, those of weights.npz, and their label.
        Raises UserError where there is neither. Of several processes only the chief is to call it, and all
        `take_chiefs` then.
        """
        if isinstance(checkpoint, int):
            self.checkpoints.restore(checkpoint)
            return f"iteration {checkpoint}"
        if self.checkpoints.restore_latest() is not None:
            return "best" if isinstance(checkpoint, Best) and self._restore_best() else "latest"
        if not (self.folder / files.WEIGHTS).exists():
            raise UserError(
                f"no checkpoint in {self.checkpoints.folder}: nothing is trained there yet, or not on this machine; "
                "expected a run that was trained"
            )
        return self._read_weights()

    def _restore_best(self):
        """Whether there is a best checkpoint, which the state, that of the latest, is then set to."""
        best, seconds = int(self.state.best_iteration.numpy()), self.state.seconds.numpy()
        if best < 0 or best == self.iteration:
            return best >= 0
        try:
            self.checkpoints.restore(best)
        except UserError as error:
            print(f"{error}; taking the latest checkpoint instead", file=sys.stderr)
            self.checkpoints.restore_latest()
            return False
        self.state.seconds.assign(seconds)  # choosing the best took the whole run
        return True

    def members(self, count: int) -> dict[int, dict]:
        """{iteration: θ} of the so many best checkpoints, the best first, θ as {name: tensor}.

        The state is the best one then. Raises UserError where there are fewer. Of several processes all are to call it.
        """
        chosen = self.checkpoints.best(count) if self.replicas.is_chief else [None] * count
        if len(chosen) < count:
            raise UserError(
                f"ensemble is {count}, but {self.checkpoints.folder} has {len(chosen)} checkpoints whose accuracy on "
                "validation tasks is known; expected no more than these"
            )
        found = {}
        for iteration in chosen:
            if self.replicas.is_chief:
                self.checkpoints.restore(iteration)
            self.take_chiefs()
            found[self.iteration] = self.state.trainer.current_weights()
        if self.replicas.is_chief:
            self.restore(Best())
        self.take_chiefs()
        return found

    def weights(self) -> dict:
        """θ, {name: array}."""
        return {name: weight.numpy() for name, weight in self.state.trainer.weights.items()}

    def write_weights(self, label: str) -> None:
        """Leaves in the folder what a test reads of θ, for those who have the folder alone.

        label: what `restore` says of these weights, then and when they are read from there.
        """
        about = {
            "label": label,
            "title": self.settings.title,
            "iteration": self.iteration,
            "trained": self.iterations_trained,
            "seconds": float(self.state.seconds.numpy()),
        }
        tested = {name: weight.numpy() for name, weight in self.learner.tested_weights().items()}
        files.write_weights(self.folder / files.WEIGHTS, tested, about)

    def drop_older_weights(self) -> None:
        """Removes weights.npz where it is of a shorter training than this."""
        path = self.folder / files.WEIGHTS
        with suppress(UserError):  # a damaged one is named by who reads it
            trained = files.read_weights(path)[1].get("trained") if path.exists() else None
            if trained is not None and trained < self.iterations_trained:
                path.unlink()

    def _read_weights(self):
        """Sets what a test reads of θ to that of weights.npz, and returns its label."""
        trainer, tested = self.state.trainer, self.learner.tested_weights()
        weights, about = files.read_weights(self.folder / files.WEIGHTS, tested)
        for name, value in weights.items():
            tested[name].assign(value)
        trainer.iteration.assign(about.get("iteration", 0))
        self.state.seconds.assign(about.get("seconds", 0.0))
        self._trained = about.get("trained")
        return about.get("label", "weights")


def check_trainable(folder: Path) -> None:
    """UserError for a folder that holds results but not the checkpoints from which they could be gone on with.

    A run that was killed before its first checkpoint has the folder for them.
    """
    folder = Path(folder)
    checkpoints = folder / "checkpoints"
    killed_early = checkpoints.is_dir() and not (folder / "summary.json").exists()
    results = [name for name in ("summary.json", "metrics.csv", files.WEIGHTS) if (folder / name).exists()]
    if results and not killed_early and not any(checkpoints.glob("iteration_*")):
        raise UserError(
            f"{folder} holds the results of a finished run ({', '.join(results)}) and no checkpoints; "
            "expected another --logdir, or --resume=False to train anew"
        )


def set_aside(folder: Path) -> None:
    """Renames a folder, if it is there, to the first of <folder>.old-1, -2, … that is free."""
    if folder.exists():
        number = next(i for i in itertools.count(1) if not Path(f"{folder}.old-{i}").exists())
        folder.rename(f"{folder}.old-{number}")


@contextmanager
def _stops():
    """Within, one of STOPS is added to the list it yields instead of interrupting, so that a step is not cut in two."""
    came, previous = [], {}

    def stop(number, _):
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    try:
        for number in STOPS:
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it ignored
                previous[number] = signal.signal(number, stop)
    except ValueError:  # not in the main thread: leave signals alone
        pass
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
