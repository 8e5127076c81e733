"""How a run is tested: what is asked for, what can't be, and what is the headline."""

import dataclasses

import pytest

from data_generators.errors import UserError
from maml.runs.checkpoints import Best, Latest
from maml.runs.protocol import Protocol, protocol_of
from maml.runs.settings import resolve

OMNIGLOT, SINUSOID = resolve("omniglot"), resolve("sinusoid")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"tasks": 0}, "eval_tasks is 0, expected at least 1"),
        ({"queries": 0}, "eval_queries is 0, expected at least 1"),
        ({"shots": (5, -1)}, "update_batch_size is -1, expected at least 1"),
        ({"ways": 1}, "num_classes is 1, expected at least 2"),
        ({"inner_lr": 0.0}, "update_lr is 0.0, expected a positive number"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(Protocol("test", (1,)), **given)


def test_when_nothing_is_asked_for_it_is_the_papers():
    assert protocol_of(OMNIGLOT, {"train": True}) == Protocol("test", (1,), tasks=600, checkpoint=Best())


@pytest.mark.parametrize(
    "settings, options, message",
    [
        (SINUSOID, {}, "ensemble goes with images, got sinusoid"),
        (OMNIGLOT, {"test_iter": 1000}, "ensemble and test_iter given, expected one of them"),
        (OMNIGLOT, {"checkpoint": "there"}, "checkpoint and ensemble given, expected one of them"),
        (OMNIGLOT, {"ensemble": 6}, "ensemble is 6, expected at most 5: as many are kept"),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused(settings, options, message):
    with pytest.raises(UserError, match=message):
        protocol_of(settings, {"train": False, "ensemble": 2, **options})


def test_an_ensemble_is_not_the_headline_and_has_tables_of_its_own():
    protocol = protocol_of(OMNIGLOT, {"train": True, "ensemble": 5})
    assert protocol.table(1) == "adaptation_test_1shot_1query_best_5.csv" and not protocol.is_headline(OMNIGLOT)
    assert protocol_of(OMNIGLOT, {"train": True, "ensemble": 1}).is_headline(OMNIGLOT)


def test_a_sine_wave_is_tested_with_three_numbers_of_points_and_that_of_the_training():
    """[P] 5.1, figure 3."""
    settings = resolve("sinusoid", update_batch_size=7)
    assert protocol_of(settings, {"train": True}).shots == (5, 10, 20, 7)


@pytest.mark.parametrize(
    "options, split",
    [
        ({"train": True}, "test"),
        ({"train": False}, "val"),
        ({"train": False, "test_set": True}, "test"),
        ({"train": True, "test_set": False}, "val"),
    ],
)
def test_the_split(options, split):
    """As the authors' main.py: the validation tasks where nothing is trained, unless --test_set."""
    assert protocol_of(OMNIGLOT, options).split == split


def test_what_is_asked_for():
    options = {
        "eval_tasks": 7,
        "eval_queries": 3,
        "transductive": False,
        "test_update_batch_size": 5,
        "test_update_lr": 0.1,
    }
    asked = Protocol("val", (5,), queries=3, tasks=7, inner_lr=0.1, checkpoint=Latest(), transductive=False)
    assert protocol_of(OMNIGLOT, {**options, "test_iter": -1}) == asked


@pytest.mark.parametrize("asked, ways", [(None, None), (5, None), (20, 20)])
def test_the_classes_of_a_test_task_are_those_of_the_training_unless_others_are_asked_for(asked, ways):
    assert protocol_of(OMNIGLOT, {"train": True, "test_num_classes": asked}).ways == ways


@pytest.mark.parametrize(
    "settings, options, message",
    [
        (OMNIGLOT, {"test_iter": -2}, "test_iter is -2, expected an iteration, or -1 for the latest checkpoint"),
        (
            OMNIGLOT,
            {"train": True, "test_iter": 60001},
            "test_iter is 60001, expected at most 60000, the last iteration",
        ),
        (OMNIGLOT, {"checkpoint": "m", "test_iter": 5}, "checkpoint and test_iter given, expected one of them"),
        (SINUSOID, {"transductive": False}, "transductive=False goes with batch_norm, got None"),
        (resolve("sinusoid", norm="batch_norm"), {"transductive": False}, "transductive=False goes with images"),
        (resolve("omniglot", norm="layer_norm"), {"transductive": False}, "goes with batch_norm, got layer_norm"),
    ],
)
def test_what_cannot_be_asked_for(settings, options, message):
    with pytest.raises(UserError, match=message):
        protocol_of(settings, options)


@pytest.mark.parametrize(
    "given, file",
    [
        ({}, "adaptation_test_1shot_1query.csv"),
        ({"queries": 15, "transductive": False}, "adaptation_test_1shot_15query_one_at_a_time.csv"),
        ({"checkpoint": Latest(), "inner_lr": 0.1}, "adaptation_test_1shot_1query_latest_lr_0.1.csv"),
        ({"checkpoint": 500}, "adaptation_test_1shot_1query_iteration_500.csv"),
        ({"ways": 20}, "adaptation_test_20way_1shot_1query.csv"),
    ],
)
def test_each_way_of_testing_has_a_table_of_its_own(given, file):
    assert Protocol("test", (1,), **given).table(1) == file


@pytest.mark.parametrize(
    "given, is_it",
    [
        ({}, True),
        ({"tasks": 3}, True),
        ({"queries": 1}, True),
        ({"queries": 15}, False),
        ({"split": "val"}, False),
        ({"shots": (5,)}, False),
        ({"ways": 20}, False),
        ({"checkpoint": Latest()}, False),
        ({"transductive": False}, False),
        ({"inner_lr": 0.4}, False),
    ],
)
def test_what_is_the_headline(given, is_it):
    assert dataclasses.replace(Protocol("test", (1,)), **given).is_headline(OMNIGLOT) == is_it
