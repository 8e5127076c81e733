"""What the baselines share that begin with one classifier of all training classes: its training, and their settings.

[RL-code]: as in fine_tuning.py.
"""

from maml import inner_loop
from maml.method import mean_loss
from maml.methods._gradient import last_layer_names
from maml.methods.card import Task

TRAINING = "train_"  # θ has train_w5, train_b5, the last layer of the training, beside what a new task needs
# All the training is `pretraining`, by their own batch_size and by meta_lr.
UNUSED = ("metatrain_iterations", "num_tasks", "num_queries", "pretrain_batch", "pretrain_lr")


def training_only(problem):
    """As in `Method`: the names of the last layer of the training."""
    return frozenset(TRAINING + name for name in last_layer_names(problem))


def last_layer(problem, seed):
    """{"train_w5", "train_b5"}: the last layer of the training, as it is initialised in the network."""
    of_training = problem.network(problem.num_train_classes).init(seed)
    return {name: of_training[name.removeprefix(TRAINING)] for name in sorted(training_only(problem))}


def without_it(theta):
    """θ without the last layer of the training."""
    return {name: w for name, w in theta.items() if not name.startswith(TRAINING)}


def classifier_of_training(theta):
    """θ with the last layer of the training in the place of a new one."""
    return theta | {name.removeprefix(TRAINING): w for name, w in theta.items() if name.startswith(TRAINING)}


def pretraining(settings, problem):
    """The objective of the training: the mean cross-entropy of a Batch over all training classes."""
    network = problem.network(problem.num_train_classes)

    def objective(theta, batch, progress):
        weights = inner_loop.per_task(classifier_of_training(theta), batch.x.shape[0])
        outputs, averages = network.in_training(weights, batch.x)
        loss = mean_loss(problem, outputs, batch.y)
        return {
            "loss": loss,
            "support_loss": loss,
            "support_accuracy": problem.metric(outputs, batch.y),
            "carried": averages,
        }

    return objective


def preset(task: Task) -> dict:
    """[RL-code]'s settings of the training, for photographs and for drawings, which it has none for."""
    return dict(
        pretrain_iterations=30000,  # [RL-code]
        metatrain_iterations=0,
        batch_size=64,  # [RL-code]
        meta_lr=0.001,  # [RL-code]: Adam's
        norm="batch_norm",  # [RL-code]
        norm_scale=True,  # [RL-code]: Torch's batch norm
        norm_averages=True,  # [RL-code] at test
        norm_epsilon=0.001,  # [RL-code]
        num_filters=64,  # [RL-code]
        max_pool=True,  # [RL-code]
        tasks_per_chunk=1,
        jit=False,  # ours: a batch's maps are many, and TensorFlow's own kernels faster on them
    )
