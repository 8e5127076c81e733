"""Anyone's own images: a folder of class folders, of any common format and size."""

import math
import random
import re
import unicodedata

from data_generators import places
from data_generators.class_folders import check_distinct, list_classes, list_folder, prepare
from data_generators.errors import UserError
from data_generators.streams import SPLITS

EXPECTED = "expected a folder of class folders of images, or one with train/, val/ and test/ of class folders"
PREFIX = "folder_"  # what the names of such data sets begin with
SPLIT, SPLIT_SEED = (0.64, 0.16, 0.2), 0


def load(data_path, cache_dir=None, image_size=84, channels=3, split=SPLIT, split_seed=SPLIT_SEED):
    """{"train", "val", "test"}: ImageClasses of uint8 [T, image_size, image_size, channels], resized by `read_image`.

    data_path: <class>/<image>, or train/, val/ and test/ of such. In the former the n sorted classes, after
    `random.Random(split_seed).shuffle`, are cut where `split`, fractions of train, val and test, says: at
    round(n·train) and round(n·(train + val)), moved as little as gives every split a class (Python's round: halves go
    to the even number). The latter takes neither of the two. channels: 3, or 1 for grey. Classes are sorted in each
    split. Photographs are turned upright as their EXIF orientation says. cache_dir: see `cached`. Raises UserError for
    folders laid out otherwise and for images that can't be read.
    """
    if image_size < 1 or channels not in (1, 3):
        raise UserError(f"image_size is {image_size}, channels {channels}; expected at least 1 pixel, 1 or 3 channels")
    if len(split) != 3 or not all(part > 0 for part in split) or not math.isclose(sum(split), 1, abs_tol=1e-6):
        raise UserError(f"split is {', '.join(map(str, split))}; expected three positive fractions that sum to 1")
    if split_seed < 0:  # Python shuffles by -1 as by 1
        raise UserError(f"split_seed is {split_seed}, expected at least 0")
    folder = places.expanded(data_path)
    if not folder.is_dir():
        raise UserError(f"--data_path {folder} is {'a file' if folder.exists() else 'not there'}; {EXPECTED}")
    # A split is told from a class of that name (a train, say) by holding folders.
    found = [name for name in SPLITS if (folder / name).is_dir() and list_folder(folder / name).folders]
    if found and (given := _not_default(split, split_seed)):
        raise UserError(
            f"{' and '.join(given)} given, but {folder} holds {', '.join(found)} as splits; expected neither with these"
        )
    splits = _split_folders(folder, found) if found else _cut(folder, split, split_seed)
    return prepare(dataset_name(data_path), splits, (image_size, image_size, channels), cache_dir, upright=True)


def dataset_name(data_path):
    """What results on this data are filed under: "folder_" and the folder's own name in small letters, digits and _.

    Letters of all alphabets, in Unicode's composed form, whichever form the file system has.
    """
    name = unicodedata.normalize("NFC", places.expanded(data_path).resolve().name)
    return PREFIX + (re.sub(r"[\W_]+", "_", name.lower()).strip("_") or "images")


def _not_default(split, seed):
    """Which of the two say something else than what a folder is divided by unasked."""
    return ["split"] * (tuple(split) != SPLIT) + ["split_seed"] * (seed != SPLIT_SEED)


def _split_folders(folder, found):
    """{split: listing} of train/, val/ and test/, of which those `found` hold folders."""
    folders, loose, _ = list_folder(folder)
    others = [entry.name for entry in (*folders, *loose) if entry.name not in SPLITS]
    if len(found) < 3 or others:
        beside = f" and beside them {len(others)} others, {others[0]} first" if others else ""
        raise UserError(f"{folder} holds {', '.join(found)} as splits{beside}; {EXPECTED}")
    splits = {name: list_classes(folder / name) for name in SPLITS}
    check_distinct({folder / name: listing for name, listing in splits.items()})
    return splits


def _cut(folder, split, seed):
    """{split: listing} of a folder of class folders, by fractions."""
    classes = list_classes(folder)
    check_distinct({folder: classes})
    if len(classes) < 3:
        raise UserError(f"{folder} holds {len(classes)} classes; expected at least 3, one for each split")
    names = sorted(classes)
    random.Random(seed).shuffle(names)
    train = min(max(round(len(names) * split[0]), 1), len(names) - 2)
    val = min(max(round(len(names) * (split[0] + split[1])), train + 1), len(names) - 1)
    parts = names[:train], names[train:val], names[val:]
    return {name: {label: classes[label] for label in sorted(part)} for name, part in zip(SPLITS, parts)}
