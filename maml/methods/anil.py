"""ANIL, "almost no inner loop": MAML whose inner steps move the last layer alone; the body learns from task to task.

[R] is the paper. [P], [C]: as in maml.py. Each image goes through the body once, however many steps there are.
"""

from maml import inner_loop
from maml.method import Method, embedding_of, num_tasks, query_loss
from maml.methods import maml
from maml.methods._gradient import after_steps, gradient_step, last_layer, prediction
from maml.methods.card import Card, Reading, Task, accuracy, not_run


def build(settings, problem):
    """The Method. Its state is each task's body and last layer, and the features of its support set."""
    network, body, head = problem.network(problem.num_outputs), embedding_of(problem), last_layer(problem)
    embed = prediction(body.forward)
    classify = prediction(head.forward)
    head_step = gradient_step(problem, head, settings.inner_lr, settings.first_order)

    def start(theta, support_x, support_y):
        weights = inner_loop.per_task(theta, num_tasks(support_x))
        own = {name: weights.pop(name) for name in head.init(0)}
        return {"body": weights, "head": own, "features": embed(weights, support_x)}

    def step(state, support_x, support_y, inner_lr=None):
        return {**state, "head": head_step(state["head"], state["features"], support_y, inner_lr)}

    def predict(state, x, reference=None):
        return classify(state["head"], embed(state["body"], x, reference))

    def objective(theta, episode, progress):
        initial = start(theta, episode.support_x, episode.support_y)
        adapted = after_steps(step, initial, episode.support_x, episode.support_y, settings.num_updates)
        features = episode._replace(support_x=initial["features"], query_x=embed(initial["body"], episode.query_x))
        return query_loss(problem, classify, initial["head"], adapted["head"], features)

    return Method(network.init, start, step, predict, objective, network.for_xla)


def preset(task: Task) -> dict:
    """MAML's settings; [R]'s own are not known here."""
    if task.classification:
        return maml.preset(task)
    return maml.preset(task) | dict(inner_lr=0.01)  # ours: of 0.001 to 0.5 the best in a trial, after one step


def reading(task: Task, settings) -> Reading:
    """As MAML. On sine waves only after as many steps as in training: with more, some tasks diverge."""
    return maml.reading(task, settings) if task.classification else Reading(settings.num_updates, settings.num_updates)


OVER_SEEDS = "standard deviation over 3 seeds"


def _cells(dataset, step, source, cells):
    """Of {(N, K): (percent, deviation)}."""
    return tuple(accuracy((dataset, *task), printed, step, source, OVER_SEEDS) for task, printed in cells.items())


_BESIDE = {
    "MAML by [R]": {
        ("omniglot", 20, 1): (93.7, 0.7),
        ("omniglot", 20, 5): (96.4, 0.1),
        ("miniimagenet", 5, 1): (46.9, 0.2),
        ("miniimagenet", 5, 5): (63.1, 0.4),
    },
    "NIL, ANIL without steps at test": {
        ("omniglot", 20, 1): (96.7, 0.3),
        ("omniglot", 20, 5): (98.0, 0.04),
        ("miniimagenet", 5, 1): (48.0, 0.7),
        ("miniimagenet", 5, 5): (62.2, 0.5),
    },
}

CARD = Card(
    title="ANIL",
    paper="[R] Raghu, Raghu, Bengio, Vinyals, ICLR 2020, arXiv 1909.09157",
    Settings=maml.Settings,
    preset=preset,
    build=build,
    published=(
        *_cells("omniglot", 5, "[R]", {(20, 1): (96.2, 0.5), (20, 5): (98.0, 0.3)}),
        *_cells("miniimagenet", 10, "[R]", {(5, 1): (46.7, 0.4), (5, 5): (61.5, 0.5)}),
        *(row for label, cells in _BESIDE.items() for row in not_run(label, "[R]", cells, OVER_SEEDS)),
    ),
    learns=("regression", "classification"),
    reading=reading,
    unused=maml.CARD.unused,
    differs=(
        "Its settings are MAML's here, as the paper's are in an appendix that was not at hand. The paper has neither "
        "5-way Omniglot nor sine waves."
    ),
)
