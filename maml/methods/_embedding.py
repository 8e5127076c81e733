"""What methods that compare embedded examples share: one pass over the support set and no inner steps.

M tasks, N ways, n examples of a task; z is an embedding, [M, n, D], or a map, [M, n, h, w, D].
"""

import tensorflow as tf

from maml import inner_loop
from maml.layers import num_examples
from maml.method import Method, joined, mean_loss, num_tasks


def comparison(problem, network, summarise, compare, init=None, objective=None, clip_groups=()):
    """A Method that embeds the support set, keeps a summary, and compares the queries with it.

    network: the embedding.
    summarise: (weights, z of the support set, its labels [M, N·K, N]) -> {name: tensor}, M in front.
    compare: (state, z of n queries, reference=None) -> outputs [M, n, N]. The state is the summary, "weights" and
        "labels". reference: z of the support set, where each query is to be normalised by itself.
    init: as in `Method`; None: that of the embedding.
    objective: as in `Method`; None: `query_objective` with one pass for both sets.
    clip_groups: as in `Method`.
    """

    def state_of(weights, z, labels):
        return {"weights": weights, "labels": labels, **summarise(weights, z, labels)}

    def start(theta, support_x, support_y):
        weights = inner_loop.per_task(theta, num_tasks(support_x))
        return state_of(weights, network.forward(weights, support_x), support_y)

    def predict(state, x, reference=None):
        if reference is None:
            return compare(state, network.forward(state["weights"], x))
        # Support and queries must come from one network: the support is embedded again, by what normalises the queries.
        num_reference = num_examples(reference)
        both = network.forward(state["weights"], joined(reference, x), num_reference=num_reference)
        z = tf.ensure_shape(both[:, :num_reference], [both.shape[0], num_reference, *both.shape[2:]])
        return compare(state_of(state["weights"], z, state["labels"]), both[:, num_reference:], z)

    if objective is None:
        objective = query_objective(problem, network, summarise, compare, embed_together)
    return Method(init or network.init, start, None, predict, objective, network.for_xla, clip_groups=clip_groups)


def query_objective(problem, network, summarise, compare, embed, after_layer=lambda progress: None):
    """An objective: the mean over all queries of the problem's loss.

    embed: `embed_together` or `embed_apart`.
    after_layer: progress -> what `embed` takes as its last argument.
    Others as in `comparison`.
    """

    def objective(theta, episode, progress):
        weights = inner_loop.per_task(theta, num_tasks(episode))
        support, query, averages = embed(network, weights, episode, after_layer(progress))
        state = {"weights": weights, "labels": episode.support_y, **summarise(weights, support, episode.support_y)}
        outputs = compare(state, query)
        return measured(problem, outputs, mean_loss(problem, outputs, episode.query_y), episode, averages)

    return objective


def measured(problem, outputs, loss, episode, averages):
    """What an objective returns, of the outputs for the query sets, the loss [M], and the running averages."""
    result = {"loss": loss, "query_loss": loss, "carried": averages}
    if problem.metric is not None:
        result["query_accuracy"] = problem.metric(outputs, episode.query_y)
    return result


def embed_together(network, weights, episode, after_layer=None):
    """(z of the support set, z of the queries, running averages) in training, both sets normalised as one batch."""
    both = joined(episode.support_x, episode.query_x)
    z, averages = network.in_training(weights, both, after_layer)
    num_support = num_examples(episode.support_x)
    return z[:, :num_support], z[:, num_support:], averages


def embed_apart(network, weights, episode, after_layers=None):
    """The same, each set normalised by itself, as at test. The averages move by both, the support set first.

    after_layers: a pair, for the support set and for the queries; None: nothing.
    """
    of_support, of_query = after_layers or (None, None)
    support, averages = network.in_training(weights, episode.support_x, of_support)
    query, averages = network.in_training({**weights, **averages}, episode.query_x, of_query)
    return support, query, averages


def cosines(a, b):
    """[M, n, k]: of a [M, n, D] with b [M, k, D]."""
    return tf.matmul(tf.math.l2_normalize(a, -1), tf.math.l2_normalize(b, -1), transpose_b=True)


def best_of_class(similarities, labels):
    """[M, n, N]: the largest of [M, n, k] among the examples of each class, by their labels [M, k, N].

    A class without an example has −∞.
    """
    of_class = tf.where(labels[:, None] > 0, similarities[..., None], tf.constant(-float("inf"), similarities.dtype))
    return tf.reduce_max(of_class, 2)
