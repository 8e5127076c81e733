"""From the name of a data source to its tasks, to the name its results go by, and to a reader of single images."""

import functools

from data_generators.errors import UserError
from data_generators.image_classes import ImageTasks
from data_generators.sinusoid import SinusoidTasks

SOURCES = ("sinusoid", "omniglot", "miniimagenet", "folder", "glyphs")


def load(
    datasource, num_classes=5, oracle=False, data_path=None, cache_dir=None, image_size=None, channels=None, split=None,
    split_seed=0,
):
    """The tasks of a data source: an object with `sample` and `check` (see `ImageTasks`).

    num_classes: N, for images. oracle: for the sinusoid. data_path: where the data lies (None: looked for, except a
    folder of one's own). cache_dir: where prepared arrays are kept. image_size, channels, split, split_seed: for a
    folder (see image_folder.load). Raises UserError for an unknown source or data that can't be read.
    """
    _check(datasource)
    if datasource == "sinusoid":
        return SinusoidTasks(oracle)
    if datasource == "omniglot":
        from data_generators import omniglot

        # [C] data_generator.py: every class of every task is turned by 0, 90, 180 or 270 degrees, at test too.
        return ImageTasks(omniglot.load(data_path, cache_dir), num_classes, rotate=True)
    if datasource == "miniimagenet":
        from data_generators import mini_imagenet

        return ImageTasks(mini_imagenet.load(data_path, cache_dir), num_classes, rotate=False)
    if datasource == "folder":
        from data_generators import image_folder

        given = {"image_size": image_size, "channels": channels, "split": split}
        given = {name: value for name, value in given.items() if value is not None}
        splits = image_folder.load(_named(data_path), cache_dir, split_seed=split_seed, **given)
        return ImageTasks(splits, num_classes, rotate=False)

    from data_generators import glyphs

    return ImageTasks(glyphs.load(cache_dir), num_classes, rotate=True)


def dataset_name(datasource, data_path=None):
    """What results are filed under: the source, and for miniimagenet and folder which images they really are.

    Raises UserError for an unknown source, or if miniImagenet can't be found.
    """
    _check(datasource)
    if datasource == "miniimagenet":
        from data_generators import mini_imagenet

        return mini_imagenet.dataset_name(data_path)
    if datasource == "folder":
        from data_generators import image_folder

        return image_folder.dataset_name(_named(data_path))
    return datasource


def image_reader(datasource, input_shape):
    """A function path → uint8 [H, W, C] that reads an image file as the source prepares its own.

    Omniglot's and the glyphs' strokes are bright: dark ink on light paper is inverted. Photographs are turned upright, as
    a camera's may need and miniImagenet's own don't. input_shape: (H, W, C). Raises UserError for a source without images; the function, for a file that
    can't be read.
    """
    _check(datasource)
    if datasource == "sinusoid":
        raise UserError("the sinusoid has no images; expected omniglot, miniimagenet, folder or glyphs")
    from data_generators.image_files import read_image

    drawings = datasource in ("omniglot", "glyphs")
    return functools.partial(read_image, shape=tuple(input_shape), invert=drawings, upright=not drawings)


def _check(datasource):
    if datasource not in SOURCES:
        raise UserError(f"datasource is {datasource!r}, expected {', '.join(SOURCES[:-1])} or {SOURCES[-1]}")


def _named(data_path):
    if not data_path:
        raise UserError("the folder source needs --data_path; expected a folder of class folders of images")
    return data_path
