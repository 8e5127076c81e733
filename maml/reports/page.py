"""results/README.md: what was measured beside what was published, rebuilt from the run folders.

Nothing here is a result: a cell is filled only by a run's summary.json, so the text follows from the folders and stays
the same until they change.
"""

import re
from itertools import chain
from pathlib import Path

from data_generators.errors import UserError
from maml.reports import comparison, plots, side_by_side, summaries, web
from maml.reports.cells import all_beside, datasets
from maml.reports.tables import figures, how, link, table
from maml.runs import files

PROJECT = Path(__file__).resolve().parents[2]
MARKS = ("<!-- results -->", "<!-- /results -->")  # what is between them in the project's README is rewritten
FRONT_ROWS = 12  # of the table there, which is to be read at a glance
# How the pages begin that are written here, of any version.
README, INDEX = rb"# Results\r?\n", rb"(?is)<!doctype html>.{,300}<title>Results</title>"

HEAD = """# Results

[P] is Finn, Abbeel, Levine 2017, arXiv 1703.03400v3. `python main.py --report` rebuilds this page from the run folders
beside it. A cell without a run says "not run". What is bold was trained to the end of its preset: as long as in its
paper, where that says how long. Lengths that are ours are marked so in `maml/methods/`. A shorter training says how
long it was. Where a row has several seeds, the number is their mean. "(iteration 100)" behind a published return is the
checkpoint that the authors tested.

## The paper beside ours

"""

NOTES = """
## Every run

Below, "queries" are those of each class in a task. "step" is the number of inner steps after which it is read. "queries
together" is how [P] tests: batch norm uses the statistics of all queries of a task together. "one query at a time"
normalises each query by itself, with the statistics of the support set. A published number stands in the column of the
way in which its paper tests. Of several seeds the interval is the mean of theirs, and each seed is listed.
"""


def rebuild(results_dir, out="README.md", parts=()):
    """Rewrites results_dir/out from the summaries of the run folders results_dir/*/seed_*; returns its path.

    Beside it index.html is written, see `web`, and the pictures of `side_by_side`.

    deviations.md in results_dir, if there, is included word for word. If results_dir is the project's own, the short
    table in the project's README is rewritten too.

    parts: other packages' parts of the page. Each has
        KIND: the kind of the summaries that are its;
        check(summary): raises UserError for one that its tables can't take;
        beside(summaries): a list of `tables.Row`, for the opening table, one for each published result, run or not;
        section(summaries, base): a text, its tables, that begins with a heading "\\n## …";
        pictures(summaries, base): a text, its figures, see `tables.figures`;
        settings(): rows [experiment, command, settings] of the last table.

    UserError if results_dir is no folder, or naming a file in it that is damaged, or that it would be written over.
    """
    base = Path(results_dir)
    if not base.is_dir():
        raise UserError(f"{base}: expected a folder of runs, found none")
    everything = summaries.load_all(base)
    runs = [run for run in everything if run.kind == "supervised"]
    others = [(part, [run for run in everything if run.kind == part.KIND]) for part in parts]
    for part, theirs in others:
        for run in theirs:
            part.check(run)
    check_place(base, out)
    rows = [*comparison.beside_ours(runs), *chain.from_iterable(part.beside(theirs) for part, theirs in others)]
    ledger = base / "deviations.md"
    text = "".join([
        HEAD + _opening(rows),
        side_by_side.section(runs, base),
        _pictures(runs, others, base),
        "\n" + files.read_text(ledger) if ledger.exists() else "",
        NOTES,
        *(comparison.section(dataset, runs) for dataset in datasets()),
        *(part.section(theirs, base) for part, theirs in others),
        comparison.unpublished_runs(runs) + comparison.tested_otherwise(runs),
        how(everything, base),
        comparison.settings(chain.from_iterable(part.settings() for part in parts)),
    ])  # fmt: skip
    files.write_bytes(base / out, text.encode())
    web.write(everything, base / "index.html")
    if base.resolve() == PROJECT / "results":
        _front_page(PROJECT / "README.md", rows, runs)
    return base / out


def check_place(results_dir: str | Path, out: str = "README.md") -> None:
    """UserError where a file has the name of what `rebuild` writes, and is no such page: it would be lost."""
    for path, beginning in ((Path(results_dir) / out, README), (Path(results_dir) / "index.html", INDEX)):
        if path.is_file() and not re.match(beginning, path.read_bytes()):
            raise UserError(f"{path} is no page of results, and would be written over; expected a --logdir without it")


def _opening(rows):
    head = ["experiment", "published", "measured", "the ± are", "tasks", "seeds", "iterations", "time a seed"]
    return table(head, [list(row[: len(head)]) for row in rows])


def _pictures(runs, others, base):
    with_steps = [run for run in runs if len(run.quoted.values) > 1]  # without any, a curve is a point
    shown = {"figure_2.png": runs, "figure_3.png": runs, "adaptation_curve.png": with_steps, "learning_curve.png": runs}
    text = "".join(
        figures(some, base, [name], lambda run, kind: f"{run.title}: {kind}") for name, some in shown.items()
    )
    text += "".join(part.pictures(theirs, base) for part, theirs in others)
    return f"\n## Figures\n{text}" if text else ""


# The project's README


def _front_page(page, rows, runs):
    """Rewrites what stands between the marks in the project's README: a picture, and a row for what MAML was run on."""
    if not page.exists() or not all(mark in (text := files.read_text(page)) for mark in MARKS):
        return
    before, rest = text.split(MARKS[0], 1)
    _, after = rest.split(MARKS[1], 1)
    rows = [row for row in rows if row.front and row.is_run]
    head = ["experiment", "published", "measured", "the ± are", "seeds", "iterations", "time a seed"]
    lines = [[r.experiment, r.published, r.measured, r.spread, r.seeds, r.iterations, r.time] for r in rows]
    if len(lines) > FRONT_ROWS:
        lines = [*lines[:FRONT_ROWS], [f"and {len(lines) - FRONT_ROWS} more", *[""] * (len(head) - 1)]]
    picture = _front_picture(page.parent, runs)
    files.write_bytes(page, f"{before}{MARKS[0]}\n{picture}{table(head, lines)}{MARKS[1]}{after}".encode())


def _front_picture(base, runs):
    """A wave before and after its steps, beside the adaptation curve of the first classifier that was published."""
    maml = [run for run in runs if run.method == "maml" and not run.variant]
    waves = [run for run in maml if plots.has_fits(run)]
    classifiers = [run for run in all_beside(maml) if run.unit == "accuracy" and run.quoted.published]
    if not waves or not classifiers:
        return ""
    path = plots.front(waves[0].folder, classifiers[0].folder, base / "results" / "front.png")
    return f"![a wave before and after gradient steps, and accuracy against steps]({link(path, base)})\n\n"
