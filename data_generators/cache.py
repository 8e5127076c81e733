"""Prepared image classes kept on disk, so that the second start is quick and takes no memory of its own."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import zlib

import numpy as np

from data_generators import locks, places, untrusted
from data_generators.errors import UserError
from data_generators.image_classes import ImageClasses

FORMAT = 1
UNFINISHED = ".preparing"  # ends the name of the folder in which a pair is made
BLOCK = 1 << 24  # bytes


def cached(name, key, cache_dir, build):
    """The ImageClasses that `build(allocate)` returns, read back from `cache_dir` where the same key was stored.

    Their images are a read-only memory map of <name>-<hash of the key>.npy; <name>-<hash>.json beside it holds offsets,
    names and a checksum of everything. allocate(shape): a uint8 array for `build` to fill, which is that file already,
    so that a large data set is never in memory whole; a `build` that returns other arrays has them copied there.
    key: anything whose repr says all that the result depends on. cache_dir: None for $MAML_CACHE, else ~/.cache/maml.
    A damaged or mismatched pair is made again, and a folder that can't be written is done without (the images are then
    in memory); both are said on stderr. Raises only what `build` raises.
    """
    place = place_of(cache_dir)
    try:
        folder = places.expanded(place)
    except UserError as error:
        _go_without(place, error)
        return build(_in_memory)
    stem = f"{name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"
    pixels, about = folder / f"{stem}.npy", folder / f"{stem}.json"
    try:
        return _read(pixels, about)
    except untrusted.UNREADABLE as error:
        if os.path.exists(about):  # it is written last: without it nothing was finished
            print(f"cache: {pixels} is damaged ({error}) and is made again", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _clear_up(folder)
            stack.enter_context(locks.held(folder / f"{stem}.lock", f"the preparation of {pixels}", wait=True))
            scratch = stack.enter_context(_scratch(folder / f"{stem}{UNFINISHED}"))
        except OSError as error:
            _go_without(pixels, error)
            return build(_in_memory)
        with contextlib.suppress(*untrusted.UNREADABLE):
            return _read(pixels, about)  # another process may have made it until the lock was ours
        draft = _Draft(scratch, pixels)
        return draft.keep(build(draft.allocate), about)


def place_of(cache_dir=None) -> str:
    """The folder of what is kept: cache_dir, else $MAML_CACHE, else ~/.cache/maml."""
    return cache_dir or os.environ.get("MAML_CACHE") or "~/.cache/maml"


@contextlib.contextmanager
def _scratch(folder):
    """A new folder, gone afterwards. What a killed process left there is gone before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear_up(folder):
    """Removes what killed processes left: unfinished folders that nobody holds the lock of."""
    for left in folder.glob(f"*{UNFINISHED}"):
        with contextlib.suppress(UserError), locks.held(left.with_suffix(".lock"), str(left)):
            shutil.rmtree(left, ignore_errors=True)


class _Draft:
    """Files written in a folder of their own and renamed when whole, so that nobody ever meets half a file."""

    def __init__(self, scratch, pixels):
        self.scratch, self.pixels = scratch, pixels
        self.mapped = None
        self.failed = False

    def allocate(self, shape):
        try:
            self.mapped = _new_map(self.scratch / "pixels", shape)
            return self.mapped
        except OSError as error:
            self.failed = True
            _go_without(self.pixels, error)
            return _in_memory(shape)

    def keep(self, classes, about):
        """Puts the pair in place; `classes` with the file for its images, or as they are where that fails."""
        if classes.images is not self.mapped and not self.failed:
            images = self.allocate(classes.images.shape)
            images[...] = classes.images
            classes = ImageClasses(images, classes.offsets, classes.names)
        if self.failed:
            return classes
        try:
            self.mapped.flush()
            _put(self.scratch / "pixels", self.pixels)
            offsets, names = classes.offsets.tolist(), list(classes.names)
            crc = _checksum(self.mapped, offsets, names)
            text = {"format": FORMAT, "crc32": crc, "offsets": offsets, "names": names}
            (self.scratch / "about").write_text(json.dumps(text), encoding="utf-8")
            _put(self.scratch / "about", about)
            return ImageClasses(_open_map(self.pixels), classes.offsets, classes.names)
        except OSError as error:
            _go_without(self.pixels, error)
            return classes


def _read(pixels, about):
    text = untrusted.parse_json(about.read_text(encoding="utf-8"))
    if text["format"] != FORMAT:
        raise ValueError(f"format {text['format']}, expected {FORMAT}")
    images = _open_map(pixels)
    if _checksum(images, text["offsets"], text["names"]) != text["crc32"]:
        raise ValueError("its checksum is another one")
    return ImageClasses(images, np.array(text["offsets"], np.int64), tuple(text["names"]))


def _open_map(path):
    return np.lib.format.open_memmap(path, mode="r")


def _new_map(path, shape):
    """A new file of zeros as an array. The zeros are written, since a map over a hole in a full disk ends in SIGBUS."""
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    zeros = bytes(BLOCK)
    with open(path, "r+b") as file:
        file.seek(images.offset)
        file.writelines(zeros[: images.size - start] for start in range(0, images.size, BLOCK))
    return images


def _in_memory(shape):
    return np.empty(shape, np.uint8)


def _checksum(images, offsets, names):
    flat = images.reshape(-1)
    crc = zlib.crc32(repr((images.dtype.str, images.shape, offsets, names)).encode())
    for start in range(0, flat.size, BLOCK):
        crc = zlib.crc32(flat[start : start + BLOCK], crc)
    return crc


def _put(file, place):
    with open(file, "rb+") as opened:
        os.fsync(opened.fileno())
    os.replace(file, place)


def _go_without(pixels, error):
    print(f"cache: can't write {pixels} ({error}); going on without a cache", file=sys.stderr)
