"""The fine-tuning baseline: a classifier of all training classes, trained on a support set with a new last layer.

[RL] is the paper that printed it; [RL-code] is twitter/meta-learning-lstm at 0df7fc7. [P]: as in maml.py.
"""

from dataclasses import dataclass

from maml import inner_loop, networks
from maml.method import Method, query_loss
from maml.methods import _gradient
from maml.methods._pretraining import TRAINING
from maml.methods.card import ALONE, Card, Reading, Record, Task, accuracy, setting

# [RL-code]: the candidates for the step size at test.
STEP_SIZES = (1e-5, 1e-4, 0.001, 0.01, 0.1, 0.5)


@dataclass(frozen=True)
class Settings(Record):
    """Fine-tuning's own settings."""

    inner_lr: float = setting(0.01, "step size on the support set", flag="update_lr", positive=True)
    batch_size: int = setting(64, "images of a batch in training", at_least=1)


def classifier_of_training(theta):
    """θ with the last layer of the training in the place of the new one."""
    return theta | {name.removeprefix(TRAINING): w for name, w in theta.items() if name.startswith(TRAINING)}


def build(settings, problem):
    """The Method. Its state is each task's weights, with the new last layer."""
    network = problem.network(problem.num_outputs)
    predict = _gradient.prediction(network.forward)

    last = _gradient.last_layer_names(problem)
    training_only = frozenset(TRAINING + name for name in last)

    def init(seed):
        of_training = problem.network(problem.num_train_classes).init(seed)
        return network.init(seed) | {TRAINING + name: of_training[name] for name in last}

    def start(theta, support_x, support_y):
        weights = {name: w for name, w in theta.items() if name not in training_only}
        return inner_loop.per_task(weights, support_x.shape[0])

    def step(state, support_x, support_y, inner_lr=None):
        averages = {}

        def task_loss(weights):
            outputs, new = network.forward_with_averages(weights, support_x)
            averages.update(new)
            return mean_loss(problem, outputs, support_y)

        rate = settings.inner_lr if inner_lr is None else inner_lr
        stepped, _ = inner_loop.inner_update(task_loss, state, rate, is_adapted=is_trained)
        return stepped | averages

    def objective(theta, episode, progress):
        """The loss of a task before any step. Nothing minimises it: all the training is `pretraining`."""
        initial = start(theta, episode.support_x, episode.support_y)
        return query_loss(problem, predict, initial, initial, episode)

    return Method(init, start, step, predict, objective, network.for_xla, training_only)


def pretraining(settings, problem):
    """The objective of the training: the mean cross-entropy of a Batch over all training classes."""
    network = problem.network(problem.num_train_classes)

    def objective(theta, batch, progress):
        weights = inner_loop.per_task(classifier_of_training(theta), batch.x.shape[0])
        outputs, averages = network.forward_with_averages(weights, batch.x)
        loss = mean_loss(problem, outputs, batch.y)
        return {
            "loss": loss,
            "support_loss": loss,
            "support_accuracy": problem.metric(outputs, batch.y),
            "carried": averages,
        }

    return objective


def mean_loss(problem, outputs, targets):
    """[M]: the mean over the examples, to which [RL-code]'s step sizes belong."""
    return problem.loss(outputs, targets, targets.shape[1])


def is_trained(name):
    """Whether a step moves this weight: all of them, batch norm's too ([RL-code])."""
    return not networks.is_average(name)


def preset(task: Task) -> dict:
    """The paper's settings; for drawings, which it has none for, ours."""
    photographs = task.photographs
    return dict(
        # [RL-code]. Ours for drawings: 4 of the 5 passes over the images beyond which it gets worse (issue 14 of
        # wyharveychen/CloserLookFewShot).
        pretrain_iterations=30000 if photographs else 6000,
        metatrain_iterations=0,
        batch_size=64,  # [RL-code]
        meta_lr=0.001,  # [RL-code]: Adam's
        inner_lr=0.01,  # ours, of STEP_SIZES, for the validation in training; a test chooses its own
        norm="batch_norm",  # [RL-code]
        norm_scale=True,  # [RL-code]: Torch's batch norm
        norm_averages=True,  # [RL-code] at test
        norm_epsilon=0.001,  # [RL-code]
        num_filters=64,  # [RL-code]
        max_pool=True,  # [RL-code]
        tasks_per_chunk=1,
        jit=False,  # ours: a batch's maps are many, and TensorFlow's own kernels faster on them
    )


def reading(task: Task, settings) -> Reading:
    """[RL-code]: 15 steps."""
    return Reading(15, 15)


CARD = Card(
    title="fine-tuning",
    paper="[RL] Ravi, Larochelle, ICLR 2017",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        accuracy(("miniimagenet", 5, 1), (28.86, 0.54), 15, "[P] table 1, MiniImagenet", trained_shots=0),
        accuracy(("miniimagenet", 5, 5), (49.79, 0.79), 15, "[P] table 1, MiniImagenet", trained_shots=0),
    ),
    learns=("classification",),
    reading=reading,
    pretraining=pretraining,
    step_sizes=STEP_SIZES,
    tuning_tasks=100,  # [RL-code]
    unused=("metatrain_iterations", "num_tasks", "num_queries"),
    curve="support",
    curve_title="batches of all training classes",
    normalisation=ALONE,
    differs=(
        "The step size at test is constant; the paper chooses its decay too. It is chosen by the error over all 15 "
        "steps. Every turn of a character is a class of the training; the paper has no Omniglot. γ starts at 1, in the "
        "authors' code U(0, 1), and convolutions Xavier uniform."
    ),
)
