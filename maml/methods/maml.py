"""Model-agnostic meta-learning: algorithms 1 and 2.

[P] is the paper, arXiv 1703.03400v3; [C] is cbfinn/maml at a7f45f1.
"""

from dataclasses import dataclass

from maml.method import Method, query_loss
from maml.methods._gradient import after_steps, gradient_step, prediction, start
from maml.methods.card import Card, Published, Reading, Record, Task, accuracy, setting

TEST_STEPS = 10  # inner steps at test ([C] maml.py, test_num_updates)


@dataclass(frozen=True)
class Settings(Record):
    """MAML's own settings."""

    inner_lr: float = setting(0.4, "α: step size of the inner loop", flag="update_lr", positive=True)
    num_updates: int = setting(1, "inner steps in training", at_least=1)
    first_order: bool = setting(
        False, "first order: drop the second derivatives", flag="stop_grad", tag={True: "first_order"}
    )


def build(settings, problem):
    """The Method. Its state is each task's weights θ'_i."""
    network = problem.network(problem.num_outputs)
    predict = prediction(network.forward)
    step = gradient_step(problem, network, settings.inner_lr, settings.first_order)

    def objective(theta, episode, progress):
        initial = start(theta, episode.support_x, episode.support_y)
        adapted = after_steps(step, initial, episode.support_x, episode.support_y, settings.num_updates)
        return query_loss(problem, predict, initial, adapted, episode)

    return Method(network.init, start, step, predict, objective, network.for_xla)


def preset(task: Task) -> dict:
    """The paper's settings for a data source, N and K."""
    if task.datasource == "sinusoid":
        return dict(
            metatrain_iterations=70000,  # [C] main.py, usage
            num_tasks=25,  # [C] main.py, default
            num_queries=task.num_shots,  # [C]: as many as K
            # [P] 5.1 says 0.01; but 0.001, the default in [C], reproduces its table 2.
            inner_lr=0.001,
            num_updates=1,  # [P] 5.1
            norm="None",  # [C] main.py, usage
            tasks_per_chunk=25,  # ours: the net is so small that one chunk is fastest,
            iterations_per_call=100,  # and that calling it costs more than computing it
        )
    if task.photographs:  # one's own photographs are treated like miniImagenet's
        return dict(
            metatrain_iterations=60000,  # [P] A.1
            num_tasks=2 if task.num_shots >= 5 else 4,  # [P] A.1; [C] main.py has 4 for both
            num_queries=15,  # [P] A.1; [C] main.py
            inner_lr=0.01,  # [P] A.1
            num_updates=5,  # [P] A.1
            norm="batch_norm",  # [P] A.1
            num_filters=32,  # [P] A.1
            max_pool=True,  # [C] main.py, usage
            clip=10.0,  # [C] maml.py: miniImagenet alone
            jit=False,  # ours: at this size TensorFlow's own kernels are faster than what XLA makes
            tasks_per_chunk=1,
        )
    many = task.num_classes >= 20  # Omniglot; glyphs are made to be like it
    images = task.num_classes * task.num_shots  # of a support set
    return dict(
        metatrain_iterations=60000,  # [P] A.1
        num_tasks=16 if many else 32,  # [P] A.1
        num_queries=task.num_shots,  # [C]: as many as K
        inner_lr=0.1 if many else 0.4,  # [P] A.1
        num_updates=5 if many else 1,  # [P] A.1
        norm="batch_norm",  # [P] A.1
        num_filters=64,  # [P] A.1
        tasks_per_chunk=1 if images > 10 else 2,  # ours, for speed: results/benchmark.txt
    )


def reading(task: Task, settings) -> Reading:
    """The published one; after as many steps as in training where those are more."""
    published = published_reading(task, settings)
    step = max(published.step, settings.num_updates)
    return Reading(max(published.num_steps, step), step)


def published_reading(task: Task, settings) -> Reading:
    """[P] A.1: 3 steps for 5-way Omniglot, 5 for 20-way, 10 for miniImagenet; table 2: the sinusoid's first column."""
    if task.datasource == "sinusoid":
        return Reading(TEST_STEPS, 1)
    if task.photographs:
        return Reading(TEST_STEPS, 10)
    return Reading(TEST_STEPS, 5 if task.num_classes >= 20 else 3)


TABLE_1_OMNIGLOT, TABLE_1_IMAGENET = "[P] table 1, Omniglot", "[P] table 1, MiniImagenet"
TABLE_2 = "[P] appendix C.1, table 2"


def squared_errors(values, **more):
    """The Published of three mean squared errors, after 1, 5 and 10 steps on 5 points, of networks trained with 10."""
    by_step = dict(zip((1, 5, 10), values))
    return Published("sinusoid", None, 5, "mse", by_step, dict.fromkeys(by_step), "", TABLE_2, trained_shots=10, **more)


_AS_THE_CODE = ({"num_tasks": 4},)  # [C] main.py has a meta-batch of 4 for 5 shots too, [P] A.1 says 2

NO_CONV = dict(variant={"conv": False}, label="MAML, no conv")
FIRST_ORDER = dict(variant={"first_order": True}, label="MAML, first order")

PUBLISHED = (
    accuracy(("omniglot", 5, 1), (89.7, 1.1), 3, TABLE_1_OMNIGLOT, **NO_CONV),
    accuracy(("omniglot", 5, 5), (97.5, 0.6), 3, TABLE_1_OMNIGLOT, **NO_CONV),
    accuracy(("omniglot", 5, 1), (98.7, 0.4), 3, TABLE_1_OMNIGLOT),
    accuracy(("omniglot", 5, 5), (99.9, 0.1), 3, TABLE_1_OMNIGLOT),
    accuracy(("omniglot", 20, 1), (95.8, 0.3), 5, TABLE_1_OMNIGLOT),
    accuracy(("omniglot", 20, 5), (98.9, 0.2), 5, TABLE_1_OMNIGLOT),
    accuracy(("miniimagenet", 5, 1), (48.07, 1.75), 10, TABLE_1_IMAGENET, **FIRST_ORDER),
    accuracy(("miniimagenet", 5, 5), (63.15, 0.91), 10, TABLE_1_IMAGENET, also=_AS_THE_CODE, **FIRST_ORDER),
    accuracy(("miniimagenet", 5, 1), (48.70, 1.84), 10, TABLE_1_IMAGENET),
    accuracy(("miniimagenet", 5, 5), (63.11, 0.92), 10, TABLE_1_IMAGENET, also=_AS_THE_CODE),
    squared_errors((0.67, 0.38, 0.35)),
)


def _context(label, dataset, source, cells, **more):
    """Cells of a method that the paper compares with, {(N, K): percent, or with its interval}: context, no command."""
    more |= {"label": label, "measured_here": False}
    return tuple(accuracy((dataset, *task), printed, None, source, **more) for task, printed in cells.items())


def _omniglot(label, *percents):
    return _context(label, "omniglot", TABLE_1_OMNIGLOT, dict(zip(((5, 1), (5, 5), (20, 1), (20, 5)), percents)))


def _imagenet(label, one_shot, five_shot):
    return _context(label, "miniimagenet", TABLE_1_IMAGENET, {(5, 1): one_shot, (5, 5): five_shot})


# What the paper compares with.
OTHER_METHODS = (
    *_context("MANN, no conv", "omniglot", TABLE_1_OMNIGLOT, {(5, 1): 82.8, (5, 5): 94.9}, variant={"conv": False}),
    *_omniglot("Siamese nets", 97.3, 98.4, 88.2, 97.0),
    *_omniglot("matching nets", 98.1, 98.9, 93.8, 98.5),
    *_omniglot("neural statistician", 98.1, 99.5, 93.2, 98.1),
    *_omniglot("memory module", 98.4, 99.6, 95.0, 98.6),
    *_imagenet("fine-tuning baseline", (28.86, 0.54), (49.79, 0.79)),
    *_imagenet("nearest-neighbour baseline", (41.08, 0.70), (51.04, 0.65)),
    *_imagenet("matching nets", (43.56, 0.84), (55.31, 0.73)),
    *_imagenet("meta-learner LSTM", (43.44, 0.77), (60.60, 0.71)),
)

CARD = Card(
    title="MAML",
    paper="[P] Finn, Abbeel, Levine 2017, arXiv 1703.03400v3",
    Settings=Settings,
    preset=preset,
    build=build,
    published=(*PUBLISHED, *OTHER_METHODS),
    learns=("regression", "classification"),
    reading=reading,
    unused=("norm_averages",),  # nothing here moves them
)
