"""Testing a run of any kind: its adaptation curves as tables, its summary, and the words that can be quoted."""

import math
import re
import reprlib
import sys
from pathlib import Path

from data_generators import locks
from data_generators.errors import UserError
from maml.methods.card import TOGETHER, Published
from maml.runs import files
from maml.runs.checkpoints import is_ensemble
from maml.runs.protocol import TASKS
from maml.runs.provenance import provenance

SPLITS = {"test": "test", "val": "validation", "train": "training"}


def test(run, protocol, command: str, imported: str | None = None) -> dict:
    """Tests a run, writes its tables and summary.json, and returns the summary of this test.

    run: a `run.Run`.
    protocol: how to test (see `kind.Kind`).
    command: for the record.
    imported: the name of a checkpoint that was trained elsewhere, whose weights the run holds already; None: the
        protocol's checkpoint is restored.
    A test by another protocol than the headline's is added to the evaluations in summary.json and leaves the headline
    there as it is. A test of the headline leaves θ in the folder, too; θ of a shorter training doesn't stay beside a
    result of this. A test on fewer tasks than usual is only returned where the folder has it on more. A run may be
    tested while it is trained, and by several processes: they write one after the other. UserError where the result
    that is read is not finite (others that aren't are None), and where another folder took the place of the run's
    meanwhile.
    """
    before = _which(run.folder)
    label = imported or (run.restore(protocol.checkpoint) if run.replicas.is_chief else "the chief's")
    run.take_chiefs()
    weights, members = {"checkpoint": label, "iteration": run.iteration}, {}
    if is_ensemble(protocol.checkpoint):
        members = run.members(protocol.checkpoint.count)
        weights |= {"checkpoint": f"best {len(members)}", "members": list(members)}
    tested = list(run.learner.evaluate(protocol, run.folder, tuple(members.values())))
    evaluations = [{**_finite(t.evaluation), **weights} for t in tested]
    is_headline = protocol.is_headline(run.settings)
    summary = _summary(run, command, evaluations, imported)
    if before not in (None, _which(run.folder)):
        raise UserError(f"{run.folder} is another folder than when its test began; expected one that stays there")
    with locks.held(run.folder / ".results.lock", f"the results of {run.folder}", wait=True):
        if more := _tested_on_more(run.folder / "summary.json", summary):
            print(f"{run.folder} keeps its test on {more} tasks: this one is not written", file=sys.stderr)
            return summary
        for name, (columns, rows) in (table for t in tested for table in t.tables.items()):
            files.write_table(run.folder / name, columns, rows)
        write_summary(run.folder / "summary.json", summary, is_headline)
        if is_headline:
            run.write_weights(label)
        else:
            run.drop_older_weights()
    return summary


test.__test__ = False  # pytest takes it for one of its own


def _tested_on_more(path, summary):
    """On how many tasks a test of these was made of the same weights, where this is a quick look beside it; else None.

    One on as many as usual is none.
    """
    try:
        earlier = read_summary(path) if path.exists() else None
    except UserError:  # to be replaced
        return None
    if earlier is None or earlier["iterations"]["trained"] != summary["iterations"]["trained"]:
        return None
    there = {entry["file"]: entry for entry in earlier["evaluations"]}
    pairs = [(there[entry["file"]], entry) for entry in summary["evaluations"] if entry["file"] in there]
    same = [(old.get("tasks"), new["tasks"]) for old, new in pairs if old.get("iteration") == new["iteration"]]
    more = [old for old, new in same if isinstance(old, int) and new < min(old, TASKS)]
    return max(more, default=None)


def _which(folder):
    """What a folder keeps when it is renamed, and its name doesn't; None where there is none."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _summary(run, command, evaluations, imported):
    about = run.learner.about()
    return {
        "experiment": run.folder.parent.name,
        "title": run.settings.title,
        "variant": run.settings.differences() | ({"imported": imported} if imported else {}),
        "iterations": {"trained": run.iterations_trained, "paper": about.pop("paper_iterations")},
        **about,
        "seed": run.settings.seed,
        "command": command,
        "wall_time_seconds": float(run.state.seconds.numpy()),
        **run.replicas_trained(),
        "headline": evaluations[0]["file"],
        "evaluations": sorted(evaluations, key=_in_order),
        **provenance(run.learner.packages),
    }


def write_summary(path: Path, summary: dict, is_headline: bool) -> None:
    """Writes the summary; keeps earlier evaluations of the same training, and an earlier headline unless this is it.

    A damaged file is put aside, with a line on stderr: what a training took days for is not lost to it.
    """
    try:
        earlier = read_summary(path) if path.exists() else None
    except UserError as error:
        aside = path.with_name(f".damaged_{path.name}")
        print(f"{error}; put aside as {aside.name}", file=sys.stderr)
        path.replace(aside)
        earlier = None
    if earlier is None or earlier["iterations"]["trained"] != summary["iterations"]["trained"]:
        files.write_json(path, summary)
        return
    evaluations = {e["file"]: e for e in (*earlier["evaluations"], *summary["evaluations"])}
    kept = summary if is_headline else earlier
    files.write_json(path, {**kept, "evaluations": sorted(evaluations.values(), key=_in_order)})


def read_summary(path: Path) -> dict:
    """The summary in a file. UserError unless it has what tests go by: iterations.trained, and files of evaluations."""
    summary = files.read_json(path)
    iterations, evaluations = summary.get("iterations"), summary.get("evaluations")
    if not isinstance(iterations, dict) or type(iterations.get("trained")) is not int:
        raise UserError(f"{path}: damaged, iterations is {reprlib.repr(iterations)}, expected them with those trained")
    if not isinstance(evaluations, list):
        raise UserError(f"{path}: damaged, evaluations is {reprlib.repr(evaluations)}, expected a list")
    for entry in evaluations:
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            raise UserError(f"{path}: damaged, an evaluation is {reprlib.repr(entry)}, expected one with its file")
    return summary


def _in_order(evaluation):
    """By the file's name, its numbers as numbers: 5 shots before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", evaluation["file"])]


def _finite(evaluation):
    """The evaluation with None for what isn't finite, as of steps after which a task diverged."""
    value, error = (evaluation[what][evaluation["step"]] for what in ("values", "errors"))
    if not (math.isfinite(value) and math.isfinite(error)):
        which = f"{evaluation['file']}: the result after {evaluation['step']} steps on {evaluation['tasks']} tasks"
        raise UserError(f"{which} is not finite ({value} ± {error}); expected smaller step sizes, or more tasks")
    finite = {w: [v if math.isfinite(v) else None for v in evaluation[w]] for w in ("values", "errors")}
    return {**evaluation, **finite}


# In words


def headline(summary: dict, settings) -> str:
    """The summary in words that can be quoted: a line, or for returns the whole adaptation curve.

    summary: as `test` returns it.
    settings: of the run.
    """
    entry = next(entry for entry in summary["evaluations"] if entry["file"] == summary["headline"])
    words = _of_returns if summary["unit"] == "return" else _of_classes_or_waves
    return words(summary, entry, settings)


def _of_classes_or_waves(summary, entry, settings):
    step, queries = entry["step"], entry["queries"]
    value, error = entry["values"][step], entry["errors"][step]
    if summary["unit"] == "accuracy":
        value, a_class = f"{100 * value:.2f} ± {100 * error:.2f} % accuracy", " a class"
    else:
        value, a_class = f"{value:.3f} ± {error:.3f} mean squared error", ""
    weights = _checkpoint(entry) if settings.total_iterations else "nothing to train"
    ways = f"{entry['ways']}-way " if entry.get("ways") else ""
    together = {True: "the queries of a task normalised together, ", False: "one query at a time, ", None: ""}
    return (
        f"{summary['title']}: {value} ({entry['error_is'].removesuffix(' over tasks')}) after {_plural(step, 'step')} "
        f"on {entry['tasks']} {ways}{SPLITS[entry['split']]} tasks with {entry['shots']} support and "
        f"{_plural(queries, 'query example')}{a_class}, {together[entry['transductive']]}{weights}"
        f"{_shortfall(summary)}; {_beside(summary, entry, settings)}"
    )


def _of_returns(summary, entry, settings):
    published, tasks = entry["published"], entry["tasks"]
    rates = ", ".join(f"{rate:g}" for rate in entry["learning_rates"])
    trained, paper = summary["iterations"]["trained"], summary["iterations"]["paper"]
    short = f" of {paper:,}" if paper and trained < paper else ""
    lines = [
        f"{summary['title']}: mean return of an episode, ± {entry['error_is'].replace('over', f'over {tasks}')}",
        f"{_checkpoint(entry)} of {trained:,}{short} iterations; {entry['rollouts']} episodes of each policy"
        + (f", step sizes {rates}" if rates else ""),
        "gradient steps   measured" + ("            published" if published else ""),
    ]
    for step, (value, error) in enumerate(zip(entry["values"], entry["errors"])):
        line = f"{step:14d}   {value:8.2f} ± {error:5.2f}"
        if published and str(step) in published["values"]:
            theirs = published["errors"][str(step)]
            line += f"    {published['values'][str(step)]:8.2f}" + ("" if theirs is None else f" ± {theirs:5.2f}")
        lines.append(line)
    if not published:
        lines.append(_beside(summary, entry, settings))
    if entry["diverged"]:
        lines.append(f"{entry['diverged']} episodes ended because the simulation diverged")
    return "\n".join(lines)


def _plural(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _checkpoint(entry):
    """With the iteration, unless the name says it, or weights trained elsewhere don't say theirs."""
    label, iteration = entry["checkpoint"], entry["iteration"]
    if members := entry.get("members"):
        return f"mean of the {len(members)} best checkpoints (iterations {', '.join(f'{i:,}' for i in members)})"
    name = files.WEIGHTS if label == "weights" else f"{label} checkpoint"
    says_it, unknown = label.startswith("iteration "), not iteration and label not in ("best", "latest")
    return name if says_it or unknown else f"{name} (iteration {iteration:,})"


def _shortfall(summary):
    """Of a training that is shorter than the paper's."""
    trained, paper = summary["iterations"]["trained"], summary["iterations"]["paper"]
    return f", trained for {trained:,} of {paper:,} iterations" if paper and trained < paper else ""


def _beside(summary, entry, settings):
    """What is published, or why nothing is compared."""
    if entry["published"] is not None:
        return f"published {_as_printed(summary, entry)} ({entry['published']['source']})"
    if pairs := settings.compared().items():
        words = (f"{flag}={_number(value)} differs from the paper's {_number(paper)}" for flag, (value, paper) in pairs)
        return f"nothing published to compare with: {', '.join(words)}"
    if (
        entry["split"] == "test"
        and entry.get("transductive") is not None
        and (cells := settings.cells(entry["shots"], num_classes=entry.get("ways")))
    ):
        way = settings.card.column(cells[0])
        return f"published with {way}: {cells[0]} ({cells[0].source}); --transductive={way == TOGETHER} tests like that"
    return "nothing published to compare with" if entry["split"] != "test" else "nothing published for this task"


def _as_printed(summary, entry):
    """'98.7 ± 0.4 %' after the step that is read; all of it where that step is not published."""
    published = entry["published"]
    task = [summary[name] for name in ("dataset", "num_classes", "num_shots", "unit")]
    cell = Published(*task, published["values"], published["errors"], published["error_is"], published["source"])
    step = str(entry["step"])
    if step in cell.values:
        return cell.number(step)
    return ", ".join(f"{cell.number(step)} after {step} steps" for step in cell.values)


def _number(value):
    return f"{value:g}" if isinstance(value, float) else str(value)
