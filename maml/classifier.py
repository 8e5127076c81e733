"""A trained classifier in one's own hands: adapted to a few labelled images, used on others, kept, exported.

Letters: n images of H x W pixels and C channels, N classes. Images are uint8 (0 to 255) or float (0 to 1) arrays
[n, H, W, C] with the pixels that the data source has (strokes of Omniglot's characters are 1), or file names, which are
read as the data source reads its own (`data_generators.sources.image_reader`).
"""

import dataclasses
import hashlib
import io
import json
import numbers
import os
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_generators import sources
from data_generators.class_folders import list_folder
from data_generators.errors import UserError
from maml import config as settings
from maml import experiment, inner_loop, losses, records, runs, tf1_checkpoint
from maml.checkpoints import Checkpoints
from maml.meta_training import MetaTrainer

FORMAT = "maml adapted classifier 1"  # stands in every saved file
AT_A_TIME = 100  # images predicted together where they don't see one another, so that memory stays bounded


def load_run(folder, checkpoint="best"):
    """The Classifier of a run folder; its data is not needed.

    checkpoint: "best" by validation, "latest", or an iteration. Raises UserError for a folder without a run, a run that
    is not of images, and checkpoints that are missing or damaged.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists():
        raise UserError(f"no run in {folder}, expected a run folder: one with config.json and checkpoints/ in it")
    config = settings.Config.from_dict(records.read_json(folder / "config.json"), folder / "config.json")
    input_shape = _input_shape(config)
    net, _ = experiment.build_learner(config, input_shape)
    state = runs.State(MetaTrainer(net.init(config.seed), config.meta_lr))
    runs.restore(state, Checkpoints(folder / "checkpoints", state, config.to_dict()), checkpoint)
    origin = f"{folder}, iteration {int(state.trainer.iteration):,}"
    return Classifier(config, input_shape, state.trainer.current_weights(), origin)


def load_authors(prefix, datasource="miniimagenet", **given):
    """The Classifier in a TensorFlow 1 checkpoint of the authors' code (see `tf1_checkpoint.read`).

    given: the settings it was trained with where they are not the paper's, as `config.resolve` takes them: num_classes,
    num_filters, conv, max_pool, norm, update_lr, … Raises UserError.
    """
    config = settings.resolve(datasource, **given)
    input_shape = _input_shape(config)
    net, _ = experiment.build_learner(config, input_shape)
    weights = tf1_checkpoint.read(prefix, net.init(config.seed))
    return Classifier(config, input_shape, weights, f"{prefix} of the authors' code")


@dataclass(frozen=True, eq=False)
class Classifier:
    """A meta-trained θ, to be adapted. config: a Config. input_shape: (H, W, C). weights: θ. origin: where from."""

    config: settings.Config
    input_shape: tuple[int, int, int]
    weights: dict
    origin: str

    def adapt(self, images, labels, num_steps=None, inner_lr=None):
        """An AdaptedClassifier: θ after `num_steps` gradient steps on these n images, the support set.

        images: see above. labels: the class of each, n names (text or whole numbers) of exactly N distinct ones, in any
        order and number. The loss is the cross-entropy **summed** over the images and divided by n / N, the mean number
        of images a class: for equal numbers the authors' (see `losses.cross_entropy`). num_steps: None for the step
        that the paper reads its results at. inner_lr: α, None for that of the training. Raises UserError for images,
        labels or steps that can't be.
        """
        config = self.config
        num_steps = config.step_read if num_steps is None else num_steps
        inner_lr = config.update_lr if inner_lr is None else inner_lr
        if not isinstance(num_steps, numbers.Integral) or num_steps < 0:
            raise UserError(f"num_steps is {num_steps}, expected 0 or more")
        if not 0 < inner_lr < float("inf"):
            raise UserError(f"inner_lr is {inner_lr}, expected a positive number")
        support = _images(images, config, self.input_shape)
        labels, class_names = _classes(labels, len(support), config.num_classes)
        learner = _learner(config, self.input_shape)
        targets = tf.one_hot([class_names.index(label) for label in labels], config.num_classes)
        weights = inner_loop.adapt(
            learner.forward,
            losses.cross_entropy(len(support) / config.num_classes),
            inner_loop.per_task(self.weights, 1),
            _pixels(support)[None],
            targets[None],
            inner_lr,
            num_steps,
            first_order=True,
            is_adapted=learner.is_adapted,
        )[-1]
        if not all(np.isfinite(w).all() for w in weights.values()):
            raise UserError(f"adapting diverged at inner_lr {inner_lr} in {num_steps} steps; expected smaller ones")
        return AdaptedClassifier(
            config=config,
            input_shape=self.input_shape,
            weights={name: w[0] for name, w in weights.items()},
            class_names=class_names,
            support=support,
            num_steps=int(num_steps),
            inner_lr=float(inner_lr),
            origin=self.origin,
            fingerprint=self.fingerprint,
        )

    @property
    def fingerprint(self):
        """Text that two classifiers share only if their weights have the same bits."""
        digest = hashlib.sha256()
        for name, w in sorted(self.weights.items()):
            digest.update(f"{name} {w.dtype.name} {w.shape.as_list()}\n".encode() + w.numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class AdaptedClassifier:
    """A classifier of N classes of one's own, as `Classifier.adapt` makes it.

    weights: θ'. class_names: sorted. support: the images adapted on, uint8 or float32 [n, H, W, C]. num_steps,
    inner_lr: how it was adapted. origin, fingerprint: of the θ that it was adapted from.
    """

    config: settings.Config
    input_shape: tuple[int, int, int]
    weights: dict
    class_names: tuple
    support: np.ndarray
    num_steps: int
    inner_lr: float
    origin: str
    fingerprint: str

    def predict(self, images, transductive=True):
        """(names, probabilities): an array of n class names, and float32 [n, N] in the order of `class_names`.

        transductive: batch norm takes its statistics from these images, as in the paper. So the prediction for an image
        depends on which others are given with it; the statistics of one image, or of images of one class, are not those
        that it was trained with. False: each image by itself, with the statistics of the support set. Without batch
        norm both are the same. Raises UserError for images that can't be.
        """
        images = _images(images, self.config, self.input_shape)
        size = len(images) if transductive and self.config.norm == "batch_norm" else AT_A_TIME
        parts = [_pixels(images[i : i + size]) for i in range(0, len(images), size)]
        probabilities = np.concatenate([self._probabilities(part, transductive).numpy() for part in parts])
        return np.array(self.class_names)[probabilities.argmax(1)], probabilities

    def _probabilities(self, x, transductive):
        """x: float32 pixels [n, H, W, C], n known or left open. Returns [n, N]."""
        forward, weights = _learner(self.config, self.input_shape).forward, inner_loop.per_task(self.weights, 1)
        if transductive or self.config.norm != "batch_norm":
            return tf.nn.softmax(forward(weights, x[None])[0])
        both = tf.concat([_pixels(self.support), x], 0)
        num_support = len(self.support)
        return tf.nn.softmax(forward(weights, both[None], num_reference=num_support)[0, num_support:])

    def save(self, path):
        """Writes one file, whole or not at all, that `load_adapted` reads without the run and without data.

        An .npz archive without pickles: θ', the support images, and as json the class names, the settings and the rest.
        """
        if os.path.isdir(path):
            raise UserError(f"{path} is a folder, expected the name of a file")
        about = {name: getattr(self, name) for name in _ABOUT} | {"format": FORMAT, "config": self.config.to_dict()}
        weights = {f"weights/{name}": w.numpy() for name, w in self.weights.items()}
        content = io.BytesIO()
        np.savez(content, about=json.dumps(about), support=self.support, **weights)
        records.write_bytes(path, content.getvalue())

    def export(self, folder):
        """Writes a SavedModel that TensorFlow runs without this package, to a folder that is new or empty.

        Signatures, of `images`, float32 pixels [n, H, W, C] from 0 to 1 for any n ≥ 1: "serving_default" predicts as
        `predict`, the images together; "one_at_a_time" each by itself, as `predict(…, transductive=False)`. Both return
        `probabilities`, float32 [n, N], and `class_names`, N texts in their order. Raises UserError if the folder isn't
        empty or can't be written.
        """
        folder = Path(os.path.abspath(folder))
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise UserError(f"{folder} is there already, expected a new folder, or an empty one, to export to")
        variables = dataclasses.replace(self, weights={name: tf.Variable(w) for name, w in self.weights.items()})
        class_names = tf.constant([str(name) for name in self.class_names])

        def signature(transductive):
            @tf.function(input_signature=[tf.TensorSpec([None, *self.input_shape], tf.float32, name="images")])
            def predict(images):
                probabilities = variables._probabilities(images, transductive)
                return {"probabilities": probabilities, "class_names": tf.identity(class_names)}

            return predict

        module = tf.Module()
        module.weights = variables.weights
        signatures = {"serving_default": signature(True), "one_at_a_time": signature(False)}
        unfinished = folder.with_name(f".unfinished_{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        # Nothing but predictions is exported: not the gradients of the kernels.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        try:
            tf.saved_model.save(module, str(unfinished), signatures, options)
            if folder.exists():
                folder.rmdir()
            os.replace(unfinished, folder)
        except (OSError, tf.errors.OpError) as error:
            raise UserError(f"can't write {folder} ({error}), expected a place that may be written to") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


_ABOUT = ("class_names", "num_steps", "inner_lr", "origin", "fingerprint")  # of an AdaptedClassifier, written as json


def load_adapted(path, classifier=None):
    """The AdaptedClassifier that `save` wrote, with the same bits.

    classifier: the Classifier that it must have been adapted from, if it matters. Raises UserError for a file that is
    missing, damaged or something else, and for one that was adapted from other weights.
    """
    arrays = _read_arrays(path)
    try:
        about = json.loads(str(arrays.pop("about")))
        if about.pop("format") != FORMAT:
            raise KeyError("format")
        support = arrays.pop("support")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not an adapted classifier, expected a file that `save` wrote") from error
    config = settings.Config.from_dict(about.pop("config", {}), path)
    input_shape = _input_shape(config)
    theta = experiment.build_learner(config, input_shape)[0].init(config.seed)
    expected = {f"weights/{name}": (tuple(w.shape), w.dtype.name) for name, w in theta.items()}
    whole = (
        set(about) == set(_ABOUT)
        and {name: (w.shape, w.dtype.name) for name, w in arrays.items()} == expected
        and len(about["class_names"]) == config.num_classes
        and support.shape[1:] == input_shape
        and support.dtype in (np.uint8, np.float32)
    )
    if not whole:
        raise UserError(f"{path} is damaged: what it holds doesn't fit its settings; expected a file that `save` wrote")
    if classifier is not None and classifier.fingerprint != about["fingerprint"]:
        raise UserError(
            f"{path} was adapted from {about['origin']}, which are other weights than those of {classifier.origin}; "
            "expected a file adapted from the latter"
        )
    weights = {name: tf.constant(arrays[f"weights/{name}"]) for name in theta}
    about["class_names"] = tuple(about["class_names"])
    return AdaptedClassifier(config=config, input_shape=input_shape, weights=weights, support=support, **about)


def _read_arrays(path):
    """{name: array} of an .npz file. UserError if it is missing, damaged, or something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path} cannot be read ({reason}), expected a file that `save` wrote") from error
    except (ValueError, TypeError, AttributeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged or not an adapted classifier, expected a file that `save` wrote") from error


def classify_folder(classifier, folder, num_steps=None, transductive=True, export=None):
    """The text that `main.py --adapt=folder` prints: a line for each image that lies loose in the folder, by name.

    folder: N class folders with labelled images, to adapt on, and beside them the images to classify. Hidden files and
    files that are not images are passed over. export: where to write the adapted classifier as a SavedModel, if
    anywhere. Others as in `adapt` and `predict`. Raises UserError for a folder laid out otherwise, and for images that
    can't be read.
    """
    labels, labelled, loose = _labelled_folder(Path(folder), classifier.config.num_classes)
    adapted = classifier.adapt(labelled, labels, num_steps)
    _, probabilities = adapted.predict(loose, transductive)
    if export is not None:
        adapted.export(export)
    width = max(len(path.name) for path in loose)
    names = [str(name) for name in adapted.class_names]
    class_width = max(map(len, names))
    lines = []
    for path, row in zip(loose, probabilities):
        first, second = np.argsort(-row, kind="stable")[:2]
        lines.append(
            f"{path.name:{width}}  {names[first]:{class_width}} {100 * row[first]:5.1f} %  "
            f"then {names[second]:{class_width}} {100 * row[second]:5.1f} %"
        )
    together = transductive and classifier.config.norm == "batch_norm"
    how = "together, as in the paper: a prediction depends on the other images" if together else "each by itself"
    lines.append(
        f"{classifier.origin}; {len(labelled)} images of {len(names)} classes, {adapted.num_steps} steps of "
        f"{adapted.inner_lr:g}; {len(loose)} images classified, {how}"
    )
    return "\n".join(lines)


def _labelled_folder(folder, num_classes):
    """(labels, paths of the images they belong to, paths of the loose images), all sorted."""
    expected = f"expected {num_classes} folders <class>/<image>, and the images to classify beside them"
    if not folder.is_dir():
        raise UserError(f"{folder} is {'a file' if folder.exists() else 'not there'}; {expected}")
    classes, loose = list_folder(folder)
    if len(classes) != num_classes:
        raise UserError(f"{folder} holds {len(classes) or 'no'} class folders; {expected}")
    if not loose:
        raise UserError(f"{folder} holds no images beside its class folders; {expected}")
    labels, labelled = [], []
    for entry in classes:
        images = list_folder(entry.path)[1]
        if not images:
            raise UserError(f"{entry.path} holds no images; {expected}")
        labels += [entry.name] * len(images)
        labelled += [Path(image.path) for image in images]
    return labels, labelled, [Path(image.path) for image in loose]


def _input_shape(config):
    """(H, W, C) of a data source's images. UserError where it has none."""
    if not config.classification:
        raise UserError(f"{config.datasource} has no images and no classes, expected a classifier: a run on images")
    if config.datasource == "folder":
        return config.image_size, config.image_size, config.channels
    return (84, 84, 3) if config.datasource == "miniimagenet" else (28, 28, 1)


def _learner(config, input_shape):
    """Of TensorFlow's own kernels: nothing to compile for a few images, and an export may leave their number open."""
    return experiment.build_learner(dataclasses.replace(config, jit=False), input_shape)[1]


def _images(images, config, input_shape):
    """uint8 or float32 [n, H, W, C]. UserError for anything else, no images, and floats outside [0, 1]."""
    if isinstance(images, (list, tuple)) and images and all(isinstance(i, (str, os.PathLike)) for i in images):
        read = sources.image_reader(config.datasource, input_shape)
        images = [read(path) for path in images]
    try:
        images = np.asarray(images)
    except ValueError as error:
        raise UserError(f"the images have different shapes, expected each to be {list(input_shape)}") from error
    expected = f"expected uint8 (0 to 255) or float (0 to 1) of shape [n, {', '.join(map(str, input_shape))}]"
    is_float = np.issubdtype(images.dtype, np.floating)
    if not len(images.shape) or images.shape[1:] != tuple(input_shape) or not (is_float or images.dtype == np.uint8):
        raise UserError(f"images are {images.dtype} of shape {list(images.shape)}, {expected}, or a list of file names")
    if not len(images):
        raise UserError(f"got no images, {expected}")
    if is_float and not (images.min() >= 0 and images.max() <= 1):
        raise UserError(f"the images have values from {images.min():g} to {images.max():g}, {expected}")
    return images.astype(np.float32) if is_float else images


def _pixels(images):
    """float32 tensor, from 0 to 1. Divided as `ImageTasks` does it."""
    pixels = images.astype(np.float32)
    return tf.constant(pixels / np.float32(255) if images.dtype == np.uint8 else pixels)


def _classes(labels, num_images, num_classes):
    """(labels as a list, the sorted tuple of the N distinct ones)."""
    labels = [label.item() if isinstance(label, np.generic) else label for label in labels]
    if len(labels) != num_images:
        raise UserError(f"got {len(labels)} labels for {num_images} images, expected as many")
    kinds = {type(label) for label in labels}
    if kinds not in ({str}, {int}):
        got = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UserError(f"labels are {got}, expected all text or all whole numbers")
    names = tuple(sorted(set(labels)))
    if len(names) != num_classes:
        shown = ", ".join(map(str, names[:5])) + (", …" if names[5:] else "")
        raise UserError(f"got {len(names)} classes ({shown}), expected {num_classes}, as in the training")
    return labels, names
