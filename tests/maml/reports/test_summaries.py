"""A summary is read whole and checked, or refused with the file and the field that is wrong."""

import math
import pathlib

import pytest
import result_folders

from data_generators.errors import UserError
from maml.reports import summaries
from maml.runs import files

RESULTS = pathlib.Path(__file__).parents[3] / "results"


def damaged(tmp_path, **changes):
    """A run folder whose summary has these fields, or lacks those that are None in `changes["without"]`."""
    record = result_folders.summary()
    for name in changes.pop("without", ()):
        del record[name]
    files.write_json(tmp_path / "summary.json", record | changes)
    return tmp_path


def test_fields_are_those_of_the_file(tmp_path):
    alone = result_folders.evaluation(suffix="_one_at_a_time", transductive=False)
    beside = result_folders.evaluation(published=result_folders.published({3: 0.987}, {3: 0.004}))
    run = summaries.load(result_folders.write_run(tmp_path, seed=4, evaluations=[beside, alone]))
    assert (run.title, run.method, run.seed, run.variant) == ("Omniglot, 5-way 1-shot", "maml", 4, {})
    assert run.iterations == summaries.Iterations(60_000, 60_000)
    assert run.quoted.values == (0.2, 0.8, 0.9, 0.9125) and (run.quoted.value, run.quoted.error) == (0.9125, 0.0041)
    assert (run.quoted.published.values, run.quoted.published.errors) == ({3: 0.987}, {3: 0.004})
    assert [test.transductive for test in run.evaluations] == [True, False]


def test_every_committed_summary_is_read():
    runs = summaries.load_all(RESULTS)
    assert {run.kind for run in runs} == {"supervised", "rl"}
    assert len(runs) == len(list(RESULTS.glob("*/seed_*/summary.json")))


def test_runs_are_sorted_by_experiment_and_seed(tmp_path):
    for experiment, seed in (("b", 1), ("a", 10), ("a", 2)):
        result_folders.write_run(tmp_path, experiment, seed)
    assert [(run.experiment, run.seed) for run in summaries.load_all(tmp_path)] == [("a", 2), ("a", 10), ("b", 1)]


def test_a_run_that_was_set_aside_is_none(tmp_path):
    folder = result_folders.write_run(tmp_path, "a", 1)
    folder.rename(f"{folder}.old-1")
    result_folders.write_run(tmp_path, "a", 1)
    assert [run.folder.name for run in summaries.load_all(tmp_path)] == ["seed_1"]


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"without": ["hardware"]}, "hardware is missing, expected it to be there"),
        ({"hardware": None}, "hardware is None, expected a text"),
        ({"seed": 1.5}, "seed is 1.5, expected a whole number"),
        ({"seed": True}, "seed is True, expected a whole number"),
        ({"num_classes": "5"}, "num_classes is '5', expected a whole number or null"),
        ({"measured": 0.9}, "measured is no field of a summary"),
        ({"unit": "accuracies"}, "unit is 'accuracies', expected one of accuracy, mse, return"),
        ({"kind": "unsupervised"}, "kind is 'unsupervised', expected one of supervised, rl"),
        ({"headline": "other.csv"}, "headline is 'other.csv', expected one of adaptation_test_1shot_1query.csv"),
        ({"iterations": {"trained": 5}}, "iterations.paper is missing"),
        ({"evaluations": [3]}, r"evaluations\[0\] is 3, expected an object"),
    ],
)
def test_a_damaged_field_is_named(changes, complaint, tmp_path):
    with pytest.raises(UserError, match=f"summary.json: damaged, {complaint}"):
        summaries.load(damaged(tmp_path, **changes))


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"tasks": "600"}, "tasks is '600', expected a whole number"),
        ({"values": []}, r"values is \(\), expected numbers, one or more"),
        ({"values": [0.1, "0.2", 0.3, 0.4]}, r"values is \(0.1, '0.2', 0.3, 0.4\), expected numbers"),
        ({"errors": [0.1]}, r"errors is \(0.1,\), expected 4, as many as values"),
        ({"step": 4}, "step is 4, expected 0 to 3"),
        ({"published": {"values": {}}}, "published.errors is missing"),
        ({"published": result_folders.published({"one": 0.9})}, "published.values is {'one': 0.9}, expected {inner"),
        ({"roulouts": 3}, "roulouts is no field"),
    ],
)
def test_a_damaged_evaluation_is_named(changes, complaint, tmp_path):
    with pytest.raises(UserError, match=rf"summary.json: damaged, evaluations\[0\]\.{complaint}"):
        summaries.load(damaged(tmp_path, evaluations=[result_folders.evaluation(**changes)]))


def test_a_diverged_value_is_not_a_number(tmp_path):
    test = result_folders.evaluation(values=[0.2, None], step=1)
    run = summaries.load(result_folders.write_run(tmp_path, evaluations=[test]))
    assert run.quoted.values[0] == 0.2 and math.isnan(run.quoted.value)


def test_a_missing_summary_is_named(tmp_path):
    with pytest.raises(UserError, match="summary.json"):
        summaries.load(tmp_path)


def test_damage_elsewhere_does_not_stop_a_figure(tmp_path):
    result_folders.write_run(tmp_path, seed=1)
    damaged(result_folders.write_run(tmp_path, seed=2), unit="")
    assert [run.seed for run in summaries.load_readable(tmp_path)] == [1]


@pytest.mark.parametrize(
    "checkpoint, iteration, trained", [("best", 300, 1000), ("latest", 1000, 1000), ("iteration 300", 300, 300)]
)
def test_iterations_behind_the_tested_weights(checkpoint, iteration, trained, tmp_path):
    """Validation chose the best among all, so that all of the training is behind it."""
    test = result_folders.evaluation(checkpoint=checkpoint, iteration=iteration)
    run = summaries.load(result_folders.write_run(tmp_path, evaluations=[test], trained=1000))
    assert (run.trained, run.is_short) == (trained, True)


def test_a_run_without_a_paper_is_never_short(tmp_path):
    assert not summaries.load(result_folders.write_run(tmp_path, trained=10, paper=None)).is_short


def test_the_test_with_some_shots_is_the_one_most_like_the_headline(tmp_path):
    tests = [
        result_folders.evaluation(1, 1),
        result_folders.evaluation(5, 15),
        result_folders.evaluation(5, 5, suffix="_one_at_a_time", transductive=False),
        result_folders.evaluation(5, 5),
        result_folders.evaluation(5, 5, suffix="_latest", checkpoint="latest"),
    ]
    run = summaries.load(result_folders.write_run(tmp_path, evaluations=tests))
    assert run.tested_with(5).file == "adaptation_test_5shot_5query.csv"
    assert run.tested_with(20) is None
