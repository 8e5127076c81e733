"""MAML++: MAML with a loss after each inner step, learnt step sizes, and a normalisation for each step.

[A] is the paper; [A-code] is AntreasAntoniou/HowToTrainYourMAMLPytorch at 8696470. [P]: as in maml.py. Every part can
be switched off; with all of them off it is MAML.

T inner steps in training, numbered from 0.
"""

import math
from dataclasses import dataclass

import tensorflow as tf

from maml import inner_loop, networks
from maml.method import Method, num_shots, num_tasks, query_loss, times_the_mean
from maml.methods import maml
from maml.methods._gradient import after_steps, prediction
from maml.methods.card import Card, Reading, Record, Task, accuracy, setting

# θ has an entry alpha/w1 [T] beside w1, for every tensor that the inner steps move: step sizes on the *mean* loss of a
# task, as in [A-code]. In that unit they are learnt as fast as there.
ALPHA = "alpha/"
TAKEN = "taken"  # entry of a state: int32 [M], inner steps on this task so far
QUERIES = 15  # a class in training on photographs ([A-code])
LEAST = 0.03  # of 1/T: how far the weights of the losses before the last fall ([A-code] few_shot_learning_system.py)


@dataclass(frozen=True)
class Settings(Record):
    """MAML++'s own settings."""

    inner_lr: float = setting(0.1, "α: step size of the inner loop, at the start", flag="update_lr", positive=True)
    num_updates: int = setting(5, "T: inner steps in training", at_least=1)
    learn_rates: bool = setting(True, "learn a step size for each tensor and inner step")
    norm_per_step: bool = setting(True, "each inner step has its own scale and offset of the normalisation")
    num_epochs: int = setting(100, "parts of the training, by which the next two count", at_least=1)
    multi_step_epochs: int = setting(10, "epochs in which the loss after each step counts; 0: never", at_least=0)
    first_order_epochs: int = setting(0, "epochs of first order, at the start", at_least=0)

    def __post_init__(self):
        super().__post_init__()
        for name in ("multi_step_epochs", "first_order_epochs"):
            self.expect(getattr(self, name) <= self.num_epochs, name, f"num_epochs, {self.num_epochs}, or fewer")


def step_weights(num_steps, epoch, epochs):
    """What the losses after each of T steps count in an epoch, counted from 0, of the first so many: tensor [T].

    From 1/T each to nearly the last alone; their sum is 1 ([A-code] few_shot_learning_system.py).
    """
    done = epoch / epochs
    least = LEAST / num_steps
    early = tf.maximum((1 - done) / num_steps, least)
    last = tf.minimum((1 + done * (num_steps - 1)) / num_steps, 1 - (num_steps - 1) * least)
    return tf.stack([early] * (num_steps - 1) + [last])


def is_per_step_norm(name):
    """Whether this weight of a network is a normalisation's scale or offset."""
    return not networks.is_adapted(name) and not networks.is_average(name)


def at_step(theta, names, number):
    """θ or a state in which the entries of these names, [M, T, …], are those of step `number`, int32 [M]."""
    chosen = {}
    for name in names:
        steps = theta[name].shape[1]  # steps beyond those of the training have what the last one has
        chosen[name] = tf.gather(theta[name], tf.clip_by_value(number, 0, steps - 1), axis=1, batch_dims=1)
    return {**theta, **chosen}


def build(settings, problem, epoch=math.inf):
    """The Method. Its state is each task's weights θ'_i, its copies of what there is for each step, and the count.

    epoch: the one whose objective it has.
    """
    first_order, multi_step = epoch < settings.first_order_epochs, epoch < settings.multi_step_epochs
    network, steps = problem.network(problem.num_outputs), settings.num_updates
    classify, scale = prediction(network.forward), times_the_mean(problem)

    def per_step(theta):
        return [n for n in theta if n.startswith(ALPHA) or (settings.norm_per_step and is_per_step_norm(n))]

    def init(seed):
        weights = network.init(seed)
        if settings.norm_per_step:
            weights = weights | {n: tf.repeat(w[None], steps, 0) for n, w in weights.items() if is_per_step_norm(n)}
        if settings.learn_rates:
            adapted = [(name, w.dtype) for name, w in weights.items() if networks.is_adapted(name)]
            weights = weights | {
                ALPHA + name: tf.fill([steps], tf.constant(scale * settings.inner_lr, d)) for name, d in adapted
            }
        return weights

    names = per_step(init(0))

    def start(theta, support_x, support_y):
        count = num_tasks(support_x)
        return {**inner_loop.per_task(theta, count), TAKEN: tf.zeros([count], tf.int32)}

    def step(state, support_x, support_y, inner_lr=None):
        now = at_step(state, names, state[TAKEN])

        def task_loss(weights):
            return problem.loss(network.forward(weights, support_x), support_y, num_shots(support_y))

        rates = inner_lr
        if inner_lr is None:
            rates = step_sizes(now, scale) if settings.learn_rates else settings.inner_lr
        stepped, _ = inner_loop.inner_update(task_loss, now, rates, first_order, is_adapted)
        moved = {name: w for name, w in stepped.items() if is_adapted(name)}
        return {**state, **moved, TAKEN: state[TAKEN] + 1}

    def predict(state, x, reference=None):
        """By the normalisation of the step just taken; of the first before there was one ([A-code])."""
        return classify(at_step(state, names, state[TAKEN] - 1), x, reference)

    def objective(theta, episode, progress):
        support, shots = (episode.support_x, episode.support_y), num_shots(episode.support_y)
        initial = start(theta, *support)
        if not multi_step:
            adapted = after_steps(step, initial, *support, steps)
            return query_loss(problem, predict, initial, adapted, episode)
        now = tf.cast(epoch_of(progress, settings.num_epochs), next(iter(theta.values())).dtype)
        weights = step_weights(steps, now, settings.multi_step_epochs)

        def step_and_loss(before, support_x, support_y):
            """(state after one more step, the losses after the steps so far, each times its weight, [M])."""
            state, losses = step(before[0], support_x, support_y), before[1]
            loss = problem.loss(predict(state, episode.query_x), episode.query_y, shots)
            return state, losses + tf.gather(weights, state[TAKEN] - 1) * loss

        none = tf.zeros([num_tasks(episode)], weights.dtype)
        adapted, earlier = after_steps(step_and_loss, (initial, none), *support, steps - 1)
        result = query_loss(problem, predict, initial, step(adapted, *support), episode)
        return {**result, "loss": earlier + weights[-1] * result["query_loss"]}

    return Method(init, start, step, predict, objective, network.for_xla)


def is_adapted(name):
    """Whether the inner steps move this entry of a state: MAML's weights, no step sizes, no count."""
    return name != TAKEN and not name.startswith(ALPHA) and networks.is_adapted(name)


def step_sizes(state, scale):
    """α of each tensor that is adapted, of a state at one step: {name: [M, 1, …], to be broadcast to the weight}.

    scale: how many times the mean the loss is that they are for.
    """
    alphas = {name.removeprefix(ALPHA): alpha for name, alpha in state.items() if name.startswith(ALPHA)}
    return {name: tf.reshape(a / scale, [-1] + [1] * (state[name].shape.rank - 1)) for name, a in alphas.items()}


def epoch_of(progress, num_epochs):
    """The number of the epoch, from 0, as a float32 tensor. Rounding must not leave the first iteration outside."""
    return tf.floor(tf.cast(progress, tf.float32) * num_epochs + 1e-4)


def stages(settings, problem):
    """The objectives of the epochs before the last stage: (the progress at which they end, objective) of each."""
    ends = sorted({settings.first_order_epochs, settings.multi_step_epochs} - {0})
    begins = [0, *ends]
    return tuple(
        (end / settings.num_epochs, build(settings, problem, begin).objective) for begin, end in zip(begins, ends)
    )


def preset(task: Task) -> dict:
    """The authors' settings, on MAML's networks."""
    kept = {n: v for n, v in maml.preset(task).items() if n in ("norm", "num_filters", "max_pool", "jit")}
    kept |= dict(
        metatrain_iterations=50000,  # [A-code]: 100 epochs of 500
        num_updates=5,  # [A-code]
        norm_scale=True,  # [A-code]: PyTorch's batch norm
        norm_epsilon=1e-5,  # [A-code]
        skip_not_finite=True,  # ours: learnt step sizes now and then make a task diverge
    )
    cosine = dict(schedule="cosine", final_lr=1e-5)  # [A-code], where there is any
    if task.datasource == "sinusoid":  # ours, all of these: [A] has no regression
        tried = dict(inner_lr=0.001, clip=10.0, norm_scale=False, norm_epsilon=0.001)
        return kept | cosine | tried | dict(
            num_tasks=25, num_queries=task.num_shots, tasks_per_chunk=25, iterations_per_call=100
        )  # fmt: skip
    # [A-code]'s step sizes belong to a mean loss; settings are in this project's, N times the mean.
    scale = task.num_classes
    if task.photographs:
        return kept | dict(
            num_tasks=2,  # [A-code]
            num_queries=QUERIES,
            inner_lr=0.01 / scale,  # [A-code]
            multi_step_epochs=15,  # [A-code]
            clip=10.0 * scale * QUERIES / task.num_shots,  # [A-code], of a mean; here losses are this times it
            tasks_per_chunk=1,
        )
    return kept | cosine | dict(
        num_tasks=8,  # [A-code]
        num_queries=1,  # [A-code]
        inner_lr=0.1 / scale,  # [A-code]
    )  # fmt: skip


def reading(task: Task, settings) -> Reading:
    """[A-code]: as many steps as in training. There are step sizes for so many."""
    return Reading(settings.num_updates, settings.num_updates)


def _cells(source, cells):
    return tuple(accuracy(("omniglot", *task), percent, 5, source, digits=2) for task, percent in cells.items())


CARD = Card(
    title="MAML++",
    paper="[A] Antoniou, Edwards, Storkey, ICLR 2019, arXiv 1810.09502",
    Settings=Settings,
    preset=preset,
    build=build,
    published=_cells("[A], second-hand", {(5, 1): 99.47, (20, 1): 97.65, (20, 5): 99.33}),
    learns=("regression", "classification"),
    reading=reading,
    unused=maml.CARD.unused,
    stages=stages,
    differs=(
        "The networks are MAML's: on Omniglot strided convolutions instead of max-pooling, ReLU instead of a leaky "
        "one, on miniImagenet 32 filters instead of 48. Omniglot's characters are MAML's 1,100, and are turned at test "
        "too. The published results are of an ensemble of the five checkpoints that are best on the validation tasks, "
        "as --ensemble=5 tests; those beside them here are of the best one. The step size of Adam falls with every "
        "iteration, there with every epoch. The clip is of all entries of the meta-gradient, there not of the step "
        "sizes', and made for 15 queries a class: with others it is as much looser or tighter. Batch norm takes its "
        "statistics from the batch at hand in every step, as theirs does, whose running ones are not used. An update "
        "that is not finite is left out."
    ),
)
