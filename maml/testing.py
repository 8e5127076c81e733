"""Testing a trained run: adaptation curves as tables, the summary with its headline, the figures."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from maml import evaluation, inner_loop, plots, published, records
from maml.config import IMPORTED
from maml.experiment import EVALUATION_SEED, TEST_STEPS

# Candidates for the step size of a baseline, which was not trained to be adapted. [P] 5.1 says it was tuned, not to what.
TUNED_STEP_SIZES = (1e-6, 1e-5, 1e-4, 3e-4, 0.001, 0.003, 0.01, 0.03, 0.1)
FIGURE_TASK = 1  # which test task figure 2 shows; the same for every run


def test(run, protocol, command):
    """Tests a run, writes its tables, summary.json and figures, and returns the summary of this test.

    command: for the record. A test by another protocol than the headline's is added to the evaluations in summary.json
    and leaves the headline there as it is.
    """
    label = run.restore(protocol.checkpoint)
    config, evaluations, curves = run.config, [], {}
    transductive = protocol.transductive and config.norm == "batch_norm"  # else a query never sees the others
    for shots in protocol.shots:
        queries = protocol.queries or shots
        inner_lr = protocol.inner_lr
        if inner_lr is None and _is_baseline(config):
            inner_lr = _tuned_step_size(run, shots, queries, protocol.tasks)
        result = run.evaluate(protocol.split, shots, queries, protocol.tasks, inner_lr, protocol.transductive)
        curves[shots] = evaluation.curve(result.metric if config.classification else result.loss)
        name = f"adaptation_{protocol.split}_{shots}shot_{queries}query{protocol.suffix}.csv"
        _write_adaptation(run.folder / name, result)
        evaluations.append(
            {
                "split": protocol.split,
                "shots": shots,
                "queries": queries,
                "tasks": protocol.tasks,
                "step_read": config.step_read,
                "inner_lr": inner_lr or config.update_lr,
                "transductive": transductive,
                "checkpoint": label,
                "iteration": run.iteration,
                "measured": float(curves[shots].mean[config.step_read]),
                "interval": float(curves[shots].ci95[config.step_read]),
                "file": name,
            }
        )
        if not config.classification and not protocol.suffix:
            _write_fits(run, shots, inner_lr)
    shots, step = protocol.shots[0], config.step_read
    comparable = protocol.split == "test" and config.is_papers
    cell = published.find(config.experiment, shots, step) if comparable else None
    summary = {
        "experiment": run.folder.parent.name,
        "command": command,
        "measured": float(curves[shots].mean[step]),
        "interval": float(curves[shots].ci95[step]),
        "unit": "accuracy" if config.classification else "mse",
        "published": cell and cell.value,
        "published_interval": cell and cell.interval,
        "published_source": cell and cell.source,
        "tasks": protocol.tasks,
        "queries": protocol.queries or shots,
        "shots": shots,
        "step": step,
        "split": protocol.split,
        "transductive": transductive,
        "checkpoint": label,
        "iteration": run.iteration,
        "iterations_total": max(run.checkpoints.iterations(), default=run.iteration),
        "seed": config.seed,
        "wall_time_seconds": float(run.state.seconds),
        "evaluations": evaluations,
        **records.provenance(),
    }
    records.write_summary(run.folder / "summary.json", summary, protocol.is_headline(config))
    draw(run.folder, config)
    return summary


def headline(summary):
    """The summary in one line that can be quoted."""
    s = summary
    if s["unit"] == "accuracy":
        value = f"{100 * s['measured']:.2f} ± {100 * s['interval']:.2f} % accuracy"
    else:
        value = f"{s['measured']:.3f} ± {s['interval']:.3f} mean squared error"
    beside = "nothing published to compare with"
    if s["published"] is not None:
        cell = published.find(s["experiment"].partition(IMPORTED)[0], s["shots"], s["step"])
        beside = f"published {cell} ({cell.source})"
    split = {"test": "test", "val": "validation", "train": "training"}[s["split"]]
    return (
        f"{published.title(s['experiment'])}: {value} (95 % interval) after {s['step']} "
        f"step{'s' if s['step'] != 1 else ''} on {s['tasks']} {split} tasks with {s['shots']} support and {s['queries']} "
        f"query example{'s' if s['queries'] != 1 else ''}{' a class' if s['unit'] == 'accuracy' else ''}, "
        f"{_mode(s)}{_checkpoint(s)}; {beside}"
    )


def _checkpoint(summary):
    """With the iteration, unless weights trained elsewhere don't say theirs."""
    known = summary["iteration"] or IMPORTED not in summary["experiment"]
    return f"{summary['checkpoint']} checkpoint" + (f" (iteration {summary['iteration']:,})" if known else "")


def _mode(summary):
    """Whether a query saw the other queries of its task, for a classifier."""
    if summary["unit"] != "accuracy":
        return ""
    return "the queries of a task normalised together, " if summary["transductive"] else "one query at a time, "


def draw(folder, config):
    """Draws every figure of a run folder from its tables; for the sinusoid with its siblings' beside it."""
    if (Path(folder) / "metrics.csv").exists():  # an imported checkpoint was trained elsewhere
        plots.learning_curve(folder)
    tested = [split for split in ("test", "val") if records.adaptation_files(folder, split)]
    if tested:
        plots.adaptation_curve(folder, tested[0])
    if config.datasource == "sinusoid":
        siblings = _sinusoid_siblings(folder, config)
        if "MAML" in siblings:
            plots.figure_2(siblings["MAML"], siblings.get("pretrained"))
            plots.figure_3(siblings)


def _sinusoid_siblings(folder, config):
    """The tested runs of the paper's three methods with this run's K and seed, under the same logdir."""
    root, base = Path(folder).parents[1], f"sinusoid_{config.update_batch_size}shot"
    names = {"MAML": base, "pretrained": f"{base}_pretrained", "oracle": f"{base}_oracle"}
    folders = {label: records.run_folder(root, name, config.seed) for label, name in names.items()}
    return {label: path for label, path in folders.items() if (path / "summary.json").exists()}


def _is_baseline(config):
    return config.metatrain_iterations == 0 and not config.classification


def _tuned_step_size(run, shots, queries, num_tasks):
    """The candidate with the smallest error on validation tasks, averaged over 1 to TEST_STEPS steps."""
    errors = [run.evaluate("val", shots, queries, num_tasks, lr).loss[:, 1:].mean() for lr in TUNED_STEP_SIZES]
    return TUNED_STEP_SIZES[int(np.nanargmin(errors))]


def _write_adaptation(path, result):
    loss = evaluation.curve(result.loss)
    metric = None if result.metric is None else evaluation.curve(result.metric)
    rows = []
    for step in range(result.loss.shape[1]):
        row = {"step": step, "loss": loss.mean[step], "loss_std": loss.std[step], "loss_ci95": loss.ci95[step]}
        if metric:
            row |= {"accuracy": metric.mean[step], "accuracy_std": metric.std[step], "accuracy_ci95": metric.ci95[step]}
        rows.append(row)
    records.write_table(path, records.ADAPTATION_COLUMNS, rows)


def _write_fits(run, shots, inner_lr):
    """What the network says over the whole input range before and after 1 and 10 steps on one task: figure 2's curves.

    The query set is the range itself, drawn densely and sorted, so the truth comes from the data source.
    """
    task = run.tasks.sample("test", EVALUATION_SEED, FIGURE_TASK, 1, shots, 400)
    learner = run.learner
    weights = inner_loop.per_task(run.trainer.current_weights(), 1)
    support_x, support_y, query_x, query_y = map(tf.convert_to_tensor, task)
    trajectory = inner_loop.adapt(
        learner.forward,
        learner.loss,
        weights,
        support_x,
        support_y,
        inner_lr or learner.inner_lr,
        TEST_STEPS,
        is_adapted=learner.is_adapted,
    )
    order = np.argsort(task.query_x[0, :, 0])
    columns = {"x": query_x[0, :, 0], "truth": query_y[0, :, 0]}
    columns |= {f"step_{s}": learner.forward(trajectory[s], query_x)[0, :, 0] for s in (0, 1, 10)}
    columns = {name: np.asarray(values)[order] for name, values in columns.items()}
    rows = [dict(zip(columns, values)) for values in zip(*columns.values())]
    records.write_table(run.folder / f"fits_{shots}shot.csv", list(columns), rows)
    points = [{"x": float(x), "y": float(y)} for x, y in zip(task.support_x[0, :, 0], task.support_y[0, :, 0])]
    records.write_table(run.folder / f"support_{shots}shot.csv", ["x", "y"], points)
