"""Nearest neighbour in raw pixels: the floor under every table. There is nothing to train.

[V]: Vinyals et al. 2016.
"""

import math
from dataclasses import dataclass

import tensorflow as tf

from maml.layers import num_examples
from maml.method import shape_of_one_tensor
from maml.methods._embedding import best_of_class, comparison, cosines
from maml.methods.card import ALONE, Card, Reading, Record, Task, accuracy, not_run
from maml.networks import Network


@dataclass(frozen=True)
class Settings(Record):
    """Pixels have no settings of their own."""


def flat(shape):
    """The Network without weights whose outputs are an example's pixels in a row."""

    def forward(weights, x, num_reference=None):
        return tf.reshape(x, [x.shape[0], num_examples(x), math.prod(shape)])

    def forward_with_averages(weights, x, after_layer=None):
        return forward(weights, x), {}

    return Network(lambda seed: {}, forward, forward_with_averages, output_shape=(math.prod(shape),))


def build(settings, problem):
    """The Method. θ is empty; a state is the support set. An output is the cosine with a class's most similar image."""

    def summarise(weights, z, labels):
        return {"support": z}

    def compare(state, z, reference=None):
        return best_of_class(cosines(z, state["support"]), state["labels"])

    return comparison(problem, flat(shape_of_one_tensor(problem)), summarise, compare)


def preset(task: Task) -> dict:
    """No training, and nothing that would normalise one query by others."""
    return dict(pretrain_iterations=0, metatrain_iterations=0, norm="None")


def reading(task: Task, settings) -> Reading:
    """There are no inner steps."""
    return Reading(0, 0)


_OMNIGLOT = {(5, 1): 41.7, (5, 5): 63.2, (20, 1): 26.7, (20, 5): 42.6}
_IMAGENET = {("miniimagenet", 5, 1): 23.0, ("miniimagenet", 5, 5): 26.6}
_NETWORK = ("num_filters", "conv", "norm", "max_pool", "norm_scale", "norm_averages", "norm_epsilon")
_OUTER_LOOP = ("num_tasks", "num_queries", "meta_lr", "optimizer", "schedule", "halve_every", "decay_every", "clip")

CARD = Card(
    title="pixels",
    paper="[V] Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra 2016, arXiv 1606.04080",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        *(
            accuracy(("omniglot", *task), percent, 0, "[V] table 1, second-hand", trained_shots=0)
            for task, percent in _OMNIGLOT.items()
        ),
        *not_run("pixels, [V]'s split", "[V] table 2, second-hand", _IMAGENET),
    ),
    learns=("classification",),
    reading=reading,
    unused=("pretrain_iterations", "metatrain_iterations", *_OUTER_LOOP, *_NETWORK),
    same_for_every_n=True,
    normalisation=ALONE,
    differs=(
        "The paper's images are resized otherwise; its test characters are of whole alphabets, and every turn of one "
        "is a class."
    ),
)
