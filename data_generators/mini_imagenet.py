"""miniImagenet (Vinyals et al. 2016) in the splits of Ravi & Larochelle 2017: 64, 16 and 20 classes of 600 photographs.

84×84 pixels in colour, by Lanczos, no augmentation. Read from the csv files of the splits and the images they name, or
from folders that hold the splits. Which class is in which split is never guessed: numbers on other splits mean nothing.
"""

import csv
import os
import pathlib
import sys

from data_generators import places
from data_generators.class_folders import check_distinct, list_classes, list_folder, prepare, say
from data_generators.errors import UserError
from data_generators.image_files import ZipMember, is_image_name, members
from data_generators.streams import SPLITS

SHAPE = (84, 84, 3)
CLASSES = {"train": 64, "val": 16, "test": 20}
IMAGES_PER_CLASS = 600

# Titles of images in miniImagenet's format that are not miniImagenet's, by what `dataset_name` calls them.
STAND_INS = {
    "tiny_imagenet": "Tiny-ImageNet stand-in",
    "miniimagenet_variant": "images in place of miniImagenet",
}

# Where the data may lie below a folder that is named.
PLACES = ("", "miniImagenet", "miniimagenet", "mini-imagenet", "mini_imagenet")
HEADER = ["filename", "label"]
EXPECTED = (
    "expected train.csv, val.csv and test.csv of Ravi & Larochelle (github.com/twitter-research/meta-learning-lstm, "
    "data/miniImagenet) beside images/ or images.zip with the ImageNet images they name (registration at "
    "image-net.org), or folders train/, val/ and test/ of class folders"
)


def load(data_path=None, cache_dir=None):
    """{"train", "val", "test"}: ImageClasses of uint8 [T, 84, 84, 3]; classes and the images in them sorted by name.

    data_path: a folder with train.csv, val.csv and test.csv beside images/ or images.zip, or with the folders train/,
    val/ and test/ of class folders; or the parent of one. None: $MAML_DATA, then data/. cache_dir: see `cached`. What
    differs from miniImagenet in number, and images that no csv lists, are said on stderr. Raises UserError if the data
    can't be found or read, if a listed image is missing, or if the splits share a class.
    """
    home, splits = find(data_path)
    _say_what_differs(home, splits)
    return prepare("miniimagenet", splits, SHAPE, cache_dir)


def dataset_name(data_path=None):
    """What results on this data are filed under; told by the number of images in each split, without reading one.

    "miniimagenet" for 600 images in each of 64, 16 and 20 classes. "tiny_imagenet" for 500, 300 and 300: photographs of
    Tiny ImageNet in miniImagenet's format, a stand-in. "miniimagenet_variant" for anything else. Names of their own,
    since published numbers hold for miniImagenet's images alone, and others must never stand beside them unmarked.
    Raises what `load` raises, unreadable images aside.
    """
    _, splits = find(data_path)
    sizes = tuple(_size(splits[split]) for split in SPLITS)
    return {
        (38400, 9600, 12000): "miniimagenet",
        (32000, 4800, 6000): "tiny_imagenet",
    }.get(sizes, "miniimagenet_variant")


def find(data_path=None):
    """(folder, {"train": listing, "val": ..., "test": ...}) of the data; listings as in class_folders.py."""
    homes = [folder / place for folder in places.folders(data_path, EXPECTED) for place in PLACES]
    for home in homes:
        splits = _splits(home)
        if splits:
            return home, splits
    for home in homes:
        parts = [*(f"{split}.csv" for split in SPLITS), "images", "images.zip", *SPLITS]
        found = [part for part in parts if (home / part).exists()]
        if found:
            raise UserError(f"{home} holds only {', '.join(found)} of miniImagenet; {EXPECTED}")
    if data_path:
        looked = f"--data_path {data_path}"
    else:
        looked = f"$MAML_DATA ({os.environ.get('MAML_DATA') or 'not set'}) or {pathlib.Path('data').resolve()}"
    below = ", ".join(f"{place}/" for place in PLACES[1:])
    raise UserError(f"no miniImagenet in {looked}, nor in {below} there; {EXPECTED}")


def _splits(home):
    """{split: listing} of a folder that holds miniImagenet whole, None for another one."""
    tables = [home / f"{split}.csv" for split in SPLITS]
    trees = [home / split for split in SPLITS]
    images = home / "images.zip" if (home / "images.zip").is_file() else home / "images"
    if all(table.is_file() for table in tables) and images.exists():
        named_by, listings = tables, _listed(tables, images)
    elif all(tree.is_dir() for tree in trees):
        named_by, listings = trees, [list_classes(tree) for tree in trees]
    else:
        return None
    check_distinct(dict(zip(named_by, listings)))
    return dict(zip(SPLITS, listings))


def _listed(tables, images):
    """The listings of the csv files, of images in a zip or a folder."""
    sources = _zip_members(images) if images.is_file() else {entry.name: entry for entry in list_folder(images).images}
    listings, listed = [], {}
    for table in tables:
        classes = {}
        for filename, label in _rows(table):
            if filename in listed:
                raise UserError(f"{table} lists {filename}, as {listed[filename]} does; expected every image once")
            listed[filename] = table
            classes.setdefault(label, []).append(filename)
        listings.append({label: sorted(classes[label]) for label in sorted(classes)})
    missing = [filename for filename in listed if filename not in sources]
    if missing:
        raise UserError(
            f"{images} lacks {len(missing)} of the {len(listed)} images in the csv files, the first {missing[0]} "
            f"of {listed[missing[0]].name}; {EXPECTED}"
        )
    unlisted = sorted(sources.keys() - listed.keys())
    if unlisted:
        say(f"{images}: {len(unlisted)} images in no csv file are not used, the first {unlisted[0]}")
    return [{label: [sources[name] for name in names] for label, names in listing.items()} for listing in listings]


def _rows(table):
    """The [filename, label] of each line of a csv file."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = [[field.strip() for field in row] for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{table} can't be read ({error}); expected lines of filename,label") from error
    header = rows[0] if rows else []
    if header != HEADER:
        raise UserError(f"{table} begins with {','.join(header)!r}; expected the header filename,label")
    wrong = next((row for row in rows if len(row) != 2 or not all(row)), None)
    if wrong:
        raise UserError(f"{table} has the line {','.join(wrong)!r}; expected filename,label")
    if len(rows) == 1:
        raise UserError(f"{table} lists no images; expected lines of filename,label")
    return rows[1:]


def _zip_members(path):
    """{file name: ZipMember} of the images in images/ or at the top of a zip."""
    names = {member.removeprefix("images/"): ZipMember(path, member) for member in members(path)}
    return {name: source for name, source in names.items() if "/" not in name and is_image_name(name)}


def _size(listing):
    return sum(map(len, listing.values()))


def _say_what_differs(home, splits):
    """One line on stderr unless there are 600 images in each of 64, 16 and 20 classes."""
    found = {split: (len(splits[split]), _size(splits[split])) for split in SPLITS}
    if any(found[split] != (count, count * IMAGES_PER_CLASS) for split, count in CLASSES.items()):
        counts = ", ".join(f"{split} {classes} classes of {size:,} images" for split, (classes, size) in found.items())
        print(
            f"{home} is not miniImagenet itself: {counts}; miniImagenet has 64, 16 and 20 classes of 600 each",
            file=sys.stderr,
        )
