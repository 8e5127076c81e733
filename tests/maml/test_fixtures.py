"""The authors' code, run once and recorded: outputs, losses, accuracies, meta-gradients, weights after Adam.

Each file of the fixtures folder holds random weights and one random meta-batch, and what cbfinn/maml (commit a7f45f1)
computed from them in float32. Compared in float64: the rounding is then all theirs.
"""

import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from toys import given, mean_meta_gradient

from data_generators.episode import Episode
from maml import losses, networks
from maml.meta_training import Trainer
from maml.method import num_shots
from maml.methods import maml

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = [p for p in (os.environ.get("MAML_FIXTURES"), ROOT / "../shared/fixtures") if p]
FOLDER = next((pathlib.Path(p) for p in FOLDERS if pathlib.Path(p).is_dir()), None)
pytestmark = pytest.mark.skipif(FOLDER is None, reason="no fixtures: set MAML_FIXTURES to their folder")

NAMES = ["sinusoid", "omniglot_5way_1shot", "miniimagenet_5way_1shot"]
SINGLE = ["sinusoid", "omniglot_5way_1shot"]  # those that agree in float32 too: no max-pool, so no ties to flip


class Fixture:
    def __init__(self, name, dtype, xla=True):
        self.data = np.load(FOLDER / f"{name}.npz")
        self.flags = json.loads(str(self.data["flags"]))
        self.dtype = dtype
        self.episode = Episode(*(tf.constant(self.data[k], dtype) for k in Episode._fields))
        self.weights = {k: tf.constant(v, dtype) for k, v in self.group("weights").items()}
        f = self.flags
        if name == "sinusoid":
            net, loss, metric = networks.dense_net(1, (40, 40), 1, dtype=dtype), losses.mse, None
        else:
            mini = f["datasource"] == "miniimagenet"
            shape = (84, 84, 3) if mini else (28, 28, 1)
            net = networks.conv_net(
                shape, f["num_filters"], f["num_classes"], f["norm"], f["max_pool"], flatten=mini, xla=xla, dtype=dtype
            )
            loss, metric = losses.cross_entropy, losses.accuracy
        self.xla = xla
        self.problem = given(net, loss, metric)
        self.method = maml.build(maml.Settings(f["update_lr"], f["num_updates"], f["stop_grad"]), self.problem)

    def group(self, prefix):
        return {k[len(prefix) + 1 :]: self.data[k] for k in self.data.files if k.startswith(prefix + "/")}

    def feeds_a_batch_norm(self, name):
        return self.flags["norm"] == "batch_norm" and name in ("b1", "b2", "b3", "b4")


def assert_close(got, expected, tolerance, what):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, what
    error = np.abs(got - expected).max() / np.abs(expected).max()
    assert error < tolerance, f"{what}: off by {error:.1e} of its largest entry"


CASES = [(n, tf.float64) for n in NAMES] + [(n, tf.float32) for n in SINGLE]
# The same by TensorFlow's own kernels and closed forms.
CASES += [("miniimagenet_5way_1shot", tf.float64, False), ("omniglot_5way_1shot", tf.float32, False)]


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{c[0]}-{c[1].name}{'-kernels' * (len(c) > 2)}")
def fixture(request):
    return Fixture(*request.param)


def test_outputs_losses_and_accuracies_after_each_step(fixture):
    f, method, problem, episode = fixture.data, fixture.method, fixture.problem, fixture.episode
    shots = num_shots(episode.support_y)
    state = method.start(fixture.weights, episode.support_x, episode.support_y)
    before = method.predict(state, episode.support_x)
    loss = problem.loss(before, episode.support_y, shots)
    assert_close(tf.reduce_mean(loss), f["support_loss_before"], 2e-6, "loss before")
    outputs = []
    for _ in f["query_losses_after_each_step"]:
        state = method.step(state, episode.support_x, episode.support_y)
        outputs.append(method.predict(state, episode.query_x))
    assert_close(outputs, f["query_outputs_after_each_step"], 1e-5, "outputs")
    got = [tf.reduce_mean(problem.loss(o, episode.query_y, shots)) for o in outputs]
    assert_close(got, f["query_losses_after_each_step"], 2e-6, "losses")
    if problem.metric is not None:
        accuracy = tf.reduce_mean(problem.metric(before, episode.support_y))
        np.testing.assert_allclose(accuracy, f["support_accuracy_before"], atol=1e-6)
        got = [tf.reduce_mean(problem.metric(o, episode.query_y)) for o in outputs]
        np.testing.assert_allclose(got, f["query_accuracies_after_each_step"], atol=1e-6)


def test_meta_gradient(fixture):
    _, gradients = mean_meta_gradient(fixture.method, fixture.weights, fixture.episode)
    expected = fixture.group("meta_gradient")
    assert set(gradients) == set(expected)
    largest = max(np.abs(g).max() for g in expected.values())
    for name, gradient in gradients.items():
        if fixture.feeds_a_batch_norm(name):  # exactly zero by algebra: the batch norm subtracts it again
            limit = 1e-9 if fixture.dtype == tf.float64 else 1e-5
            assert np.abs(gradient).max() < limit * largest, name
        else:
            # The authors' float32 rounding is all that is left: 1.34e-5 in one entry of the max-pool net's beta0, where
            # eager and compiled, tf.maximum and tf.nn.max_pool2d all give the same float64 number to 1e-13.
            assert_close(gradient, expected[name], 2e-5 if fixture.flags["max_pool"] else 1e-5, name)


def test_weights_after_three_meta_updates(fixture):
    clip = 10.0 if fixture.flags["datasource"] == "miniimagenet" else None  # authors' maml.py
    trainer = Trainer(fixture.weights, fixture.flags["meta_lr"], clip=clip)
    step = trainer.compile(fixture.method, jit=fixture.xla)
    for _ in range(3):
        assert step(fixture.episode)["finite"]
    # With max-pool, the authors' float32 flips nearly tied windows from the second step on, single gradients then move
    # by a percent, and Adam divides by their size: 6e-4 is left (without the clip at 10 it would be 5e-3).
    tolerance = 1e-3 if fixture.flags["max_pool"] else 1e-5
    for name, expected in fixture.group("weights_after_3_meta_updates").items():
        if not fixture.feeds_a_batch_norm(name):  # there Adam turns rounding noise into steps of ±meta_lr
            assert_close(trainer.weights[name], expected, tolerance, name)
