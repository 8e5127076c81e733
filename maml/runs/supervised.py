"""Supervised few-shot learning: what a run of any method trains, validates and tests."""

import dataclasses
import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data_generators import sources
from data_generators.errors import UserError
from maml import methods
from maml.meta_training import Trainer
from maml.methods import _pretraining
from maml.methods.card import TOGETHER
from maml.methods.pretrained import unadapted_objective
from maml.runs import memory, seen, workers
from maml.runs.curves import Curves
from maml.runs.kind import Kind, Progress
from maml.runs.problems import fixed_num_classes, problem_of, training_episodes, validation_ways
from maml.runs.progress import Bar
from maml.runs.protocol import protocol_of
from maml.runs.schedules import SCHEDULES
from maml.runs.settings import Settings, record_types, resolve, task_fractions

METRICS_EVERY = 100  # iterations between rows of metrics.csv (authors' SUMMARY_INTERVAL)
CHECKPOINT_EVERY = 1000  # iterations between checkpoints and validations (authors' SAVE_INTERVAL)
VALIDATION_TASKS = 600  # at most
SKIPPED_IN_A_ROW = 100  # updates that were not finite and left out, after which there is no use in going on

COLUMNS = (
    "iteration", "support_loss", "query_loss", "support_accuracy", "query_accuracy",
    "val_loss_before", "val_loss_after", "val_accuracy_before", "val_accuracy_after",
)  # fmt: skip
OLD_COLUMNS = {
    "pre_loss": "support_loss",
    "post_loss": "query_loss",
    "pre_accuracy": "support_accuracy",
    "post_accuracy": "query_accuracy",
    "val_pre_loss": "val_loss_before",
    "val_post_loss": "val_loss_after",
    "val_pre_accuracy": "val_accuracy_before",
    "val_post_accuracy": "val_accuracy_after",
}


class Phase(NamedTuple):
    """A part of the training: to iteration `end`; update(batches) -> metrics of the last; draw(step) -> a batch."""

    end: int
    update: Callable
    draw: Callable


class SupervisedLearner:
    """The Learner of a supervised run (see `kind.Learner`).

    settings: a `settings.Settings`.
    tasks: SinusoidTasks or ImageTasks; None: it can be restored, but neither trained nor tested.
    """

    columns = COLUMNS
    old_columns = OLD_COLUMNS
    packages = ()

    def __init__(self, settings, tasks=None):
        self.settings = settings = _with_train_classes(settings, tasks)
        self.tasks = tasks
        self.problem = problem_of(settings, tasks and tasks.input_shape)
        self.method = _method(settings, self.problem)
        training = settings.training
        theta = self.method.init(settings.seed)
        self.state = Trainer(
            theta,
            learning_rate(settings),
            training.optimizer,
            training.clip or None,
            training.skip_not_finite,
            training.clip_norm,
            (training.pretrain_iterations, training.pretrain_lr) if _begins_with_classifier(settings) else None,
        )
        self.curves = Curves(settings, self.method, self.problem, tasks)
        self._episodes = None
        self._phases = ()
        self._validated = ""
        self._skipped_in_a_row = 0

    @property
    def checkpoint_every(self) -> int:
        return CHECKPOINT_EVERY

    @property
    def saves_untrained(self) -> bool:
        """Only where there is nothing to train."""
        return self.settings.total_iterations == 0

    @property
    def iteration(self) -> int:
        return int(self.state.iteration.numpy())

    # Training

    def check(self, folder):
        """UserError where the data are too few, or not those that the run in the folder began with."""
        self._episodes, _ = training_episodes(self.settings, self.tasks)
        ways, shots, queries, *_ = self._episodes
        self.tasks.check("train", shots, queries, ways)
        val_ways, _ = validation_ways(self.settings, self.tasks)
        if val_ways:
            self.tasks.check("val", self.settings.task.num_shots, self.settings.task.num_shots, val_ways)
        if self.iteration:
            seen.check_same(folder, self.tasks)
        for line in self._cuts():
            print(line, file=sys.stderr)

    def _cuts(self):
        """Lines on what there are too few of in the data for the training; none where there is nothing to train."""
        if not (self.tasks and self.settings.total_iterations):
            return []
        found = (cut(self.settings, self.tasks) for cut in (training_episodes, validation_ways))
        return [said for _, said in found if said]

    def begin(self, folder):
        """Records the classes of data that their name alone doesn't settle."""
        if self.settings.task.dataset is not None:
            seen.record(folder, self.tasks)
        self._phases = self._make_phases()

    def advance(self) -> Progress:
        """Moves on by one call of the compiled update, at most to the next row of metrics.csv."""
        before, settings = self.iteration, self.settings
        if before == settings.training.pretrain_iterations:
            self.state.restart_adam()  # the authors have an optimiser for each of the two phases
        phase = next(phase for phase in self._phases if before < phase.end)
        to_next_row = METRICS_EVERY - before % METRICS_EVERY
        count = min(settings.engine.iterations_per_call, to_next_row, phase.end - before)
        skipped_before = self.skipped
        metrics = phase.update([phase.draw(step) for step in range(before, before + count)])
        finite, skipped = metrics.pop("finite"), self.skipped - skipped_before
        self._skipped_in_a_row = self._skipped_in_a_row + skipped if skipped == count else 0
        if not finite and (not settings.training.skip_not_finite or self._skipped_in_a_row >= SKIPPED_IN_A_ROW):
            return Progress(failure=self._failure(metrics))
        note = f"left out as not finite: {skipped} of {count} updates; {self.skipped} so far" if skipped else None
        at_checkpoint = self.iteration % CHECKPOINT_EVERY == 0 or self.iteration == settings.total_iterations
        if self.iteration % METRICS_EVERY and not at_checkpoint:
            return Progress(note=note)
        row = _row(metrics) | ({"skipped": self.skipped} if settings.training.skip_not_finite else {})
        if not at_checkpoint or self.problem.metric is None:
            return Progress(row, note=note)
        row |= self._validate()
        is_candidate = self.iteration > _first_of_its_own(settings)  # to be the best checkpoint
        return Progress(row, score=row.get("val_accuracy_after") if is_candidate else None, note=note)

    @property
    def skipped(self) -> int:
        """Updates that were left out so far, as they were not finite."""
        return int(self.state.skipped.numpy()) if self.settings.training.skip_not_finite else 0

    def _failure(self, metrics):
        iteration = self.iteration + (not self.settings.training.skip_not_finite)  # which does not count it else
        smaller = "--meta_lr or --update_lr" if hasattr(self.settings.own, "inner_lr") else "--meta_lr"
        return (
            f"the loss or the meta-gradient is not finite at iteration {iteration} "
            f"(loss {float(metrics['loss']):.3g}); a smaller {smaller} may help"
        )

    def _validate(self):
        """Loss and accuracy on validation tasks before adaptation, and after the step that the headline reads.

        Queries are normalised as the method's own paper tests. Nothing where there are too few validation classes.
        """
        ways, num_shots = validation_ways(self.settings, self.tasks)[0], self.settings.task.num_shots
        if ways is None:
            return {}
        count = min(VALIDATION_TASKS, self.settings.card.validation_tasks)
        as_published = self.settings.card.normalisation == TOGETHER or self.settings.network.norm != "batch_norm"
        curves = self.curves.of_classes(ways)
        tasks = curves.tasks_of("val", num_shots, num_shots, count)
        bar = Bar(tasks, "validation tasks", count, leave=False, disable=None, unit="task")
        weights, step = self.state.current_weights(), curves.reading.step
        result = curves.learn(weights, bar, step, transductive=as_published)
        loss, accuracy = result.loss.mean(0), result.metric.mean(0)
        self._validated = f", val {100 * accuracy[-1]:.1f} %"
        before = {"val_loss_before": loss[0], "val_accuracy_before": accuracy[0]} if len(loss) > 1 else {}
        return {**before, "val_loss_after": loss[-1], "val_accuracy_after": accuracy[-1]}

    def describe(self, row):
        """'loss 1.6 → 0.2, accuracy 20 → 93 %, val 91.0 %': θ on the support sets → adapted on the query sets."""
        losses = [f"{row[name]:.3g}" for name in ("support_loss", "query_loss") if name in row]
        accuracies = [f"{100 * row[name]:.0f}" for name in ("support_accuracy", "query_accuracy") if name in row]
        text = f"loss {' → '.join(losses or [format(row.get('loss', np.nan), '.3g')])}"
        return text + (f", accuracy {' → '.join(accuracies)} %" if accuracies else "") + self._validated

    def _make_phases(self):
        """Pretraining, if there is any, then the method's stages, if it has any, and its own objective."""
        settings, first = self.settings, self.settings.training.pretrain_iterations
        stages = settings.card.stages(settings.own, self.problem) if settings.card.stages else ()
        if settings.of_all_classes:
            stages = [(end, _pretraining.on_own(objective)) for end, objective in stages]
        meta = settings.training.metatrain_iterations
        stages = [(first + math.ceil(round(end * meta, 6)), objective) for end, objective in stages]
        stages.append((settings.total_iterations, None))
        own = tuple(Phase(end, self._compiled(objective), self._draw_episode) for end, objective in stages)
        if not first:
            return own
        if settings.card.pretraining:
            objective = settings.card.pretraining(settings.own, self.problem)
            return Phase(first, self._compiled(objective), self._draw_batch), *own
        if self.method.step is None:
            raise UserError(f"method {settings.method} has no pretraining, expected pretrain_iterations=0")
        if settings.of_all_classes:
            return Phase(first, self._compiled(_pretraining.objective_of(self.problem)), self._draw_batch), *own
        objective = unadapted_objective(self.problem, self.method.start, self.method.predict)
        return Phase(first, self._compiled(objective), self._draw_episode), *own

    def _compiled(self, objective):
        """A function: an update on each of a list of batches, by an objective or the method's; metrics of the last."""
        settings, engine = self.settings, self.settings.engine
        begin = settings.training.pretrain_iterations
        how = (self.method, engine.tasks_per_chunk, engine.jit, settings.total_iterations, objective, begin)
        if engine.iterations_per_call > 1:
            return self.state.compile_loop(*how)
        step = self.state.compile(*how)
        return lambda batches: step(batches[0])

    def _draw_episode(self, step):
        (ways, shots, queries, *how), training = self._episodes, self.settings.training
        whole = "train", training.seed, step, training.num_tasks, shots, queries, ways, *how
        return self.state.replicas.draw(lambda part: self.tasks.sample(*whole, part), training.num_tasks)

    def _draw_batch(self, step):
        settings = self.settings
        size = settings.own.batch_size if settings.card.pretraining else settings.training.pretrain_batch
        return self.tasks.batch("train", settings.seed, step, size)

    # Testing

    def about(self):
        """For summary.json."""
        task, card, cuts = self.settings.task, self.settings.card, self._cuts()
        return {
            **({"cut": "; ".join(cuts)} if cuts else {}),
            "kind": KIND.name,
            "method": self.settings.method,
            "method_title": card.title,
            "datasource": task.datasource,
            "dataset": task.dataset or task.datasource,
            "num_classes": task.num_classes if task.classification else None,
            "num_shots": task.num_shots,
            "unit": "accuracy" if task.classification else "mse",
            "paper_iterations": self.settings.paper_iterations,
        }

    def tested_weights(self):
        """θ without what only the training needs."""
        return {name: w for name, w in self.state.weights.items() if name not in self.method.training_only}

    def evaluate(self, protocol, folder, members=()):
        """The `Tested` of each K."""
        seen.check_same(folder, self.tasks, protocol.split)
        _check_ways(self.settings, protocol)
        curves = self.curves if protocol.ways is None else self.curves.of_classes(protocol.ways)
        for shots in protocol.shots:
            self.tasks.check(protocol.split, shots, protocol.queries or shots, protocol.ways)
            yield curves.tested(members or self.state.current_weights(), protocol, shots)


def _check_ways(settings, protocol):
    """UserError where θ has an output for each of the training's N classes, and the test other ones."""
    fixed = None if protocol.ways is None else fixed_num_classes(settings)
    if fixed is not None:
        raise UserError(
            f"num_classes is {protocol.ways} at test, but {settings.card.title} learns an output a class, for {fixed} "
            f"classes; expected {fixed}, or a run of its own, trained with num_classes={protocol.ways}"
        )


def _method(settings, problem):
    """The Method, with a classifier of all training classes where its training begins with one. UserError if it can't.

    Methods without inner steps are left alone.
    """
    method = settings.card.build(settings.own, problem)
    if not _begins_with_classifier(settings) or method.step is None:
        return method
    theta, network = method.init(0), problem.network(problem.num_outputs).init(0)
    if not all(name in theta and _ends_with(theta[name].shape, w.shape) for name, w in network.items()):
        raise UserError(f"method {settings.method} has no classifier to pre-train, expected pretrain_iterations=0")
    return _pretraining.with_classifier(method, problem)


def _ends_with(shape, end):
    """Whether a weight is the network's, or the network's for each inner step."""
    return shape[shape.rank - end.rank :] == end


def learning_rate(settings) -> float | Callable:
    """β, or its schedule over the training by the method's own objective: before it, β is as at its beginning."""
    training, first = settings.training, _first_of_its_own(settings)
    make = SCHEDULES[training.schedule].make
    if make is None:
        return training.meta_lr
    schedule = make(training, settings.total_iterations - first)
    return (lambda iteration: schedule(tf.maximum(iteration - first, 0))) if first else schedule


def _begins_with_classifier(settings):
    """Whether a classifier of all training classes comes before a method that is trained on tasks."""
    return settings.of_all_classes and not settings.card.pretraining


def _first_of_its_own(settings):
    """The iteration at which the training by the method's own objective begins; 0 where all of it is a pretraining."""
    training = settings.training
    return training.pretrain_iterations if training.metatrain_iterations else 0


def _row(metrics):
    """Of metrics.csv. What is minimised has a column of its own where the objective names no other loss.

    What isn't finite, of an update that was left out, has no value.
    """
    named = {"support_loss", "query_loss"} & metrics.keys()
    row = {name: float(value) for name, value in metrics.items() if name != "loss" or not named}
    return {name: value for name, value in row.items() if np.isfinite(value)}


def _with_train_classes(settings, tasks):
    """The settings with how many classes a batch of pretraining tells apart, so that θ is known without the data."""
    if tasks is None or not settings.of_all_classes:
        return settings
    recorded, here = settings.task.train_classes, tasks.num_batch_classes("train")
    if recorded not in (None, here):
        raise UserError(f"the run was trained on {recorded} classes, these data have {here}; expected the same data")
    return dataclasses.replace(settings, task=dataclasses.replace(settings.task, train_classes=here))


# The kind of learning


def _record_types(datasource, method=None):
    """{group title: Record type} of the settings."""
    method = method or "maml"
    types = record_types(method)
    return {methods.get(method).title if name == "own" else name: kind for name, kind in types.items()}


def _resolve(datasource, options=None, **given):
    """`settings.resolve`, with what the images are where the data source may hold several sets of them."""
    resolved, options = resolve(datasource, **given), options or {}
    data_path = options.get("data_path")
    if data_path and not sources.SOURCES[datasource].reads_files:
        known = ", ".join(name for name, source in sources.SOURCES.items() if source.reads_files)
        raise UserError(f"data_path given, but {datasource} reads no files; expected one of {known}")
    if options.get("cache_dir") and not sources.SOURCES[datasource].has_images:
        raise UserError(f"cache_dir given, but {datasource} has no images to keep; expected a data source of images")
    if options.get("checkpoint") and options.get("train"):
        raise UserError("checkpoint given, which is for testing; expected --train=False with it")
    dataset = sources.dataset_name(datasource, data_path)
    return resolved if dataset == datasource else resolve(datasource, **{**given, "dataset": dataset})


def _learner(settings, options):
    """The SupervisedLearner with its data, which are enough for the test that is asked for."""
    task, protocol = settings.task, protocol_of(settings, options)
    if options.get("train"):
        memory.check(memory.of_training(settings, problem_of(settings)))
    memory.check(memory.of_test(settings, protocol))
    tasks = sources.load(
        task.datasource,
        task.num_classes,
        oracle=settings.card.told_the_task,
        data_path=options.get("data_path"),
        cache_dir=options.get("cache_dir"),
        image_size=task.image_size,
        channels=task.channels,
        split=task_fractions(task),
        split_seed=task.split_seed,
    )
    if task.classification:
        workers.check_same_data(tasks.contents())
    _check_ways(settings, protocol)
    for shots in protocol.shots:
        tasks.check(protocol.split, shots, protocol.queries or shots, protocol.ways)
    return SupervisedLearner(settings, tasks)


KIND = Kind(
    name="supervised",
    title="supervised learning",
    datasources=tuple(sources.SOURCES),
    methods=methods.names(),
    test_flags=(
        "train", "test_iter", "test_update_batch_size", "test_update_lr", "test_num_classes", "eval_tasks",
        "eval_queries", "test_set", "transductive", "ensemble", "checkpoint", "data_path", "cache_dir",
    ),
    record_types=_record_types,
    resolve=_resolve,
    from_dict=Settings.from_dict,
    protocol=protocol_of,
    learner=_learner,
)  # fmt: skip
