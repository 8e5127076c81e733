"""Meta-SGD: MAML with a learnt step size for every single weight, and one inner step.

[L] is the paper. [P], [C]: as in maml.py.
"""

from dataclasses import dataclass

import tensorflow as tf

from maml import networks
from maml.method import Method, query_loss, times_the_mean
from maml.methods import maml
from maml.methods._gradient import gradient_step, prediction, start
from maml.methods.card import AS_PRINTED, Card, Reading, Record, Task, accuracy, setting

# θ has an entry alpha/w1 beside w1, for every weight that the inner step moves: its step size on the *mean* loss of a
# task, as in [L]. In that unit it is learnt as fast as there.
ALPHA = "alpha/"


@dataclass(frozen=True)
class Settings(Record):
    """Meta-SGD's own settings."""

    alpha_min: float = setting(0.005, "α at the start of training: the smallest, of a uniform draw for each weight")
    alpha_max: float = setting(0.1, "α at the start of training: the largest")

    def __post_init__(self):
        super().__post_init__()
        self.expect(self.alpha_min <= self.alpha_max, "alpha_min", "no more than alpha_max")


def is_adapted(name):
    """Whether the inner step moves this entry of θ: MAML's weights, not their step sizes."""
    return not name.startswith(ALPHA) and networks.is_adapted(name)


def step_sizes(weights, scale):
    """α of each weight that is adapted: {name: as the weight}.

    scale: how many times the mean the loss is that they are for.
    """
    return {name.removeprefix(ALPHA): alpha / scale for name, alpha in weights.items() if name.startswith(ALPHA)}


def build(settings, problem):
    """The Method. Its state is each task's weights θ'_i, and its copies of α."""
    network = problem.network(problem.num_outputs)
    predict, scale = prediction(network.forward), times_the_mean(problem)
    step = gradient_step(problem, network, lambda state: step_sizes(state, scale), is_adapted=is_adapted)

    def init(seed):
        weights = network.init(seed)
        return weights | initial_step_sizes(weights, seed, scale * settings.alpha_min, scale * settings.alpha_max)

    def objective(theta, episode, progress):
        initial = start(theta, episode.support_x, episode.support_y)
        adapted = step(initial, episode.support_x, episode.support_y)
        return query_loss(problem, predict, initial, adapted, episode)

    return Method(init, start, step, predict, objective, network.for_xla)


def initial_step_sizes(weights, seed, low, high):
    """{"alpha/" + name: as the weight, uniform from low to high} for each weight that the inner step moves."""
    adapted = {name: w for name, w in weights.items() if is_adapted(name)}
    return {
        ALPHA + name: tf.random.stateless_uniform(w.shape, [seed, 100 + i], low, high, dtype=w.dtype)
        for i, (name, w) in enumerate(adapted.items())
    }


def preset(task: Task) -> dict:
    """MAML's settings for the task, but for the inner step."""
    kept = {name: value for name, value in maml.preset(task).items() if name not in ("inner_lr", "num_updates")}
    # [L]'s step sizes belong to a mean loss; settings are in this project's, of a classifier N times the mean.
    scale = task.num_classes if task.classification else 1
    return kept | dict(
        metatrain_iterations=60000,  # [L]
        alpha_min=0.005 / scale,  # [L], for sine waves; for images it is not known here
        alpha_max=0.1 / scale,
    )


def reading(task: Task, settings) -> Reading:
    """[L]: one step, in training and at test. The step sizes are made for one: a second diverges."""
    return Reading(1, 1)


def _cells(dataset, source, cells):
    """Of {(N, K): percent, or (percent, interval)}. All were trained with one shot ([L])."""
    return tuple(
        accuracy((dataset, *task), printed, 1, source, AS_PRINTED, trained_shots=1) for task, printed in cells.items()
    )


CARD = Card(
    title="Meta-SGD",
    paper="[L] Li, Zhou, Chen, Li 2017, arXiv 1707.09835v2",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        *_cells("omniglot", "[L] by way of T-NAS, table 2", {(5, 1): (99.53, 0.26), (5, 5): (99.93, 0.09)}),
        *_cells("omniglot", "[L], second-hand", {(20, 1): 95.93, (20, 5): 98.97}),
        *_cells("miniimagenet", "[L] by way of CAVIA's table", {(5, 1): (50.47, 1.87), (5, 5): (64.03, 0.94)}),
        *_cells("miniimagenet", "[L], second-hand", {(20, 1): 17.56, (20, 5): 28.92}),
    ),
    learns=("regression", "classification"),
    reading=reading,
    unused=maml.CARD.unused,
    differs=(
        "The networks are MAML's: on Omniglot strided convolutions instead of max-pooling, and no dense layer of 32 "
        "before the last. Tasks of a meta-update and queries are MAML's too, as the paper's for images are not known "
        "here; nor is where its step sizes start on images: here as on its sine waves. Those vary in frequency "
        "besides, with 4 tasks a meta-update: its errors are of other tasks."
    ),
)
