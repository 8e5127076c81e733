"""The nearest-neighbour baseline: by the features of a classifier of all training classes, the most similar example.

[RL] is the paper that printed it; [RL-code] is twitter/meta-learning-lstm at 0df7fc7. [V]: Vinyals et al. 2016. [P]: as
in maml.py.
"""

from dataclasses import dataclass

from maml.method import embedding_of
from maml.methods import _classifier
from maml.methods._classifier import last_layer, pretraining, training_only, without_it
from maml.methods._embedding import best_of_class, comparison, cosines
from maml.methods.card import ALONE, Card, Reading, Record, Task, accuracy, not_run, setting


@dataclass(frozen=True)
class Settings(Record):
    """The nearest-neighbour baseline's own settings."""

    batch_size: int = setting(64, "images of a batch in training", at_least=1)


def build(settings, problem):
    """The Method. Its state is each task's weights, labels and embedded support set.

    An output is the cosine with the most similar example of a class; of several shots nothing is averaged ([RL-code]).
    Nothing minimises its objective: all the training is `pretraining`.
    """
    embedding = embedding_of(problem)

    def init(seed):
        return embedding.init(seed) | last_layer(problem, seed)

    def summarise(weights, z, labels):
        return {"support": z}

    def compare(state, z, reference=None):
        return best_of_class(cosines(z, state["support"]), state["labels"])

    method = comparison(problem, embedding, summarise, compare, init)
    start = method.start
    return method._replace(
        start=lambda theta, x, y: start(without_it(theta), x, y), training_only=training_only(problem)
    )


def preset(task: Task) -> dict:
    """The paper's settings; for drawings, which it has none for, ours."""
    return _classifier.preset(task)


def reading(task: Task, settings) -> Reading:
    """There are no inner steps."""
    return Reading(0, 0)


_OMNIGLOT = {(5, 1): 80.0, (5, 5): 95.0, (20, 1): 69.5, (20, 5): 89.1}
_OTHER_SPLIT = {("miniimagenet", 5, 1): 36.6, ("miniimagenet", 5, 5): 46.0}
_IMAGENET = {(5, 1): (41.08, 0.70), (5, 5): (51.04, 0.65)}


def _cells(dataset, cells, source):
    return tuple(accuracy((dataset, *task), printed, 0, source, trained_shots=0) for task, printed in cells.items())


CARD = Card(
    title="nearest neighbour",
    paper="[RL] Ravi, Larochelle, ICLR 2017",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        *_cells("omniglot", _OMNIGLOT, "[V] table 1, second-hand"),
        *_cells("miniimagenet", _IMAGENET, "[P] table 1, MiniImagenet"),
        *not_run("nearest neighbour, [V]'s split", "[V] table 2, second-hand", _OTHER_SPLIT),
    ),
    learns=("classification",),
    reading=reading,
    pretraining=pretraining,
    unused=_classifier.UNUSED,
    curve="support",
    curve_title="batches of all training classes",
    curve_loss="mean cross-entropy (nats)",
    same_for_every_n=True,
    normalisation=ALONE,
    differs=(
        "Every turn of a character is a class of the training, as in [V], whose classifier for Omniglot is of whole "
        "alphabets; how long it was trained is not known here. γ starts at 1, in [RL-code] U(0, 1), and convolutions "
        "Xavier uniform."
    ),
)
