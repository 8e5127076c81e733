"""The fine-tuning baseline: a classifier of all training classes, trained on a support set with a new last layer.

[RL] is the paper that printed it; [RL-code] is twitter/meta-learning-lstm at 0df7fc7. [V]: Vinyals et al. 2016. [P]: as
in maml.py.
"""

from dataclasses import dataclass

import tensorflow as tf

from maml import inner_loop, networks
from maml.method import Method, mean_loss, query_loss
from maml.methods import _classifier, _gradient
from maml.methods._classifier import last_layer, pretraining, training_only, without_it
from maml.methods.card import ALONE, Card, Reading, Record, Task, accuracy, not_run, setting

# [RL-code]: the candidates for the step size at test.
STEP_SIZES = (1e-5, 1e-4, 0.001, 0.01, 0.1, 0.5)


@dataclass(frozen=True)
class Settings(Record):
    """Fine-tuning's own settings."""

    inner_lr: float = setting(0.01, "step size on the support set", flag="update_lr", positive=True)
    batch_size: int = setting(64, "images of a batch in training", at_least=1)


def build(settings, problem):
    """The Method. Its state is each task's weights, with the new last layer."""
    network = problem.network(problem.num_outputs)
    predict = _gradient.prediction(network.forward)

    def init(seed):
        weights = network.init(seed)
        return weights | new_last_layer(problem, weights, seed) | last_layer(problem, seed)

    def start(theta, support_x, support_y):
        return inner_loop.per_task(without_it(theta), support_x.shape[0])

    def step(state, support_x, support_y, inner_lr=None):
        averages = {}

        def task_loss(weights):
            outputs, new = network.in_training(weights, support_x)
            averages.update(new)
            return mean_loss(problem, outputs, support_y)  # to which [RL-code]'s step sizes belong

        rate = settings.inner_lr if inner_lr is None else inner_lr
        stepped, _ = inner_loop.inner_update(task_loss, state, rate, is_adapted=is_trained)
        return stepped | averages

    def objective(theta, episode, progress):
        """The loss of a task before any step. Nothing minimises it: all the training is `pretraining`."""
        initial = start(theta, episode.support_x, episode.support_y)
        return query_loss(problem, predict, initial, initial, episode)

    return Method(init, start, step, predict, objective, network.for_xla, training_only(problem))


def new_last_layer(problem, weights, seed):
    """The last layer that every task starts with, the same for all, drawn as Torch's ([RL-code]): U(±1/√inputs).

    MAML's for drawings, N(0, 1), is so large that a few steps can't undo what it says at first.
    """
    *bias, matrix = _gradient.last_layer_names(problem)
    bound = weights[matrix].shape[0] ** -0.5
    return {
        name: tf.random.stateless_uniform(weights[name].shape, [seed, i], -bound, bound, weights[name].dtype)
        for i, name in enumerate((*bias, matrix))
    }


def is_trained(name):
    """Whether a step moves this weight: all of them, batch norm's too ([RL-code])."""
    return not networks.is_average(name)


def preset(task: Task) -> dict:
    """The paper's settings; for drawings, which it has none for, ours."""
    return _classifier.preset(task) | dict(
        inner_lr=0.01,  # ours, of STEP_SIZES, for the validation in training; a test chooses its own
    )


def reading(task: Task, settings) -> Reading:
    """[RL-code]: 15 steps."""
    return Reading(15, 15)


_OMNIGLOT = {(5, 1): 86.0, (5, 5): 97.6, (20, 1): 72.9, (20, 5): 92.3}
_OTHER_SPLIT = {("miniimagenet", 5, 1): 38.4, ("miniimagenet", 5, 5): 51.2}

CARD = Card(
    title="fine-tuning",
    paper="[RL] Ravi, Larochelle, ICLR 2017",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        *(
            accuracy(("omniglot", *task), percent, 15, "[V] table 1, second-hand: their own network", trained_shots=0)
            for task, percent in _OMNIGLOT.items()
        ),
        *not_run("fine-tuning, [V]'s split", "[V] table 2, second-hand", _OTHER_SPLIT),
        accuracy(("miniimagenet", 5, 1), (28.86, 0.54), 15, "[P] table 1, MiniImagenet", trained_shots=0),
        accuracy(("miniimagenet", 5, 5), (49.79, 0.79), 15, "[P] table 1, MiniImagenet", trained_shots=0),
    ),
    learns=("classification",),
    reading=reading,
    pretraining=pretraining,
    step_sizes=STEP_SIZES,
    tunes_length=True,
    tuning_tasks=100,  # [RL-code]
    validation_tasks=100,  # ours
    unused=_classifier.UNUSED,
    curve="support",
    curve_title="batches of all training classes",
    curve_loss="mean cross-entropy (nats)",
    normalisation=ALONE,
    differs=(
        "The step size at test is constant; the paper chooses its decay too, and always takes 15 steps, which are "
        "chosen here. Every turn of a character is a class of the training, as in [V], whose recipe for Omniglot is "
        "not known here; the paper has none. γ starts at 1, in the authors' code U(0, 1), and convolutions Xavier "
        "uniform."
    ),
)
