"""TAML: MAML with a regulariser, so that the start prefers no task: an entropy, or the inequality of the tasks' losses.

[J] is the paper. [P], [C]: as in maml.py.

The inequality is one of the measures of economics, of the losses ℓ_i of θ before the inner steps, over the M tasks of a
meta-update. All are 0 where the losses are equal, and none changes when all are multiplied by a number.
"""

from dataclasses import dataclass

import tensorflow as tf

from data_generators.errors import UserError
from maml.method import Method, query_loss
from maml.methods import maml
from maml.methods._gradient import after_steps, gradient_step, prediction, start
from maml.methods.card import AS_PRINTED, Card, Task, accuracy, not_run, setting

ENTROPY = "entropy"
TINY = 1e-12  # added to losses, whose logarithm is taken


@dataclass(frozen=True)
class Settings(maml.Settings):
    """TAML's own settings: MAML's, and those of the regulariser."""

    regulariser: str = setting(
        "theil",
        "entropy, of the outputs, or the measure of inequality of the losses",
        choices=(ENTROPY, "theil", "generalised_entropy", "atkinson", "gini", "variance_of_logarithms"),
    )
    regulariser_weight: float = setting(0.1, "λ: how much it counts", positive=True)
    inequality_order: float = setting(2.0, "a of the generalised entropy, ε of Atkinson's measure")

    def __post_init__(self):
        super().__post_init__()
        if self.regulariser == "atkinson":
            self.expect(self.inequality_order >= 0, "inequality_order", "at least 0 with regulariser=atkinson")


def theil(losses):
    """(1/M) Σ r_i ln r_i, r = ℓ / mean(ℓ)."""
    ratios = losses / tf.reduce_mean(losses)
    return tf.reduce_mean(ratios * tf.math.log(ratios))


def generalised_entropy(losses, order):
    """Σ (r_i^a − 1) / (M·a·(a − 1)); for a = 1 Theil's, for a = 0 −(1/M) Σ ln r_i, which are its limits."""
    if order == 1:
        return theil(losses)
    ratios = losses / tf.reduce_mean(losses)
    if order == 0:
        return -tf.reduce_mean(tf.math.log(ratios))
    return tf.reduce_mean(ratios**order - 1) / (order * (order - 1))


def atkinson(losses, order):
    """1 − the mean of power 1 − ε, over the mean; for ε = 1 the geometric mean."""
    if order == 1:
        equal = tf.exp(tf.reduce_mean(tf.math.log(losses)))
    else:
        equal = tf.reduce_mean(losses ** (1 - order)) ** (1 / (1 - order))
    return 1 - equal / tf.reduce_mean(losses)


def gini(losses):
    """Σ_i Σ_j |ℓ_i − ℓ_j| / (2M Σ ℓ_i)."""
    return tf.reduce_mean(tf.abs(losses[:, None] - losses)) / (2 * tf.reduce_mean(losses))


def variance_of_logarithms(losses):
    """(1/M) Σ (ln ℓ_i − mean(ln ℓ))²."""
    logarithms = tf.math.log(losses)
    return tf.reduce_mean(tf.square(logarithms - tf.reduce_mean(logarithms)))


def inequality(settings, losses):
    """The measure that the settings name, of the losses [M], a scalar."""
    with_order = {"generalised_entropy": generalised_entropy, "atkinson": atkinson}
    if settings.regulariser in with_order:
        return with_order[settings.regulariser](losses + TINY, settings.inequality_order)
    without = {"theil": theil, "gini": gini, "variance_of_logarithms": variance_of_logarithms}
    return without[settings.regulariser](losses + TINY)


def entropy(logits):
    """−Σ_n p_n ln p_n of the softmax, mean over a task's examples: [M, n, N] -> [M]."""
    logarithms = tf.nn.log_softmax(logits)
    return -tf.reduce_mean(tf.reduce_sum(tf.exp(logarithms) * logarithms, 2), 1)


def build(settings, problem):
    """The Method. Its state is each task's weights θ'_i. UserError for an entropy without classes."""
    network = problem.network(problem.num_outputs)
    predict = prediction(network.forward)
    step = gradient_step(problem, network, settings.inner_lr, settings.first_order)
    of_outputs = settings.regulariser == ENTROPY
    if of_outputs and problem.metric is None:
        raise UserError("regulariser is 'entropy', which is of classes; expected a measure of inequality here")

    def objective(theta, episode, progress):
        initial = start(theta, episode.support_x, episode.support_y)
        adapted = after_steps(step, initial, episode.support_x, episode.support_y, settings.num_updates)
        result = query_loss(problem, predict, initial, adapted, episode)
        if not of_outputs:
            return {**result, "coupled": result["support_loss"]}
        # Undecided before the inner steps, decided after them. On which examples is not known; ours: support and query.
        before = entropy(predict(initial, episode.support_x))
        after = entropy(predict(adapted, episode.query_x))
        return {**result, "loss": result["loss"] + settings.regulariser_weight * (after - before)}

    def couple(losses):
        if losses.shape[0] == 1:  # there is no inequality, and this would be MAML
            raise UserError(
                f"regulariser is {settings.regulariser!r} of 1 task a meta-update, expected 2 tasks or more"
            )
        return settings.regulariser_weight * inequality(settings, losses)

    joint = None if of_outputs else couple
    return Method(network.init, start, step, predict, objective, network.for_xla, couple=joint)


def preset(task: Task) -> dict:
    """MAML's settings ([J]: its code base). λ is ours, as it is not known here."""
    return maml.preset(task)


def _entropy(task, printed, step):
    variant = {"regulariser": ENTROPY}
    return accuracy(
        task, printed, step, "[J], second-hand", AS_PRINTED, digits=2, variant=variant, label="TAML, entropy"
    )


CARD = Card(
    title="TAML",
    paper="[J] Jamal, Qi, CVPR 2019, arXiv 1805.07722",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        _entropy(("omniglot", 5, 1), (99.23, 0.35), 3),
        _entropy(("omniglot", 5, 5), (99.71, 0.1), 3),
        _entropy(("miniimagenet", 5, 5), (66.05, 0.85), 10),
        *not_run("TAML, entropy, on Meta-SGD", "[J], second-hand", {("miniimagenet", 5, 1): (51.73, 1.88)}, AS_PRINTED),
    ),
    learns=("regression", "classification"),
    reading=maml.reading,
    unused=maml.CARD.unused,
    differs=(
        "How much the regulariser counts is not known here: λ = 0.1 is ours, and no other was tried. Which examples "
        "the entropies are of (here the support set before the inner steps and the query set after them) and which "
        "losses the inequality is of (here those of the support sets) is not known here."
    ),
)
