"""Which data a run is of: its classes, written down where the data's name alone doesn't settle it, and checked later.

What is tested must be the test split that the run began with: its classes were never trained on, and a number of other
images would take the place of the run's own.
"""

import reprlib
from pathlib import Path

from data_generators.errors import UserError
from maml.runs import files

CLASSES = "classes.json"  # in the run folder: {split: {class: how many images}} of the training


def record(folder: Path, tasks) -> None:
    """Writes down the classes of each split."""
    files.write_json(Path(folder) / CLASSES, tasks.contents())


def check_same(folder: Path, tasks, split: str | None = None) -> None:
    """UserError if the classes, or the number of their images, are not those that the run in the folder began with.

    split: that one alone; None: all.
    """
    path = Path(folder) / CLASSES
    if not path.exists():
        return
    there, here = _recorded(path), tasks.contents()
    for name in here if split is None else (split,):
        if here[name] != there.get(name):
            pairs = set(there.get(name, {}).items()) ^ set(here[name].items())
            instead = ", another --logdir, or --resume=False to train anew" if split is None else ""
            raise UserError(
                f"{folder} was trained on other data: the {name} split differs by {min(pairs)[0]!r}; "
                f"expected the same classes of as many images{instead}"
            )


def _recorded(path):
    """{split: {class: how many images}} of the file. UserError for one that says something else."""
    record = files.read_json(path)
    for split, classes in record.items():
        if not (isinstance(classes, dict) and all(type(count) is int for count in classes.values())):
            raise UserError(f"{path}: damaged, {split} is {reprlib.repr(classes)}, expected {{class: how many images}}")
    return record
