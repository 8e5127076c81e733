"""Networks and data of one's own: inputs, outputs and targets that are dicts, through the methods that take them."""

import numpy as np
import pytest
import tensorflow as tf

from data_generators.episode import Episode
from data_generators.errors import UserError
from maml import losses, methods
from maml.evaluation import Evaluator
from maml.inner_loop import single_task
from maml.meta_training import Trainer
from maml.method import Problem
from maml.methods.card import Task
from maml.networks import Network

GRADIENT = ("maml", "meta_sgd", "reptile", "taml", "maml_plus_plus", "meta_lstm")
SHAPE = {"left": (2,), "right": (3,)}


def init(seed):
    return {"w": tf.ones([2, 1]), "v": tf.ones([3, 1]), "b": tf.zeros([1])}


def forward(weights, x, num_reference=None):
    """One task: {"left" [n, 2], "right" [n, 3]} -> {"sum" [n, 1], "twice"}."""
    total = x["left"] @ weights["w"] + x["right"] @ weights["v"] + weights["b"]
    return {"sum": total, "twice": 2 * total}


def features(weights, x, num_reference=None):
    return tf.concat([x["left"] @ weights["w"] + weights["b"], x["right"] @ weights["v"]], -1)


def squared_error(outputs, targets, num_shots=None):
    return losses.mse(outputs["sum"], targets["sum"]) + losses.mse(outputs["twice"], targets["twice"])


def examples(rng, num_tasks, count):
    x = {name: rng.normal(size=(num_tasks, count, *shape)).astype(np.float32) for name, shape in SHAPE.items()}
    return x, {"sum": x["left"][..., :1], "twice": 2 * x["left"][..., :1]}


def episode(num_tasks, seed=0):
    """Tasks whose answer is the first input: w = (1, 0), v = 0."""
    rng = np.random.default_rng(seed)
    return Episode(*examples(rng, num_tasks, 4), *examples(rng, num_tasks, 5))


def built(name, problem, **given):
    card = methods.get(name)
    preset = card.preset(Task("sinusoid", 5, 4)) | given
    own = {field: value for field, value in preset.items() if field in card.Settings.__dataclass_fields__}
    return card.build(card.Settings(**own), problem)


def regression(forward, embedding=None):
    network = Network(init, single_task(forward))
    return Problem(SHAPE, 1, lambda outputs: network, embedding, squared_error, None)


@pytest.mark.parametrize("name", GRADIENT)
def test_dicts_of_inputs_outputs_and_targets_train_and_are_tested(name):
    problem = regression(forward)
    method = built(name, problem, num_updates=1)
    trainer = Trainer(method.init(0), 0.05)
    step = trainer.compile(method, tasks_per_chunk=2, jit=False)
    tasks = [episode(1, seed) for seed in range(3)]
    for seed in range(40):
        step(episode(4, seed))
    together, alone = (Evaluator(method, problem, 2, jit=False, transductive=t) for t in (True, False))
    learnt = together(trainer.current_weights(), tasks, 1).loss
    assert learnt.mean() < 0.5 * together(method.init(0), tasks, 1).loss.mean()
    np.testing.assert_allclose(alone(trainer.current_weights(), tasks, 1).loss, learnt, rtol=1e-5)


@pytest.mark.parametrize("name", GRADIENT)
def test_a_loop_of_updates_takes_them_too(name):
    method = built(name, regression(forward), num_updates=1)
    trainer = Trainer(method.init(0), 0.05)
    trainer.compile_loop(method, 2, jit=False)([episode(4, seed) for seed in range(3)])
    assert trainer.iteration.numpy() == 3


def test_prototypes_of_dicts_by_hand():
    """θ = 1 and right = 0: the embedding is the sum of left. Classes at 0 and 4, a query at 1: squares −1 and −9."""
    embedding = Network(init, single_task(features))
    problem = Problem(SHAPE, 2, None, lambda: embedding, losses.cross_entropy, losses.accuracy)
    method = built("prototypical", problem)
    right = np.zeros((1, 2, 3), np.float32)
    support = {"left": np.float32([[[0, 0], [4, 0]]]), "right": right}
    state = method.start(method.init(0), support, tf.eye(2)[None])
    query = {"left": np.float32([[[1, 0]]]), "right": right[:, :1]}
    assert method.predict(state, query).numpy().tolist() == [[[-1, -9]]]
    assert method.predict(state, query, support).numpy().tolist() == [[[-1, -9]]]


@pytest.mark.parametrize("name", ["anil", "lstm", "prototypical", "siamese", "matching"])
def test_a_method_of_features_says_that_it_wants_an_embedding(name):
    with pytest.raises(
        UserError, match="^the Problem has no embedding, expected one: this method is made of features$"
    ):
        built(name, regression(forward))


@pytest.mark.parametrize("name", ["context_vector", "pixels", "gru"])
def test_a_method_of_single_tensors_says_so(name):
    with pytest.raises(UserError, match=r"^input_shape is {'left': .*, expected that of one tensor: .* takes no nest$"):
        built(name, regression(forward, embedding=lambda: Network(init, single_task(features))))


def test_a_forward_that_cannot_normalise_queries_one_by_one_says_so():
    problem = regression(lambda weights, x: forward(weights, x))
    evaluate = Evaluator(built("maml", problem), problem, jit=False, transductive=False)
    with pytest.raises(UserError, match="^the network's forward has no parameter num_reference, expected one"):
        evaluate(init(0), [episode(1)], 1)


def test_a_forward_is_told_how_many_examples_are_the_reference():
    told = []

    def forward_told(weights, x, num_reference=None):
        told.append(num_reference)
        return forward(weights, x)

    problem = regression(forward_told)
    method = built("maml", problem)
    new = episode(2)
    method.predict(method.start(init(0), new.support_x, new.support_y), new.query_x, new.support_x)
    assert 4 in told
