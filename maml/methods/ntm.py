"""A neural Turing machine as a sequence learner: its memory is addressed by content and by location.

[G] is its paper, Graves et al. 2014; [S2], as in mann.py, compares it with MANN. Letters as in _memory.py.
"""

from dataclasses import dataclass

import tensorflow as tf

from maml.methods import _memory, mann
from maml.methods._memory import cosine, dense, heads
from maml.methods._recurrent import Cell
from maml.methods._recurrent import build as build_recurrent
from maml.methods.card import Task, setting

SHIFTS = 3  # by −1, 0, 1 slots


@dataclass(frozen=True)
class Settings(_memory.Settings):
    """The neural Turing machine's own settings."""

    write_heads: int = setting(1, "heads that write", at_least=1)


def interpolate(content, before, gate):
    """g·w^c + (1 − g)·w_{t−1} ([G] equation 7)."""
    return gate * content + (1 - gate) * before


def shift(attention, shifts):
    """Attention [..., P] moved round by −1, 0 and 1 slots with the weights [..., 3] ([G] equation 8)."""
    return tf.add_n([shifts[..., i : i + 1] * tf.roll(attention, i - 1, -1) for i in range(SHIFTS)])


def sharpen(attention, power):
    """w^γ / Σ w^γ over the slots ([G] equation 9)."""
    # By logarithms: a power of small weights would be 0 for all slots in float32. Of 0 there is no logarithm.
    return tf.nn.softmax(power * tf.math.log(attention + 1e-16))


def write(memory, attention, erase, add):
    """M∘Π(1 − w e) + Σ w a: all heads erase, then all add ([G] equations 3, 4).

    memory [M, n, P, W], attention [M, n, heads, P], erase and add [M, n, heads, W].
    """
    kept = tf.reduce_prod(1 - attention[..., None] * erase[:, :, :, None], 2)
    return memory * kept + tf.matmul(attention, add, transpose_a=True)


def ntm_cell(settings):
    """The Cell. It says (h, r). The heads address the memory of the step before; it is read, then written."""
    reads, writes, width, hidden = settings.read_heads, settings.write_heads, settings.memory_width, settings.hidden
    count = reads + writes

    def init(seed, dtype):
        parts = {"key": count * width, "strength": count, "gate": count, "shift": count * SHIFTS, "power": count}
        parts |= {"erase": writes * width, "add": writes * width}
        controller = _memory.init_controller(hidden, reads * width, seed, dtype)
        return {**controller, **_memory.init_dense(parts, hidden, seed, dtype)}

    def begin(num_tasks, dtype):
        first = _memory.at_first_slot(num_tasks, count, settings.memory_slots, dtype)
        return {**_memory.begin(num_tasks, dtype, settings), "attention": first}

    def address(weights, state, h):
        def of(name):
            return heads(dense(weights, name, h), count)

        alike = tf.nn.softplus(of("strength")) * cosine(tf.tanh(of("key")), state["memory"])
        attention = interpolate(tf.nn.softmax(alike), state["attention"], tf.sigmoid(of("gate")))
        return sharpen(shift(attention, tf.nn.softmax(of("shift"))), 1 + tf.nn.softplus(of("power")))

    def step(weights, state, entering):
        h, c = _memory.control(weights, state, entering)
        attention = address(weights, state, h)
        read = _memory.read(attention[:, :, :reads], state["memory"])
        erase = tf.sigmoid(heads(dense(weights, "erase", h), writes))
        add = tf.tanh(heads(dense(weights, "add", h), writes))
        memory = write(state["memory"], attention[:, :, reads:], erase, add)
        new = {"h": h, "c": c, "read": read, "memory": memory, "attention": attention}
        return new, tf.concat([h, read], 2)

    return Cell(4 * hidden, hidden + reads * width, init, begin, step)


def build(settings, problem):
    """The Method."""
    return build_recurrent(problem, ntm_cell(settings), settings.body)


def preset(task: Task) -> dict:
    """MANN's, as [S2] compares them."""
    return mann.preset(task) | dict(clip=10.0)  # loudinthecloud/pytorch-ntm; without a clip these trainings blow up


CARD = mann.CARD._replace(
    title="NTM",
    paper="[G] Graves, Wayne, Danihelka 2014, arXiv 1410.5401; [S2] Santoro et al. 2016, arXiv 1605.06065",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(),
    differs=(
        "[S2] has it on strings of five characters for labels alone, whose numbers are of other tasks. One head "
        "writes; how many there is not known here. Tasks, images, optimiser and test are as MANN's here, and "
        "each entry of the gradient is cut to ±10."
    ),
)
