"""Classifiers read from run folders, with and without checkpoints."""

import json
import os
import shutil

import numpy as np
import pytest
from own_images import SHAPE, one_line, small_settings, write_run

import maml
from data_generators.errors import UserError
from maml.runs import files
from maml.runs.settings import resolve


def assert_weights(got, expected):
    assert set(got) == set(expected)
    assert all((got[name].numpy() == w.numpy()).all() for name, w in expected.items())


@pytest.mark.parametrize("checkpoint, iteration", [("best", 1), ("latest", 2), (2, 2), (1, 1)])
def test_a_run_is_loaded_at_the_checkpoint_asked_for(tmp_path, checkpoint, iteration):
    weights = write_run(tmp_path, small_settings())
    loaded = maml.load_run(tmp_path, checkpoint)
    assert_weights(loaded.weights, weights[iteration])
    assert loaded.origin == f"{tmp_path}, iteration {iteration}"
    assert loaded.settings == small_settings() and loaded.inner_lr is None


SOURCES = {
    "omniglot": ((28, 28, 1), {"num_filters": 3}),
    "glyphs": ((28, 28, 1), {"conv": False}),
    "miniimagenet": ((84, 84, 3), {"num_filters": 3}),
    "folder": ((20, 20, 1), {"num_filters": 3, "image_size": 20, "channels": 1}),
}


@pytest.mark.parametrize("datasource", SOURCES)
def test_the_images_a_run_takes_follow_from_its_settings(tmp_path, datasource):
    shape, given = SOURCES[datasource]
    weights = write_run(tmp_path, resolve(datasource, **given))
    loaded = maml.load_run(tmp_path)
    assert loaded.input_shape == shape
    assert_weights(loaded.weights, weights[1])
    support = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    assert loaded.adapt(support, range(5), 1).predict(support)[1].shape == (5, 5)


@pytest.mark.parametrize("method", ["meta_sgd", "prototypical", "reptile", "fine_tuning"])
def test_a_run_of_any_method_is_loaded(tmp_path, method):
    weights = write_run(tmp_path, small_settings(method))[1]
    read = {name: w for name, w in weights.items() if not name.startswith("train_")}  # what a task is learnt from
    assert_weights(maml.load_run(tmp_path).weights, read)


def test_the_step_size_that_its_test_chose_on_validation_tasks_comes_along(tmp_path):
    write_run(tmp_path, small_settings("fine_tuning"))
    assert maml.load_run(tmp_path).inner_lr is None  # not tested yet
    evaluations = [{"file": "other.csv", "inner_lr": 0.1}, {"file": "quoted.csv", "inner_lr": 0.5}]
    summary = {"iterations": {"trained": 1}, "headline": "quoted.csv", "evaluations": evaluations}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert maml.load_run(tmp_path).inner_lr == 0.5
    (tmp_path / "summary.json").write_text(json.dumps(summary).replace("0.5", '"much"'))
    with pytest.raises(UserError, match="damaged, inner_lr of quoted.csv is 'much', expected a positive number"):
        maml.load_run(tmp_path)


def test_where_nothing_was_chosen_the_step_size_is_the_trainings(tmp_path):
    write_run(tmp_path, small_settings())
    evaluations = [{"file": "quoted.csv", "inner_lr": 0.5}]  # as --update_lr asked for it, for a test
    (tmp_path / "summary.json").write_text(json.dumps({"headline": "quoted.csv", "evaluations": evaluations}))
    assert maml.load_run(tmp_path).inner_lr is None


def test_a_damaged_best_checkpoint_falls_back_to_the_latest(tmp_path, capsys):
    weights = write_run(tmp_path, small_settings())
    os.truncate(tmp_path / "checkpoints/iteration_00000001/state.data-00000-of-00001", 100)
    loaded = maml.load_run(tmp_path)
    assert_weights(loaded.weights, weights[2])
    assert loaded.origin.endswith("iteration 2") and "taking the latest checkpoint instead" in capsys.readouterr().err


def test_damaged_checkpoints_are_an_error(tmp_path):
    write_run(tmp_path, small_settings())
    for path in (tmp_path / "checkpoints").glob("*/state.data*"):
        os.truncate(path, 100)
    with pytest.raises(UserError, match="none of the 2 checkpoints .* can be read"):
        maml.load_run(tmp_path)


def test_an_iteration_that_is_not_there_is_an_error(tmp_path):
    write_run(tmp_path, small_settings())
    with pytest.raises(UserError, match="no checkpoint of iteration 7 in .*; there: 1, 2$"):
        maml.load_run(tmp_path, 7)


def test_a_checkpoint_that_cannot_be_is_an_error(tmp_path):
    write_run(tmp_path, small_settings())
    with pytest.raises(UserError, match="checkpoint is 'newest', expected best, latest or an iteration") as error:
        maml.load_run(tmp_path, "newest")
    one_line(error)


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no run in .*nothing, expected a run folder"):
        maml.load_run(tmp_path / "nothing")


def test_a_run_without_checkpoints_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(small_settings().to_dict()))
    with pytest.raises(UserError, match="no checkpoint in .*checkpoints"):
        maml.load_run(tmp_path)


# Without checkpoints, as in a run folder that was published


def publish(folder):
    """A run folder whose checkpoints are gone, and iteration 1 kept as its test leaves it. Returns θ."""
    weights = write_run(folder, small_settings())[1]
    shutil.rmtree(folder / "checkpoints")
    arrays = {name: w.numpy() for name, w in weights.items()}
    files.write_weights(
        folder / files.WEIGHTS, arrays, {"iteration": 1, "trained": 2, "seconds": 3.0, "title": "a test"}
    )
    return weights


@pytest.mark.parametrize("checkpoint", ["best", "latest"])
def test_without_checkpoints_the_weights_that_were_tested_are_read(tmp_path, checkpoint):
    weights = publish(tmp_path)
    loaded = maml.load_run(tmp_path, checkpoint)
    assert_weights(loaded.weights, weights)
    assert loaded.origin == f"{tmp_path}, iteration 1"


def test_they_adapt_and_predict_as_from_the_checkpoint(tmp_path):
    write_run(tmp_path / "whole", small_settings())
    publish(tmp_path / "published")
    support = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    whole, published = (maml.load_run(tmp_path / name) for name in ("whole", "published"))
    assert whole.fingerprint == published.fingerprint
    got, expected = (one.adapt(support, "abc", 1).predict(support)[1] for one in (published, whole))
    np.testing.assert_array_equal(got, expected)


def test_they_are_of_one_iteration_alone(tmp_path):
    publish(tmp_path)
    with pytest.raises(UserError, match="no checkpoint of iteration 2 in .*; there: none"):
        maml.load_run(tmp_path, 2)


def test_damaged_weights_are_an_error(tmp_path):
    publish(tmp_path)
    os.truncate(tmp_path / files.WEIGHTS, 100)
    with pytest.raises(UserError, match="weights.npz") as error:
        maml.load_run(tmp_path)
    one_line(error)


# Without images


def test_regression_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(resolve("sinusoid").to_dict()))
    for load in (lambda: maml.load_run(tmp_path), lambda: maml.load_authors(tmp_path / "model1", "sinusoid")):
        with pytest.raises(UserError, match="sinusoid(, which)? has no images"):
            load()


def test_reinforcement_learning_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"datasource": "point", "rollouts": 20}))
    said = "is a run of point, which has no images and no classes, expected a classifier: a run on images"
    with pytest.raises(UserError, match=said):
        maml.load_run(tmp_path)
