"""Several networks that answer together: each learns a task by itself, and their outputs are averaged."""

import tensorflow as tf

from maml.method import Method


def ensemble(method: Method) -> Method:
    """The Method of several θ, a tuple of them, for tests alone: it has no init and no objective.

    Its state is the tuple of theirs. Its outputs are the mean of theirs as they are, without a softmax
    (AntreasAntoniou/HowToTrainYourMAMLPytorch at 8696470, experiment_builder.py).
    """

    def start(thetas, support_x, support_y):
        return tuple(method.start(theta, support_x, support_y) for theta in thetas)

    def step(states, support_x, support_y, inner_lr=None):
        return tuple(method.step(state, support_x, support_y, inner_lr) for state in states)

    def predict(states, x, reference=None):
        each = [method.predict(state, x, reference) for state in states]
        return tf.nest.map_structure(lambda *outputs: tf.add_n(outputs) / len(outputs), *each)

    return method._replace(init=None, start=start, step=method.step and step, predict=predict, objective=None)
