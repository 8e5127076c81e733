"""Sizes that no machine can do, told from the settings before anything is built or read.

Each estimate is from below, and only what needs several times this machine's memory is refused: what runs is never.
"""

import functools
import math
import os

import tensorflow as tf

from data_generators.errors import UserError
from maml.methods.card import tasks_as_tested

TIMES = 4  # the memory of this machine, its swap and what an estimate leaves out are less than so many times of it
FLOAT = 4  # bytes


def check(needed: dict[str, float]) -> None:
    """UserError where {what: bytes} are more than TIMES the memory of this machine, if that is known."""
    total, there = sum(needed.values()), of_this_machine()
    if there is not None and total > TIMES * there:
        what = max(needed, key=needed.get)
        raise UserError(
            f"{what} alone would take {in_words(needed[what])} of memory or more, this machine has {in_words(there)}; "
            "expected smaller sizes"
        )


def of_this_machine() -> int | None:
    """Bytes; None where the system doesn't say."""
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= getattr(os, "sysconf_names", {}).keys():
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def in_words(size: float) -> str:
    """'23 GiB'."""
    power = max(i for i in range(9) if i == 0 or size >= 1024**i)
    number = size / 1024**power
    unit = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")[power]
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"


def of_convolutions(settings) -> dict[str, float]:
    """Of the one convolution from filters to filters that every convolutional network has at least."""
    used = settings.task.classification and settings.network.conv and "num_filters" not in settings.card.unused
    return {"a layer of --num_filters": FLOAT * 9 * settings.network.num_filters**2} if used else {}


def of_training(settings, problem) -> dict[str, float]:
    """Of θ with the optimiser's moments, a meta-batch, and a chunk of tasks after the first layer.

    problem: of the settings.
    """
    task, training = settings.task, settings.training
    ways, shots, queries, *_ = settings.card.episodes(task, settings.own)
    if settings.card.episodes is not tasks_as_tested:  # they are cut to what the data have
        ways, shots, queries = (min(ways, task.num_classes) if task.classification else ways), 1, 0
    examples = (ways if task.classification else 1) * (shots + queries)
    needed = {
        "the weights": _bytes_of_theta(settings, problem) * (3 if training.optimizer == "adam" else 1),
        "a meta-batch": FLOAT * training.num_tasks * examples * math.prod(problem.input_shape),
    }
    if settings.of_all_classes:
        size = settings.own.batch_size if settings.card.pretraining else training.pretrain_batch
        needed["a batch of the pretraining"] = FLOAT * size * math.prod(problem.input_shape)
    if of_convolutions(settings):
        height, width, _ = problem.input_shape
        features = settings.network.num_filters * (height // 2) * (width // 2)
        together = min(settings.engine.tasks_per_chunk, training.num_tasks)
        needed["a chunk of tasks after the first layer"] = FLOAT * together * examples * features
    return needed


def of_test(settings, protocol) -> dict[str, float]:
    """Of one task of a test."""
    task = settings.task
    examples = max(shots + (protocol.queries or shots) for shots in protocol.shots)
    num_classes = protocol.ways or task.num_classes
    return {"a task of the test": FLOAT * examples * (num_classes if task.classification else 1)}


def _bytes_of_theta(settings, problem):
    """Of what `init` returns, which is traced and not computed."""
    if settings.of_all_classes and problem.num_train_classes is None:  # until the data say
        problem = problem._replace(num_train_classes=1)
    method = settings.card.build(settings.own, problem)
    theta = tf.function(functools.partial(method.init, 0)).get_concrete_function().structured_outputs
    return sum(math.prod(w.shape) * w.dtype.size for w in tf.nest.flatten(theta))
