"""What a user gives a trained classifier: images, labels, a folder of both. Read, and refused where they can't be.

Letters: n images of H x W pixels and C channels. Images are uint8 (0 to 255) or float (0 to 1) arrays [n, H, W, C] with
the pixels that the data source has (strokes of Omniglot's characters are 1), or file names, which are read as the data
source reads its own (`data_generators.sources.image_reader`).
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from data_generators import pixels as pixel_rule
from data_generators import sources
from data_generators.class_folders import list_folder, say_skipped
from data_generators.errors import UserError


class LabelledFolder(NamedTuple):
    """labels: the class of each of `labelled`, paths of images; unlabelled: paths of the others. All sorted by name."""

    labels: list
    labelled: list
    unlabelled: list


def read_images(images: Any, datasource: str, input_shape: tuple) -> np.ndarray:
    """uint8 or float32 [n, H, W, C].

    images: arrays or file names, as above.
    datasource: whose images they are like.
    input_shape: (H, W, C).
    UserError for anything else, for no images, and for pixels that `data_generators.pixels` refuses.
    """
    if isinstance(images, (list, tuple)) and images and all(isinstance(i, (str, os.PathLike)) for i in images):
        read = sources.image_reader(datasource, input_shape)
        images = [read(path) for path in images]
    try:
        images = np.asarray(images)
    except ValueError as error:
        raise UserError(f"the images have different shapes, expected each to be {list(input_shape)}") from error
    expected = f"expected {pixel_rule.EXPECTED} of shape [n, {', '.join(map(str, input_shape))}]"
    if not images.ndim or images.shape[1:] != tuple(input_shape):
        raise UserError(f"images are {images.dtype} of shape {list(images.shape)}, {expected}, or a list of file names")
    if not len(images):
        raise UserError(f"got no images, {expected}")
    pixel_rule.check(images)
    return images if images.dtype == np.uint8 else images.astype(np.float32)


def pixels(images: np.ndarray) -> tf.Tensor:
    """float32 [n, H, W, C] from 0 to 1, of what `read_images` returns; as `ImageTasks` has them."""
    return tf.constant(pixel_rule.scaled(images))


def read_labels(labels: Any, num_images: int, num_classes: int | None) -> tuple[list, tuple]:
    """(labels as a list, the sorted tuple of the distinct ones).

    labels: one for each image, all text or all whole numbers.
    num_images: n.
    num_classes: how many distinct ones there must be; None: any number from 2.
    UserError for others.
    """
    labels = [label.item() if isinstance(label, np.generic) else label for label in labels]
    if len(labels) != num_images:
        raise UserError(f"got {len(labels)} labels for {num_images} images, expected as many")
    kinds = {type(label) for label in labels}
    if kinds not in ({str}, {int}):
        got = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UserError(f"labels are {got}, expected all text or all whole numbers")
    names = tuple(sorted(set(labels)))
    if not _right_number(len(names), num_classes):
        shown = ", ".join(map(str, names[:5])) + (", …" if names[5:] else "")
        expected = "2 or more" if num_classes is None else f"{num_classes}, as in the training"
        raise UserError(f"got {len(names)} class{'es' if len(names) > 1 else ''} ({shown}), expected {expected}")
    return labels, names


def read_folder(folder: str | os.PathLike, num_classes: int | None) -> LabelledFolder:
    """The LabelledFolder of class folders with labelled images in them, and loose images beside them.

    Hidden files are passed over, and those that aren't read as images, which are counted on stderr.
    num_classes: how many class folders there must be; None: any number from 2.
    UserError for a folder laid out otherwise.
    """
    folder = Path(folder)
    number = "2 or more" if num_classes is None else num_classes
    expected = f"expected {number} folders <class>/<image>, and the images to classify beside them"
    if not folder.is_dir():
        raise UserError(f"{folder} is {'a file' if folder.exists() else 'not there'}; {expected}")
    classes, loose, others = list_folder(folder)
    if not _right_number(len(classes), num_classes):
        number = f"{len(classes) or 'no'} class folder{'s' if len(classes) != 1 else ''}"
        raise UserError(f"{folder} holds {number}; {expected}")
    if not loose:
        raise UserError(f"{folder} holds no images beside its class folders; {expected}")
    labels, labelled = [], []
    for entry in classes:
        _, images, more = list_folder(entry.path)
        others += more
        if not images:
            raise UserError(f"{entry.path} holds no images; {expected}")
        labels += [entry.name] * len(images)
        labelled += [Path(image.path) for image in images]
    say_skipped(folder, len(labelled) + len(loose), others)
    return LabelledFolder(labels, labelled, [Path(image.path) for image in loose])


def _right_number(number, num_classes):
    return number >= 2 if num_classes is None else number == num_classes
