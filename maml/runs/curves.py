"""Adaptation curves of a supervised method: learning test tasks, and what is written down of it."""

import dataclasses
import functools
import sys

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError
from maml.ensemble import ensemble
from maml.evaluation import Adaptation, Evaluator, curve
from maml.methods.card import OVER_TASKS
from maml.runs.kind import Tested
from maml.runs.problems import training_episodes, validation_ways
from maml.runs.progress import Bar

EVALUATION_SEED = 1  # the same test tasks for every run and method (authors' test() seeds with 1 as well)

COLUMNS = ("step", "loss", "loss_std", "loss_ci95", "accuracy", "accuracy_std", "accuracy_ci95")
FIGURE_TASK = 1  # which test task figure 2 shows; the same for every run
FIGURE_STEPS = (0, 1, 10)  # [P] figure 2
FIGURE_POINTS = 400


class Curves:
    """Makes the adaptation curves of a method.

    settings: a `settings.Settings`.
    method, problem: the Method and the Problem it was made for, whose outputs are the classes of the tasks.
    tasks: SinusoidTasks or ImageTasks.
    """

    def __init__(self, settings, method, problem, tasks):
        self.settings = settings
        self.method = method
        self.problem = problem
        self.tasks = tasks
        self.reading = settings.card.reading(settings.task, settings.own)
        self.num_classes = problem.num_outputs if settings.task.classification else None
        self._evaluators = {}
        self._of_classes = {self.num_classes: self}

    def of_classes(self, num_classes):
        """The Curves of tasks of so many classes, for a θ without an output a class."""
        if num_classes not in self._of_classes:
            problem = self.problem._replace(num_outputs=num_classes)
            method = self.settings.card.build(self.settings.own, problem)
            self._of_classes[num_classes] = Curves(self.settings, method, problem, self.tasks)
        return self._of_classes[num_classes]

    def learn(self, weights, tasks, num_steps=None, inner_lr=None, transductive=True) -> Adaptation:
        """Learns tasks from θ.

        weights: θ, or a tuple of several whose outputs are averaged.
        tasks: as `tasks_of` draws them.
        num_steps: None for those of a curve.
        inner_lr: α; None for the method's own.
        transductive: False normalises each query by itself.
        """
        num_steps = self.reading.num_steps if num_steps is None else num_steps
        return self._evaluator(transductive, isinstance(weights, tuple))(weights, tasks, num_steps, inner_lr)

    def tasks_of(self, split, num_shots, num_queries, num_tasks):
        """Functions that draw the first tasks of a split, one by one; K and Q of a class."""
        draw = functools.partial(self.tasks.sample, split, EVALUATION_SEED)
        ways = self.num_classes
        return (functools.partial(draw, i, 1, num_shots, num_queries, num_ways=ways) for i in range(num_tasks))

    def _tasks_by(self, protocol, num_shots, split):
        """Those of a protocol, with a progress bar."""
        tasks = self.tasks_of(split, num_shots, protocol.queries or num_shots, protocol.tasks)
        return Bar(tasks, f"{split} tasks, {num_shots} shot", protocol.tasks, leave=False, unit="task")

    def _evaluator(self, *which):
        if which not in self._evaluators:
            (transductive, of_several), engine = which, self.settings.engine
            method = ensemble(self.method) if of_several else self.method
            self._evaluators[which] = Evaluator(method, self.problem, engine.tasks_per_chunk, engine.jit, transductive)
        return self._evaluators[which]

    def tested(self, weights, protocol, num_shots) -> Tested:
        """The `Tested` of θ, or of a tuple of several, by a Protocol, with K = num_shots."""
        inner_lr, step = protocol.inner_lr, self._step
        if inner_lr is None and self.settings.card.step_sizes:
            inner_lr, step = self.tuned(weights, protocol, num_shots)
        tasks = self._tasks_by(protocol, num_shots, protocol.split)
        result = self.learn(weights, tasks, None, inner_lr, protocol.transductive)
        file = protocol.table(num_shots)
        tables = {file: (COLUMNS, _rows(result))}
        if not self.settings.task.classification and not protocol.suffix:
            tables |= self._fits(weights, num_shots, inner_lr)
        evaluation = {"file": file, **self._evaluation(protocol, num_shots, inner_lr, step, result)}
        if self.settings.card.measures and not isinstance(weights, tuple):
            evaluation["measures"] = self.measures(weights, protocol)
        return Tested(evaluation, tables)

    def measures(self, weights, protocol) -> dict[str, list]:
        """{name: [mean, 95 % interval]} over test tasks like those of training, of what the objective returns."""
        episodes, _ = training_episodes(self.settings, self.tasks)
        ways, shots, queries, *how = episodes._replace(distorted=None)
        if self.settings.task.classification and shots > (most := self.tasks.smallest_class(protocol.split) - queries):
            print(f"test sequences have {most} images a class instead of {shots}: no more are there", file=sys.stderr)
            shots = most

        @functools.partial(tf.function, jit_compile=self.settings.engine.jit)
        def objective(task):
            result = self.method.objective(weights, task, 1.0)
            return {name: values for name, values in result.items() if name != "carried"}

        bar = Bar(range(protocol.tasks), "test sequences", leave=False, disable=None, unit="task")
        drawn = (self.tasks.sample(protocol.split, EVALUATION_SEED, i, 1, shots, queries, ways, *how) for i in bar)
        found = [tf.nest.map_structure(np.asarray, objective(task)) for task in drawn]
        curves = {name: curve(np.array([one[name] for one in found], np.float64)) for name in found[0]}
        return {name: [float(of.mean[0]), float(of.ci95[0])] for name, of in curves.items() if name != "loss"}

    def tuned(self, weights, protocol, num_shots) -> tuple[float | None, int]:
        """(α, the step to read), of the card's candidates those that are best on validation tasks.

        The smallest loss, averaged over the steps from the first on; where the number of steps is chosen too, the
        highest accuracy after any step. Where validation has too few classes, (None, the usual step): α is the
        method's own, which is said on stderr.
        """
        card, curves, found = self.settings.card, self, []
        if self.num_classes is not None:
            ways, said = validation_ways(self.settings, self.tasks, self.num_classes)
            if ways is None:
                print(f"{said}; nor is a step size: it is the method's own", file=sys.stderr)
                return None, self._step
            self.tasks.check("val", num_shots, protocol.queries or num_shots, ways)
            curves = self.of_classes(ways)
        on_validation = dataclasses.replace(protocol, tasks=min(protocol.tasks, card.tuning_tasks))
        for inner_lr in card.step_sizes:
            tasks = curves._tasks_by(on_validation, num_shots, "val")
            result = curves.learn(weights, tasks, None, inner_lr, protocol.transductive)
            found.append(result.metric[:, 1:].mean(0) if card.tunes_length else -result.loss[:, 1:].mean(keepdims=True))
        if np.isnan(found).all():
            raise UserError(f"none of the step sizes {', '.join(map(str, card.step_sizes))} gives a finite result")
        which, step = np.unravel_index(np.nanargmax(found), np.shape(found)[:2])
        return card.step_sizes[which], int(step) + 1 if card.tunes_length else self._step

    @property
    def _step(self):
        """The place in a curve that is read."""
        return self.reading.step if self.method.step else 0

    def _evaluation(self, protocol, num_shots, inner_lr, step, result):
        settings = self.settings
        task, batch_norm = settings.task, settings.network.norm == "batch_norm"
        values = curve(result.loss if result.metric is None else result.metric)
        transductive = protocol.transductive and batch_norm if task.classification else None
        cells = settings.cells(num_shots, transductive, protocol.ways) if protocol.split == "test" else ()
        return {
            "split": protocol.split,
            **({"ways": protocol.ways} if protocol.ways else {}),
            "shots": num_shots,
            "queries": protocol.queries or num_shots,
            "tasks": protocol.tasks,
            "step": step,
            "inner_lr": getattr(settings.own, "inner_lr", None) if inner_lr is None else inner_lr,
            "transductive": transductive,
            "values": values.mean.tolist(),
            "errors": values.ci95.tolist(),
            "error_is": OVER_TASKS,
            "published": published(cells),
        }

    def _fits(self, weights, num_shots, inner_lr):
        """Figure 2's curves: what the network says over the whole input range after some of the steps on one task.

        The query set is the range itself, drawn densely and sorted, so the truth comes from the data source.
        """
        task = self.tasks.sample("test", EVALUATION_SEED, FIGURE_TASK, 1, num_shots, FIGURE_POINTS)
        support_x, support_y, query_x, query_y = map(tf.convert_to_tensor, task)
        columns = {"x": query_x[0, :, 0], "truth": query_y[0, :, 0]}
        state = self.method.start(weights, support_x, support_y)
        for step in range(self.reading.num_steps + 1 if self.method.step else 1):
            if step:
                state = self.method.step(state, support_x, support_y, inner_lr)
            if step in FIGURE_STEPS:
                columns[f"step_{step}"] = self.method.predict(state, query_x)[0, :, 0]
        order = np.argsort(task.query_x[0, :, 0])
        columns = {name: np.asarray(values)[order] for name, values in columns.items()}
        rows = [dict(zip(columns, values)) for values in zip(*columns.values())]
        points = [{"x": float(x), "y": float(y)} for x, y in zip(task.support_x[0, :, 0], task.support_y[0, :, 0])]
        return {
            f"fits_{num_shots}shot.csv": (tuple(columns), rows),
            f"support_{num_shots}shot.csv": (("x", "y"), points),
        }


def published(cells) -> dict | None:
    """What summary.json says of the published results beside an evaluation: those of the first cell; None for none."""
    if not cells:
        return None
    cell = cells[0]
    return {
        "values": {str(step): value for step, value in cell.values.items()},
        "errors": {str(step): cell.errors.get(step) for step in cell.values},
        "error_is": cell.error_is,
        "source": cell.source,
    }


def _rows(result):
    """Rows of an adaptation table: mean, standard deviation and interval over the tasks, a row a step.

    What isn't finite, as after steps that diverged, is left out.
    """
    loss, metric = curve(result.loss), None if result.metric is None else curve(result.metric)
    rows = []
    for step in range(result.loss.shape[1]):
        row = {"loss": loss.mean[step], "loss_std": loss.std[step], "loss_ci95": loss.ci95[step]}
        if metric:
            row |= {"accuracy": metric.mean[step], "accuracy_std": metric.std[step], "accuracy_ci95": metric.ci95[step]}
        rows.append({"step": step} | {name: value for name, value in row.items() if np.isfinite(value)})
    return rows
