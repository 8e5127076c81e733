"""A trained classifier in one's own hands: adapted to a few labelled images, and used on others. Of any method.

Letters: N classes, n images. `inputs` says what images may be.
"""

import dataclasses
import functools
import hashlib
import numbers
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from data_generators.errors import UserError
from maml.method import Method
from maml.methods.card import ALONE, TOGETHER
from maml.runs.problems import fixed_num_classes, input_shape_of, problem_of, specs_of
from maml.runs.settings import Settings
from maml.trained import inputs, storage

BAR_AFTER = 3  # seconds of inner steps after which a terminal gets a progress bar
AT_A_TIME = 100  # images predicted together where they don't see one another, so that memory stays bounded


def method_for(settings: Settings, num_classes: int) -> Method:
    """The settings' Method for N classes, which need not be those of the training.

    Of TensorFlow's own kernels: nothing to compile for a few images, and an export may leave their number open.
    """
    engine = dataclasses.replace(settings.engine, jit=False)
    problem = problem_of(dataclasses.replace(settings, engine=engine))
    return settings.card.build(settings.own, problem._replace(num_outputs=num_classes))


def empty_state(settings: Settings, num_images: int, num_classes: int) -> Any:
    """The nest of the state after learning from so many images, of TensorSpecs."""
    method = method_for(settings, num_classes)

    def start(support_x, support_y):
        return method.start(method.init(0), support_x, support_y)

    x = tf.TensorSpec([1, num_images, *input_shape_of(settings)], tf.float32)
    return specs_of(start, x, tf.TensorSpec([1, num_images, num_classes], tf.float32))


@dataclass(frozen=True, eq=False)
class Classifier:
    """A meta-trained θ, to be adapted.

    settings: of the run. weights: θ. origin: where from, for people.
    inner_lr, num_steps: those that were chosen on validation tasks; None: there was nothing to choose.
    """

    settings: Settings
    weights: dict
    origin: str
    inner_lr: float | None = None
    num_steps: int | None = None

    def adapt(
        self, images: Any, labels: Any, num_steps: int | None = None, inner_lr: float | None = None
    ) -> "AdaptedClassifier":
        """An AdaptedClassifier: the method's state after `num_steps` inner steps on these n images, the support set.

        images: see `inputs`.
        labels: the class of each, n names (text or whole numbers) of N distinct ones, in any order and number. N is
            that of the training; any from 2 for a method without an output a class, such as one that compares features:
            no shape in its θ depends on N.
        num_steps: None for the step that the method's paper reads its results at, or the one that was chosen on
            validation tasks; 0 is all there is for a method without inner steps.
        inner_lr: α, one for all weights; None for the method's own, or the one chosen on validation tasks.

        K of the loss is n / N, the mean number of images a class. UserError for images, labels or steps that can't be.
        """
        num_classes = fixed_num_classes(self.settings)
        support = inputs.read_images(images, self.settings.task.datasource, self.input_shape)
        labels, class_names = inputs.read_labels(labels, len(support), num_classes)
        method = method_for(self.settings, len(class_names))
        num_steps, inner_lr = self._steps(method, num_steps, inner_lr)
        targets = tf.one_hot([class_names.index(label) for label in labels], len(class_names))
        return AdaptedClassifier(
            settings=self.settings,
            state=_learn(method, self.weights, inputs.pixels(support)[None], targets[None], num_steps, inner_lr),
            class_names=class_names,
            support=support,
            num_steps=num_steps,
            inner_lr=getattr(self.settings.own, "inner_lr", None) if inner_lr is None else inner_lr,
            origin=self.origin,
            fingerprint=self.fingerprint,
        )

    def _steps(self, method, num_steps, inner_lr):
        """(num_steps, inner_lr) as they are to be. UserError for numbers that can't be."""
        task, own, card = self.settings.task, self.settings.own, self.settings.card
        if method.step is None:
            if num_steps or inner_lr is not None:
                given = f"num_steps {num_steps}" if num_steps else f"inner_lr {inner_lr}"
                raise UserError(f"{card.title} has no inner steps, got {given}; expected none, or 0 steps")
            return 0, None
        usual = card.reading(task, own).step if self.num_steps is None else self.num_steps
        num_steps = usual if num_steps is None else num_steps
        inner_lr = self.inner_lr if inner_lr is None else inner_lr
        if not isinstance(num_steps, numbers.Integral) or num_steps < 0:
            raise UserError(f"num_steps is {num_steps}, expected 0 or more")
        if inner_lr is not None and not (isinstance(inner_lr, numbers.Real) and 0 < inner_lr < float("inf")):
            raise UserError(f"inner_lr is {inner_lr}, expected a positive number")
        return int(num_steps), None if inner_lr is None else float(inner_lr)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return input_shape_of(self.settings)

    @property
    def fingerprint(self) -> str:
        """Text that two classifiers share only if their weights have the same bits."""
        digest = hashlib.sha256()
        for name, w in sorted(self.weights.items()):
            digest.update(f"{name} {w.dtype.name} {w.shape.as_list()}\n".encode() + w.numpy().tobytes())
        return digest.hexdigest()


def _learn(method, theta, support_x, support_y, num_steps, inner_lr):
    """The state after `num_steps` inner steps on one support set. UserError where they diverge."""
    state = method.start(theta, support_x, support_y)
    bar = tqdm.tqdm(range(num_steps), "inner steps", leave=False, disable=None, delay=BAR_AFTER, unit="step")
    for _ in bar:
        state = method.step(state, support_x, support_y, inner_lr)
    state = tf.nest.map_structure(tf.convert_to_tensor, state)
    if not all(np.isfinite(tensor).all() for tensor in tf.nest.flatten(state)):
        size = "the method's own inner_lr" if inner_lr is None else f"inner_lr {inner_lr:g}"
        raise UserError(f"adapting diverged at {size} in {num_steps} steps; expected smaller ones")
    return state


@dataclass(frozen=True, eq=False)
class AdaptedClassifier:
    """A classifier of N classes of one's own, as `Classifier.adapt` makes it.

    settings: of the run.
    state: the method's after adapting, a nest of tensors with the one task in front; of MAML θ', {name: [1, …]}.
    class_names: N, sorted.
    support: the images adapted on, uint8 or float32 [n, H, W, C].
    num_steps, inner_lr: how it was adapted; inner_lr is None for steps whose sizes the method has learnt, and for none.
    origin, fingerprint: of the θ that it was adapted from.
    """

    settings: Settings
    state: Any
    class_names: tuple
    support: np.ndarray
    num_steps: int
    inner_lr: float | None
    origin: str
    fingerprint: str

    def predict(self, images: Any, transductive: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """(names, probabilities): an array of n class names, and float32 [n, N] in the order of `class_names`.

        images: see `inputs`.
        transductive: batch norm takes its statistics from these images, as in MAML's paper. So the prediction for an
            image depends on which others are given with it; the statistics of one image, or of images of one class, are
            not those that it was trained with. False: each image by itself, with the statistics of the support set, or
            running averages where the network keeps some. Without batch norm both are the same.

        Probabilities are the softmax of the method's outputs, whether these are logits or scores of another kind, such
        as negative distances. UserError for images that can't be.
        """
        images = inputs.read_images(images, self.settings.task.datasource, self.input_shape)
        size = len(images) if transductive and self.batch_norm else AT_A_TIME
        parts = [inputs.pixels(images[i : i + size]) for i in range(0, len(images), size)]
        probabilities = np.concatenate([self._probabilities(self.state, x, transductive).numpy() for x in parts])
        return np.array(self.class_names)[probabilities.argmax(1)], probabilities

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return input_shape_of(self.settings)

    @property
    def batch_norm(self) -> bool:
        """Whether images that are normalised together see one another."""
        return self.settings.network.norm == "batch_norm"

    def _probabilities(self, state, x, transductive):
        """[n, N] for float32 pixels x [n, H, W, C], n known or left open."""
        method = method_for(self.settings, len(self.class_names))
        together = transductive or not self.batch_norm
        reference = None if together else inputs.pixels(self.support)[None]
        return tf.nn.softmax(method.predict(state, x[None], reference)[0])

    def save(self, path: str | os.PathLike) -> None:
        """Writes one file, whole or not at all, that `load_adapted` reads without the run and without data.

        An .npz archive without pickles (see `storage`).
        """
        about = {name: getattr(self, name) for name in storage.ABOUT}
        storage.write(path, about, self.settings, self.support, self.state)

    def export(self, folder: str | os.PathLike) -> None:
        """Writes a SavedModel that TensorFlow runs without this package, to a folder that is new or empty.

        Signatures, of `images`, float32 pixels [n, H, W, C] from 0 to 1 for any n ≥ 1: "serving_default" predicts as
        `predict`, the images together; "one_at_a_time" each by itself, as `predict(…, transductive=False)`. Both return
        `probabilities`, float32 [n, N], and `class_names`, N texts in their order. "serving_default_rows" and
        "one_at_a_time_rows" return `class_name`, n texts, the likeliest of each image, beside the probabilities: a row
        an image, as TensorFlow Serving's row format wants. UserError if the folder isn't empty or can't be written.
        """
        predictions = {
            "serving_default": functools.partial(self._probabilities, transductive=True),
            "one_at_a_time": functools.partial(self._probabilities, transductive=False),
        }
        storage.export(folder, predictions, self.state, self.input_shape, self.class_names)


def classify_folder(
    classifier: Classifier,
    folder: str | os.PathLike,
    num_steps: int | None = None,
    transductive: bool = True,
    export: str | os.PathLike | None = None,
) -> str:
    """The text that `--adapt=folder` prints: a line for each image that lies loose in the folder, by name.

    folder: class folders with labelled images, to adapt on, and beside them the images to classify.
    export: where to write the adapted classifier as a SavedModel, if anywhere.
    Others as in `adapt` and `predict`. UserError for a folder laid out otherwise, and for images that can't be read.
    """
    if export is not None:
        storage.check_new(export)
    given = inputs.read_folder(folder, fixed_num_classes(classifier.settings))
    adapted = classifier.adapt(given.labelled, given.labels, num_steps)
    _, probabilities = adapted.predict(given.unlabelled, transductive)
    if export is not None:
        adapted.export(export)
    lines = _table(given.unlabelled, [str(name) for name in adapted.class_names], probabilities)
    return "\n".join([*lines, _how(adapted, len(given.unlabelled), transductive)])


def _table(paths, class_names, probabilities):
    """A line for each image: its name, the likeliest class and the second."""
    width, class_width = max(len(path.name) for path in paths), max(map(len, class_names))
    lines = []
    for path, row in zip(paths, probabilities):
        first, second = np.argsort(-row, kind="stable")[:2]
        lines.append(
            f"{path.name:{width}}  {class_names[first]:{class_width}} {100 * row[first]:5.1f} %  "
            f"then {class_names[second]:{class_width}} {100 * row[second]:5.1f} %"
        )
    return lines


def _how(adapted, num_images, transductive):
    """A line that says what classified so many images: 'a run; 6 images of 3 classes, 2 steps of 0.05; 4 images …'."""
    together = transductive and adapted.batch_norm
    column = TOGETHER if together else ALONE
    as_published = ", as in the paper" if column == adapted.settings.card.normalisation else ""
    how = (
        f"together{as_published}: a prediction depends on the other images"
        if together
        else f"each by itself{as_published}"
    )
    learnt = f"{len(adapted.support)} images of {len(adapted.class_names)} classes{_steps(adapted)}"
    return f"{adapted.origin}; {learnt}; {num_images} image{'s' * (num_images != 1)} classified, {how}"


def _steps(adapted):
    """', 2 steps of 0.05'; nothing for a method without inner steps."""
    if method_for(adapted.settings, len(adapted.class_names)).step is None:
        return ""
    size = "" if adapted.inner_lr is None else f" of {adapted.inner_lr:g}"
    return f", {adapted.num_steps} step{'' if adapted.num_steps == 1 else 's'}{size}"
