"""What methods that learn a task by gradient steps share: a state that is each task's own copy of the weights."""

import tensorflow as tf

from maml import inner_loop, layers
from maml.method import embedding_of, joined, num_shots, num_tasks
from maml.networks import Network
from maml.networks import is_adapted as is_adapted_by_maml

UNROLLED = 20  # inner steps that a graph has one after the other: those of all presets


def start(theta, support_x, support_y):
    """θ_i = θ for each of the M tasks: the state before the first step."""
    return inner_loop.per_task(theta, num_tasks(support_x))


def gradient_step(problem, network, inner_lr, first_order=False, is_adapted=is_adapted_by_maml):
    """A Method's `step`: θ_i ← θ_i − α ∇ L_i(θ_i) on the support set (algorithm 1, line 6).

    inner_lr: α, or a function of the state, for rates that are in it. Others as in `inner_loop.inner_update`.
    """
    own_lr = inner_lr

    def step(state, support_x, support_y, inner_lr=None):
        def task_loss(weights):
            return problem.loss(network.forward(weights, support_x), support_y, num_shots(support_y))

        rate = inner_lr if inner_lr is not None else own_lr(state) if callable(own_lr) else own_lr
        return inner_loop.inner_update(task_loss, state, rate, first_order, is_adapted)[0]

    return step


def after_steps(step, state, support_x, support_y, count):
    """The state, a nest of tensors, after `count` inner steps by a Method's `step`.

    Beyond UNROLLED it is a loop, with the same numbers to rounding: a graph of thousands of steps takes hours to make.
    """
    if count <= UNROLLED:
        for _ in range(count):
            state = step(state, support_x, support_y)
        return state
    begun = tf.nest.flatten(state)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([tensor for tensor in begun if tensor.dtype.is_floating])
        first = step(state, support_x, support_y)
    now = tf.nest.flatten(first)
    # The gradient of a loop is zeros where nothing connects its start with its end. What a step leaves alone goes past
    # it, and is a constant within where no gradient reaches it: a weight without any can still be told by None.
    moved = [i for i, (before, after) in enumerate(zip(begun, now)) if after is not before]
    reached = tape.gradient([now[i] for i in moved if now[i].dtype.is_floating], begun)
    inside = [tf.stop_gradient(tensor) if gradient is None else tensor for tensor, gradient in zip(now, reached)]

    def one(number, *moving):
        whole = list(inside)
        for i, tensor in zip(moved, moving):
            whole[i] = tensor
        after = tf.nest.flatten(step(tf.nest.pack_sequence_as(first, whole), support_x, support_y))
        return number + 1, *(after[i] for i in moved)

    start_at = (1, *(now[i] for i in moved))
    _, *end = tf.while_loop(lambda number, *_: number < count, one, start_at, maximum_iterations=count - 1)
    for i, tensor in zip(moved, end):
        now[i] = tensor
    return tf.nest.pack_sequence_as(first, now)


def distance(weights, targets):
    """½‖θ_i − target_i‖² over all weights that have a target, [M]: its gradient in θ_i is θ_i − target_i."""
    squares = [tf.square(weights[name] - target) for name, target in targets.items()]
    return 0.5 * tf.add_n([tf.reduce_sum(tf.reshape(s, [s.shape[0], -1]), 1) for s in squares])


def prediction(forward):
    """A Method's `predict` by a network's `forward` (see `networks.Network`)."""

    def predict(state, x, reference=None):
        if reference is None:
            return forward(state, x)
        num_reference = layers.num_examples(reference)
        outputs = forward(state, joined(reference, x), num_reference=num_reference)
        return tf.nest.map_structure(lambda of_both: of_both[:, num_reference:], outputs)

    return predict


def last_layer_names(problem):
    """The names of what the network has and its embedding hasn't: the last layer's weights, in alphabetical order."""
    return sorted(problem.network(problem.num_outputs).init(0).keys() - embedding_of(problem).init(0).keys())


def last_layer(problem):
    """The last layer as a Network, from features [M, n, D] to outputs: a matrix, and a bias if it has one."""
    network, (*bias, matrix) = problem.network(problem.num_outputs), last_layer_names(problem)

    def init(seed):
        weights = network.init(seed)
        return {name: weights[name] for name in (*bias, matrix)}

    def forward(weights, features, num_reference=None):
        outputs = layers.dense(features, weights[matrix])
        return layers.add_bias(outputs, weights[bias[0]]) if bias else outputs

    return Network(init, forward)
