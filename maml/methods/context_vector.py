"""The context vector: MAML with one change, that the inner steps move only an input beside each image.

[P], appendix C.2, as in maml.py. The idea is Rei 2015's. [P] doesn't give the context's size, its step size, nor code.

M tasks, n examples of a task, H x W images.
"""

from dataclasses import dataclass

import tensorflow as tf

from maml.layers import num_examples
from maml.method import Method, query_loss, shape_of_one_tensor
from maml.methods import maml
from maml.methods._gradient import after_steps, gradient_step, prediction, start
from maml.methods.card import Card, Reading, Record, Task, accuracy, setting
from maml.networks import Network

CONTEXT = "context"  # the entry of θ: z, [H, W, context_channels]


@dataclass(frozen=True)
class Settings(Record):
    """The context vector's own settings."""

    inner_lr: float = setting(0.1, "α: step size of the inner loop, on the context", flag="update_lr", positive=True)
    num_updates: int = setting(1, "inner steps in training", at_least=1)
    context_channels: int = setting(4, "channels of z, beside those of the image", at_least=1)


def with_context(problem, num_channels):
    """The Network that sees each image with z as more channels, the same z for all images of a task.

    z has a value for each pixel. One for each channel would be lost: it adds the same to a whole map, which batch norm
    subtracts again; only at the border, where a convolution pads with zeros, some of it would be left.
    """
    *space, channels = shape_of_one_tensor(problem)
    network = problem.network(problem.num_outputs, (*space, channels + num_channels))

    def init(seed):
        weights = network.init(seed)
        return weights | {CONTEXT: tf.zeros([*space, num_channels], next(iter(weights.values())).dtype)}  # ours

    def forward(weights, x, num_reference=None):
        z = weights[CONTEXT]
        planes = tf.broadcast_to(z[:, None], [z.shape[0], num_examples(x), *z.shape[1:]])
        return network.forward(weights, tf.concat([x, planes], -1), num_reference)

    return Network(init, forward, for_xla=network.for_xla, output_shape=network.output_shape)


def is_adapted(name):
    """Whether an inner step moves this entry of θ: z alone."""
    return name == CONTEXT


def build(settings, problem):
    """The Method. Its state is each task's weights, of which only z_i differs from θ."""
    network = with_context(problem, settings.context_channels)
    predict = prediction(network.forward)
    step = gradient_step(problem, network, settings.inner_lr, is_adapted=is_adapted)

    def objective(theta, episode, progress):
        initial = start(theta, episode.support_x, episode.support_y)
        adapted = after_steps(step, initial, episode.support_x, episode.support_y, settings.num_updates)
        return query_loss(problem, predict, initial, adapted, episode)

    return Method(network.init, start, step, predict, objective, network.for_xla)


def preset(task: Task) -> dict:
    """MAML's settings for the task ([P]: the same protocol), but for the step size and the context."""
    kept = {name: value for name, value in maml.preset(task).items() if name not in ("inner_lr", "first_order")}
    return kept | dict(
        # Ours: on validation tasks of Omniglot 5-way 1-shot, after 100 iterations of 8 tasks, better than 1 and 10, and
        # after 400 as good as 0.02. Not tried on others.
        inner_lr=0.1,
        context_channels=4,  # ours
    )


def reading(task: Task, settings) -> Reading:
    """As MAML's ([P] C.2: the same protocol)."""
    return maml.reading(task, settings)


CARD = Card(
    title="context vector",
    paper=maml.CARD.paper,
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        accuracy(("omniglot", 5, 1), (94.9, 0.9), 3, "[P] appendix C.2"),
        accuracy(("omniglot", 5, 5), (97.7, 0.3), 3, "[P] appendix C.2"),
    ),
    learns=("classification",),
    reading=reading,
    # A dense layer adds the same to every example for a z, which batch norm subtracts again.
    unused=(*maml.CARD.unused, "conv"),
    differs=(
        "[P] joins the context to the image channel-wise and gives neither its size nor its step size: here it has the "
        "image's height and width, 4 channels, starts at 0, and its step size is ours."
    ),
)
