"""What the memory-augmented sequence learners share: a controller, and reading a memory by content.

M tasks, n examples side by side, P slots of a memory, W numbers in a slot, R heads. A state's tensors are [M, 1, …].
"""

from dataclasses import dataclass

import tensorflow as tf

from maml import layers
from maml.methods import lstm
from maml.methods._recurrent import add_bias, glorot, linear
from maml.methods.card import setting

FROM_HIDDEN, FROM_READ = "recurrent", "from_read"  # entries of θ: to the controller's gates
EMPTY = 1e-6  # what a slot holds at first; nothing at all would have no direction


@dataclass(frozen=True)
class Settings(lstm.Settings):
    """Those of the sequence learners, and of a memory."""

    memory_slots: int = setting(128, "P: slots of the memory", at_least=1)
    memory_width: int = setting(40, "W: numbers in a slot", at_least=1)
    read_heads: int = setting(4, "R: heads that read", at_least=1)

    def __post_init__(self):
        super().__post_init__()
        self.expect(self.read_heads <= self.memory_slots, "read_heads", "no more than memory_slots")


def init_dense(parts, hidden, seed, dtype):
    """{name: [hidden, length], name + "_b": zeros} of layers from the hidden state, {name: length}."""
    weights = {}
    for i, (name, length) in enumerate(parts.items()):
        weights[name] = glorot([hidden, length], [seed, 60 + i], dtype)
        weights[name + "_b"] = tf.zeros([length], dtype)
    return weights


def dense(weights, name, hidden):
    """One of these layers."""
    return add_bias(linear(hidden, weights[name]), weights[name + "_b"])


def init_controller(hidden, read, seed, dtype):
    """The weights from the hidden state and from what was read, of so many numbers, to the gates."""
    return {
        FROM_HIDDEN: glorot([hidden, 4 * hidden], [seed, 40], dtype),
        FROM_READ: glorot([read, 4 * hidden], [seed, 41], dtype),
    }


def begin(num_tasks, dtype, settings):
    """{"h", "c", "read", "memory"} before a sequence."""
    slots, width = settings.memory_slots, settings.memory_width
    nothing = tf.zeros([num_tasks, 1, settings.hidden], dtype)
    read = tf.zeros([num_tasks, 1, settings.read_heads * width], dtype)
    memory = tf.fill([num_tasks, 1, slots, width], tf.constant(EMPTY, dtype))
    return {"h": nothing, "c": nothing, "read": read, "memory": memory}


def at_first_slot(num_tasks, heads, slots, dtype):
    """[M, 1, heads, P]: all attention on slot 0, as before a sequence."""
    return tf.broadcast_to(tf.one_hot(0, slots, dtype=dtype), [num_tasks, 1, heads, slots])


def control(weights, state, entering):
    """(h, c) of the controller, an LSTM that also sees what was read a step before."""
    gates = entering + linear(state["read"], weights[FROM_READ]) + linear(state["h"], weights[FROM_HIDDEN])
    forget, write, show, new = tf.split(gates, 4, 2)
    c = tf.sigmoid(forget) * state["c"] + tf.sigmoid(write) * tf.tanh(new)
    return tf.sigmoid(show) * tf.tanh(c), c


def heads(x, count):
    """[M, n, count·L] as [M, n, count, L]."""
    return tf.reshape(x, [x.shape[0], layers.num_examples(x), count, x.shape[2] // count])


def cosine(keys, memory):
    """Of each key [M, n, R, W] with each slot [M, n, P, W]: [M, n, R, P]. Its denominator is never 0."""
    length_of_keys, length_of_slots = (tf.sqrt(tf.reduce_sum(tf.square(x), -1) + 1e-16) for x in (keys, memory))
    products = tf.matmul(keys, memory, transpose_b=True)
    return products / (length_of_keys[..., None] * length_of_slots[:, :, None] + 1e-6)


def read(attention, memory):
    """What R heads [M, n, R, P] read of the slots [M, n, P, W], one after the other: [M, n, R·W]."""
    found = tf.matmul(attention, memory)
    return tf.reshape(found, [found.shape[0], layers.num_examples(found), found.shape[2] * found.shape[3]])
