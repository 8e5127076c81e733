"""Matching networks: a query takes the labels of the support examples, by an attention on how similar they are.

[V] is the paper; [RL] is Ravi, Larochelle, ICLR 2017, who printed its numbers on their own split; [RL-code] is their
twitter/meta-learning-lstm at 0df7fc7. [P]: as in maml.py.

M tasks, N ways, n queries, k support examples, D features.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from maml.method import embedding_of
from maml.methods._embedding import comparison, cosines, embed_apart, query_objective
from maml.methods.card import ALONE, Card, Episodes, Reading, Record, Task, accuracy, not_run, setting, tasks_as_tested

FORWARD, BACKWARD, ATTENTION = (
    "fce_forward/",
    "fce_backward/",
    "fce_attention/",
)  # LSTMs, by what their names begin with


@dataclass(frozen=True)
class Settings(Record):
    """Matching networks' own settings."""

    normalised: str = setting(
        "both",
        "which embeddings have length 1: both, for the cosine, or those of the support alone",
        choices=("both", "support"),
        tag={"both": "cosine", "support": "support_normalised"},
    )
    votes: str = setting(
        "softmax",
        "how the examples of a class vote: softmax over all of the support set, or sums of similarities as logits",
        choices=("softmax", "sums"),
        tag={"softmax": "votes_softmax", "sums": "sums_of_cosines"},
    )
    fce: bool = setting(
        False, "full context embeddings, by LSTMs over the support set", tag={True: "fce", False: "no_fce"}
    )
    fce_steps: int = setting(3, "steps of the attention LSTM", at_least=1)
    fce_clip: float = setting(0.25, "largest norm of the attention LSTM's gradient", positive=True)
    dropout: float = setting(0.0, "share of the outputs of each block that training drops")

    def __post_init__(self):
        super().__post_init__()
        self.expect(0 <= self.dropout < 1, "dropout", "from 0 to below 1")


# Comparing


def similarities(queries, support, normalised="both"):
    """c(z, z_i): z [M, n, D], z_i [M, k, D] -> [M, n, k]. The cosine; `normalised`="support": |z| times it."""
    if normalised == "both":
        return cosines(queries, support)
    return tf.matmul(queries, tf.math.l2_normalize(support, -1), transpose_b=True)


def attention_on_classes(similar, labels):
    """log P(n | z): the logarithm of the share that class n has in the softmax over all k examples ([V] equation 1).

    similar [M, n, k], one-hot labels [M, k, N] -> [M, n, N].
    """
    others = tf.constant(-float("inf"), similar.dtype)
    of_class = tf.where(labels[:, None] > 0, similar[..., None], others)
    return tf.reduce_logsumexp(of_class, 2) - tf.reduce_logsumexp(similar, 2, keepdims=True)


def sums(similar, labels):
    """The similarities to the examples of each class, summed, as logits ([RL-code]): [M, n, k] -> [M, n, N]."""
    return tf.matmul(similar, labels)


# Full context embeddings


def lstm_weights(name, size, inputs, dtype):
    """θ of an LSTM whose gates see `inputs` numbers: zeros ([RL-code]), so that it begins as no LSTM at all.

    In the columns of the matrix: input gate, forget gate, output gate, candidate.
    """
    return {f"{name}w": tf.zeros([inputs, 4 * size], dtype), f"{name}b": tf.zeros([4 * size], dtype)}


def lstm_step(weights, name, seen, cell):
    """(output, cell) of an LSTM after a step: seen [M, n, inputs], cell [M, n, D]."""
    gates = tf.matmul(seen, weights[f"{name}w"]) + weights[f"{name}b"][:, None]
    admit, keep, emit, candidate = tf.split(gates, 4, -1)
    cell = tf.sigmoid(keep) * cell + tf.sigmoid(admit) * tf.tanh(candidate)
    return tf.sigmoid(emit) * tf.tanh(cell), cell


def read(weights, name, sequence):
    """[M, k, D]: the outputs of an LSTM over a sequence [M, k, D], from its first element to its last."""
    output = cell = tf.zeros_like(sequence[:, :1])
    outputs = []
    for i in range(sequence.shape[1]):
        output, cell = lstm_step(weights, name, tf.concat([sequence[:, i : i + 1], output], -1), cell)
        outputs.append(output)
    return tf.concat(outputs, 1)


def embed_support(weights, support):
    """g(x_i, S) = h→_i + h←_i + g'(x_i), over the support as a sequence ([V] appendix A): [M, k, D] -> [M, k, D]."""
    backward = tf.reverse(read(weights, BACKWARD, tf.reverse(support, [1])), [1])
    return read(weights, FORWARD, support) + backward + support


def embed_queries(weights, queries, support, steps):
    """f(x, S): h of an LSTM after `steps` steps, which attends to the support g in each ([V] appendix A).

    queries f' [M, n, D], support g [M, k, D] -> [M, n, D].
    """
    hidden = cell = tf.zeros_like(queries)
    for _ in range(steps):
        attention = tf.nn.softmax(tf.matmul(hidden, support, transpose_b=True))  # by dot products; at first the mean
        attended = tf.matmul(attention, support)
        output, cell = lstm_step(weights, ATTENTION, tf.concat([queries, hidden, attended], -1), cell)
        hidden = output + queries
    return hidden


def in_random_order(function, sequence):
    """function(sequence [M, k, D]) on its elements in an order that is random but always the same, then put back.

    Support sets come class by class, in training shuffled: an LSTM must not meet the first at test.
    """
    order = np.random.default_rng(0).permutation(sequence.shape[1])
    return tf.gather(function(tf.gather(sequence, order, axis=1)), np.argsort(order), axis=1)


def initial_lstms(size, dtype):
    """θ of the three LSTMs on embeddings of so many features."""
    return {
        **lstm_weights(FORWARD, size, 2 * size, dtype),
        **lstm_weights(BACKWARD, size, 2 * size, dtype),
        **lstm_weights(ATTENTION, size, 3 * size, dtype),
    }


# The method


def dropout(rate, progress, which):
    """An `after_layer` (see `networks.Network`): outputs are dropped with probability `rate`, the others scaled up.

    What is dropped is a function of the progress of the training and of `which` set of examples it is, 0 or 1, and the
    same for all tasks.
    """
    step = tf.bitcast(tf.cast(progress, tf.float32), tf.int32)

    def after_layer(hidden, i):
        kept = tf.random.stateless_uniform(tf.shape(hidden)[1:], [step, 2 * i + which]) >= rate
        return hidden * tf.cast(kept, hidden.dtype) / (1 - rate)

    return after_layer


def build(settings, problem):
    """The Method. Its state is each task's weights, labels and embedded support set."""
    network = embedding_of(problem)
    of_similarities = attention_on_classes if settings.votes == "softmax" else sums

    def init(seed):
        weights = network.init(seed)
        if not settings.fce:
            return weights
        return weights | initial_lstms(*network.output_shape, next(iter(weights.values())).dtype)

    def summarise(weights, z, labels):
        if settings.fce:
            z = in_random_order(lambda sequence: embed_support(weights, sequence), z)
        return {"support": z}

    def compare(state, z, reference=None):
        support = state["support"]
        if settings.fce:
            z = embed_queries(state["weights"], z, support, settings.fce_steps)
        return of_similarities(similarities(z, support, settings.normalised), state["labels"])

    def after_layer(progress):
        return [dropout(settings.dropout, progress, which) for which in (0, 1)] if settings.dropout else None

    objective = query_objective(problem, network, summarise, compare, embed_apart, after_layer)
    clip_groups = ((lambda name: name.startswith(ATTENTION), settings.fce_clip),) if settings.fce else ()
    return comparison(problem, network, summarise, compare, init, objective, clip_groups)


def preset(task: Task) -> dict:
    """The published settings for a data source: [RL-code]'s for photographs; for drawings [V] says little."""
    photographs = task.photographs
    return dict(
        num_queries=15,  # [RL-code]
        num_tasks=1,  # [RL-code]
        # [RL-code]. Ours for drawings: twice the episodes of prototypical networks, since cosines learn more slowly.
        metatrain_iterations=75000 if photographs else 20000,
        meta_lr=1e-4 if photographs else 0.001,  # [RL-code]; ours for drawings
        fce=photographs,  # [V]: no gain on Omniglot
        fce_steps=3,  # [RL-code]
        fce_clip=0.25,  # [RL-code]
        dropout=0.1 if photographs else 0.0,  # [RL-code]
        norm="batch_norm",  # [V]
        norm_scale=True,  # [RL-code]: Torch's batch norm
        norm_averages=True,  # [RL-code] at test
        norm_epsilon=0.001,  # [RL-code]
        num_filters=64,  # [V]
        max_pool=True,  # [V]
        tasks_per_chunk=1,
        jit=False,  # ours: an episode's maps are many, and TensorFlow's own kernels faster on them
    )


def episodes(task: Task, settings) -> Episodes:
    """Ways and shots as at test; the support shuffled, as LSTMs read it in its order ([RL-code])."""
    return tasks_as_tested(task, settings)._replace(shuffled=settings.fce)


def reading(task: Task, settings) -> Reading:
    """There are no inner steps."""
    return Reading(0, 0)


_SUMS = {"votes": "sums"}  # what [RL-code] computes; for one shot it is the same
_NO_FCE = {"fce": False}


def _imagenet(one_shot, five_shot):
    return {("miniimagenet", 5, 1): one_shot, ("miniimagenet", 5, 5): five_shot}


_TUNED = {("omniglot", 5, 1): 97.9, ("omniglot", 5, 5): 98.7, ("omniglot", 20, 1): 93.5, ("omniglot", 20, 5): 98.7}
_OTHER_SPLIT = {
    "matching networks, no FCE, [V]'s split": _imagenet(41.2, 56.2),
    "the same, tuned on each support set": _imagenet(42.4, 58.0),
    "matching networks, [V]'s split": _imagenet(44.2, 57.0),
    "the same with FCE, tuned on each support set": _imagenet(46.6, 60.0),
}
_BY_SNELL = {  # trained with the K of the test
    "matching networks by Snell et al., trained with 5 ways": _imagenet(38.82, 54.60),
    "matching networks by Snell et al., trained with 20 ways": _imagenet(43.63, 55.77),
}

CARD = Card(
    title="matching networks",
    paper="[V] Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra 2016, arXiv 1606.04080",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        accuracy(("omniglot", 5, 1), 98.1, 0, "[P] table 1, Omniglot"),
        accuracy(("omniglot", 5, 5), 98.9, 0, "[P] table 1, Omniglot"),
        accuracy(("omniglot", 20, 1), 93.8, 0, "[P] table 1, Omniglot"),
        accuracy(("omniglot", 20, 5), 98.5, 0, "[P] table 1, Omniglot"),
        accuracy(("miniimagenet", 5, 1), (43.56, 0.84), 0, "[P] table 1, MiniImagenet", also=(_SUMS,)),
        accuracy(("miniimagenet", 5, 5), (55.31, 0.73), 0, "[P] table 1, MiniImagenet", variant=_SUMS),
        accuracy(("miniimagenet", 5, 1), (43.40, 0.78), 0, "[RL], second-hand", variant=_NO_FCE, also=(_SUMS,)),
        accuracy(("miniimagenet", 5, 5), (51.09, 0.71), 0, "[RL], second-hand", variant=_NO_FCE | _SUMS),
        *not_run("matching networks, tuned on each support set", "[V] table 1, second-hand", _TUNED),
        *(row for label, cells in _OTHER_SPLIT.items() for row in not_run(label, "[V] table 2, second-hand", cells)),
        *(row for label, cells in _BY_SNELL.items() for row in not_run(label, "[S] table 5", cells)),
    ),
    learns=("classification",),
    reading=reading,
    episodes=episodes,
    curve_title="query points of training's own episodes",
    curve_loss="mean cross-entropy (nats)",
    normalisation=ALONE,
    differs=(
        "On Omniglot the paper holds out whole alphabets and counts every turn as a class; here are MAML's characters "
        "and tasks, and step size, length and queries are ours, as the paper gives none. Both sets move one running "
        "average; [RL-code] keeps one for each. [RL-code] adds the backward LSTM's outputs in the order of reading, so "
        "that each meets another example than its own; here they are put back. Convolutions start Xavier uniform and γ "
        "at 1. On a cosine from 0 to 1 the paper's softmax is nearly flat: at 20 ways a right class has no more than "
        "12.5 % of it, and learning is slow; with --normalised=support it isn't."
    ),
)
