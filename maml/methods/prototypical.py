"""Prototypical networks: a class is the mean of its embedded examples, and the nearest one is the answer.

[S] is the paper; [S-code] is jakesnell/prototypical-networks at c9bb4d2.
"""

from dataclasses import dataclass

import tensorflow as tf

from maml.method import embedding_of
from maml.methods._embedding import comparison
from maml.methods.card import ALONE, Card, Episodes, Reading, Record, Task, accuracy, setting


@dataclass(frozen=True)
class Settings(Record):
    """Prototypical networks' own settings."""

    train_ways: int = setting(60, "N in training: classes of an episode", at_least=2)
    train_queries: int = setting(5, "Q in training: query examples a class", at_least=1)


def prototypes(features, labels):
    """c_n, the mean over the examples of each class ([S] equation 1): [M, n, D] and one-hot [M, n, N] -> [M, N, D]."""
    return tf.matmul(labels, features, transpose_a=True) / tf.reduce_sum(labels, 1)[:, :, None]


def logits(features, means):
    """−‖z − c_n‖², summed over D: [M, n, D] and [M, N, D] -> [M, n, N]. Their softmax is [S] equation 2."""
    return -tf.reduce_sum(tf.square(features[:, :, None] - means[:, None]), 3)


def build(settings, problem):
    """The Method. Its state is each task's weights, labels and prototypes. Training normalises all examples together
    ([S-code] model.py)."""

    def summarise(weights, z, labels):
        return {"prototypes": prototypes(z, labels)}

    def compare(state, z, reference=None):
        return logits(z, state["prototypes"])

    return comparison(problem, embedding_of(problem), summarise, compare)


def preset(task: Task) -> dict:
    """The paper's settings for a data source, N and K."""
    photographs = task.photographs
    return dict(
        train_ways=(20 if task.num_shots >= 5 else 30) if photographs else 60,  # [S]
        train_queries=15 if photographs else 5,  # [S]
        num_tasks=1,  # [S] algorithm 1
        # [S-code] trains until validation stops improving; ours: the step size is halved 9 and 4 times on the way.
        metatrain_iterations=20000 if photographs else 10000,
        meta_lr=0.001,  # [S]
        schedule="halving",  # [S]
        halve_every=2000,  # [S]
        norm="batch_norm",  # [S]
        norm_scale=True,  # [S-code]: PyTorch's batch norm
        norm_averages=True,  # [S-code] at test
        norm_epsilon=1e-5,  # [S-code]: PyTorch's default
        num_filters=64,  # [S]
        max_pool=True,  # [S]
        tasks_per_chunk=1,
        jit=False,  # ours: an episode's maps are many, and TensorFlow's own kernels faster on them
    )


def episodes(task: Task, settings) -> Episodes:
    """More ways in training than at test ([S]); as many shots."""
    return Episodes(settings.train_ways, task.num_shots, settings.train_queries)


def reading(task: Task, settings) -> Reading:
    """There are no inner steps."""
    return Reading(0, 0)


def _omniglot(trained_shots, variant, source, percents):
    """Table 4's row of one training: 5-way 1-shot, 5-way 5-shot, 20-way 1-shot, 20-way 5-shot."""
    tasks = ((5, 1), (5, 5), (20, 1), (20, 5))
    return tuple(
        accuracy(("omniglot", *task), percent, 0, source, trained_shots=trained_shots, variant=variant)
        for task, percent in zip(tasks, percents)
    )


def _imagenet(num_shots, of_preset, others):
    """Table 6's row of one K: (percent, interval) of the preset's N in training, and {N: percent} of others."""
    task = "miniimagenet", 5, num_shots
    return (
        accuracy(task, of_preset, 0, "[S] table 6"),
        *(accuracy(task, percent, 0, "[S] table 6", variant={"train_ways": n}) for n, percent in others.items()),
    )


_20_WAY, _5_WAY = {"train_ways": 20, "train_queries": 15}, {"train_ways": 5, "train_queries": 15}

CARD = Card(
    title="prototypical networks",
    paper="[S] Snell, Swersky, Zemel 2017, arXiv 1703.05175",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        *_omniglot(1, {}, "[S] table 4", (98.8, 99.7, 96.0, 99.0)),
        *_omniglot(5, {}, "[S] table 4", (98.5, 99.7, 94.7, 98.9)),
        *_omniglot(1, _20_WAY, "[S] table 4", (98.7, 99.6, 95.4, 98.8)),
        *_omniglot(5, _20_WAY, "[S] table 4", (98.1, 99.6, 94.1, 98.7)),
        *_omniglot(1, _5_WAY, "[S] table 4", (97.4, 99.3, 92.0, 97.8)),
        *_omniglot(5, _5_WAY, "[S] table 4", (96.9, 99.3, 90.7, 97.8)),
        *_imagenet(1, (49.42, 0.78), {5: 46.14, 10: 48.27, 15: 48.60, 20: 48.57, 25: 48.51}),
        *_imagenet(5, (68.20, 0.66), {5: 65.77, 10: 67.49, 15: 68.03, 25: 67.66, 30: 66.79}),
    ),
    learns=("classification",),
    reading=reading,
    episodes=episodes,
    unused=("num_queries",),
    curve_title="query points of training's own episodes",
    curve_loss="mean cross-entropy (nats)",
    same_for_every_n=True,
    normalisation=ALONE,
    differs=(
        "The characters and tasks are MAML's: 1,100 characters of all alphabets to train on, one turn a class in each "
        "task; the paper has whole alphabets, and every turn is a class. Convolutions start Xavier uniform and γ at 1, "
        "in the authors' code U(−1/√fan-in, 1/√fan-in) and U(0, 1). The checkpoint is chosen by validation accuracy, "
        "theirs by validation loss; on Omniglot they then trained again, on the validation characters too. What their "
        "miniImagenet code does in detail is not known: it was not released."
    ),
)
