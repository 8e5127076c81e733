"""The meta-learner LSTM: a learnt recurrent network makes the inner step, the weights of the network are its cells.

[RL] is the paper, [RL-code] twitter/meta-learning-lstm at 0df7fc7. [P]: as in maml.py.

P coordinates, one for each number among the weights that are learnt; all have the same recurrent network, and each a
state of its own. M tasks, T inner steps.
"""

from dataclasses import dataclass

import tensorflow as tf

from maml import inner_loop, layers, networks
from maml.layers import num_examples
from maml.method import Method, num_shots, num_tasks, query_loss
from maml.methods._gradient import after_steps, prediction
from maml.methods.card import ALONE, Card, Reading, Record, Task, accuracy, setting

HIDDEN = 20  # [RL-code]: length of the first layer's state
P_SCALE = 10.0  # p of the preprocessing ([RL], after Andrychowicz et al. 2016)
META = "meta/"  # θ has the meta-learner's weights by names that begin so, beside the initial cells by the network's


@dataclass(frozen=True)
class Settings(Record):
    """The meta-learner LSTM's own settings."""

    num_updates: int = setting(12, "T: inner steps", at_least=1)
    fed_back: str = setting(
        "sums",
        "what a gate sees of itself a step before: its sum before the sigmoid, as the code, or its value, as the paper",
        choices=("sums", "gates"),
    )
    divide_again: bool = setting(True, "divide the gradient of the mean loss by the number of examples again")


def preprocess(x):
    """(ln|x|/p, sign x) where |x| > e^−p, else (−1, e^p·x): [...] -> [..., 2]. Finite at 0."""
    large = tf.abs(x) > tf.exp(tf.cast(-P_SCALE, x.dtype))
    magnitude = tf.where(large, tf.abs(x), tf.ones_like(x))  # no logarithm of 0, also where it is not looked at
    first = tf.where(large, tf.math.log(magnitude) / P_SCALE, -tf.ones_like(x))
    second = tf.where(large, tf.sign(x), tf.exp(tf.cast(P_SCALE, x.dtype)) * x)
    return tf.stack([first, second], -1)


def init_meta(seed, dtype):
    """The meta-learner's initial weights ([RL-code]): U(−0.01, 0.01), but the biases of the gates."""

    def uniform(number, shape, low=-0.01, high=0.01):
        return tf.random.stateless_uniform(shape, [seed, 50 + number], low, high, dtype)

    return {
        META + "in": uniform(0, [4, 4 * HIDDEN]),
        META + "recurrent": uniform(1, [HIDDEN, 4 * HIDDEN]),
        META + "b": uniform(2, [4 * HIDDEN]),
        META + "forget": uniform(3, [HIDDEN + 2, 1]),
        META + "forget_b": uniform(4, [1], 4.0, 5.0),
        META + "write": uniform(5, [HIDDEN + 2, 1]),
        META + "write_b": uniform(6, [1], -5.0, -4.0),
    }


def first_layer(meta, state, losses, gradients):
    """The (hidden, cell) [M, P, HIDDEN] after an LSTM's step on the loss [M] and the gradient [M, P] of each."""
    seen = tf.broadcast_to(preprocess(losses)[:, None], [*gradients.shape, 2])
    entering = layers.dense(tf.concat([seen, preprocess(gradients)], 2), meta[META + "in"])
    sums = layers.add_bias(entering + layers.dense(state["hidden"], meta[META + "recurrent"]), meta[META + "b"])
    write, forget, show, new = tf.split(sums, 4, 2)
    cell = tf.sigmoid(forget) * state["cell"] + tf.sigmoid(write) * tf.tanh(new)
    return tf.sigmoid(show) * tf.tanh(cell), cell


def gate(meta, name, hidden, coordinates, before):
    """The sum [M, P] whose sigmoid is the gate `name`: linear in h_t, θ_{t−1} and what there was of it before."""
    seen = tf.concat([hidden, coordinates[..., None], before[..., None]], 2)
    return layers.add_bias(layers.dense(seen, meta[META + name]), meta[META + name + "_b"])[..., 0]


def meta_step(meta, state, coordinates, losses, gradients, fed_back="sums"):
    """One step of the second layer, f·θ − i·∇, on all coordinates at once.

    meta: the meta-learner's weights, [M, …]. state: {"hidden", "cell": [M, P, HIDDEN], "forget", "write": [M, P]}.
    coordinates: θ_{t−1}, [M, P]. losses [M], gradients [M, P]: of it.
    Returns (θ_t, new state).
    """
    hidden, cell = first_layer(meta, state, losses, gradients)
    sums = {name: gate(meta, name, hidden, coordinates, state[name]) for name in ("forget", "write")}
    gates = {name: tf.sigmoid(value) for name, value in sums.items()}
    moved = gates["forget"] * coordinates - gates["write"] * gradients
    return moved, {"hidden": hidden, "cell": cell, **(sums if fed_back == "sums" else gates)}


def is_learnt(name):
    """Whether this weight of the network is made of coordinates: all, a batch norm's too ([RL-code]), but averages."""
    return not networks.is_average(name)


def flat(weights, names):
    """The weights of these names, each [M, …], as coordinates [M, P]."""
    return tf.concat([tf.reshape(weights[name], [weights[name].shape[0], -1]) for name in names], 1)


def in_shape(coordinates, weights, names):
    """Coordinates [M, P] as weights of these names, shaped like those given."""
    sizes = [weights[name].shape[1:].num_elements() for name in names]
    parts = zip(names, tf.split(coordinates, sizes, 1))
    return {name: tf.reshape(part, weights[name].shape) for name, part in parts}


def build(settings, problem):
    """The Method. Its state is each task's network, the meta-learner's weights, and its state of each coordinate."""
    network = problem.network(problem.num_outputs)
    predict_by = prediction(network.forward)
    names = sorted(name for name in network.init(0) if is_learnt(name))

    def init(seed):
        weights = network.init(seed)
        return {**weights, **init_meta(seed, weights[names[0]].dtype)}

    def start(theta, support_x, support_y):
        weights = inner_loop.per_task(theta, num_tasks(support_x))
        meta = {name: weights.pop(name) for name in list(weights) if name.startswith(META)}
        none = tf.zeros_like(flat(weights, names))
        empty = tf.zeros([*none.shape, HIDDEN], none.dtype)
        return {"network": weights, "meta": meta, "memory": dict(hidden=empty, cell=empty, forget=none, write=none)}

    def step(state, support_x, support_y, inner_lr=None):
        averages = {}

        def task_loss(weights):
            outputs, new = network.in_training(weights, support_x)
            averages.update(new)
            # Of a classifier the mean over the examples.
            return problem.loss(outputs, support_y, num_examples(support_y))

        weights = state["network"]
        gradients, losses = inner_loop.task_gradients(task_loss, weights, is_learnt)
        # First order ([RL]): neither the loss nor its gradient counts as a function of the weights.
        losses, gradients = tf.stop_gradient(losses), tf.stop_gradient(flat(gradients, names))
        coordinates, memory = flat(weights, names), state["memory"]
        if inner_lr is not None:  # asked for by name: a plain gradient step
            coordinates -= tf.convert_to_tensor(inner_lr, gradients.dtype) * gradients
        else:
            if settings.divide_again:  # [RL-code]
                gradients /= num_examples(support_x)
            coordinates, memory = meta_step(state["meta"], memory, coordinates, losses, gradients, settings.fed_back)
        stepped = in_shape(coordinates, weights, names)
        return {**state, "network": {**weights, **stepped, **averages}, "memory": memory}

    def predict(state, x, reference=None):
        return predict_by(state["network"], x, reference)

    def objective(theta, episode, progress):
        initial = start(theta, episode.support_x, episode.support_y)
        adapted = after_steps(step, initial, episode.support_x, episode.support_y, settings.num_updates)
        result = query_loss(problem, predict, initial, adapted, episode)
        if problem.metric is None:
            return result
        # The mean over the queries, to which [RL-code]'s clipping belongs.
        mean = result["query_loss"] * num_shots(episode.support_y) / num_examples(episode.query_y)
        return {**result, "loss": mean}

    return Method(init, start, step, predict, objective, network.for_xla)


def preset(task: Task) -> dict:
    """[RL-code]'s settings; for sine waves and drawings, which it has none for, ours."""
    if task.datasource == "sinusoid":
        return dict(
            metatrain_iterations=20000,
            num_tasks=4,
            num_queries=task.num_shots,
            num_updates=5,
            divide_again=False,
            clip_norm=0.25,
            norm="None",
            tasks_per_chunk=4,
            iterations_per_call=100,
        )
    one_shot = task.num_shots == 1
    common = dict(
        metatrain_iterations=75000 if one_shot else 50000,
        num_tasks=1,
        num_queries=15,
        num_updates=12 if one_shot else 8,  # [RL-code]; [RL] may have 5 for 5 shots
        clip_norm=0.25,
        norm="batch_norm",
        norm_scale=True,
        norm_averages=True,
        norm_momentum=0.9 if one_shot else 0.95,
        num_filters=32,
        tasks_per_chunk=1,
    )
    return common | (dict(max_pool=True, jit=False) if task.photographs else {})


def reading(task: Task, settings) -> Reading:
    """[RL-code]: as many steps as in training."""
    return Reading(settings.num_updates, settings.num_updates)


CARD = Card(
    title="meta-learner LSTM",
    paper="[RL] Ravi, Larochelle, ICLR 2017",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        accuracy(("miniimagenet", 5, 1), (43.44, 0.77), 12, "[P] table 1, MiniImagenet"),
        accuracy(("miniimagenet", 5, 5), (60.60, 0.71), 8, "[P] table 1, MiniImagenet"),
    ),
    learns=("regression", "classification"),
    reading=reading,
    normalisation=ALONE,
    differs=(
        "The checkpoint is chosen by validation; theirs is the last. Its steps, the second division of the gradient "
        "and the sums that a gate is fed back are those of the code; the paper has the gates' values, and perhaps 5 "
        "steps for 5 shots. γ starts at 1, in the code U(0, 1). They test with 15 queries a class, here is K too. "
        "Omniglot and sine waves are ours: nothing is published."
    ),
)
