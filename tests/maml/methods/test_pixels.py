"""Pixels by hand; and a run with nothing to train."""

import json

import killed
import numpy as np
import pytest
import tensorflow as tf

import maml
from data_generators.errors import UserError
from maml import losses
from maml.method import Problem
from maml.methods import pixels
from maml.runs.problems import problem_of
from maml.runs.protocol import protocol_of
from maml.runs.run import Run
from maml.runs.settings import resolve
from maml.runs.supervised import SupervisedLearner
from maml.runs.testing import headline, test


def test_the_answer_is_the_image_of_the_nearest_direction():
    """Images of 2x1 pixels. (3, 4) has cosines 0.6 and 0.8 with (1, 0) and (0, 2) of class 0, 0.96 and 1 with (4, 3)
    and (6, 8) of class 1. Brightness doesn't matter."""
    method = pixels.build(pixels.Settings(), Problem((2, 1, 1), 2, None, None, losses.cross_entropy, losses.accuracy))
    support = tf.constant([[(1, 0), (4, 3), (0, 2), (6, 8)]], tf.float64)[..., None, None]
    labels = tf.one_hot([[0, 1, 0, 1]], 2, dtype=tf.float64)
    state = method.start({}, support, labels)
    for brightness in (1, 0.1):
        queries = brightness * tf.constant([[(3, 4)]], tf.float64)[..., None, None]
        np.testing.assert_allclose(method.predict(state, queries), [[[0.8, 1]]], rtol=1e-12)
        np.testing.assert_allclose(method.predict(state, queries, support), [[[0.8, 1]]], rtol=1e-12)


def run(folder, **given):
    settings = resolve("glyphs", "pixels", num_classes=2, **given)
    return Run(SupervisedLearner(settings, killed.image_tasks()), folder, log=False)


def test_there_are_no_weights():
    settings = resolve("omniglot", "pixels")
    assert pixels.build(settings.own, problem_of(settings)).init(1) == {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a run that was trained, so to speak, and tested."""
    folder = tmp_path_factory.mktemp("pixels") / "a" / "seed_1"
    whole = run(folder)
    assert whole.train() and whole.iteration == 0
    summary = test(whole, protocol_of(whole.settings, {"train": True, "eval_tasks": 5}), "a command")
    words = headline(summary, whole.settings)
    assert "one query at a time, nothing to train; " in words
    return folder


def test_a_run_is_tested_without_training(folder):
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["iterations"] == {"trained": 0, "paper": None} and summary["evaluations"][0]["tasks"] == 5
    assert run(folder).train()  # and again


def test_a_run_is_a_classifier_of_any_number_of_classes(folder, tmp_path):
    images = np.random.default_rng(0).integers(1, 256, (3, 28, 28, 1), np.uint8)
    adapted = maml.load_run(folder).adapt(images, ["a", "b", "c"])
    adapted.save(tmp_path / "mine.npz")
    names, _ = maml.load_adapted(tmp_path / "mine.npz").predict(images[[2, 0, 1]])
    assert names.tolist() == ["c", "a", "b"]


@pytest.mark.parametrize(
    "given", [{"metatrain_iterations": 5}, {"meta_lr": 0.1}, {"norm": "batch_norm"}, {"conv": False}]
)
def test_settings_of_a_training_or_a_network_are_refused(given):
    with pytest.raises(UserError, match=f"{next(iter(given))} given, which pixels does not use"):
        resolve("glyphs", "pixels", **given)
