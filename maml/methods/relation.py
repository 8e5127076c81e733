"""Relation networks: a learnt module says how much a query has to do with each class.

[R] is the paper; [R-code] is floodsung/LearningToCompare_FSL at b74e636.

M tasks, N ways, n queries; maps of h x w, F filters. Without convolutions a map is a vector of F features.
"""

import math
from dataclasses import dataclass

import tensorflow as tf

from data_generators.errors import UserError
from maml import inner_loop
from maml.layers import add_bias, dense, num_examples
from maml.method import embedding_of, num_tasks
from maml.methods._embedding import comparison, embed_apart, measured
from maml.methods.card import Card, Episodes, Reading, Record, Task, accuracy, setting, tasks_as_tested
from maml.networks import Block, Network, map_size

MODULE = "module/"  # what the names of the relation module's weights begin with
EMBEDDING = (*2 * (Block(pool=True, padded=False),), *2 * (Block(),))  # [R], figure 3
HIDDEN = 8  # units between the module's last map and the relation ([R], figure 3)


@dataclass(frozen=True)
class Settings(Record):
    """Relation networks' own settings."""

    part_clip_norm: float = setting(
        0.5, "largest norm of the embedding's gradient, and of the relation module's", positive=True
    )


def module_blocks(side):
    """The two blocks of the relation module, on maps of `side`: not padded for miniImagenet's 19 ([R-code]), padded for
    Omniglot's 5; in between as Chen et al. 2019 decide it."""
    return 2 * (Block(pool=True, padded=side < 10),)


def relation_module(problem, shape):
    """The Network from pairs [M, n, h, w, 2F] to the log-odds of their relations, [M, n, 1]; shape: (h, w, F).

    Its names are its own, without MODULE. `init` takes a type of float, too.
    """
    *space, filters = shape
    pair = (*space, 2 * filters)
    maps = problem.maps(pair, module_blocks(min(space))) if space else None
    size = math.prod(maps.output_shape if maps else pair)

    def init(seed, dtype):
        weights = maps.init(-1 - seed) if maps else {}  # another seed than the embedding's ever is
        for place, (name, rows, columns) in enumerate((("hidden", size, HIDDEN), ("relation", HIDDEN, 1))):
            random = tf.random.stateless_normal(
                [rows, columns], [seed, 10 + place], stddev=0.01, dtype=dtype
            )  # [R-code]
            weights |= {f"{name}_w": random, f"{name}_b": tf.ones([columns], dtype)}  # [R-code]
        return weights

    def to_relations(weights, hidden):
        hidden = tf.reshape(hidden, [hidden.shape[0], num_examples(hidden), size])
        hidden = tf.nn.relu(add_bias(dense(hidden, weights["hidden_w"]), weights["hidden_b"]))
        return add_bias(dense(hidden, weights["relation_w"]), weights["relation_b"])

    def forward(weights, x, num_reference=None):
        return to_relations(weights, maps.forward(weights, x, num_reference) if maps else x)

    def forward_with_averages(weights, x, after_layer=None):
        hidden, averages = maps.in_training(weights, x, after_layer) if maps else (x, {})
        return to_relations(weights, hidden), averages

    return Network(init, forward, forward_with_averages)


def sums(maps, labels):
    """The sum of each class's maps, by element ([R] 3.2): [M, k, …, F] and one-hot [M, k, N] -> [M, N, …, F]."""
    flat = tf.reshape(maps, [*maps.shape[:2], -1])
    return tf.reshape(tf.matmul(labels, flat, transpose_a=True), [maps.shape[0], labels.shape[2], *maps.shape[2:]])


def pairs(of_classes, queries):
    """Every query with every class, the class's channels first: [M, N, …, F], [M, n, …, F] -> [M, n·N, …, 2F]."""
    num_tasks, num_classes, *map_shape = of_classes.shape
    shape = [num_tasks, num_examples(queries), num_classes, *map_shape]
    both = [tf.broadcast_to(of_classes[:, None], shape), tf.broadcast_to(queries[:, :, None], shape)]
    return tf.reshape(tf.concat(both, -1), [num_tasks, -1, *map_shape[:-1], 2 * map_shape[-1]])


def squared_error(log_odds, labels):
    """[M]: (r − 1)² for a query's own class and r² for others, **mean** over all n·N pairs ([R-code]; [R] sums)."""
    return tf.reduce_mean(tf.square(tf.sigmoid(log_odds) - labels), [1, 2])


def build(settings, problem):
    """The Method. Its state is each task's weights, labels and sums of maps.

    Outputs are the log-odds of the relations r: in r's order, but not rounded to 1. UserError for images that are too
    small for its blocks.
    """
    if problem.maps is not None:
        _check_size(*problem.input_shape[:2])
    embedding = problem.maps(problem.input_shape, EMBEDDING) if problem.maps else embedding_of(problem)
    module = relation_module(problem, embedding.output_shape)

    def init(seed):
        weights = embedding.init(seed)
        of_module = module.init(seed, next(iter(weights.values())).dtype)
        return weights | {MODULE + name: w for name, w in of_module.items()}

    def summarise(weights, maps, labels):
        return {"sums": sums(maps, labels)}

    def compare(state, maps, reference=None):
        weights, num_ways = module_weights(state["weights"]), state["labels"].shape[2]
        if reference is None:
            relations = module.forward(weights, pairs(state["sums"], maps))
        else:  # the pairs of the support examples are the module's reference
            num_reference = reference.shape[1] * num_ways
            both = pairs(state["sums"], tf.concat([reference, maps], 1))
            relations = module.forward(weights, both, num_reference=num_reference)[:, num_reference:]
        return tf.reshape(relations, [relations.shape[0], -1, num_ways])

    def objective(theta, episode, progress):
        weights = inner_loop.per_task(theta, num_tasks(episode))
        support, query, averages = embed_apart(embedding, weights, episode)
        together = pairs(sums(support, episode.support_y), query)
        relations, of_pairs = module.in_training(module_weights(weights), together)
        averages |= {MODULE + name: average for name, average in of_pairs.items()}
        outputs = tf.reshape(relations, episode.query_y.shape)
        return measured(problem, outputs, squared_error(outputs, episode.query_y), episode, averages)

    clip_groups = (
        (is_of_module, settings.part_clip_norm),
        (lambda name: not is_of_module(name), settings.part_clip_norm),
    )
    return comparison(problem, embedding, summarise, compare, init, objective, clip_groups)


def is_of_module(name):
    """Whether this entry of θ is the relation module's."""
    return name.startswith(MODULE)


def module_weights(weights):
    """The relation module's weights, by its own names."""
    return {name.removeprefix(MODULE): w for name, w in weights.items() if is_of_module(name)}


def _check_size(height, width):
    def is_enough(side):
        left = map_size(side, EMBEDDING)
        return left > 0 and map_size(left, module_blocks(left)) > 0

    if not is_enough(min(height, width)):
        smallest = next(side for side in range(1, 100) if is_enough(side))
        raise UserError(f"relation networks need images of at least {smallest}x{smallest}, got {height}x{width}")


def preset(task: Task) -> dict:
    """The authors' settings for a data source, N and K."""
    return dict(
        num_queries=_queries(task),  # [R-code] README
        num_tasks=1,  # [R-code]
        # Ours: until the step size would be halved; [R-code] has 1,000,000, of miniImagenet 500,000.
        metatrain_iterations=100000,
        meta_lr=0.001,  # [R-code]
        schedule="halving",  # [R-code]
        halve_every=100000,  # [R-code]
        part_clip_norm=0.5,  # [R-code]
        norm="batch_norm",  # [R]
        norm_scale=True,  # [R-code]: PyTorch's batch norm
        norm_averages=True,  # ours, for one query at a time: [R-code] normalises by the batch at test too
        norm_epsilon=1e-5,  # [R-code]: PyTorch's default
        num_filters=64,  # [R]
        tasks_per_chunk=1,
        jit=False,  # ours: an episode's maps are many, and TensorFlow's own kernels faster on them
    )


def _queries(task):
    """Q of a class in training: 19, 15 (5-way 1- and 5-shot), 10, 5 (20-way) for Omniglot, 15, 10 for miniImagenet."""
    few_shots = task.num_shots < 5
    if task.photographs:
        return 15 if few_shots else 10
    if task.num_classes >= 20:
        return 10 if few_shots else 5
    return max(20 - task.num_shots, 1)


def episodes(task: Task, settings) -> Episodes:
    """Ways and shots as at test; fewer queries where a class has not so many images."""
    return tasks_as_tested(task, settings)


def reading(task: Task, settings) -> Reading:
    """There are no inner steps."""
    return Reading(0, 0)


CARD = Card(
    title="relation networks",
    paper="[R] Sung, Yang, Zhang, Xiang, Torr, Hospedales 2018, arXiv 1711.06025",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(
        accuracy(("omniglot", 5, 1), (99.6, 0.2), 0, "[R] table 1, second-hand"),
        accuracy(("omniglot", 5, 5), (99.8, 0.1), 0, "[R] table 1, second-hand"),
        accuracy(("omniglot", 20, 1), (97.6, 0.2), 0, "[R] table 1, second-hand"),
        accuracy(("omniglot", 20, 5), (99.1, 0.1), 0, "[R] table 1, second-hand"),
        accuracy(("miniimagenet", 5, 1), (50.44, 0.82), 0, "[R] table 2, second-hand"),
        accuracy(("miniimagenet", 5, 5), (65.32, 0.70), 0, "[R] table 2, second-hand"),
    ),
    learns=("classification",),
    reading=reading,
    episodes=episodes,
    unused=("max_pool",),
    curve_title="query points of training's own episodes",
    curve_loss="squared error, mean over pairs",
    differs=(
        "[R-code] trains five to ten times as long, on 1,200 characters, and chooses its checkpoint on the test "
        "characters, of miniImagenet 5-shot on the test classes; here are 1,100 characters and validation. A turn is "
        "of a class, theirs of a whole task. Convolutions start Xavier uniform, theirs normal; pixels lie in [0, 1], "
        "theirs are standardised. One query at a time there are running averages, which [R-code] never uses."
    ),
)
