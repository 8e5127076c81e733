"""What every few-shot method is: pure functions of its weights and of tasks, made for a problem.

M tasks, always the leading axis; N ways, K support and Q query examples a class, n examples of a task. Every function
works eagerly and compiled, in float32 and float64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from data_generators.errors import UserError


class Problem(NamedTuple):
    """What a data source and a network's settings give a method to work with.

    input_shape: of one example: (H, W, C), (1,), …; where it is a dict of tensors, a dict of shapes.
    num_outputs: N classes, or the output dimensions of a regression.
    network: (number of outputs, shape of an input = input_shape) -> `networks.Network`, the paper's, from inputs to
        outputs.
    embedding: () -> Network, the same without its last layer, from inputs to features [M, n, D]; None: there is none.
    maps: (shape of an input, blocks) -> Network of other blocks (see `networks.conv_maps`) with the same filters and
        normalisation, from images or maps to maps; None where the network isn't convolutional.
    loss: (outputs [M, n, N], targets [M, n, N], num_shots) -> [M]; num_shots is K of the support set.
    metric: (outputs, targets) -> [M], reported beside the loss: accuracy; None for a regression.
    num_train_classes: how many classes there are to train on; None where there are none.
    """

    input_shape: tuple
    num_outputs: int
    network: Callable
    embedding: Callable | None
    loss: Callable
    metric: Callable | None
    num_train_classes: int | None = None
    maps: Callable | None = None


class Method(NamedTuple):
    """A few-shot method.

    init: seed -> θ, {name: tensor}.
    start: (θ, support_x [M, N·K, …], support_y [M, N·K, N]) -> state after 0 inner steps: any nest, M in front.
    step: (state, support_x, support_y, inner_lr=None) -> state after one more; None: the method has no inner steps.
    predict: (state, x [M, n, …], reference=None) -> outputs [M, n, N]. Without a reference the examples x are
        normalised together. reference: the support inputs; each of x is then normalised by itself, by statistics that
        are not its own.
    objective: (θ, Episode or Batch, progress in [0, 1)) -> {"loss": [M]}, which training minimises, and what else is to
        be recorded, by name, each [M]. "carried": {name: [M, …]} are entries of θ that no gradient moves; after an
        update they are the mean over the tasks of what is given here. "coupled": [M], see `couple`.
    couple: what the objective calls "coupled", of all tasks of a meta-update, [M] -> a scalar that training adds to the
        mean of their losses, whatever the chunks they are computed in; None: the tasks have nothing to do with one
        another.
    xla: whether all this may be compiled by XLA.
    training_only: names of the entries of θ that `start` does not read: a test does without them.
    clip_groups: ((name -> bool, c), …): in training the gradient of the entries of θ so named is scaled, all of them
        together, to a norm of c at most.
    """

    init: Callable
    start: Callable
    step: Callable | None
    predict: Callable
    objective: Callable
    xla: bool = True
    training_only: frozenset = frozenset()
    clip_groups: tuple = ()
    couple: Callable | None = None


def num_shots(labels: Any) -> float:
    """K of one-hot support labels [M, n, N]: n / N, the mean number of examples a class. Of a nest, by its first."""
    first = tf.nest.flatten(labels)[0]
    return first.shape[1] / first.shape[2]


def mean_loss(problem, outputs, targets):
    """[M]: a classifier's loss as a mean over the examples, where the problem's is their sum divided by K."""
    return problem.loss(outputs, targets, targets.shape[1])


def times_the_mean(problem):
    """How many times the mean over a task's support examples the problem's loss is: N of a classifier, else 1.

    A step size that belongs to that mean is so many times one of the problem's loss. That matters where it is learnt:
    Adam moves an entry of θ by about β an update, whatever its unit.
    """
    return 1 if problem.metric is None else problem.num_outputs


def query_loss(problem, predict, initial, adapted, episode):
    """What MAML minimises: L_i(θ'_i) on each task's query set (algorithm 1, line 8; algorithm 2, line 10).

    problem, predict: a `Problem`, a Method's `predict`.
    initial, adapted: the states before the first and after the last inner step.
    episode: M tasks.
    Returns {"loss", "query_loss"}, both the loss of `adapted` on the query sets, [M], divided by the K of the support
    set; "support_loss", that of `initial` on the support sets; and with a metric "support_accuracy", "query_accuracy".
    """
    shots = num_shots(episode.support_y)
    support_outputs = predict(initial, episode.support_x)
    query_outputs = predict(adapted, episode.query_x)
    query = problem.loss(query_outputs, episode.query_y, shots)
    result = {
        "loss": query,
        "support_loss": problem.loss(support_outputs, episode.support_y, shots),
        "query_loss": query,
    }
    if problem.metric is not None:
        result["support_accuracy"] = problem.metric(support_outputs, episode.support_y)
        result["query_accuracy"] = problem.metric(query_outputs, episode.query_y)
    return result


def num_tasks(batch: Any) -> int:
    """M of an Episode, a Batch, or any nest of tensors with the task axis in front."""
    return tf.nest.flatten(batch)[0].shape[0]


def joined(*examples: Any) -> Any:
    """Inputs [M, n, …], tensors or nests alike, one after the other: [M, n + n', …]."""
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, 1), *examples)


def embedding_of(problem: Problem) -> Any:
    """The problem's embedding, a Network; UserError where it has none, which not every method can do without."""
    if problem.embedding is None:
        raise UserError("the Problem has no embedding, expected one: this method is made of features")
    return problem.embedding()


def shape_of_one_tensor(problem: Problem) -> tuple:
    """The problem's input_shape, if an example is one tensor; UserError for a nest, which not every method takes."""
    if not isinstance(problem.input_shape, (tuple, list)):
        raise UserError(f"input_shape is {problem.input_shape}, expected that of one tensor: this method takes no nest")
    return tuple(problem.input_shape)
