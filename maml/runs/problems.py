"""From the settings of a supervised run to the Problem that its method works on, and to the tasks that it trains on."""

import functools

import tensorflow as tf

from data_generators.errors import UserError
from data_generators.sources import SOURCES
from maml import losses, networks
from maml.method import Problem
from maml.methods.card import Episodes, tasks_as_tested
from maml.runs import memory

SINUSOID_HIDDEN = (40, 40)  # [P] 5.1
OMNIGLOT_HIDDEN = (256, 128, 64, 64)  # [P] 5.2, A.1


def input_shape_of(settings) -> tuple[int, ...]:
    """The shape of one example: (H, W, C) of an image, (1,), or (3,) for the sinusoid's oracle."""
    task = settings.task
    if not task.classification:
        return (3,) if settings.card.told_the_task else (1,)
    return SOURCES[task.datasource].input_shape or (task.image_size, task.image_size, task.channels)


def problem_of(settings, input_shape: tuple | None = None) -> Problem:
    """The Problem: the paper's network for the data source, with its loss.

    input_shape: None for what the settings say it is.
    UserError for a network that no machine can hold.
    """
    memory.check(memory.of_convolutions(settings))  # before a method builds them
    task = settings.task
    input_shape = tuple(input_shape or input_shape_of(settings))
    conv = task.classification and settings.network.conv
    make = _conv_net if conv else _dense_net
    return Problem(
        input_shape=input_shape,
        num_outputs=task.num_classes if task.classification else 1,
        network=lambda num_outputs, shape=input_shape: make(settings, shape, num_outputs),
        embedding=lambda: make(settings, input_shape, None),
        loss=losses.cross_entropy if task.classification else losses.mse,
        metric=losses.accuracy if task.classification else None,
        num_train_classes=task.train_classes,
        maps=functools.partial(_conv_maps, settings) if conv else None,
    )


def _conv_maps(settings, input_shape, blocks):
    network = settings.network
    return networks.conv_maps(input_shape, network.num_filters, blocks, _norm(network), xla=settings.engine.jit)


def _conv_net(settings, input_shape, num_outputs):
    network = settings.network
    return networks.conv_net(
        input_shape,
        network.num_filters,
        num_outputs,
        _norm(network),
        network.max_pool,
        flatten=settings.task.photographs,
        xla=settings.engine.jit,
    )


def _dense_net(settings, input_shape, num_outputs):
    size = 1
    for length in input_shape:
        size *= length
    hidden = OMNIGLOT_HIDDEN if settings.task.classification else SINUSOID_HIDDEN
    return networks.dense_net(size, hidden, num_outputs, _norm(settings.network))


def _norm(network):
    return networks.Norm(
        network.norm, network.norm_scale, network.norm_averages, network.norm_epsilon, network.norm_momentum
    )


@functools.cache
def fixed_num_classes(settings) -> int | None:
    """N of the training, where θ has an output a class; None where no shape in it depends on N: any number will do."""
    problem = problem_of(settings)
    if settings.of_all_classes and problem.num_train_classes is None:  # until the data say
        problem = problem._replace(num_train_classes=1)

    def theta(num_classes):
        method = settings.card.build(settings.own, problem._replace(num_outputs=num_classes))
        return specs_of(functools.partial(method.init, 0))

    trained = settings.task.num_classes
    return None if theta(trained) == theta(trained + 1) else trained


def specs_of(function, *arguments):
    """The nest that `function` returns, of TensorSpecs; nothing is computed."""
    outputs = tf.function(function).get_concrete_function(*arguments).structured_outputs
    return tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), outputs)


def training_episodes(settings, tasks) -> tuple[Episodes, str | None]:
    """The Episodes of training, and a line about it where the data has fewer classes or images than the method wants.

    N and K of tasks like those of the test are not cut: too few classes or images for them are an error.
    """
    card, task = settings.card, settings.task
    wanted = card.episodes(task, settings.own)
    if not task.classification:
        return wanted, None
    classes, smallest = tasks.num_classes_of("train"), tasks.smallest_class("train")
    as_tested = card.episodes is tasks_as_tested
    if as_tested and smallest <= wanted.num_shots:  # `check` names the class
        return wanted, None
    ways = wanted.num_ways if as_tested else min(wanted.num_ways, classes)
    shots = wanted.num_shots if as_tested else min(wanted.num_shots, smallest)
    cut = wanted._replace(num_ways=ways, num_shots=shots, num_queries=min(wanted.num_queries, max(0, smallest - shots)))
    if wanted.num_queries and not cut.num_queries:
        raise UserError(
            f"the smallest class of the train split has {smallest} images; {wanted.num_shots} support images and one "
            f"query image need at least {wanted.num_shots + 1}"
        )
    if cut.num_ways < 2 <= wanted.num_ways:
        raise UserError(f"there is {classes} class to train on, expected two or more")
    if cut == wanted:
        return wanted, None
    data = f"there are {classes} classes to train on, the smallest of {smallest} images"
    return cut, f"{data}: trained on {_in_words(cut)} instead of {_in_words(wanted)}"


def validation_ways(settings, tasks, wanted=None) -> tuple[int | None, str | None]:
    """N of the tasks that checkpoints are chosen by, and a line about it where the data have too few classes for it.

    They then have as many as there are, where θ has no output a class; else None: no checkpoint is chosen.
    wanted: N; None: that of the training.
    """
    wanted = wanted or settings.task.num_classes
    if not settings.task.classification or (classes := tasks.num_classes_of("val")) >= wanted:
        return wanted, None
    data = f"there are {classes} classes to validate on, and {wanted} in a task"
    if classes >= 2 and fixed_num_classes(settings) is None:
        return classes, f"{data}: validated on {classes}-way tasks"
    return None, f"{data}: no checkpoint is chosen by validation, the latest is tested"


def _in_words(episodes):
    text = f"{episodes.num_ways}-way {episodes.num_shots}-shot tasks"
    return text + (f" of {episodes.num_queries} queries a class" if episodes.num_queries else "")
