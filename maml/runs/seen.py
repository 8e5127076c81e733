"""Which classes a run was trained on: written down where the data's name alone doesn't settle it, and checked later."""

import itertools
from pathlib import Path

from data_generators.errors import UserError
from data_generators.streams import SPLITS
from maml.runs import files

CLASSES = "classes.json"  # in the run folder: {split: {class: how many images}} of the training


def record(folder: Path, tasks) -> None:
    """Writes down the classes of each split."""
    files.write_json(Path(folder) / CLASSES, tasks.contents())


def check_same(folder: Path, tasks) -> None:
    """UserError if the classes, or the number of their images, are not those that the run in the folder began with."""
    there, here = _recorded(folder), None
    if there is None or there == (here := tasks.contents()):
        return
    split = next(split for split in here if here[split] != there.get(split))
    pairs = set(there.get(split, {}).items()) ^ set(here[split].items())
    raise UserError(
        f"{folder} was trained on other data: the {split} split differs by {min(pairs)[0]!r}; "
        "expected the same classes of as many images, another --logdir, or --resume=False to train anew"
    )


def check_unseen(folder: Path, tasks, split: str) -> None:
    """UserError if a class of `split` was in a split before it, trained or chosen on, when the run was made."""
    there = _recorded(folder)
    if there is None:
        return
    here = tasks.contents()[split]
    for earlier in itertools.takewhile(lambda name: name != split, SPLITS):
        if seen := sorted(here.keys() & there.get(earlier, {}).keys()):
            raise UserError(
                f"{len(seen)} classes of the {split} split, the first {seen[0]!r}, were in the {earlier} split when "
                f"{folder} was trained; expected classes that the run has not seen"
            )


def _recorded(folder):
    path = Path(folder) / CLASSES
    return files.read_json(path) if path.exists() else None
