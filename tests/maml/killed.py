"""python killed.py FOLDER SCENARIO…: runs training to its end, or kills it at a chosen moment and starts it again.

A scenario is <source>:<moment>. Every start is a process of its own, forked before TensorFlow has done anything, which
saves importing it each time. FOLDER/<scenario>/ is the run folder; prints <scenario>:<exit status of the first start>.
"""

import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import numpy as np
import tensorflow as tf

from data_generators.image_classes import ImageClasses, ImageTasks
from data_generators.sinusoid import SinusoidTasks
from maml.runs import files, settings, supervised
from maml.runs.run import Run

INTERVALS = {"METRICS_EVERY": 10, "CHECKPOINT_EVERY": 20, "VALIDATION_TASKS": 4}  # of supervised runs, for small ones


def image_tasks(num_classes=2, sizes=(4, 4, 4, 4)):
    """Classes of random 8x8 images; sizes: images of each class, of all splits or {split: sizes}."""
    rng = np.random.default_rng(0)

    def classes(sizes):
        offsets = np.cumsum([0, *sizes])
        images = rng.integers(0, 256, (offsets[-1], 8, 8, 1), dtype=np.uint8)
        return ImageClasses(images, offsets, tuple(f"class {i}" for i in range(len(sizes))))

    of_splits = sizes if isinstance(sizes, dict) else dict.fromkeys(("train", "val", "test"), sizes)
    return ImageTasks({split: classes(of_split) for split, of_split in of_splits.items()}, num_classes, rotate=True)


def sinusoid_settings(**given):
    small = {"metatrain_iterations": 60, "meta_batch_size": 4, "iterations_per_call": 5, "jit": False}
    return settings.resolve("sinusoid", **{**small, **given})


def image_settings(**given):
    small = {"num_classes": 2, "metatrain_iterations": 60, "meta_batch_size": 4, "num_filters": 3, "jit": False}
    return settings.resolve("glyphs", **{**small, **given})


def run(folder, settings, tasks, log=False):
    """A Run of these settings."""
    return Run(supervised.SupervisedLearner(settings, tasks), folder, log)


SOURCES = {
    "sinusoid": lambda: (sinusoid_settings(), SinusoidTasks()),
    "compiled": lambda: (sinusoid_settings(jit=True), SinusoidTasks()),
    "pretrained": lambda: (sinusoid_settings(pretrain_iterations=30, metatrain_iterations=30), SinusoidTasks()),
    "images": lambda: (image_settings(metatrain_iterations=40), image_tasks()),
}


def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number, owner, name, then):
    """The `number`-th call of owner.name calls `then` instead, with what it replaces in front."""
    original, calls = getattr(owner, name), []

    def wrapper(*arguments, **named):
        calls.append(name)
        return then(original, *arguments, **named) if len(calls) == number else original(*arguments, **named)

    setattr(owner, name, wrapper)


def kill_after(original, *arguments, **named):
    original(*arguments, **named)
    kill()


def tear_row(original, path, columns, row):
    with open(path, "a") as file:
        file.write("50,1.2")
    kill()


def tear_checkpoint(original, checkpoint, prefix):
    with open(f"{prefix}.data-00000-of-00001", "wb") as file:
        file.write(b"half")
    kill()


# What the first start meets. There is a row every 10 iterations and a checkpoint every 20; `os.replace` is first called
# for config.json.
MOMENTS = {
    "never": None,
    "between checkpoints": lambda: at_call(34, SinusoidTasks, "sample", kill),
    "within a row": lambda: at_call(5, files, "append_row", tear_row),
    "after a row, before its checkpoint": lambda: at_call(4, files, "append_row", kill_after),
    "within a checkpoint": lambda: at_call(2, tf.train.Checkpoint, "write", tear_checkpoint),
    "before the checkpoint is renamed": lambda: at_call(3, os, "replace", kill),
}


def start(folder, source, moment):
    """One start of the run, in a child; returns its exit status, −9 where it was killed."""
    if (child := os.fork()) == 0:
        for name, value in INTERVALS.items():
            setattr(supervised, name, value)
        if moment is not None:
            moment()
        run(folder, *SOURCES[source]()).train()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def last_state(folder):
    """{name: bytes} of everything in the newest checkpoint but how long it took."""
    newest = newest_checkpoint(folder)
    reader = tf.train.load_checkpoint(str(newest))
    names = [
        name for name in reader.get_variable_to_shape_map() if "seconds" not in name and "OBJECT_GRAPH" not in name
    ]
    return {"newest": newest.parent.name, **{name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}}


def newest_checkpoint(folder):
    return max((folder / "checkpoints").glob("iteration_*")) / "state"


if __name__ == "__main__":
    for scenario in sys.argv[2:]:
        source, moment = scenario.split(":")
        folder = pathlib.Path(sys.argv[1]) / scenario
        status = start(folder, source, MOMENTS[moment])
        print(f"{scenario}:{status}", flush=True)
        if status:
            start(folder, source, None)
