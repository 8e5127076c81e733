"""MAML's algorithm 1 and 2 (Finn, Abbeel, Levine 2017), for all tasks at once.

| here                                | paper                                         |
|-------------------------------------|-----------------------------------------------|
| `weights`, one network              | θ                                             |
| `weights`, task axis in front       | θ'_i, i = 1 … M                               |
| `inner_lr`                          | α                                             |
| support set, query set              | D, D'_i: the K examples to adapt on, the new ones |
| `loss(outputs, targets)` -> [M]     | L_{T_i}                                       |

A network is any `forward(weights, x)` and any `loss(outputs, targets)` whose tensors have the task axis M in front;
`single_task` makes such functions from ones written for one task.
"""

import functools
import inspect

import tensorflow as tf

from data_generators.errors import UserError
from maml.losses import check_one_a_task


def per_task(weights, num_tasks):
    """θ, copied for each task: {name: [...]} -> {name: [M, ...]}. Gradients flow back as the sum over tasks."""
    check_flat(weights)
    return {name: tf.broadcast_to(w, [num_tasks, *w.shape]) for name, w in weights.items()}


def check_flat(weights):
    """UserError unless weights are {name: tensor}, one dict and no nest of them."""
    if not isinstance(weights, dict):
        raise UserError(f"weights are {type(weights).__name__}, expected a dict, {{name: tensor}}")
    if odd := [name for name, w in weights.items() if isinstance(w, (dict, list, tuple)) or not hasattr(w, "shape")]:
        kind = type(weights[odd[0]]).__name__
        raise UserError(
            f"{odd[0]!r} of the weights is {kind}, expected a tensor: one dict, {{name: tensor}}, no nest of them"
        )


def task_gradients(task_loss, weights, is_adapted=None):
    """({name: ∇ L_i(θ_i), [M, ...]} for the weights that are adapted, losses [M]). Arguments as in `inner_update`.

    UserError for a loss that isn't one number a task.
    """
    found, losses = _gradients(task_loss, weights, is_adapted)
    return {name: tf.zeros_like(weights[name]) if g is None else g for name, g in found.items()}, losses


def _gradients(task_loss, weights, is_adapted):
    """As `task_gradients`, with None for weights that the loss does not depend on."""
    adapted = {name: w for name, w in weights.items() if is_adapted is None or is_adapted(name)}
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(adapted)
        losses = task_loss(weights)
        for weight in list(weights.values())[:1]:
            check_one_a_task(losses, weight.shape[0])
        total = tf.reduce_sum(losses)
    return tape.gradient(total, adapted), losses


def inner_update(task_loss, weights, inner_lr, first_order=False, is_adapted=None):
    """One gradient step of every task on its own weights: θ'_i = θ_i − α ∇ L_i(θ_i) (algorithm 1, line 6).

    task_loss: {name: [M, ...]} -> losses [M]. Tasks don't touch each other's copies, so the gradient of the *sum* of
    the losses is each task's own gradient.
    inner_lr: α, a number for all weights; or one for each, {name: a tensor that broadcasts to the weight}.
    first_order: the gradient counts as a constant in what follows, which drops the second derivatives ([P] 5.2).
    is_adapted: name -> bool, which weights take the step (default: all). The others come back as they are, as do those
        that the loss does not depend on: the same tensors.
    Returns the new weights and the losses [M] before the step. `weights` is left alone.
    """
    found, losses = _gradients(task_loss, weights, is_adapted)
    gradients = {name: g for name, g in found.items() if g is not None}
    if first_order:
        gradients = tf.nest.map_structure(tf.stop_gradient, gradients)
    rates = inner_lr if isinstance(inner_lr, dict) else dict.fromkeys(found, inner_lr)
    if missing := [name for name in found if name not in rates]:
        raise UserError(
            f"inner_lr has no step size for {', '.join(missing)}, expected one for each weight that is adapted"
        )
    stepped = {n: weights[n] - tf.convert_to_tensor(rates[n], g.dtype) * g for n, g in gradients.items()}
    return {**weights, **stepped}, losses


def adapt(task_loss, weights, inner_lr, num_updates, first_order=False, is_adapted=None):
    """The weights after 0, 1, … `num_updates` inner steps. Others as in `inner_update`."""
    trajectory = [weights]
    for _ in range(num_updates):
        weights, _ = inner_update(task_loss, weights, inner_lr, first_order, is_adapted)
        trajectory.append(weights)
    return trajectory


def single_task(function):
    """Turns f(a, b) written for one task, e.g. forward(weights, x) or loss(outputs, targets), into one for M tasks.

    The adapter maps f over the task axis with `tf.map_fn`: model-agnostic, and slower than a function written with the
    task axis. Only the leading axis of `a` and `b` is taken off, whatever nest of tensors they are, and what f returns.
    A forward that is to normalise each query by itself has a third parameter, num_reference=None (see `Network`).

    A loop's gradient is a tensor of zeros where nothing connects input and output. What no gradient of f reaches
    therefore goes in as a constant, so that it has no gradient here either and can be told (see `meta_gradient`).
    """

    parameters = inspect.signature(function).parameters.values()
    passes_on = any(p.name == "num_reference" or p.kind is p.VAR_KEYWORD for p in parameters)

    def mapped(a, b, num_reference=None):
        if num_reference is not None and not passes_on:
            raise UserError(
                "the network's forward has no parameter num_reference, expected one, by which each query is normalised "
                "by itself; where examples don't depend on each other it may be ignored"
            )
        one_task = functools.partial(function, num_reference=num_reference) if passes_on else function
        num_tasks = tf.nest.flatten(b)[0].shape[0]
        one = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), (a, b))
        signature, reached = _traced(one_task, one)
        inputs = [t if is_reached else tf.stop_gradient(t) for t, is_reached in zip(tf.nest.flatten((a, b)), reached)]
        inputs = tf.nest.pack_sequence_as((a, b), inputs)
        return tf.map_fn(lambda t: one_task(*t), inputs, fn_output_signature=signature, parallel_iterations=num_tasks)

    return mapped


def _traced(function, specs):
    """(TensorSpecs of a function's outputs, a nest; for each of its flat inputs whether their gradient reaches it)."""
    reached = []

    @tf.function
    def with_gradient(*arguments):
        inputs = tf.nest.flatten(arguments)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([t for t in inputs if t.dtype.is_floating])
            output = function(*arguments)
        floats = [t for t in tf.nest.flatten(output) if t.dtype.is_floating]
        reached[:] = [g is not None for g in tape.gradient(floats, inputs)] if floats else [False] * len(inputs)
        return output

    output = with_gradient.get_concrete_function(*specs).structured_outputs
    return tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), output), reached
