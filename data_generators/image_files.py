"""Photographs and drawings read from files and zip members into arrays of one shape."""

import collections
import concurrent.futures
import io
import os
import pathlib
import threading
import warnings
import zipfile
from typing import NamedTuple

import numpy as np
import tqdm
from PIL import Image, ImageOps

from data_generators import pixels, untrusted
from data_generators.errors import UserError

# What Pillow decodes itself, without starting another program. Nothing else is opened, whatever a file calls itself.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
IMAGE_SUFFIXES = (
    ".apng",
    ".avif",
    ".bmp",
    ".gif",
    ".j2k",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
UNREADABLE = (*untrusted.UNREADABLE, Image.DecompressionBombError)
# Pillow refuses 179 megapixels, before it takes memory for them, and warns from half of that on. They are read.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Images that a thread takes at a time.
CHUNK = 64


class ZipMember(NamedTuple):
    """A file in a zip archive."""

    archive: pathlib.Path
    member: str

    def __fspath__(self):
        """A name for people: nothing can be opened there."""
        return os.path.join(self.archive, self.member)


def is_image_name(name):
    """Whether a file of this name counts as an image. Hidden files don't, nor does what macOS leaves (._*)."""
    name = name.rsplit("/", 1)[-1].lower()
    return name.endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def kind_of(name):
    """The ending of a file's name, in small letters: '.heic'; for a name without one, 'without an ending'."""
    return pathlib.PurePath(name).suffix.lower() or "without an ending"


def members(archive):
    """The names in a zip. UserError where it can't be read, and for a name that is there twice or leads out of it."""
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
    except UNREADABLE as error:
        raise UserError(f"{archive} can't be read as a zip file ({error}); expected an undamaged one") from error
    doubled = [name for name, count in collections.Counter(names).items() if count > 1]
    outside = [name for name in names if name.startswith("/") or ".." in name.split("/")]
    for odd, what in ((doubled, "more than once"), (outside, "outside of itself")):
        if odd:
            raise UserError(
                f"{archive} has {len(odd)} members {what}, the first {odd[0]!r}; expected every file once, in it"
            )
    return names


def read_image(source, shape, invert=False, upright=False, name=None):
    """uint8 [H, W, C] from a path or a binary file object; shape: (H, W, C), C 1 (grey) or 3 (red, green, blue).

    Another size is resized by Lanczos, as the proc_images.py of the authors' miniImagenet does it; the aspect ratio is
    not kept. One-bit images go by nearest neighbour, as PIL does it whatever it is asked for, so that Omniglot's
    drawings come out as in omniglot.py. Transparency is laid over white; 16-bit grey is scaled to 8 bits, and refused
    where nothing in it is brighter than 12 bits: its range can't be told (`pixels.narrowed`). invert:
    255 − x, Omniglot's convention (strokes bright). upright: turned as the camera's EXIF orientation says. name: what
    an error calls a file object. Raises UserError for what can't be read whole.
    """
    height, width, channels = shape
    try:
        with Image.open(source, formats=FORMATS) as image:
            if upright:
                image = ImageOps.exif_transpose(image)
            if image.mode == "1":
                image = image.resize((width, height), Image.Resampling.NEAREST)
            image = _plain(image).convert({1: "L", 3: "RGB"}[channels])
            array = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).reshape(shape)
    except UNREADABLE as error:
        name = name or (os.fspath(source) if isinstance(source, (str, os.PathLike)) else source)
        raise UserError(f"{name} can't be read as an image ({error}); expected a whole jpg, png or the like") from error
    return 255 - array if invert else array


def _plain(image):
    """8-bit grey or RGB of the same look."""
    if image.mode.startswith("I"):  # "I;16" and its byte orders; "I" is what 16-bit PGM comes as
        return Image.fromarray(pixels.narrowed(np.asarray(image)))
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


class Opener:
    """A function of a source, for `read_image`: paths as they are, zip members as file objects.

    Every thread has a handle of its own on each archive; leaving the `with` block closes them.
    """

    def __init__(self):
        self._of_thread = threading.local()
        self._opened = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for archive in self._opened:
            archive.close()

    def __call__(self, source):
        if not isinstance(source, ZipMember):
            return source
        archives = self._of_thread.__dict__
        try:
            if source.archive not in archives:
                archives[source.archive] = zipfile.ZipFile(source.archive)
                self._opened.append(archives[source.archive])
            return io.BytesIO(untrusted.read_member(archives[source.archive], source.member))
        except UNREADABLE as error:
            raise UserError(f"{os.fspath(source)} can't be read ({error}); expected an undamaged zip file") from error


def read_images(sources, out, invert=False, upright=False, desc="images"):
    """Fills out, uint8 [T, H, W, C], from T sources (paths or ZipMembers) in threads; a progress bar on a terminal.

    Raises the UserError of the first source that can't be read, in their order; then, and when interrupted, no thread
    begins another image.
    """
    stopped = threading.Event()

    def fill(numbers):
        for i in numbers:
            if stopped.is_set():
                return
            out[i] = read_image(open_source(sources[i]), out.shape[1:], invert, upright, os.fspath(sources[i]))

    pool = concurrent.futures.ThreadPoolExecutor(_cpus())
    bar = tqdm.tqdm(total=len(sources), desc=desc, unit="image", leave=False, disable=None)
    with Opener() as open_source, bar:
        try:
            chunks = [range(i, min(i + CHUNK, len(sources))) for i in range(0, len(sources), CHUNK)]
            for chunk, done in zip(chunks, [pool.submit(fill, chunk) for chunk in chunks]):
                done.result()
                bar.update(len(chunk))
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


def _cpus():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
