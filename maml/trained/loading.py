"""Trained classifiers, from where they lie: a run folder, a checkpoint of the authors' code, a file of one's own."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from data_generators import places
from data_generators.errors import UserError
from data_generators.sources import SOURCES
from maml.runs import authors, files, testing
from maml.runs.checkpoints import chosen
from maml.runs.problems import fixed_num_classes, input_shape_of, problem_of
from maml.runs.run import Run
from maml.runs.settings import Settings, resolve
from maml.runs.supervised import SupervisedLearner
from maml.trained import storage
from maml.trained.classifier import AdaptedClassifier, Classifier, empty_state


def load_run(folder: str | os.PathLike, checkpoint: str | int = "best") -> Classifier:
    """The Classifier of a run folder; its data is not needed.

    checkpoint: "best" by validation, "latest", or an iteration. Where there are no checkpoints, the weights that the
    run's test left, weights.npz, are both the best and the latest.
    UserError for a folder without a run, a run that is not of images, and checkpoints that are missing or damaged.
    """
    folder = places.expanded(folder)
    if not (folder / "config.json").exists():
        raise UserError(f"no run in {folder}, expected a run folder: one with config.json and checkpoints/ in it")
    record = files.read_json(folder / "config.json")
    if "datasource" in record:  # reinforcement learning has other settings, too
        _check_images(record["datasource"], f"{folder} is a run of {record['datasource']}, which")
    settings = Settings.from_dict(record, folder / "config.json")
    run = Run(SupervisedLearner(settings), folder, log=False)
    run.restore(chosen(checkpoint))
    weights = {name: tf.convert_to_tensor(w) for name, w in run.learner.tested_weights().items()}
    return Classifier(settings, weights, f"{folder}, iteration {run.iteration:,}", *_chosen_steps(folder, settings))


def load_authors(prefix: str | os.PathLike, datasource: str = "miniimagenet", **given: Any) -> Classifier:
    """The Classifier in a TensorFlow 1 checkpoint of the authors' code (see `runs.authors.read`).

    given: the settings it was trained with where they are not the paper's, as `resolve` takes them: num_classes,
    num_filters, conv, max_pool, norm, update_lr, … UserError.
    """
    settings = resolve(datasource, **given)
    _check_images(datasource)
    method = settings.card.build(settings.own, problem_of(settings))
    weights = authors.read(prefix, method.init(settings.seed))
    return Classifier(settings, weights, f"{prefix} of the authors' code")


def load_adapted(path: str | os.PathLike, classifier: Classifier | None = None) -> AdaptedClassifier:
    """The AdaptedClassifier that `save` wrote, with the same bits.

    classifier: the Classifier that it must have been adapted from, if it matters. UserError for a file that is missing,
    damaged or something else, and for one that was adapted from other weights.
    """
    stored = storage.read(path)
    _check_images(stored.settings.task.datasource)
    state = _state(stored) if _is_whole(stored) else None
    if state is None:
        raise UserError(f"{path} is damaged: what it holds doesn't fit its settings; expected a file that `save` wrote")
    about = {**stored.about, "class_names": tuple(stored.about["class_names"])}
    if classifier is not None and classifier.fingerprint != about["fingerprint"]:
        raise UserError(
            f"{path} was adapted from {about['origin']}, which are other weights than those of {classifier.origin}; "
            "expected a file adapted from the latter"
        )
    return AdaptedClassifier(settings=stored.settings, state=state, support=stored.support, **about)


def _is_whole(stored):
    """Whether the settings' classifier can have been adapted to these images and classes."""
    settings, about, support, _ = stored
    return (
        set(about) == set(storage.ABOUT)
        and isinstance(about["class_names"], list)
        and len(about["class_names"]) >= 2
        and fixed_num_classes(settings) in (None, len(about["class_names"]))
        and support.shape[1:] == input_shape_of(settings)
        and support.dtype in (np.uint8, np.float32)
    )


def _state(stored):
    """The nest of tensors whose leaves are stored; None where they are not those of the settings' method."""
    specs = empty_state(stored.settings, len(stored.support), len(stored.about["class_names"]))
    expected, found = storage.places(specs), stored.state
    if found.keys() != expected.keys():
        return None
    for place, spec in expected.items():
        if found[place].dtype.name != spec.dtype.name or not spec.shape.is_compatible_with(found[place].shape):
            return None
    return tf.nest.pack_sequence_as(specs, [tf.constant(found[place]) for place in expected])


def _check_images(datasource, what=None):
    """UserError unless this is a data source of images. what: the subject of the sentence, for people."""
    if not isinstance(datasource, str) or datasource not in SOURCES or not SOURCES[datasource].has_images:
        raise UserError(f"{what or datasource} has no images and no classes, expected a classifier: a run on images")


def _chosen_steps(folder, settings):
    """(α, number of inner steps) of the run's headline, each where the method has it chosen on validation tasks."""
    card, path = settings.card, folder / "summary.json"
    if not card.step_sizes or not path.exists():
        return None, None
    summary = testing.read_summary(path)
    entries = {entry["file"]: entry for entry in summary["evaluations"]}
    headline = summary.get("headline")
    entry = entries.get(headline, {}) if isinstance(headline, str) else {}
    rate, step = entry.get("inner_lr"), entry.get("step") if card.tunes_length else None
    if not (rate is None or isinstance(rate, float) and rate > 0):
        raise UserError(f"{path}: damaged, inner_lr of {headline} is {rate!r}, expected a positive number")
    if not (step is None or type(step) is int and step >= 0):
        raise UserError(f"{path}: damaged, step of {headline} is {step!r}, expected a whole number from 0")
    return rate, step
