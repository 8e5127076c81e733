"""The paper's multi-task baseline: a network for each task, and the mean of their weights to start from ([P] C.1).

[P]: as in maml.py. One network after the other is fitted to a task of its own, one a meta-update; θ is the mean of
those so far: θ ← θ + (θ_j − θ)/j, an outer step of size 1/j on `distance`. At test θ takes MAML's gradient steps, by a
step size tuned on validation tasks.

M tasks, J networks.
"""

from dataclasses import dataclass

import tensorflow as tf

from maml import inner_loop
from maml.method import Method, num_shots, num_tasks
from maml.methods import maml, pretrained
from maml.methods._gradient import distance, gradient_step, prediction
from maml.methods.card import Card, Episodes, Record, Task, setting

FRESH, COUNT = "fresh/", "count"  # entries of θ: fresh/w1 [J, …] beside w1, where fits begin; how many there were
PULLED_TO = ("nothing", "zero", "mean")
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # of the Adam that fits
# λ is "as high as possible" without hurting ([P] C.1). Ours: of 0.001, 0.003, 0.01, … the greatest by which all of 40
# fits reached the error that ends them (by the next 18 and 32 did).
PENALTIES = {"zero": 0.003, "mean": 0.01}


@dataclass(frozen=True)
class Settings(Record):
    """The baseline's own settings."""

    inner_lr: float = setting(0.01, "α: step size at test, where none is tuned", flag="update_lr", positive=True)
    networks: int = setting(500, "J: networks, each fitted to a task of its own", at_least=1)
    pulled_to: str = setting(
        "nothing", "what the weights of a fit are pulled to: zero, or the mean of the fits so far", choices=PULLED_TO
    )
    penalty: float | None = setting(None, "λ: the loss of a fit grows by λ times the squared distance", positive=True)
    train_shots: int = setting(200, "examples of a task that is fitted", at_least=1)
    fit_lr: float = setting(0.001, "step size of a fit, by Adam", positive=True)
    num_updates: int = setting(10000, "steps of a fit, at most", at_least=1)
    enough: float = setting(0.02, "the error at which a fit ends", positive=True)

    def __post_init__(self):
        super().__post_init__()
        given, expected = self.penalty is not None, "a number where the weights are pulled to something, else nothing"
        self.expect(given == (self.pulled_to != "nothing"), "penalty", expected)


def squared_distance(weights, targets):
    """‖θ_i − target_i‖² over all weights, [M]."""
    return 2 * distance(weights, targets)


def adam_step(weights, gradients, moments, number, rate, going):
    """(weights [M, …], their two moments) after Adam's step `number`, from 1; of the tasks that are `going`, [M]."""
    scale = rate * tf.sqrt(1 - BETA2**number) / (1 - BETA1**number)
    first = {name: BETA1 * moments[0][name] + (1 - BETA1) * g for name, g in gradients.items()}
    second = {name: BETA2 * moments[1][name] + (1 - BETA2) * tf.square(g) for name, g in gradients.items()}
    stepped = {}
    for name, w in weights.items():
        moves = tf.reshape(going, [-1] + [1] * (w.shape.rank - 1))
        stepped[name] = tf.where(moves, w - scale * first[name] / (tf.sqrt(second[name]) + EPSILON), w)
    return stepped, (first, second)


def fit(settings, error, weights, pull):
    """(weights [M, …], error [M], steps taken [M]) of networks that are trained until their error is small enough.

    error: weights -> [M]. weights: where the fits begin. pull: weights -> [M], what is added to the error.
    """
    moments = tuple(tf.nest.map_structure(tf.zeros_like, weights) for _ in range(2))
    dtype = next(iter(weights.values())).dtype

    def one(number, weights, moments, going, taken):
        errors = []

        def loss(weights):
            errors.append(error(weights))
            return errors[0] + pull(weights)

        gradients, _ = inner_loop.task_gradients(loss, weights)
        going &= errors[0] >= settings.enough
        weights, moments = adam_step(weights, gradients, moments, number, settings.fit_lr, going)
        return number + 1, weights, moments, going, taken + tf.cast(going, dtype)

    none = tf.zeros_like(error(weights))
    begin = tf.ones([], dtype), weights, moments, tf.ones_like(none, tf.bool), none
    _, fitted, _, _, taken = tf.while_loop(
        lambda *state: tf.reduce_any(state[3]), one, begin, maximum_iterations=settings.num_updates
    )
    return fitted, error(fitted), taken


def build(settings, problem):
    """The Method. Its state is each task's weights θ_i."""
    network = problem.network(problem.num_outputs)
    names = tuple(network.init(0))
    step = gradient_step(problem, network, settings.inner_lr)

    def init(seed):
        """The networks that are fitted are the seed's, and others than θ's own before the first fit."""
        numbers = range(settings.networks)
        fresh = [network.init((seed + 1 + number * 1_000_003) % 2**31) for number in numbers]
        together = {FRESH + name: tf.stack([weights[name] for weights in fresh]) for name in names}
        weights = network.init(seed)
        return weights | together | {COUNT: tf.zeros([], weights[names[0]].dtype)}

    def start(theta, support_x, support_y):
        return inner_loop.per_task({name: theta[name] for name in names}, num_tasks(support_x))

    def objective(theta, episode, progress):
        """The tasks of one meta-update begin at the same network; the preset has one."""
        initial = start(theta, episode.support_x, episode.support_y)
        number = tf.cast(theta[COUNT], tf.int32) % settings.networks
        fresh = {name: theta[FRESH + name][number] for name in names}

        def error(weights):
            return problem.loss(network.forward(weights, episode.support_x), episode.support_y, shots)

        def pull(weights):
            if settings.pulled_to == "nothing":
                return 0.0
            targets = mean_so_far if settings.pulled_to == "mean" else tf.nest.map_structure(tf.zeros_like, weights)
            there_is_one = tf.cast(theta[COUNT] > 0, theta[COUNT].dtype) if settings.pulled_to == "mean" else 1.0
            return settings.penalty * there_is_one * squared_distance(weights, targets)

        shots = num_shots(episode.support_y)
        mean_so_far = tf.nest.map_structure(tf.stop_gradient, initial)
        fitted, fit_error, taken = fit(settings, error, inner_loop.per_task(fresh, num_tasks(episode)), pull)
        fitted = tf.nest.map_structure(tf.stop_gradient, fitted)
        return {
            "loss": distance(initial, fitted),
            "support_loss": error(initial),
            "fit_loss": fit_error,
            "fit_steps": taken,
            "carried": {COUNT: tf.ones_like(taken) + theta[COUNT]},
        }

    only_training = frozenset({*(FRESH + name for name in names), COUNT})
    return Method(init, start, step, prediction(network.forward), objective, network.for_xla, only_training)


def preset(task: Task) -> dict:
    """For the sinusoid: J as published; the step sizes and the length of a fit are not."""
    return dict(
        metatrain_iterations=500,  # [P] C.1: networks
        num_tasks=1,  # [P] C.1: one after the other
        optimizer="sgd",  # with the next two: the mean of all fits so far
        meta_lr=1.0,
        schedule="averaging",
        norm="None",  # as MAML's
        iterations_per_call=10,  # ours, for speed
    )


def episodes(task: Task, settings) -> Episodes:
    """Many examples of a task, and no queries."""
    return Episodes(task.num_classes, settings.train_shots, 0)


CARD = Card(
    title="multi-task",
    paper=maml.CARD.paper,
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        maml.squared_errors((4.19, 3.85, 3.69), label="multi-task, no regularisation"),
        maml.squared_errors(
            (7.18, 5.69, 5.60), label="multi-task, l2", variant={"pulled_to": "zero", "penalty": PENALTIES["zero"]}
        ),
        maml.squared_errors(
            (2.91, 2.72, 2.71),
            label="multi-task, regularised to the mean",
            variant={"pulled_to": "mean", "penalty": PENALTIES["mean"]},
        ),
    ),
    learns=("regression",),
    reading=maml.published_reading,
    episodes=episodes,
    step_sizes=pretrained.STEP_SIZES,
    unused=("num_queries", "norm_averages"),
    curve="fit",
    curve_title="the examples of a task, after its fit",
    differs=(
        "Not published, and ours: Adam and its step size, 200 examples of a task, at most 10,000 steps of a fit, and λ."
    ),
)
