"""The paper's "pretrained": one network for all tasks, trained without adaptation, then fine-tuned on each ([P] 5.1).

[P], [C]: as in maml.py. At test it takes MAML's gradient steps, by a step size tuned on validation tasks.
"""

from maml.method import Method, query_loss
from maml.methods import maml
from maml.methods._gradient import gradient_step, prediction, start
from maml.methods.card import Card

# Candidates for the step size at test. [P] 5.1 says it was tuned, not to what.
STEP_SIZES = (1e-6, 1e-5, 1e-4, 3e-4, 0.001, 0.003, 0.01, 0.03, 0.1)


def unadapted_objective(problem, start, predict):
    """An objective: the loss of θ itself on the support sets ([C] maml.py, pretrain_op).

    problem: a Problem.
    start, predict: of a Method.
    """

    def objective(theta, episode, progress):
        initial = start(theta, episode.support_x, episode.support_y)
        result = query_loss(problem, predict, initial, initial, episode)
        return {**result, "loss": result["support_loss"]}

    return objective


def build(settings, problem):
    """The Method: trained without adaptation, adapted as MAML at test."""
    network = problem.network(problem.num_outputs)
    predict = prediction(network.forward)
    step = gradient_step(problem, network, settings.inner_lr, settings.first_order)
    objective = unadapted_objective(problem, start, predict)
    return Method(network.init, start, step, predict, objective, network.for_xla)


CARD = Card(
    title="pretrained",
    paper=maml.CARD.paper,
    Settings=maml.Settings,
    preset=maml.preset,
    build=build,
    published=(maml.squared_errors((2.41, 2.23, 2.19)),),
    learns=("regression", "classification"),
    reading=maml.published_reading,
    step_sizes=STEP_SIZES,
    unused=maml.CARD.unused,
    curve_title="query points, before adaptation",
    is_baseline=True,
)
