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

import tensorflow as tf


def per_task(weights, num_tasks):
    """θ, copied for each task: {name: [...]} -> {name: [M, ...]}. Gradients flow back as the sum over tasks."""
    return {name: tf.broadcast_to(w, [num_tasks, *w.shape]) for name, w in weights.items()}


def task_gradients(task_loss, weights, is_adapted=None):
    """({name: ∇ L_i(θ_i), [M, ...]} for the weights that are adapted, losses [M]). Arguments as in `inner_update`."""
    adapted = {name: w for name, w in weights.items() if is_adapted is None or is_adapted(name)}
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(adapted)
        losses = task_loss(weights)
        total = tf.reduce_sum(losses)
    return tape.gradient(total, adapted, unconnected_gradients=tf.UnconnectedGradients.ZERO), losses


def inner_update(task_loss, weights, inner_lr, first_order=False, is_adapted=None):
    """One gradient step of every task on its own weights: θ'_i = θ_i − α ∇ L_i(θ_i) (algorithm 1, line 6).

    task_loss: {name: [M, ...]} -> losses [M]. Tasks don't touch each other's copies, so the gradient of the *sum* of
    the losses is each task's own gradient.
    inner_lr: α, a number for all weights; or one for each, {name: a tensor that broadcasts to the weight}.
    first_order: the gradient counts as a constant in what follows, which drops the second derivatives ([P] 5.2).
    is_adapted: name -> bool, which weights take the step (default: all); the others come back as they are.
    Returns the new weights and the losses [M] before the step. `weights` is left alone.
    """
    gradients, losses = task_gradients(task_loss, weights, is_adapted)
    if first_order:
        gradients = tf.nest.map_structure(tf.stop_gradient, gradients)
    rates = inner_lr if isinstance(inner_lr, dict) else dict.fromkeys(gradients, inner_lr)
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
    task axis. Only the leading axis of `a` and `b` is taken off, whatever nest of tensors they are.
    """

    def mapped(a, b):
        num_tasks = tf.nest.flatten(b)[0].shape[0]
        one = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), (a, b))
        output = tf.function(function).get_concrete_function(*one).structured_outputs
        signature = tf.TensorSpec(output.shape, output.dtype)
        return tf.map_fn(lambda t: function(*t), (a, b), fn_output_signature=signature, parallel_iterations=num_tasks)

    return mapped
