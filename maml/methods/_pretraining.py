"""Pre-training: a classifier of all training classes, whose body a gradient method then starts its tasks from.

The recipe is Ravi and Larochelle's baseline (fine_tuning.py), before any method that takes inner steps. B images.
"""

import tensorflow as tf

from maml import inner_loop
from maml.methods._classifier import TRAINING, last_layer, training_only, without_it


def on_own(objective):
    """The objective of a method, as one of a θ that has the classifier's last layer besides."""
    return lambda theta, batch, progress: objective(without_it(theta), batch, progress)


def with_classifier(method, problem):
    """The Method with the last layer of a classifier of all training classes in its θ, which only training needs."""
    return method._replace(
        init=lambda seed: method.init(seed) | last_layer(problem, seed),
        start=lambda theta, *support: method.start(without_it(theta), *support),
        objective=on_own(method.objective),
        training_only=method.training_only | training_only(problem),
    )


def classifier(theta, shapes):
    """The classifier's weights among a method's θ. shapes: {name: shape} of the network's.

    Where the method has one for each inner step, [T, …], it is their mean: all then move alike.
    """
    weights = {name: theta.get(TRAINING + name, theta.get(name)) for name in shapes}
    per_step = [name for name, shape in shapes.items() if weights[name].shape.rank > shape.rank]
    return weights | {name: tf.reduce_mean(weights[name], 0) for name in per_step}


def objective_of(problem):
    """The objective: the mean cross-entropy of a Batch over all training classes, by the statistics of the batch."""
    network = problem.network(problem.num_train_classes)
    shapes = {name: w.shape for name, w in network.init(0).items()}

    def objective(theta, batch, progress):
        weights = inner_loop.per_task(classifier(theta, shapes), batch.x.shape[0])
        outputs = network.forward(weights, batch.x)
        loss = problem.loss(outputs, batch.y, batch.y.shape[1])
        return {"loss": loss, "support_loss": loss, "support_accuracy": problem.metric(outputs, batch.y)}

    return objective
