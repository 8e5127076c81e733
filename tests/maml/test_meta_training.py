"""The meta-gradient: by hand, against central differences, compiled against eager; and Adam."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from toys import OUTPUTS, loss_function, network, random_episode, random_weights

from data_generators.episode import Episode
from maml import inner_loop, layers, losses, networks
from maml.meta_training import Learner, MetaTrainer

# The one-parameter case, see test_inner_loop: the meta-gradient is −1·(1 − 2·0.25), to first order −1.
W = {"w": tf.constant(1.0, tf.float64)}
LINE = Learner(lambda weights, x: weights["w"][:, None, None] * x, losses.mse, inner_lr=0.25)


def line_episode(*tasks):
    """Each task: support x, support y, query x, query y."""
    return Episode(*(tf.constant(part, tf.float64)[:, None, None] for part in zip(*tasks)))


def compiled(learner):
    return tf.function(learner.compiled_meta_gradient())


@pytest.mark.parametrize("jit", [None, False, True], ids=["eager", "graph", "xla"])
@pytest.mark.parametrize("first_order, expected", [(False, -0.5), (True, -1.0)])
def test_the_one_parameter_case(first_order, expected, jit):
    learner = replace(LINE, first_order=first_order, jit=bool(jit))
    meta_gradient = learner.meta_gradient if jit is None else compiled(learner)
    _, gradients = meta_gradient(W, line_episode((1, 0, 1, 1)))
    np.testing.assert_allclose(gradients["w"], expected, rtol=0, atol=1e-12)


def test_the_meta_gradient_is_the_mean_over_tasks():
    """The second task, support (1, 1) and query (1, 3), has gradient 2·(1 − 3)·(1 − 0.5) = −2."""
    _, gradients = LINE.meta_gradient(W, line_episode((1, 0, 1, 1), (1, 1, 1, 3)))
    np.testing.assert_allclose(gradients["w"], (-0.5 - 2) / 2, rtol=1e-12)


def test_metrics_are_means_over_tasks_before_on_the_support_and_after_on_the_query_sets():
    """Task 1: loss 1, then w' = 0.5, loss 0.25. Task 2: loss 0, so w' = 1, loss 4. Metric: outputs minus targets."""
    learner = replace(LINE, metric=lambda y, target: tf.reduce_mean(y - target, [1, 2]))
    metrics, _ = learner.meta_gradient(W, line_episode((1, 0, 1, 1), (1, 1, 1, 3)))
    got = {name: float(value) for name, value in metrics.items()}
    assert got == {"pre_loss": 0.5, "post_loss": 2.125, "pre_metric": 0.5, "post_metric": -1.25}


# Central differences


def learner_for(kind, norm, loss, num_updates):
    net = network(kind, norm)
    learner = Learner(net.forward, loss_function(loss), 0.2, num_updates, is_adapted=networks.is_adapted)
    return learner, random_weights(net), random_episode(kind, 2, loss)


def query_losses(learner, thetas, episode):
    """The mean query loss of each θ after the inner steps: [thetas]. All at once, as tasks of one long batch."""
    num_tasks = episode.support_x.shape[0]
    weights = {name: tf.repeat(tf.stack([theta[name] for theta in thetas]), num_tasks, 0) for name in thetas[0]}
    e = Episode(*(tf.concat([part] * len(thetas), 0) for part in episode))
    trajectory = inner_loop.adapt(
        learner.forward, learner.loss, weights, e.support_x, e.support_y, learner.inner_lr, learner.num_updates,
        is_adapted=learner.is_adapted,
    )  # fmt: skip
    losses = learner.loss(learner.forward(trajectory[-1], e.query_x), e.query_y)
    return tf.reduce_mean(tf.reshape(losses, [len(thetas), num_tasks]), 1).numpy()


def directions(gradients):
    """Names and directions: two across all of θ; within each weight a random one and its largest and last entries."""
    rng = np.random.default_rng(3)
    zeros = {name: np.zeros(g.shape) for name, g in gradients.items()}

    def entry(name, index):
        one = np.zeros(gradients[name].shape)
        one.flat[index] = 1
        return {**zeros, name: one}

    everywhere = [{name: rng.normal(size=g.shape) for name, g in gradients.items()} for _ in range(2)]
    found = [("all", direction) for direction in everywhere]
    for name, g in gradients.items():
        found.append((name, {**zeros, name: rng.normal(size=g.shape)}))
        found.append((f"largest entry of {name}", entry(name, np.argmax(np.abs(g)))))
        found.append((f"last entry of {name}", entry(name, -1)))
    return found


def central_differences(learner, weights, episode, directions):
    """Of the query loss along each direction.

    Rounding leaves 1e-16/h = 1e-9. For a smooth loss h could be larger, but where a ReLU flips on the support set the
    inner gradient jumps, and the loss with it: h is too short for that to happen here.
    """
    h = 1e-7
    thetas = [{n: w + sign * h * d[n] for n, w in weights.items()} for sign in (1, -1) for _, d in directions]
    plus, minus = np.split(query_losses(learner, thetas, episode), 2)
    return (plus - minus) / (2 * h)


def along(gradients, direction):
    return sum((gradients[name] * direction[name]).sum() for name in gradients)


# Every network, norm, loss and number of steps; all pairs for the dense net, where they are cheap.
CASES = [("dense", n, loss, s) for n in networks.NORMS for loss in ("mse", "cross_entropy") for s in (1, 3)]
CASES += [
    ("strided", "batch_norm", "cross_entropy", 1),
    ("strided", "None", "mse", 3),
    ("strided odd", "batch_norm", "cross_entropy", 3),
    ("strided odd", "layer_norm", "mse", 1),
    ("strided odd", "None", "cross_entropy", 1),
    ("max-pool", "batch_norm", "cross_entropy", 3),
    ("max-pool", "layer_norm", "cross_entropy", 1),
    ("max-pool", "None", "mse", 3),
    ("max-pool odd", "batch_norm", "mse", 1),
]


@pytest.mark.parametrize("kind, norm, loss, num_updates", CASES)
def test_the_meta_gradient_is_that_of_central_differences(kind, norm, loss, num_updates):
    learner, weights, episode = learner_for(kind, norm, loss, num_updates)
    _, gradients = learner.meta_gradient(weights, episode)
    gradients = {name: g.numpy() for name, g in gradients.items()}
    largest = max(np.abs(g).max() for g in gradients.values())
    tried = directions(gradients)
    for (what, direction), expected in zip(tried, central_differences(learner, weights, episode, tried)):
        got = along(gradients, direction)
        assert abs(got - expected) < 1e-6 * largest, f"{what}: {got} against {expected}"


@pytest.mark.parametrize("kind, norm, loss, num_updates", CASES)
def test_the_first_order_meta_gradient_is_not(kind, norm, loss, num_updates):
    learner, weights, episode = learner_for(kind, norm, loss, num_updates)
    _, gradients = replace(learner, first_order=True).meta_gradient(weights, episode)
    gradients = {name: g.numpy() for name, g in gradients.items()}
    largest = max(np.abs(g).max() for g in gradients.values())
    tried = directions(gradients)[:2]
    for (_, direction), expected in zip(tried, central_differences(learner, weights, episode, tried)):
        assert abs(along(gradients, direction) - expected) > 1e-2 * largest


@pytest.mark.parametrize("kind, fed", [("dense", 2), ("strided", 4), ("max-pool", 4)])
def test_biases_in_front_of_a_batch_norm_have_no_meta_gradient(kind, fed):
    """Exactly: the batch norm would subtract them again, so they are not added."""
    learner, weights, episode = learner_for(kind, "batch_norm", "cross_entropy", 3)
    _, gradients = learner.meta_gradient(weights, episode)
    largest = max(np.abs(g).max() for g in gradients.values())
    for i in range(1, fed + 1):
        assert (gradients[f"b{i}"].numpy() == 0).all()
    assert np.abs(gradients[f"b{fed + 1}"]).max() > 1e-3 * largest


@pytest.mark.parametrize("kind", ["dense", "strided"])
def test_without_updates_the_meta_gradient_is_the_plain_gradient_of_the_support_loss(kind):
    learner, weights, episode = learner_for(kind, "batch_norm", "cross_entropy", 0)
    _, gradients = learner.meta_gradient(weights, episode)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        outputs = learner.forward(inner_loop.per_task(weights, 2), episode.support_x)
        loss = tf.reduce_mean(learner.loss(outputs, episode.support_y))
    plain = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    for name, expected in plain.items():
        np.testing.assert_allclose(gradients[name], expected, atol=1e-13, err_msg=name)


# Compiled, in chunks of tasks

M = 5


def small_conv(dtype):
    """(Learner, weights, episode): one block of convolution, batch norm, ReLU, max-pool, which is quick to compile."""

    def forward(weights, x):
        x = layers.conv3x3(x, weights["conv1"], 1)
        x = layers.max_pool2x2(tf.nn.relu(layers.batch_norm(x, weights["beta0"])))
        return layers.add_bias(layers.dense(tf.reshape(x, [*x.shape[:2], -1]), weights["w2"]), weights["b2"])

    rng = np.random.default_rng(0)
    shapes = {"conv1": [3, 3, 1, 4], "beta0": [4], "w2": [8 * 8 * 4, OUTPUTS], "b2": [OUTPUTS]}
    weights = {n: tf.constant(rng.normal(size=s) / np.sqrt(np.prod(s[:-1])), dtype) for n, s in shapes.items()}
    learner = Learner(forward, losses.cross_entropy(2), 0.2, is_adapted=networks.is_adapted)
    return learner, weights, random_episode("max-pool", M, "cross_entropy", dtype=dtype)


def cast(tensors, dtype):
    return tf.nest.map_structure(lambda t: tf.cast(t, dtype), tensors)


# float64: rounding alone. float32: 6e-8 a rounding, over sums of some hundred terms in a dozen layers and back; a
# gradient sent to the wrong cell of a max-pool, XLA's fault with tf.nn.max_pool2d, shows at 1e-2.
@pytest.mark.parametrize(
    "dtype, tolerance, tasks_per_chunk",
    [(tf.float64, 1e-12, n) for n in (2, M)] + [(tf.float32, 1e-5, n) for n in (1, 2, 3, M)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_meta_gradient_compiled_by_xla_is_the_eager_one(dtype, tolerance, tasks_per_chunk):
    """With 2 and 3 the last chunk is smaller. Expected: float64, eager, all tasks at once."""
    learner, weights, episode = small_conv(dtype)
    metrics, gradients = compiled(replace(learner, tasks_per_chunk=tasks_per_chunk))(weights, episode)
    # The same numbers as in `dtype`, computed in float64.
    expected_metrics, expected = learner.meta_gradient(cast(weights, tf.float64), cast(episode, tf.float64))
    largest = max(np.abs(g).max() for g in expected.values())
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=tolerance * largest, err_msg=name)
    for name, value in metrics.items():
        np.testing.assert_allclose(value, expected_metrics[name], rtol=tolerance, err_msg=name)


@pytest.mark.parametrize("tasks_per_chunk", [1, 2, 3, M])
def test_the_sum_over_chunks_is_that_over_all_tasks(tasks_per_chunk):
    """Without XLA, which is quick. With 2 and 3 the last chunk is smaller."""
    net, episode = network("dense", "None"), random_episode("dense", M, "mse")
    learner = Learner(net.forward, losses.mse, 0.2, jit=False, tasks_per_chunk=tasks_per_chunk)
    weights = random_weights(net)
    _, gradients = compiled(learner)(weights, episode)
    for name, expected in learner.meta_gradient(weights, episode)[1].items():
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-10, atol=1e-13, err_msg=name)


# Adam

START = {"w": tf.constant([[1.0], [-2.0]], tf.float64), "b": tf.constant([0.5], tf.float64)}
PLANE = Learner(
    lambda weights, x: layers.add_bias(layers.dense(x, weights["w"]), weights["b"]),
    losses.mse,
    inner_lr=0.1,
    jit=False,
    tasks_per_chunk=9,
)


def plane_episode(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return Episode(*(scale * rng.normal(size=(2, 4, n)) for n in (2, 1, 2, 1)))


def numpy_adam(episodes, clip=None, start=START, epsilon=1e-8):
    """Adam as in Kingma and Ba's section 2, "efficient order" (TensorFlow's: epsilon beside the uncorrected root)."""
    theta = {name: w.numpy() for name, w in start.items()}
    m, v = ({name: 0 * w for name, w in theta.items()} for _ in range(2))
    for t, episode in enumerate(episodes, start=1):
        tensors = Episode(*map(tf.constant, episode))
        _, gradients = PLANE.meta_gradient({name: tf.constant(w) for name, w in theta.items()}, tensors)
        for name, g in gradients.items():
            g = g.numpy() if clip is None else np.clip(g.numpy(), -clip, clip)
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            rate = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            theta[name] = theta[name] - rate * m[name] / (np.sqrt(v[name]) + epsilon)
    return theta


def trained(episodes, clip=None, start=START):
    trainer = MetaTrainer(start, meta_lr=0.01, clip=clip)
    step = trainer.compile(PLANE)
    for episode in episodes:
        step(episode)
    return trainer


def assert_weights(trainer, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(trainer.weights[name], value, rtol=1e-12, err_msg=name)


EPISODES = [plane_episode(seed) for seed in range(3)]


def test_three_steps_are_adam_with_epsilon_1e_8():
    trainer = trained(EPISODES)
    assert_weights(trainer, numpy_adam(EPISODES))
    keras = numpy_adam(EPISODES, epsilon=1e-7)  # the tolerance tells the two apart
    assert any(np.abs(keras[n] / trainer.weights[n].numpy() - 1).max() > 1e-11 for n in START)


def test_each_entry_of_the_meta_gradient_is_clipped():
    """At 0.5, which cuts some entries here and leaves others: without the clip, or by norm, θ would be another."""
    tensors = Episode(*map(tf.constant, EPISODES[0]))
    entries = np.abs(np.concatenate([np.ravel(g) for g in PLANE.meta_gradient(START, tensors)[1].values()]))
    assert entries.min() < 0.5 < entries.max()
    assert_weights(trained(EPISODES, clip=0.5), numpy_adam(EPISODES, clip=0.5))


def test_a_step_counts_an_iteration():
    assert int(trained(EPISODES).iteration) == 3


def test_a_step_returns_the_metrics_of_the_weights_before_it():
    trainer = MetaTrainer(START, meta_lr=0.01)
    got = trainer.compile(PLANE)(EPISODES[0])
    expected, _ = PLANE.meta_gradient(START, Episode(*map(tf.constant, EPISODES[0])))
    assert got.keys() == {*expected, "finite"} and got["finite"]
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12)


def test_after_restart_adam_the_next_steps_are_a_fresh_adams():
    trainer = trained(EPISODES[:1])
    trainer.restart_adam()
    start = trainer.current_weights()
    step = trainer.compile(PLANE)
    for episode in EPISODES[1:]:
        step(episode)
    assert_weights(trainer, numpy_adam(EPISODES[1:], start=start))


def test_restart_adam_keeps_weights_and_iteration():
    trainer = trained(EPISODES)
    trainer.restart_adam()
    assert_weights(trainer, numpy_adam(EPISODES))
    assert int(trainer.iteration) == 3


def state(trainer):
    return {v.name + str(i): v.numpy() for i, v in enumerate(trainer.variables)}


# A NaN in the support set comes through θ'; an input of 1e200 gives an infinite loss.
@pytest.mark.parametrize("field, value", [("query_x", np.nan), ("support_y", np.nan), ("query_x", 1e200)])
def test_a_step_that_is_not_finite_changes_nothing_and_says_so(field, value):
    trainer = trained(EPISODES[:1])
    before = state(trainer)
    bad = EPISODES[1]._replace(**{field: getattr(EPISODES[1], field).copy()})
    getattr(bad, field)[0, 0, 0] = value
    assert not trainer.compile(PLANE)(bad)["finite"]
    after = state(trainer)
    assert len(before) == 2 * 3 + 2 and all(np.array_equal(before[name], after[name]) for name in before)


def test_a_step_that_was_not_finite_leaves_no_trace_in_the_next():
    bad = EPISODES[0]._replace(query_y=np.full_like(EPISODES[0].query_y, np.nan))
    assert_weights(trained([bad, *EPISODES]), numpy_adam(EPISODES))
