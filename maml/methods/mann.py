"""MANN, a memory-augmented neural network: a sequence learner that writes what it reads to the least used slots.

[S2] is the paper. Letters as in _memory.py.
"""

from dataclasses import dataclass

import tensorflow as tf

from maml.methods import _memory, lstm
from maml.methods._memory import cosine, dense, heads
from maml.methods._recurrent import Cell
from maml.methods._recurrent import build as build_recurrent
from maml.methods.card import Task, setting


@dataclass(frozen=True)
class Settings(_memory.Settings):
    """MANN's own settings."""

    # Two notes on the paper have 0.99; every program at hand 0.95, with which the paper's numbers are reached.
    usage_decay: float = setting(0.95, "γ: what is left of the usage of a slot a step later", at_least=0)


def least_used(usage, count):
    """A mask [M, n, P] of the `count` slots of the smallest usage [M, n, P], and one of the very least.

    Of equal ones those that come first.
    """
    places = tf.math.top_k(-usage, count).indices
    one_hot = tf.one_hot(places, usage.shape[2], dtype=usage.dtype)
    return tf.reduce_sum(one_hot, 2), one_hot[:, :, 0]


def access(state, keys, gates, decay):
    """What a step makes of the memory ([S2] equations 5 to 8 and 2 to 4): writes, then reads.

    state: "memory" [M, 1, P, W], "reading" [M, 1, R, P], the attention a step before, "usage" [M, 1, P].
    keys: [M, n, R, W]. gates: σ(α), [M, n, R, 1]: 1 writes where was read, 0 to the least used slots.
    Returns {"memory", "reading", "usage"} after it.
    """
    mask, least = least_used(state["usage"], keys.shape[2])
    writing = gates * state["reading"] + (1 - gates) * mask[:, :, None]
    cleared = state["memory"] * (1 - least[..., None])
    memory = cleared + tf.matmul(writing, keys, transpose_a=True)
    reading = tf.nn.softmax(cosine(keys, memory))
    usage = decay * state["usage"] + tf.reduce_sum(reading, 2) + tf.reduce_sum(writing, 2)
    return {"memory": memory, "reading": reading, "usage": usage}


def mann_cell(settings):
    """The Cell. It says (h, r)."""
    count, width, hidden = settings.read_heads, settings.memory_width, settings.hidden

    def init(seed, dtype):
        parts = {"key": count * width, "gate": count}
        controller = _memory.init_controller(hidden, count * width, seed, dtype)
        return {**controller, **_memory.init_dense(parts, hidden, seed, dtype)}

    def begin(num_tasks, dtype):
        first = _memory.at_first_slot(num_tasks, count, settings.memory_slots, dtype)
        return {**_memory.begin(num_tasks, dtype, settings), "reading": first, "usage": first[:, :, 0]}

    def step(weights, state, entering):
        h, c = _memory.control(weights, state, entering)
        keys = heads(tf.tanh(dense(weights, "key", h)), count)
        gates = tf.sigmoid(heads(dense(weights, "gate", h), count))
        new = access(state, keys, gates, settings.usage_decay)
        read = _memory.read(new["reading"], new["memory"])
        return {"h": h, "c": c, "read": read, **new}, tf.concat([h, read], 2)

    return Cell(4 * hidden, hidden + count * width, init, begin, step)


def build(settings, problem):
    """The Method."""
    return build_recurrent(problem, mann_cell(settings), settings.body)


def preset(task: Task) -> dict:
    """[S2]'s settings, as far as they are known here: see lstm.py."""
    return lstm.preset(task)


CARD = lstm.CARD._replace(
    title="MANN",
    paper="[S2] Santoro et al. 2016, arXiv 1605.06065",
    Settings=Settings,
    preset=preset,
    build=build,
    published=lstm.instances(
        "MANN", "[S2] table 1, second-hand", {1: 36.4, 2: 82.8, 3: 91.0, 4: 92.6, 5: 94.9, 10: 98.1}
    ),
    differs=(
        "[S2] measures how often the second, third, … example of a class is told in a sequence of 50; that has a table "
        "of its own. The test beside other methods is N-way K-shot: the support set in a random order, then each query "
        "from there. The 94.9 % that MAML's table 1 has for 5 shots are of the fifth instance, after four. Images are "
        "28 × 28 pixels, there 20 × 20. How far they are shifted and turned in training, and Adam, are those of "
        "programs that reach the paper's numbers; the paper's RMSProp is not known here in detail. The classes are "
        "MAML's 1,100, there 1,200; the measure is of images that are neither shifted nor turned. γ, by which usage "
        "decays, is 0.95, as in a program that reaches the numbers. Exactly as many slots count as least used as there "
        "are heads, also where several are equal. Sine waves and photographs, which go through a convolutional network "
        "first, are ours."
    ),
)
