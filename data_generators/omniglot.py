"""Omniglot (Lake et al. 2015): 1,623 characters of 50 alphabets, 20 drawings each, as 28×28 images with strokes 1.

The characters are named <alphabet>/<character>. `omniglot_split.json` says which split each is in: 1,100 train, 100
validation, 423 test, as in the authors' data_generator.py. Theirs depends on the order in which a disk lists folders
and can't be repeated; ours is the sorted names after `random.Random(0).shuffle(names)`, cut at 1,100 and 1,200.
"""

import collections
import functools
import io
import json
import os
import pathlib
import re
import sys
import textwrap
import zipfile

import numpy as np
import tqdm
from PIL import Image

from data_generators import places, untrusted
from data_generators.cache import cached
from data_generators.errors import UserError
from data_generators.image_classes import stack_classes
from data_generators.image_files import FORMATS, UNREADABLE, members

SPLIT = json.loads(pathlib.Path(__file__).with_name("omniglot_split.json").read_text(encoding="utf-8"))
CHARACTERS = sorted(sum(SPLIT.values(), []))
ALPHABETS = sorted({character.split("/")[0] for character in CHARACTERS})

# Where the data may lie below a folder that is named; python/ is for a clone of the official repository.
PLACES = ("", "omniglot", "omniglot_resized", "python", "omniglot/python")
HOME = "https://github.com/brendenlake/omniglot"
EXPECTED = (
    f"expected images_background.zip and images_evaluation.zip from {HOME} (in its folder python), the two folders "
    "they extract to, or the authors' omniglot_resized/<alphabet>/<character>/*.png"
)
DRAWINGS = 20  # of each character
# Part of the cache's key: raise it when the same files are to give other arrays.
VERSION = 1


def load(data_path=None, cache_dir=None):
    """{"train", "val", "test"}: ImageClasses of uint8 [T, 28, 28, 1], strokes 255, so that x / 255 is the value.

    data_path: a folder with the official zips, their extracted folders or the authors' resized tree, or the parent of
    one. None: $MAML_DATA, then data/, then a download through TensorFlow Datasets. cache_dir: see `cached`. The
    drawings of a character are in the order of their pixels, since TensorFlow Datasets keeps neither names nor order.
    Raises UserError if the data can't be found, read or downloaded, and unless they are 20 drawings of each character.
    """
    parts = _find(data_path)
    if parts:
        where = ", ".join(map(str, parts))
        key = [_fingerprint(part) for part in parts]
        drawings = (drawing for part in parts for drawing in (_from_zip if part.is_file() else _from_tree)(part))
    else:
        where, key, drawings = "TensorFlow Datasets", "tfds", _from_tfds()
    classes = cached("omniglot", (VERSION, key), cache_dir, lambda _: _prepare(drawings, where))
    _check_whole(classes, where)
    return {split: classes.select(names) for split, names in SPLIT.items()}


def _find(data_path):
    """The zips and folders to read, or None if nobody named a folder and neither $MAML_DATA nor data/ holds them."""
    for folder in places.folders(data_path, EXPECTED):
        parts = _parts(folder)
        if parts:
            return parts
        if data_path:
            below = ", ".join(f"{place}/" for place in PLACES[1:])
            found = f"holds no Omniglot, nor do {below} in it" if any(folder.iterdir()) else "is empty"
            raise UserError(f"--data_path {data_path} {found}; {EXPECTED}")
    return None


def _parts(folder):
    for place in PLACES:
        home = folder / place
        parts = [_part(home / name) for name in ("images_background", "images_evaluation")]
        if any(parts):
            return [part for part in parts if part]
        if any((home / alphabet).is_dir() for alphabet in ALPHABETS):
            return [home]
    return None


def _part(tree):
    zipped = tree.with_suffix(".zip")
    return zipped if zipped.is_file() else tree if tree.is_dir() else None


def _fingerprint(part):
    """What changes when the data does: path, size and time of every file."""
    files = [part] if part.is_file() else _tree_files(part)
    stats = [(str(file.relative_to(part)), file.stat()) for file in files]
    return str(part.resolve()), [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _tree_files(folder):
    return sorted(folder.glob("*/*/[!.]*.png"))  # macOS leaves ._*.png beside the images


def _from_tree(folder):
    """Yields (character, where its image lies, function that reads the bytes of the file)."""
    for file in _tree_files(folder):
        yield f"{file.parent.parent.name}/{file.parent.name}", file, file.read_bytes


def _from_zip(path):
    """As `_from_tree`."""
    names = members(path)
    with zipfile.ZipFile(path) as archive:
        for member in names:
            match = re.search(r"(?:^|/)([^/]+/[^/]+)/[^/.][^/]*\.png$", member)
            if match:
                yield match[1], path / member, functools.partial(untrusted.read_member, archive, member)


def _from_tfds():
    """As `_from_tree`; downloads and prepares the data set first if that has not been done."""
    looked = f"$MAML_DATA ({os.environ.get('MAML_DATA') or 'not set'}) or {pathlib.Path('data').resolve()}"
    try:
        import requests  # noqa: PLC0415  (of the download alone: half a second that no other start should pay)
        import tensorflow_datasets as tfds  # noqa: PLC0415

        builder = tfds.builder("omniglot")
        if not builder.is_prepared():
            print(f"no Omniglot in {looked}: downloading it through TensorFlow Datasets", file=sys.stderr)
            # Without a network the builder would try again for three minutes before it gives up.
            requests.head(f"{HOME}/raw/master/python/images_background.zip", timeout=20).raise_for_status()
            builder.download_and_prepare()
    except Exception as error:  # whatever its network, checksum, disk or missing packages may raise
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        raise UserError(
            f"no Omniglot in {looked}, and TensorFlow Datasets could not download it ({reason}); {EXPECTED}, in a "
            "folder that --data_path names; --datasource=glyphs needs neither data nor network"
        ) from error
    alphabets = builder.info.features["alphabet"].names
    for split in ("train", "test"):  # together all characters; its small1 and small2 only repeat some
        # As stored, since decoding would only turn the one-bit PNG into three equal channels.
        raw = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        for example in tfds.as_numpy(raw):
            character = f"{alphabets[example['alphabet']]}/character{example['alphabet_char_id'] + 1:02d}"
            yield character, f"{character} of TensorFlow Datasets' {split} split", io.BytesIO(example["image"]).read


def _prepare(drawings, where):
    """All characters in the order of their names; `drawings` as from `_from_tree`."""
    found = collections.defaultdict(list)
    total = DRAWINGS * len(CHARACTERS)
    for character, file, read in tqdm.tqdm(drawings, "Omniglot", total, unit="image", leave=False, disable=None):
        found[character].append(_pixels(read, file))
    missing = [character for character in CHARACTERS if character not in found]
    if missing:
        raise UserError(
            f"{where} has {len(found)} characters; expected Omniglot's {len(CHARACTERS)}, of which {len(missing)} are "
            f"missing, the first {missing[0]}; {EXPECTED}"
        )
    if unknown := sorted(found.keys() - set(CHARACTERS)):
        raise UserError(
            f"{where} has drawings of {len(unknown)} characters that are not Omniglot's, the first {unknown[0]}; "
            f"{EXPECTED}"
        )
    return stack_classes([np.stack(sorted(found[name], key=np.ndarray.tobytes)) for name in CHARACTERS], CHARACTERS)


def _check_whole(classes, where):
    """UserError unless there are 20 drawings of each character."""
    counts = np.diff(classes.offsets)
    odd = np.flatnonzero(counts != DRAWINGS)
    if odd.size:
        name, count = classes.names[odd[0]], counts[odd[0]]
        raise UserError(
            f"{where} has {count} drawings of {name}; {odd.size:,} of its {len(counts):,} characters have not the "
            f"{DRAWINGS} of Omniglot; {EXPECTED}"
        )


def _pixels(read, where):
    """uint8 [28, 28, 1], strokes 255, from a 105×105 drawing or from one already 28×28.

    Nearest neighbour, because that is what PIL does to one-bit images whatever filter it is asked for: the authors'
    resize_images.py asks for Lanczos, and this repeats its output bit for bit.
    """
    try:
        with Image.open(io.BytesIO(read()), formats=FORMATS) as image:
            size = image.size
            if size == (105, 105):
                image = image.convert("1", dither=Image.Dither.NONE).resize((28, 28), Image.Resampling.NEAREST)
            grey = np.asarray(image.convert("L"))
    except UNREADABLE as error:
        raise UserError(f"{where} can't be read as an image ({error}); expected a PNG of 105×105 or 28×28") from error
    if grey.shape != (28, 28):
        raise UserError(f"{where} has {size[0]}×{size[1]} pixels; expected 105×105 or 28×28")
    return 255 - grey[..., None]
