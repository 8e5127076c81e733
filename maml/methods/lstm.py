"""An LSTM that reads a task's examples, each with the target of the one before; its state is what it has learnt.

[H] is the idea's paper; [S2] the one with numbers on Omniglot. The cell of `--method=gru` is beside it.
"""

from dataclasses import dataclass

import tensorflow as tf

from maml.methods import maml
from maml.methods._recurrent import Cell, glorot, linear
from maml.methods._recurrent import build as build_recurrent
from maml.methods.card import ALONE, Card, Episodes, Reading, Record, Task, accuracy, setting

RECURRENT = "recurrent"  # entry of θ: from the hidden state to the gates


@dataclass(frozen=True)
class Settings(Record):
    """The sequence learners' own settings."""

    hidden: int = setting(200, "length of the hidden state", at_least=1)
    sequence_shots: int = setting(10, "examples of each class in a training sequence, or points of a wave", at_least=2)
    body: bool = setting(False, "a convolutional network in front of the sequence")
    augmented: bool = setting(
        False, "training images are turned a little and shifted", tag={False: "not_augmented"}, added=True
    )


def lstm_cell(size):
    """The Cell: c ← σ(f)·c + σ(i)·tanh(g), h ← σ(o)·tanh(c), where f, i, o, g are linear in what enters and in h."""

    def init(seed, dtype):
        return {RECURRENT: glorot([size, 4 * size], [seed, 40], dtype)}

    def begin(num_tasks, dtype):
        return {"h": tf.zeros([num_tasks, 1, size], dtype), "c": tf.zeros([num_tasks, 1, size], dtype)}

    def step(weights, state, entering):
        forget, write, show, new = tf.split(entering + linear(state["h"], weights[RECURRENT]), 4, 2)
        c = tf.sigmoid(forget + 1) * state["c"] + tf.sigmoid(write) * tf.tanh(new)  # ours: it begins by keeping
        h = tf.sigmoid(show) * tf.tanh(c)
        return {"h": h, "c": c}, h

    return Cell(4 * size, size, init, begin, step)


def build(settings, problem):
    """The Method."""
    return build_recurrent(problem, lstm_cell(settings.hidden), settings.body)


def preset(task: Task) -> dict:
    """[S2]'s settings, as far as they are known here; for photographs and sine waves ours."""
    kept = ("num_filters", "max_pool", "jit") if task.photographs else ()
    common = {name: value for name, value in maml.preset(task).items() if name in kept} | dict(
        meta_lr=0.001,  # snowkylin/ntm and tristandeleu/ntm-one-shot, which reach [S2]'s numbers with another memory
        norm="layer_norm" if task.photographs else "None",  # which leaves each example by itself
    )
    if task.datasource == "sinusoid":
        return common | dict(
            metatrain_iterations=30000,
            num_tasks=64,
            hidden=64,
            sequence_shots=21,  # up to 20 points, and one more
            tasks_per_chunk=64,
            iterations_per_call=100,
        )
    return common | dict(
        metatrain_iterations=100000,  # [S2]
        num_tasks=16,  # [S2]
        hidden=200,  # [S2], of the network with a memory
        sequence_shots=10,  # [S2]
        body=task.photographs,
        augmented=not task.photographs,  # [S2]
        tasks_per_chunk=1 if task.photographs else 16,  # ours, for speed
    )


def reading(task: Task, settings) -> Reading:
    """There are no inner steps."""
    return Reading(0, 0)


def episodes(task: Task, settings) -> Episodes:
    """A sequence is a shuffled support set; there are no queries."""
    distorted = "turned_and_shifted" if settings.augmented else None
    return Episodes(task.num_classes, settings.sequence_shots, 0, shuffled=True, distorted=distorted)


def instances(label, source, cells):
    """{instance: percent} with 5 classes, which are not of N-way K-shot tasks. After k − 1 of a class."""

    def cell(k, percent):
        more = dict(label=f"{label}, instance {k}", measured_here=False, measure=f"instance_{k}_accuracy")
        return accuracy(("omniglot", 5, k - 1), percent, None, source, **more)

    return tuple(cell(k, percent) for k, percent in cells.items())


CARD = Card(
    title="LSTM",
    paper="[H] Hochreiter, Younger, Conwell 2001; [S2] Santoro et al. 2016, arXiv 1605.06065",
    Settings=Settings,
    preset=preset,
    build=build,
    published=instances("LSTM", "[S2] table 1, second-hand", {1: 24.4, 2: 49.5, 3: 55.3, 4: 61.0, 5: 63.6, 10: 62.5}),
    learns=("regression", "classification"),
    reading=reading,
    episodes=episodes,
    unused=("num_queries", "norm", "norm_scale", "norm_averages", "norm_epsilon"),
    measures=True,
    curve="sequence",
    curve_title="sequences of training, from their first example on",
    curve_loss="sum of cross-entropies of a sequence (nats)",
    normalisation=ALONE,
    differs=(
        "[S2] measures how often the second, third, … example of a class is told in a sequence of 50; that has a table "
        "of its own. The test beside other methods is N-way K-shot: the support set in a random order, then each query "
        "from there. Images are 28 × 28 pixels, there 20 × 20. How far they are shifted and turned in training is that "
        "of a program that reaches the paper's numbers. The size of [S2]'s LSTM is not known here; [H] has no "
        "Omniglot. The classes are MAML's 1,100, there 1,200; a sequence has ten images of each of five. The measure "
        "is of images that are neither shifted nor turned. The forget gate's bias starts at 1. Photographs go through "
        "a convolutional network first, which is ours."
    ),
)
