"""A supervised run: train, validate, test. What `main.py` calls."""

import dataclasses
import itertools
import re
import signal
from contextlib import contextmanager
from pathlib import Path

import tqdm

from data_generators.errors import UserError
from data_generators.streams import SPLITS
from maml import evaluation, losses, networks, records, runs, tf1_checkpoint
from maml.meta_training import Learner, MetaTrainer

METRICS_EVERY = 100  # iterations between rows of metrics.csv (authors' SUMMARY_INTERVAL)
CHECKPOINT_EVERY = 1000  # iterations between checkpoints and validations (authors' SAVE_INTERVAL)
VALIDATION_TASKS = 600
EVALUATION_SEED = 1  # the same test tasks for every run and method (authors' test() seeds with 1 as well)
CLASSES = "classes.json"  # in the run folder: {split: {class: how many images}} of the training
TEST_STEPS = 10  # inner steps at test (authors' test_num_updates)


def build_learner(config, input_shape):
    """The paper's network, loss and inner loop for a Config and inputs of that shape. Returns (Network, Learner)."""
    if config.classification:
        loss, metric = losses.cross_entropy(config.update_batch_size), losses.accuracy
        height, width, channels = input_shape
        if config.conv:
            net = networks.conv_net(
                input_shape,
                config.num_filters,
                config.num_classes,
                config.norm,
                config.max_pool,
                flatten=config.photographs,
                xla=config.jit,
            )
        else:  # [P] 5.2, A.1
            net = networks.dense_net(height * width * channels, (256, 128, 64, 64), config.num_classes, config.norm)
    else:  # [P] 5.1
        loss, metric = losses.mse, None
        net = networks.dense_net(*input_shape, (40, 40), 1, config.norm)
    learner = Learner(
        forward=net.forward,
        loss=loss,
        metric=metric,
        inner_lr=config.update_lr,
        num_updates=config.num_updates,
        first_order=config.stop_grad,
        is_adapted=networks.is_adapted,
        tasks_per_chunk=config.tasks_per_chunk,
        jit=config.jit,
    )
    return net, learner


class Run(runs.Run):
    """One run: its settings, its tasks, its state and its folder.

    config: a Config. tasks: SinusoidTasks or ImageTasks. folder: where everything about it goes.
    """

    def __init__(self, config, tasks, folder, log=True):
        net, self.learner = build_learner(config, tasks.input_shape)
        trainer = MetaTrainer(net.init(config.seed), config.meta_lr, config.clip)
        super().__init__(config, folder, trainer, records.METRICS_COLUMNS, log)
        self.tasks = tasks
        self.evaluator = evaluation.Evaluator(self.learner)

    # Training

    def train(self, resume=True):
        """Meta-trains to the configured iteration, from the newest checkpoint if there is one.

        resume: False starts anew; the old folder is set aside as <folder>.old-1, -2, … Returns True if it got there,
        False if Ctrl-C stopped it (saved first). Raises UserError when a loss or a gradient is no longer finite; the
        last checkpoint is then the last good one; and when the data are not those that the run began with.
        """
        config, total = self.config, self.config.total_iterations
        for split, queries in (("train", config.query_batch_size), ("val", config.update_batch_size)):
            self.tasks.check(split, config.update_batch_size, queries)
        self._begin(resume)
        if config.dataset is not None:
            records.write_json(self.folder / CLASSES, self.tasks.contents())
        if self.iteration >= total:
            return True
        pretrain = self._compile(dataclasses.replace(self.learner, num_updates=0))
        metatrain = self._compile(self.learner)
        bar = tqdm.tqdm(total=total, initial=self.iteration, desc=config.experiment, smoothing=0.05, unit="it")
        validated = ""
        with bar, _ctrl_c() as stopped:
            while self.iteration < total:
                if self.iteration == config.pretrain_iterations:
                    self.trainer.restart_adam()  # the authors have an optimiser for each of the two phases
                before, phase_end = self.iteration, total
                update = metatrain
                if before < config.pretrain_iterations:
                    update, phase_end = pretrain, config.pretrain_iterations
                count = min(config.iterations_per_call, METRICS_EVERY - before % METRICS_EVERY, phase_end - before)
                metrics = update([self._training_batch(i) for i in range(before, before + count)])
                if not metrics.pop("finite"):
                    good = max(self.checkpoints.iterations(), default=None)
                    raise UserError(
                        f"the loss or the meta-gradient is not finite at iteration {self.iteration + 1} "
                        f"(loss {float(metrics['post_loss']):.3g}); "
                        + (f"the last good checkpoint is of iteration {good}" if good else "there is no checkpoint yet")
                        + f" in {self.checkpoints.folder}; a smaller --meta_lr or --update_lr may help"
                    )
                done, at_checkpoint = self.iteration, self.iteration % CHECKPOINT_EVERY == 0 or self.iteration == total
                if done % METRICS_EVERY == 0 or at_checkpoint:
                    row = _row(metrics)
                    if at_checkpoint and config.classification:
                        row |= self._validate()
                        validated = f", val {100 * row['val_post_accuracy']:.1f} %"
                    bar.set_postfix_str(_describe(row) + validated, refresh=False)
                    self._record(row)
                bar.update(done - before)
                if at_checkpoint or stopped:
                    self._save()
                if stopped:
                    return False
        return True

    def _compile(self, learner):
        """A function that makes a meta-update on each of a list of Episodes and returns the metrics of the last."""
        if self.config.iterations_per_call > 1:
            return self.trainer.compile_loop(learner)
        step = self.trainer.compile(learner)
        return lambda episodes: step(episodes[0])

    def _training_batch(self, step):
        c = self.config
        return self.tasks.sample("train", c.seed, step, c.meta_batch_size, c.update_batch_size, c.query_batch_size)

    def _validate(self):
        """Accuracy on validation tasks before adaptation and at the step the headline reads; remembers the best."""
        c = self.config
        tasks = self._evaluation_tasks("val", VALIDATION_TASKS, c.update_batch_size, c.update_batch_size)
        result = self.evaluator(self.trainer.current_weights(), tasks, c.step_read)
        loss, accuracy = result.loss.mean(0), result.metric.mean(0)
        if accuracy[-1] > float(self.state.best_score):
            self.state.best_score.assign(accuracy[-1])
            self.state.best_iteration.assign(self.iteration)
        return {
            "val_pre_loss": loss[0],
            "val_post_loss": loss[-1],
            "val_pre_accuracy": accuracy[0],
            "val_post_accuracy": accuracy[-1],
        }

    # Data that may have changed since the training. CLASSES is written for those that their name alone doesn't settle.

    def _recorded_classes(self):
        path = self.folder / CLASSES
        return records.read_json(path) if path.exists() else None

    def _check_resumed(self):
        """Raises UserError if the classes, or the number of their images, are not those that the run began with."""
        there = self._recorded_classes()
        if not self.iteration or there is None or there == (here := self.tasks.contents()):
            return
        split = next(split for split in here if here[split] != there.get(split))
        pairs = set(there.get(split, {}).items()) ^ set(here[split].items())
        raise UserError(
            f"{self.folder} was trained on other data: the {split} split differs by {min(pairs)[0]!r}; "
            "expected the same classes of as many images, another --logdir, or --resume=False to train anew"
        )

    def _check_unseen(self, split):
        """Raises UserError if a class of `split` was in a split before it, trained or chosen on, when the run was made."""
        there = self._recorded_classes()
        if there is None:
            return
        here = self.tasks.contents()[split]
        for earlier in itertools.takewhile(lambda name: name != split, SPLITS):
            if seen := sorted(here.keys() & there.get(earlier, {}).keys()):
                raise UserError(
                    f"{len(seen)} classes of the {split} split, the first {seen[0]!r}, were in the {earlier} split when "
                    f"{self.folder} was trained; expected classes that the run has not seen"
                )

    # Testing

    def restore(self, checkpoint):
        """As `runs.restore`; a Path is a checkpoint of the authors' code, see `tf1_checkpoint`."""
        if isinstance(checkpoint, Path):
            for name, value in tf1_checkpoint.read(checkpoint, self.trainer.current_weights()).items():
                self.trainer.weights[name].assign(value)
            number = re.search(r"\d+$", checkpoint.name)  # authors' main.py names them model<iteration>
            self.trainer.iteration.assign(int(number[0]) if number else 0)
            records.write_json(self.folder / "config.json", self.config.to_dict())
            return checkpoint.name
        return super().restore(checkpoint)

    def evaluate(
        self, split, num_shots, num_queries, num_tasks, inner_lr=None, transductive=True, num_steps=TEST_STEPS
    ):
        """Adapts the restored θ to `num_tasks` tasks of a split. Returns an `evaluation.Adaptation`.

        Raises UserError where the split lacks images, or holds classes that the run was trained on.
        """
        self.tasks.check(split, num_shots, num_queries)
        self._check_unseen(split)
        learner = self.learner
        if self.config.classification and num_shots != self.config.update_batch_size:
            learner = dataclasses.replace(learner, loss=losses.cross_entropy(num_shots))
        same = learner is self.learner and transductive
        evaluator = self.evaluator if same else evaluation.Evaluator(learner, transductive)
        tasks = self._evaluation_tasks(split, num_tasks, num_shots, num_queries)
        tasks = tqdm.tqdm(tasks, total=num_tasks, desc=f"{split} tasks, {num_shots} shot", unit="task", leave=False)
        return evaluator(self.trainer.current_weights(), tasks, num_steps, inner_lr)

    def _evaluation_tasks(self, split, num_tasks, num_shots, num_queries):
        return (self.tasks.sample(split, EVALUATION_SEED, i, 1, num_shots, num_queries) for i in range(num_tasks))


def _row(metrics):
    names = {"pre_loss": "pre_loss", "post_loss": "post_loss", "pre_metric": "pre_accuracy", "post_metric": "post_accuracy"}
    return {names[key]: float(value) for key, value in metrics.items()}


def _describe(row):
    text = f"loss {row['pre_loss']:.3g} → {row['post_loss']:.3g}"
    if "post_accuracy" in row:
        text += f", accuracy {100 * row['pre_accuracy']:.0f} → {100 * row['post_accuracy']:.0f} %"
    return text


@contextmanager
def _ctrl_c():
    """Within, Ctrl-C fills the list it yields instead of interrupting, so that a step is never cut in two."""
    pressed = []
    try:
        previous = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    except ValueError:  # not in the main thread: leave signals alone
        yield pressed
        return
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)
