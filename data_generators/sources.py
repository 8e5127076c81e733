"""From the name of a data source to its tasks, to the name its results go by, and to a reader of single images.

To add a source, add an entry to SOURCES.
"""

import functools
import types
from collections.abc import Callable, Mapping
from typing import NamedTuple

from data_generators import glyphs, image_folder, mini_imagenet, omniglot
from data_generators.errors import UserError
from data_generators.image_classes import ImageTasks
from data_generators.image_files import read_image
from data_generators.sinusoid import SinusoidTasks


class Source(NamedTuple):
    """What is known of a data source before its data are read.

    title: its name for readers
    load: (the arguments of `sources.load` after the second, by name) -> {split: ImageClasses} where there are images,
        else the tasks
    input_shape: of one example, (H, W, C) for images; None where the user's settings decide
    drawings: the images are bright strokes on a dark ground; each class of each task is turned by 0, 90, 180 or 270
        degrees, at test too ([C] data_generator.py)
    photographs: the images are photographs, and never turned
    reads_files: the data are looked for in data_path
    dataset_name: data_path -> what results are filed under; None: always the source's own name
    stand_ins: {data set: title} of images in the source's format that aren't its own; trained alike, they never stand
        beside its published numbers
    """

    title: str
    load: Callable
    input_shape: tuple | None
    drawings: bool = False
    photographs: bool = False
    reads_files: bool = False
    dataset_name: Callable | None = None
    stand_ins: Mapping = types.MappingProxyType({})

    @property
    def has_images(self):
        """Whether its tasks are to classify images."""
        return self.drawings or self.photographs


def _load_folder(data_path, cache_dir, split_seed, image_size, channels, split, **_):
    given = {"image_size": image_size, "channels": channels, "split": split}
    given = {name: value for name, value in given.items() if value is not None}
    return image_folder.load(_named(data_path), cache_dir, split_seed=split_seed, **given)


def _named(data_path):
    if not data_path:
        raise UserError("the folder source needs --data_path; expected a folder of class folders of images")
    return data_path


# {name: Source}, in the order in which an error lists the names.
SOURCES = {
    "sinusoid": Source(
        title="Sinusoid",
        load=lambda oracle, **_: SinusoidTasks(oracle),
        input_shape=(1,),  # the oracle's is (3,)
    ),
    "omniglot": Source(
        title="Omniglot",
        load=lambda data_path, cache_dir, **_: omniglot.load(data_path, cache_dir),
        input_shape=(28, 28, 1),
        drawings=True,
        reads_files=True,
    ),
    "miniimagenet": Source(
        title="miniImagenet",
        load=lambda data_path, cache_dir, **_: mini_imagenet.load(data_path, cache_dir),
        input_shape=mini_imagenet.SHAPE,
        photographs=True,
        reads_files=True,
        dataset_name=mini_imagenet.dataset_name,
        stand_ins=mini_imagenet.STAND_INS,
    ),
    "folder": Source(
        title="Folder",
        load=_load_folder,
        input_shape=None,
        photographs=True,
        reads_files=True,
        dataset_name=lambda data_path: image_folder.dataset_name(_named(data_path)),
    ),
    "glyphs": Source(
        title="Glyphs",
        load=lambda cache_dir, **_: glyphs.load(cache_dir),
        input_shape=(glyphs.SIDE, glyphs.SIDE, 1),
        drawings=True,
    ),
}


def load(  # noqa: PLR0913  (keyword-only, and each for one kind of data)
    datasource,
    num_classes=5,
    *,
    oracle=False,
    data_path=None,
    cache_dir=None,
    image_size=None,
    channels=None,
    split=None,
    split_seed=0,
):
    """The tasks of a data source: an object with `sample` and `check` (see `ImageTasks`).

    datasource: a name in SOURCES
    num_classes: N, for images
    oracle: for the sinusoid (see `SinusoidTasks`)
    data_path: where the data lie; None: looked for, except a folder of one's own
    cache_dir: where prepared arrays are kept (see `cached`)
    image_size, channels, split, split_seed: for a folder (see `image_folder.load`)

    Raises UserError for an unknown source or data that can't be read.
    """
    source = _source(datasource)
    loaded = source.load(
        oracle=oracle,
        data_path=data_path,
        cache_dir=cache_dir,
        image_size=image_size,
        channels=channels,
        split=split,
        split_seed=split_seed,
    )
    return ImageTasks(loaded, num_classes, rotate=source.drawings) if source.has_images else loaded


def dataset_name(datasource, data_path=None):
    """What results are filed under: the source, and for miniimagenet and folder which images they really are.

    Raises UserError for an unknown source, or if miniImagenet can't be found.
    """
    name = _source(datasource).dataset_name
    return name(data_path) if name else datasource


def title(dataset):
    """The name for readers of what `dataset_name` returns: "Tiny-ImageNet stand-in" for "tiny_imagenet".

    A folder goes by its own name, with spaces: "my photos" for "folder_my_photos". Raises UserError for a name that
    `dataset_name` never returns.
    """
    titles = {name: source.title for name, source in SOURCES.items()}
    for source in SOURCES.values():
        titles |= source.stand_ins
    if dataset in titles:
        return titles[dataset]
    if dataset.startswith(image_folder.PREFIX):
        return dataset.removeprefix(image_folder.PREFIX).replace("_", " ")
    raise UserError(f"data set is {dataset!r}, expected {', '.join(titles)} or {image_folder.PREFIX}<name>")


def stands_in_for(dataset):
    """The source in whose format `dataset`'s images are without being its own, such as "miniimagenet"; else None."""
    return next((name for name, source in SOURCES.items() if dataset in source.stand_ins), None)


def image_reader(datasource, input_shape):
    """A function path → uint8 [H, W, C] that reads an image file as the source prepares its own.

    Drawings are read with bright strokes: dark ink on light paper is inverted. All are turned upright, as a photograph
    may need, of a drawing too, and miniImagenet's own don't. input_shape: (H, W, C). Raises UserError for a source
    without images; the function raises it for a file that can't be read.
    """
    source = _source(datasource)
    if not source.has_images:
        with_images = [name for name, other in SOURCES.items() if other.has_images]
        raise UserError(f"the {datasource} has no images; expected {_listed(with_images)}")
    return functools.partial(read_image, shape=tuple(input_shape), invert=source.drawings, upright=True)


def _source(datasource):
    if datasource not in SOURCES:
        raise UserError(f"datasource is {datasource!r}, expected {_listed(list(SOURCES))}")
    return SOURCES[datasource]


def _listed(names):
    return f"{', '.join(names[:-1])} or {names[-1]}"
