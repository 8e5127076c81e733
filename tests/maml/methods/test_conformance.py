"""What every method promises, on tiny problems. A method's own test holds only its hand-computed cases.

M tasks, N outputs, n examples of a task.
"""

import dataclasses
import itertools
import re
import shutil
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from own_images import LABELS, images, make_of, method_of
from toys import random_episode

from data_generators.episode import Batch
from data_generators.image_classes import ImageClasses, ImageTasks
from data_generators.sinusoid import SinusoidTasks
from maml import losses, methods, networks
from maml.meta_training import meta_gradient
from maml.method import Method, Problem
from maml.methods.card import keys
from maml.runs import problems, supervised
from maml.runs.run import Run
from maml.runs.settings import record_types, resolve
from maml.runs.supervised import SupervisedLearner
from maml.trained.loading import load_adapted

CASES = [(name, kind) for name in methods.names() for kind in methods.get(name).learns]
M, N, SUPPORT, TRAIN_CLASSES = 3, 3, 6, 5
SMALL = {"num_updates": 2, "features": 8}  # at most: inner steps, and units of a method's own layer


class Case(NamedTuple):
    """A method on a tiny problem, in one type of float.

    theta: random, for a loss that isn't flat. objectives: {what: (objective, batch)}, of each phase of its training.
    """

    method: Method
    problem: Problem
    theta: dict
    episode: Any
    objectives: dict


def build(name, kind, dtype, num_outputs):
    """(card, its own settings, Problem): by the method's preset, cut to SMALL."""
    card = methods.get(name)
    settings = resolve("sinusoid" if kind == "regression" else "glyphs", name)
    own = settings.own
    cut = {name: min(size, getattr(own, name)) for name, size in SMALL.items() if hasattr(own, name)}
    return card, dataclasses.replace(own, **cut), make_problem(settings.network, kind, dtype, num_outputs)


def make_problem(of, kind, dtype, num_outputs):
    """A hidden layer on 6 inputs, normalised as the settings say: networks have tests of their own."""
    norm = networks.Norm(of.norm, of.norm_scale, of.norm_averages, of.norm_epsilon, of.norm_momentum)

    def network(outputs, shape=(6,)):
        return networks.dense_net(*shape, (7,), outputs, norm, dtype)

    learnt = (losses.mse, None) if kind == "regression" else (losses.cross_entropy, losses.accuracy)
    return Problem((6,), num_outputs, network, lambda: network(None), *learnt, TRAIN_CLASSES)


def make(name, kind, dtype=tf.float64):
    """The Case of a method."""
    card, own, problem = build(name, kind, dtype, N)
    method = card.build(own, problem)
    loss = "mse" if kind == "regression" else "cross_entropy"
    episode = random_episode("dense", M, loss, dtype=dtype, support=SUPPORT)
    objectives = {"tasks": (method.objective, episode)}
    if card.pretraining:
        rng = np.random.default_rng(5)
        x, y = rng.normal(size=(M, 7, 6)), np.eye(TRAIN_CLASSES)[rng.integers(TRAIN_CLASSES, size=(M, 7))]
        objectives["pretraining"] = card.pretraining(own, problem), Batch(tf.constant(x, dtype), tf.constant(y, dtype))
    stages = card.stages(own, problem) if card.stages else ()
    objectives |= {f"stage until {end}": (objective, episode) for end, objective in stages}
    theta = method.init(0)
    return Case(method, problem, randomised(theta, carried(objectives, theta)), episode, objectives)


def carried(objectives, theta):
    """Names of the entries of θ that no gradient moves."""
    results = [objective(theta, batch, 0.0) for objective, batch in objectives.values()]
    return {name for result in results for name in result.get("carried", {})}


def randomised(theta, carried):
    """θ away from zeros; what is carried, such as a variance, stays positive."""
    rng, moved = np.random.default_rng(7), {}
    for name, w in theta.items():
        noise = 0.1 * rng.normal(size=w.shape)
        moved[name] = w + tf.constant(np.abs(noise) if name in carried else noise, w.dtype)
    return moved


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def chosen(request):
    return request.param


@pytest.fixture(scope="module")
def case(chosen):
    return make(*chosen)


@pytest.fixture(scope="module")
def eager(case):
    """Everything of the case, not compiled."""
    return everything(case, case.episode, batches_of(case))


def computed(case, episode, batches):
    """{what: tensor with M in front} of all that a method computes of its θ, but for gradients."""
    method, found = case.method, {}

    def add(what, nest):
        for place, tensor in enumerate(tf.nest.flatten(nest)):
            found[f"{what} {place}"] = tensor

    state = method.start(case.theta, episode.support_x, episode.support_y)
    add("state at the start", state)
    if method.step is not None:
        state = method.step(state, episode.support_x, episode.support_y)
        add("state after a step", state)
    add("outputs", method.predict(state, episode.query_x))
    add("outputs one by one", method.predict(state, episode.query_x, episode.support_x))
    for what, (objective, _) in case.objectives.items():
        add(f"objective of {what}", objective(case.theta, batches[what], 0.5))
    return found


def gradients_of(case, batches):
    """{what: gradient} of each objective."""
    found = {}
    for what, (objective, _) in case.objectives.items():
        gradients = meta_gradient(objective, case.theta, batches[what], 0.5)[1]
        found |= {f"{what} {name}": gradient for name, gradient in gradients.items()}
    return found


def everything(case, episode, batches):
    """What is computed, and the gradients."""
    return computed(case, episode, batches), gradients_of(case, batches)


def batches_of(case):
    return {what: batch for what, (_, batch) in case.objectives.items()}


def assert_same(got, expected, tolerance):
    """Relative to the largest entry of each; what ought to be zero, such as the gradient of an unused bias, to 1."""
    assert got.keys() == expected.keys()
    for what, value in expected.items():
        value = np.asarray(value)
        scale = max(np.abs(value).max(initial=0), 1e-3)
        np.testing.assert_allclose(got[what], value, rtol=0, atol=tolerance * scale, err_msg=what)


# The claims


def test_init_is_a_function_of_the_seed(case):
    first, again, other = (case.method.init(seed) for seed in (3, 3, 4))
    assert first.keys() == again.keys() == other.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not first or any(not np.array_equal(first[name], other[name]) for name in first)


def test_compiled_is_eager(case, eager):
    """By XLA where the method is for it."""
    compiled = tf.function(lambda *data: everything(case, *data), jit_compile=case.method.xla)
    for got, expected in zip(compiled(case.episode, batches_of(case)), eager):
        assert_same(got, expected, 1e-9)


def test_floats_stay_what_they_are(chosen, eager):
    """Every tensor is of the type of θ and of the data."""
    single = make(*chosen, tf.float32)
    found = {tf.float64: eager, tf.float32: everything(single, single.episode, batches_of(single))}
    for dtype, (values, gradients) in found.items():
        assert {t.dtype for t in values.values() if t.dtype.is_floating} == {dtype}
        assert {t.dtype for t in gradients.values()} <= {dtype}
    assert {w.dtype for w in single.method.init(0).values()} <= {tf.float32}


def test_tasks_together_are_each_alone(case, eager):
    together, _ = eager
    for i in range(M):
        one = tf.nest.map_structure(lambda t, i=i: t[i : i + 1], (case.episode, batches_of(case)))
        assert_same({what: t[i : i + 1] for what, t in together.items()}, computed(case, *one), 1e-9)


def test_a_task_by_itself_does_not_see_the_other_queries(case):
    """With the support inputs as reference the outputs of a query are its own."""
    x, y, queries, _ = case.episode
    state = case.method.start(case.theta, x, y)
    outputs = case.method.predict(state, queries, x)
    alone = [case.method.predict(state, queries[:, i : i + 1], x) for i in range(queries.shape[1])]
    assert_same({"outputs": outputs}, {"outputs": tf.concat(alone, 1)}, 1e-9)


def test_a_task_is_learnt_without_what_only_the_training_needs(case):
    kept = {name: w for name, w in case.theta.items() if name not in case.method.training_only}
    assert len(case.theta) == len(kept) + len(case.method.training_only)
    x, y, _, _ = case.episode
    found, expected = (dict(enumerate(tf.nest.flatten(case.method.start(w, x, y)))) for w in (kept, case.theta))
    assert_same(found, expected, 0)


PERMUTATION = (2, 0, 1)


def permuted(theta, chosen):
    """θ with its outputs in another order: on the axes whose length depends on their number."""
    card, own, problem = build(*chosen, tf.float64, N + 1)
    more = card.build(own, problem).init(0)
    result = {}
    for name, w in theta.items():
        axes = [axis for axis, (here, there) in enumerate(zip(w.shape, more[name].shape)) if here != there]
        for axis in axes:
            w = tf.gather(w, PERMUTATION, axis=axis)
        result[name] = w
    return result


def test_permuted_outputs_give_permuted_answers(case, chosen):
    """Classes in another order, or the outputs of a regression."""
    e = case.episode
    other = e._replace(**{name: tf.gather(getattr(e, name), PERMUTATION, axis=2) for name in ("support_y", "query_y")})
    expected, theta = answers(case, case.theta, e), permuted(case.theta, chosen)
    got = answers(case, theta, other)
    for what, value in expected.items():
        expected[what] = tf.gather(value, PERMUTATION, axis=2) if value.shape.rank == 3 else value
    assert_same(got, expected, 1e-9)


def answers(case, theta, episode):
    """{what: outputs [M, n, N], or losses [M]}."""
    method = case.method
    state = method.start(theta, episode.support_x, episode.support_y)
    if method.step is not None:
        state = method.step(state, episode.support_x, episode.support_y)
    found = {
        "outputs": method.predict(state, episode.query_x),
        "outputs one by one": method.predict(state, episode.query_x, episode.support_x),
    }
    result = method.objective(theta, episode, 0.0)
    return found | {name: value for name, value in result.items() if name != "carried"}


class Constants:
    """What `tf.stop_gradient` gave at θ, given again while θ moves: by it a method says what counts as a constant."""

    def __init__(self, monkeypatch):
        self._values, self._again = [], None
        monkeypatch.setattr(tf, "stop_gradient", self._stop)
        self._real = tf.raw_ops.StopGradient

    def _stop(self, x, name=None):
        if self._again is not None:
            return next(self._again)
        self._values.append(self._real(input=x))
        return self._values[-1]

    def hold(self):
        self._again = itertools.cycle(self._values)


def test_the_objectives_gradients_are_those_of_central_differences(case, monkeypatch):
    """Along all of θ and along its weights of each kind. h is too short for a ReLU to flip; rounding leaves 1e-9."""
    if not case.theta:
        pytest.skip("there is nothing to train")
    for what, (objective, batch) in case.objectives.items():
        constants = Constants(monkeypatch)
        _, gradients, of_no_gradient = meta_gradient(objective, case.theta, batch)
        largest = max(np.abs(g).max() for g in gradients.values())
        assert largest > 0 and all(not gradients[name].numpy().any() for name in of_no_gradient)
        for where, direction in directions(gradients, of_no_gradient):
            constants.hold()
            expected = central_difference(objective, case.theta, batch, direction)
            got = sum(float(tf.reduce_sum(gradients[name] * d)) for name, d in direction.items())
            assert abs(got - expected) < 1e-5 * largest, f"{what}, {where}: {got} against {expected}"


def central_difference(objective, theta, batch, direction, h=1e-7):
    moved = [{n: w + sign * h * direction.get(n, 0) for n, w in theta.items()} for sign in (1, -1)]
    plus, minus = (float(tf.reduce_sum(objective(there, batch, 0.0)["loss"])) for there in moved)
    return (plus - minus) / (2 * h)


def directions(gradients, without):
    """[(where, {name: random direction})]: all of θ, and the weights of each kind, as conv1 to conv4 are one."""
    rng = np.random.default_rng(3)
    moved = {name: rng.normal(size=g.shape) for name, g in gradients.items() if name not in without}
    kinds = sorted({re.sub(r"\d+$", "", name) for name in moved})
    of_kind = [(kind, {n: d for n, d in moved.items() if re.sub(r"\d+$", "", n) == kind}) for kind in kinds]
    return [("all", moved), *of_kind]


# In the house: published beside, trained and resumed, adapted and kept

PUBLISHED = [(name, cell) for name in methods.names() for cell in methods.get(name).published if cell.measured_here]


@pytest.mark.parametrize("name, cell", PUBLISHED, ids=lambda value: getattr(value, "source", value))
def test_a_published_result_stands_beside_a_run_of_its_settings(name, cell):
    flags = {field: key for kind in record_types(name).values() for field, key in keys(kind).items()}
    given = {flags[field]: value for field, value in cell.variant.items()}
    given |= {"num_classes": cell.num_classes} if cell.num_classes else {}
    settings = resolve(cell.dataset, name, update_batch_size=cell.trained_shots or cell.num_shots, **given)
    assert cell in settings.cells(cell.num_shots)


@pytest.mark.parametrize("source", ["omniglot", "miniimagenet"])
@pytest.mark.parametrize("name", [name for name in methods.names() if methods.get(name).same_for_every_n])
def test_a_training_that_is_said_to_be_the_same_for_every_n_is_it(name, source):
    """In its settings, its tasks and the shapes of θ."""
    of = [resolve(source, name, num_classes=n) for n in (5, 20)]
    assert of[0] == dataclasses.replace(of[1], task=of[0].task)
    card = of[0].card
    if not card.pretraining and card.is_trained:
        assert card.episodes(of[0].task, of[0].own) == card.episodes(of[1].task, of[1].own)
    assert problems.fixed_num_classes(of[0]) is None


def small_run(name, kind, folder):
    """A Run of four iterations on tiny data, with two inner steps where their number is a setting."""
    card = methods.get(name)
    given = {"jit": False, "iterations_per_call": 1}
    given |= {"num_updates": 2} if "num_updates" in keys(card.Settings) else {}
    given["pretrain_iterations" if "metatrain_iterations" in card.unused else "metatrain_iterations"] = 4
    given |= {} if "num_tasks" in card.unused else {"meta_batch_size": 2}
    if kind == "regression":
        learner = SupervisedLearner(resolve("sinusoid", name, **given), SinusoidTasks(card.told_the_task))
        return Run(learner, folder, log=False)
    given |= {} if "conv" in card.unused else {"conv": False}
    given |= {} if "num_queries" in card.unused else {"query_batch_size": 1}
    settings = resolve("glyphs", name, num_classes=2, **given)
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1), dtype=np.uint8)
    classes = ImageClasses(images, np.arange(0, 13, 3), ("a", "b", "c", "d"))
    tasks = ImageTasks(dict.fromkeys(("train", "val", "test"), classes), 2, rotate=True)
    return Run(SupervisedLearner(settings, tasks), folder, log=False)


def before_each(run, action):
    """Lets something happen before each iteration of the run."""
    advance = run.learner.advance

    def advance_after_it():
        action()
        return advance()

    run.learner.advance = advance_after_it


def test_a_run_that_was_killed_and_resumed_is_one_that_never_was(chosen, tmp_path, monkeypatch):
    """What it leaves on the disk when killed in its fourth iteration goes on from the checkpoint of the second."""
    if not methods.get(chosen[0]).is_trained:
        pytest.skip("there is nothing to train")
    monkeypatch.setattr(supervised, "METRICS_EVERY", 1)
    monkeypatch.setattr(supervised, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(supervised, "VALIDATION_TASKS", 1)
    monkeypatch.setattr(problems, "OMNIGLOT_HIDDEN", (7,))
    monkeypatch.setattr(problems, "SINUSOID_HIDDEN", (7,))
    whole = small_run(*chosen, tmp_path / "whole")
    before_each(whole, lambda: whole.iteration == 3 and shutil.copytree(tmp_path / "whole", tmp_path / "killed"))
    whole.train()
    resumed, begun = small_run(*chosen, tmp_path / "killed"), []
    before_each(resumed, lambda: begun.append(resumed.iteration))
    resumed.train()
    assert begun == [2, 3]
    assert (tmp_path / "killed/metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()
    assert resumed.iteration == whole.iteration == 4
    of_seconds = (resumed.state.seconds.ref(), whole.state.seconds.ref())
    for got, expected in zip(resumed.state.variables, whole.state.variables, strict=True):
        if got.ref() not in of_seconds:
            np.testing.assert_array_equal(got, expected)


SHAPE = (22, 22, 3)  # the smallest images that every method can learn from


@pytest.fixture(scope="module", params=[name for name, kind in CASES if kind == "classification"])
def adapted(request):
    """A small classifier of images, adapted to six of three classes."""
    classifier = make_of(request.param, image_size=SHAPE[0])
    has_steps = method_of(classifier.settings).step is not None
    return classifier.adapt(images(6, shape=SHAPE), LABELS, num_steps=1 if has_steps else 0)


@pytest.mark.parametrize("transductive", [True, False], ids=["together", "one by one"])
def test_a_classifier_kept_in_a_file_predicts_the_same_bits(adapted, transductive, tmp_path):
    adapted.save(tmp_path / "mine.npz")
    loaded = load_adapted(tmp_path / "mine.npz")
    got, expected = (one.predict(images(4, 1, SHAPE), transductive)[1] for one in (loaded, adapted))
    np.testing.assert_array_equal(got, expected)


def test_an_exported_classifier_predicts_as_the_classifier(adapted, tmp_path):
    """By TensorFlow alone, for any number of images."""
    adapted.export(tmp_path / "exported")
    model = tf.saved_model.load(tmp_path / "exported")
    for signature, transductive in (("serving_default", True), ("one_at_a_time", False)):
        for n in (2, 4):
            pixels = images(n, 1, SHAPE)
            got = model.signatures[signature](images=tf.constant(pixels / np.float32(255)))["probabilities"]
            np.testing.assert_allclose(got, adapted.predict(pixels, transductive)[1], rtol=1e-5, atol=1e-6)
