"""Classes of image files: found in folders, checked, and prepared as ImageClasses.

A listing is {class: [source, ...]}, sources being what `image_files.read_images` takes: entries of folders, in the
order of their names, or members of a zip.
"""

import collections
import dataclasses
import functools
import os
import pathlib
import sys
import zipfile
from typing import NamedTuple

import numpy as np

from data_generators.cache import cached
from data_generators.errors import UserError
from data_generators.image_classes import ImageClasses
from data_generators.image_files import ZipMember, is_image_name, kind_of, read_images
from data_generators.streams import SPLITS

VERSION = 2  # part of the cache's key: raise it when the same files are to give other arrays


class Entries(NamedTuple):
    """What lies in a folder, by name, without what is hidden: folders, images, and files that aren't read as images."""

    folders: list
    images: list
    others: list


def list_folder(folder):
    """The Entries of a folder; dead links are left out."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder} can't be listed ({error}); expected a folder that may be read") from error
    files = [entry for entry in entries if entry.is_file()]
    if odd := [entry.name for entry in entries if entry.is_dir() and not _is_text(entry.name)]:
        raise UserError(f"{folder} holds a folder named {os.fsencode(odd[0])}, which is not UTF-8; expected text")
    return Entries(
        [entry for entry in entries if entry.is_dir() and entry.name != "__MACOSX"],
        [entry for entry in files if is_image_name(entry.name)],
        [entry for entry in files if not is_image_name(entry.name)],
    )


def _is_text(name):
    """Whether a name in a file system, which may be any bytes, is text that can be written down."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def say_skipped(place, used, others):
    """One line on stderr if files were found that aren't read as images: how many, of which kinds.

    place: where. used: how many images were found. others: the files.
    """
    if others:
        kinds = collections.Counter(kind_of(entry.name) for entry in others).most_common()
        found = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
        say(f"{place}: {len(others):,} of {used + len(others):,} files are not read as images: {found}")


@functools.cache
def say(line):
    """A line on stderr, once, however often the data are looked at."""
    print(line, file=sys.stderr)


def list_classes(folder):
    """The listing of a folder of class folders of images, sorted.

    Files that aren't read as images are counted on stderr. Raises UserError for images that lie beside the class
    folders or deeper than in them, for class folders without images, and for none at all.
    """
    folder = pathlib.Path(folder)
    expected = f"expected {folder}/<class>/<image>"
    folders, loose, others = list_folder(folder)
    if loose:
        raise UserError(f"{len(loose)} images lie loose in {folder}, the first {loose[0].name}; {expected}")
    listing = {}
    empty = []
    for class_folder in folders:
        deeper, images, more = list_folder(class_folder.path)
        others += more
        for start in deeper:
            nested = _first_image_below(start.path)
            if nested:
                raise UserError(f"{nested} lies too deep; {expected}")
        listing[class_folder.name] = images
        if not images:
            empty.append(class_folder.name)
    say_skipped(folder, sum(map(len, listing.values())), others)
    if not any(listing.values()):
        found = f"{len(folders)} folders without images" if folders else "no class folders"
        raise UserError(f"{folder} holds {found}; {expected}")
    if empty:
        raise UserError(f"{len(empty)} class folders of {folder} hold no images, the first {empty[0]}; {expected}")
    return listing


def _first_image_below(folder):
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if is_image_name(name):
                return pathlib.Path(place, name)


def check_distinct(listings):
    """Raises UserError where two classes of {where it is from: listing} share a name. A and a are two."""
    seen = {}
    for where, listing in listings.items():
        for name in listing:
            this = f"{where}/{name}"
            other = seen.setdefault(name, this)
            if other is not this:
                raise UserError(f"{other} and {this} are one class by their name; expected every class once")


def prepare(name, splits, shape, cache_dir, upright=False):
    """{"train", "val", "test"}: ImageClasses, uint8 [T, *shape], of {"train": listing, "val": ..., "test": ...}.

    All are views of one memory map, prepared when the files' places, names, sizes or times are new to the cache (see
    `cached`). Raises UserError for an image that can't be read.
    """
    names = [label for split in SPLITS for label in splits[split]]
    files = [files for split in SPLITS for files in splits[split].values()]
    sources = [source for of_class in files for source in of_class]
    offsets = np.cumsum([0, *map(len, files)], dtype=np.int64)

    def build(allocate):
        images = allocate((len(sources), *shape))
        read_images(sources, images, upright=upright, desc=f"preparing {name}")
        return ImageClasses(images, offsets, tuple(names))

    key = VERSION, shape, upright, names, offsets.tolist(), _fingerprint(sources)
    classes = dataclasses.replace(cached(name, key, cache_dir, build), file_sizes=_file_sizes(files))
    return {split: classes.select(list(splits[split])) for split in SPLITS}


def _fingerprint(sources):
    """What changes when the images do: place, size and time of every file, or of the archive they are members of.

    The place too, as unpacked archives may have one time for all files.
    """
    archives = {source.archive for source in sources if isinstance(source, ZipMember)}
    stats = {archive: _stat(archive) for archive in archives}
    real = functools.cache(os.path.realpath)  # a folder has many files
    members = [
        source.member if isinstance(source, ZipMember) else (real(os.path.dirname(source)), source.name, *_stat(source))
        for source in sources
    ]
    return sorted((str(archive.resolve()), *stat) for archive, stat in stats.items()), members


def _file_sizes(files):
    """Bytes of the files of each class."""
    archives = {source.archive for of_class in files for source in of_class if isinstance(source, ZipMember)}
    packed = {}
    for archive in archives:
        with zipfile.ZipFile(archive) as opened:
            packed |= {ZipMember(archive, info.filename): info.file_size for info in opened.infolist()}
    return tuple(
        sum(packed[source] if isinstance(source, ZipMember) else source.stat().st_size for source in of_class)
        for of_class in files
    )


def _stat(file):
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns
