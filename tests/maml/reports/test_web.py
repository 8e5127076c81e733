"""The page with every run in one file follows from the run folders, and needs nothing else."""

import json
import re

import pytest
from result_folders import evaluation, published, write_run, write_sinusoid

from maml.reports import summaries, web
from maml.runs import files


def records(base):
    text = web.write(summaries.load_all(base), base / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="runs" type="application/json">(.*?)</script>', text, re.S)[1])


def test_a_run_has_what_is_shown_and_what_is_sorted_by(tmp_path):
    write_run(tmp_path, seed=3, evaluations=[evaluation(published=published({3: 0.987}, {3: 0.004}))])
    (run,) = records(tmp_path)
    assert (run["measured"], run["value"]) == ("91.25 ± 0.41 %", 0.9125)
    assert (run["published"], run["reference"]) == ("98.70 ± 0.40 %", 0.987)
    assert (run["iterations"], run["trained"], run["short"]) == ("60,000", 60_000, False)
    assert run["adaptation"] == [[0, 0.2], [1, 0.8], [2, 0.9], [3, 0.9125]] and run["cross"] == [[3, 0.987]]
    assert run["learning"] == [] and run["the ± are"] == "95 % interval over tasks"


def test_published_errors_of_another_kind_are_said(tmp_path):
    of_seeds = {**published({3: 0.987}, {3: 0.004}), "error_is": "standard deviation over 3 seeds"}
    write_run(tmp_path, evaluations=[evaluation(published=of_seeds)])
    (run,) = records(tmp_path)
    assert run["the ± are"] == "95 % interval over tasks; published: standard deviation over 3 seeds"


@pytest.mark.parametrize("column", ["query_accuracy", "support_accuracy"])
def test_the_learning_curve_is_smoothed_and_thinned(column, tmp_path):
    """A constant stays what it is; the first and the last row are kept."""
    folder = write_run(tmp_path)
    loss = column.replace("accuracy", "loss")
    rows = [{"iteration": 100 * i, loss: 1.0, column: 0.75} for i in range(1, 601)]
    files.write_table(folder / "metrics.csv", ("iteration", loss, column), rows)
    (run,) = records(tmp_path)
    assert len(run["learning"]) == web.MOST_POINTS
    assert run["learning"][0] == [100, 0.75] and run["learning"][-1] == [60_000, 0.75]


def test_steps_that_diverged_are_left_out(tmp_path):
    write_sinusoid(tmp_path, (3.0, 0.5, None, None))
    (run,) = records(tmp_path)
    assert [step for step, _ in run["adaptation"]] == [0, 1] and run["unit"] == "mse"


def test_a_name_cannot_end_the_script(tmp_path):
    write_run(tmp_path, title="</script><b>")
    assert records(tmp_path)[0]["experiment"] == "</script><b>"


def test_nothing_is_fetched():
    text = web.TEMPLATE.read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href)=|@import|fetch\(|https?://(?!www\.w3\.org/2000/svg)", text) == []
