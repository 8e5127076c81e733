"""Which data a run is of: its classes, written down where the data's name alone doesn't settle it, and checked later.

What is tested must be the test split that the run began with: its classes were never trained on, and a number of other
images would take the place of the run's own.
"""

import reprlib
from pathlib import Path

from data_generators.errors import UserError
from maml.runs import files

CLASSES = "classes.json"  # in the run folder: `contents` of the training's data
AS_BRIGHT = 0.5  # of 255: what another version of a decoder may change of the mean of a class's pixels, and more


def record(folder: Path, tasks) -> None:
    """Writes down the classes of each split."""
    files.write_json(Path(folder) / CLASSES, tasks.contents())


def check_same(folder: Path, tasks, split: str | None = None) -> None:
    """UserError if the classes, or what is known of their images, are not those that the run in the folder began with.

    split: that one alone; None: all.
    """
    path = Path(folder) / CLASSES
    if not path.exists():
        return
    there, here = _recorded(path), tasks.contents()
    for name in here if split is None else (split,):
        before, now = there.get(name, {}), here[name]
        different = [label for label in {**before, **now} if not _same(before.get(label), now.get(label))]
        if different:
            instead = ", another --logdir, or --resume=False to train anew" if split is None else ""
            raise UserError(
                f"{folder} was trained on other data: the {name} split differs by {min(different)!r}; "
                f"expected the same images of the same classes{instead}"
            )


def _recorded(path):
    """{split: {class: content}} of the file, as `contents` or its older versions give it. UserError for what is not."""
    record = files.read_json(path)
    for split, classes in record.items():
        if not (isinstance(classes, dict) and all(map(_is_content, classes.values()))):
            raise UserError(f"{path}: damaged, {split} is {reprlib.repr(classes)}, expected {{class: how many images}}")
    return record


def _is_content(value):
    """Whether this is how many images a class has, alone, or with the bytes of their files and their pixels' mean."""
    numbers = value if isinstance(value, list) and len(value) in (2, 3) else [value]
    return all(type(number) is int for number in numbers[:2]) and all(type(n) in (int, float) for n in numbers[2:])


def _same(before, now):
    """Whether two contents of a class are the same, as far as both say it."""
    if before is None or now is None:
        return False
    if isinstance(before, list) and isinstance(now, list):
        return before[:2] == now[:2] and all(abs(a - b) <= AS_BRIGHT for a, b in zip(before[2:], now[2:]))
    return _count(before) == _count(now)


def _count(content):
    return content[0] if isinstance(content, list) else content
