"""The meta-gradient: by hand, against central differences, compiled against eager; and the Trainer."""

import numpy as np
import pytest
import tensorflow as tf
from toys import (
    OUTPUTS,
    SHOTS,
    given,
    loss_function,
    mean_meta_gradient,
    network,
    problem,
    random_episode,
    random_weights,
)

from data_generators.episode import Episode
from data_generators.errors import UserError
from maml import inner_loop, layers, losses, networks, optimizers
from maml.meta_training import Trainer, clipped, compiled_meta_gradient, meta_gradient
from maml.method import Method
from maml.methods import maml, pretrained
from maml.networks import Network

# The one-parameter case, see test_inner_loop: the meta-gradient is −1·(1 − 2·0.25), to first order −1.
W = {"w": tf.constant(1.0, tf.float64)}


def line(metric=None, **settings):
    """MAML on f(x) = w·x."""
    network = Network(lambda seed: W, lambda weights, x, num_reference=None: weights["w"][:, None, None] * x)
    return maml.build(maml.Settings(inner_lr=0.25, **settings), given(network, losses.mse, metric))


def line_episode(*tasks):
    """Each task: support x, support y, query x, query y."""
    return Episode(*(tf.constant(part, tf.float64)[:, None, None] for part in zip(*tasks)))


def compiled(method, tasks_per_chunk=2, jit=True):
    """(weights, episode) -> (metrics, gradients), means over the tasks."""
    mean_gradient = tf.function(compiled_meta_gradient(method.objective, tasks_per_chunk, jit))
    return lambda weights, episode: mean_gradient(weights, episode)[:2]


@pytest.mark.parametrize("jit", [None, False, True], ids=["eager", "graph", "xla"])
@pytest.mark.parametrize("first_order, expected", [(False, -0.5), (True, -1.0)])
def test_the_one_parameter_case(first_order, expected, jit):
    method, episode = line(first_order=first_order), line_episode((1, 0, 1, 1))
    _, gradients = mean_meta_gradient(method, W, episode) if jit is None else compiled(method, jit=jit)(W, episode)
    np.testing.assert_allclose(gradients["w"], expected, rtol=0, atol=1e-12)


def test_the_meta_gradient_is_the_mean_over_tasks():
    """The second task, support (1, 1) and query (1, 3), has gradient 2·(1 − 3)·(1 − 0.5) = −2."""
    _, gradients = mean_meta_gradient(line(), W, line_episode((1, 0, 1, 1), (1, 1, 1, 3)))
    np.testing.assert_allclose(gradients["w"], (-0.5 - 2) / 2, rtol=1e-12)


def test_metrics_are_means_over_tasks_before_on_the_support_and_after_on_the_query_sets():
    """Task 1: loss 1, then w' = 0.5, loss 0.25. Task 2: loss 0, so w' = 1, loss 4. Metric: outputs minus targets."""
    method = line(metric=lambda y, target: tf.reduce_mean(y - target, [1, 2]))
    metrics, _ = mean_meta_gradient(method, W, line_episode((1, 0, 1, 1), (1, 1, 1, 3)))
    got = {name: float(value) for name, value in metrics.items()}
    losses_of = {"loss": 2.125, "support_loss": 0.5, "query_loss": 2.125}
    assert got == losses_of | {"support_accuracy": 0.5, "query_accuracy": -1.25}


def test_a_meta_gradient_sums_over_tasks():
    """So that chunks of different sizes add up: twice the means of the test above."""
    metrics, gradients, _ = meta_gradient(line().objective, W, line_episode((1, 0, 1, 1), (1, 1, 1, 3)))
    assert float(metrics["query_loss"]) == 4.25 and float(gradients["w"]) == -2.5


# Central differences


STEP_SIZE = 0.2


def case(kind, norm, loss, num_updates, **settings):
    """(Method, θ, episode): MAML on a small network."""
    method = maml.build(maml.Settings(STEP_SIZE, num_updates, **settings), problem(kind, norm, loss))
    return method, random_weights(method), random_episode(kind, 2, loss)


def query_losses(kind, norm, loss, num_updates, thetas, episode):
    """The mean query loss of each θ after the inner steps: [thetas]. All at once, as tasks of one long batch."""
    forward, loss, num_tasks = network(kind, norm).forward, loss_function(loss), episode.support_x.shape[0]
    weights = {name: tf.repeat(tf.stack([theta[name] for theta in thetas]), num_tasks, 0) for name in thetas[0]}
    e = Episode(*(tf.concat([part] * len(thetas), 0) for part in episode))

    def task_loss(weights):
        return loss(forward(weights, e.support_x), e.support_y)

    adapted = inner_loop.adapt(task_loss, weights, STEP_SIZE, num_updates, is_adapted=networks.is_adapted)[-1]
    losses = loss(forward(adapted, e.query_x), e.query_y)
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


def central_differences(parameters, weights, episode, directions):
    """Of the query loss along each direction. parameters: those of `case`.

    Rounding leaves 1e-16/h = 1e-9. For a smooth loss h could be larger, but where a ReLU flips on the support set the
    inner gradient jumps, and the loss with it: h is too short for that to happen here.
    """
    h = 1e-7
    thetas = [{n: w + sign * h * d[n] for n, w in weights.items()} for sign in (1, -1) for _, d in directions]
    plus, minus = np.split(query_losses(*parameters, thetas, episode), 2)
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


@pytest.mark.parametrize("parameters", CASES, ids=lambda p: "-".join(map(str, p)))
def test_the_meta_gradient_is_that_of_central_differences(parameters):
    method, weights, episode = case(*parameters)
    _, gradients = mean_meta_gradient(method, weights, episode)
    gradients = {name: g.numpy() for name, g in gradients.items()}
    largest = max(np.abs(g).max() for g in gradients.values())
    tried = directions(gradients)
    for (what, direction), expected in zip(tried, central_differences(parameters, weights, episode, tried)):
        got = along(gradients, direction)
        assert abs(got - expected) < 1e-6 * largest, f"{what}: {got} against {expected}"


@pytest.mark.parametrize("parameters", CASES, ids=lambda p: "-".join(map(str, p)))
def test_the_first_order_meta_gradient_is_not(parameters):
    method, weights, episode = case(*parameters, first_order=True)
    _, gradients = mean_meta_gradient(method, weights, episode)
    gradients = {name: g.numpy() for name, g in gradients.items()}
    largest = max(np.abs(g).max() for g in gradients.values())
    tried = directions(gradients)[:2]
    differences = central_differences(parameters, weights, episode, tried)
    off = [abs(along(gradients, direction) - expected) for (_, direction), expected in zip(tried, differences)]
    assert max(off) > 1e-2 * largest


@pytest.mark.parametrize("kind, fed", [("dense", 2), ("strided", 4), ("max-pool", 4)])
def test_biases_in_front_of_a_batch_norm_have_no_meta_gradient(kind, fed):
    """Exactly: the batch norm would subtract them again, so they are not added."""
    method, weights, episode = case(kind, "batch_norm", "cross_entropy", 3)
    _, gradients = mean_meta_gradient(method, weights, episode)
    largest = max(np.abs(g).max() for g in gradients.values())
    for i in range(1, fed + 1):
        assert (gradients[f"b{i}"].numpy() == 0).all()
    assert np.abs(gradients[f"b{fed + 1}"]).max() > 1e-3 * largest


@pytest.mark.parametrize("kind", ["dense", "strided"])
def test_pretrainings_gradient_is_the_plain_gradient_of_the_support_loss(kind):
    method = pretrained.build(maml.Settings(), problem(kind, "batch_norm", "cross_entropy"))
    weights, episode = random_weights(method), random_episode(kind, 2, "cross_entropy")
    _, gradients = mean_meta_gradient(method, weights, episode)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        outputs = network(kind, "batch_norm").forward(inner_loop.per_task(weights, 2), episode.support_x)
        loss = tf.reduce_mean(losses.cross_entropy(outputs, episode.support_y, SHOTS))
    plain = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    for name, expected in plain.items():
        np.testing.assert_allclose(gradients[name], expected, atol=1e-13, err_msg=name)


# Compiled, in chunks of tasks

M = 5


def small_conv(dtype):
    """(Method, weights, episode): one block of convolution, batch norm, ReLU, max-pool, which is quick to compile."""

    def forward(weights, x, num_reference=None):
        x = layers.conv3x3(x, weights["conv1"], 1)
        x = layers.max_pool2x2(tf.nn.relu(layers.batch_norm(x, weights["beta0"])))
        return layers.add_bias(layers.dense(tf.reshape(x, [*x.shape[:2], -1]), weights["w2"]), weights["b2"])

    rng = np.random.default_rng(0)
    shapes = {"conv1": [3, 3, 1, 4], "beta0": [4], "w2": [8 * 8 * 4, OUTPUTS], "b2": [OUTPUTS]}
    weights = {n: tf.constant(rng.normal(size=s) / np.sqrt(np.prod(s[:-1])), dtype) for n, s in shapes.items()}
    method = maml.build(maml.Settings(0.2), given(Network(lambda seed: weights, forward), losses.cross_entropy))
    return method, weights, random_episode("max-pool", M, "cross_entropy", dtype=dtype)


def cast(tensors, dtype):
    return tf.nest.map_structure(lambda t: tf.cast(t, dtype), tensors)


# float64: rounding alone. float32: 6e-8 a rounding, over sums of some hundred terms in a dozen layers and back; a
# gradient sent to the wrong cell of a max-pool, XLA's fault with tf.nn.max_pool2d, shows at 1e-2.
@pytest.mark.parametrize(
    "dtype, tolerance, tasks_per_chunk",
    [(tf.float64, 1e-12, 2), (tf.float64, 1e-12, M), (tf.float32, 1e-5, 3)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_meta_gradient_compiled_by_xla_is_the_eager_one(dtype, tolerance, tasks_per_chunk):
    """With 2 and 3 the last chunk is smaller. Expected: float64, eager, all tasks at once."""
    method, weights, episode = small_conv(dtype)
    metrics, gradients = compiled(method, tasks_per_chunk)(weights, episode)
    # The same numbers as in `dtype`, computed in float64.
    expected_metrics, expected = mean_meta_gradient(method, cast(weights, tf.float64), cast(episode, tf.float64))
    largest = max(np.abs(g).max() for g in expected.values())
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=tolerance * largest, err_msg=name)
    for name, value in metrics.items():
        np.testing.assert_allclose(value, expected_metrics[name], rtol=tolerance, err_msg=name)


@pytest.mark.parametrize("tasks_per_chunk", [1, 2, 3, M])
def test_the_sum_over_chunks_is_that_over_all_tasks(tasks_per_chunk):
    """Without XLA, which is quick. With 2 and 3 the last chunk is smaller."""
    method = maml.build(maml.Settings(0.2), problem("dense", "None", "mse"))
    weights, episode = random_weights(method), random_episode("dense", M, "mse")
    _, gradients = compiled(method, tasks_per_chunk, jit=False)(weights, episode)
    for name, expected in mean_meta_gradient(method, weights, episode)[1].items():
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-10, atol=1e-13, err_msg=name)


# Training

START = {"w": tf.constant([[1.0], [-2.0]], tf.float64), "b": tf.constant([0.5], tf.float64)}
PLANE = maml.build(
    maml.Settings(inner_lr=0.1),
    given(
        Network(
            lambda seed: START,
            lambda weights, x, num_reference=None: layers.add_bias(layers.dense(x, weights["w"]), weights["b"]),
        ),
        losses.mse,
    ),
)


def plane_episode(seed, scale=1.0, queries=4):
    rng = np.random.default_rng(seed)
    return Episode(*(scale * rng.normal(size=(2, m, n)) for m, n in ((4, 2), (4, 1), (queries, 2), (queries, 1))))


def plane_gradients(theta, episode):
    tensors = Episode(*map(tf.constant, episode))
    _, gradients = mean_meta_gradient(PLANE, {name: tf.constant(w) for name, w in theta.items()}, tensors)
    return {name: g.numpy() for name, g in gradients.items()}


def numpy_adam(episodes, clip=None, start=START, epsilon=1e-8):
    """Adam as in Kingma and Ba's section 2, "efficient order" (TensorFlow's: epsilon beside the uncorrected root)."""
    theta = {name: w.numpy() for name, w in start.items()}
    m, v = ({name: 0 * w for name, w in theta.items()} for _ in range(2))
    for t, episode in enumerate(episodes, start=1):
        for name, g in plane_gradients(theta, episode).items():
            g = g if clip is None else np.clip(g, -clip, clip)
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            rate = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            theta[name] = theta[name] - rate * m[name] / (np.sqrt(v[name]) + epsilon)
    return theta


def numpy_sgd(episodes, rates):
    theta = {name: w.numpy() for name, w in START.items()}
    for rate, episode in zip(rates, episodes):
        gradients = plane_gradients(theta, episode)
        theta = {name: w - rate * gradients[name] for name, w in theta.items()}
    return theta


def compile_plane(trainer, **more):
    return trainer.compile(PLANE, tasks_per_chunk=9, jit=False, **more)


def trained(episodes, learning_rate=0.01, start=START, **settings):
    trainer = Trainer(start, learning_rate, **settings)
    step = compile_plane(trainer)
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


def test_three_steps_of_sgd_are_plain_gradient_steps():
    trainer = trained(EPISODES, optimizer="sgd")
    assert_weights(trainer, numpy_sgd(EPISODES, [0.01] * 3))
    assert not trainer.first_moments and not trainer.second_moments


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="'rmsprop', expected one of adam, sgd"):
        Trainer(START, optimizer="rmsprop")


@pytest.mark.parametrize("nested", [{"layer": {"w": tf.zeros([1])}}, {"layer": [tf.zeros([1])]}, [tf.zeros([1])]])
def test_nested_weights_are_refused_by_name(nested):
    with pytest.raises(UserError, match="^('layer' of the )?weights (is|are) (dict|list), expected a (tensor|dict)"):
        Trainer(nested)


def test_the_step_size_may_be_a_schedule_of_the_iteration():
    """1/4 of the way each: 0.04, 0.03, 0.02."""
    trainer = trained(EPISODES, optimizers.linear(0.04, 4), optimizer="sgd")
    assert_weights(trainer, numpy_sgd(EPISODES, [0.04, 0.03, 0.02]))


@pytest.mark.parametrize("bound", [0.5, 1e6])
def test_the_whole_meta_gradient_is_shrunk_to_a_norm_where_it_is_longer(bound):
    gradients = plane_gradients(START, EPISODES[0])
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in gradients.values()))
    assert norm > 0.5
    factor = min(1, bound / norm)
    expected = {name: w.numpy() - 0.01 * factor * gradients[name] for name, w in START.items()}
    assert_weights(trained(EPISODES[:1], optimizer="sgd", clip_norm=bound), expected)


def test_each_entry_of_the_meta_gradient_is_clipped():
    """At 0.5, which cuts some entries here and leaves others: without the clip, or by norm, θ would be another."""
    entries = np.abs(np.concatenate([np.ravel(g) for g in plane_gradients(START, EPISODES[0]).values()]))
    assert entries.min() < 0.5 < entries.max()
    assert_weights(trained(EPISODES, clip=0.5), numpy_adam(EPISODES, clip=0.5))


def test_a_step_counts_an_iteration():
    assert int(trained(EPISODES).iteration) == 3


def test_a_step_returns_the_metrics_of_the_weights_before_it():
    got = compile_plane(Trainer(START, 0.01))(EPISODES[0])
    expected, _ = mean_meta_gradient(PLANE, START, Episode(*map(tf.constant, EPISODES[0])))
    assert got.keys() == {*expected, "finite"} and got["finite"]
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12)


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_a_loop_makes_an_update_on_each_of_a_list_and_returns_the_metrics_of_the_last(jit):
    one_by_one, looped = Trainer(START, 0.01), Trainer(START, 0.01)
    expected = [compile_plane(one_by_one)(episode) for episode in EPISODES][-1]
    got = looped.compile_loop(PLANE, tasks_per_chunk=9, jit=jit)(EPISODES)
    assert_weights(looped, {name: w.numpy() for name, w in one_by_one.weights.items()})
    assert int(looped.iteration) == 3
    np.testing.assert_allclose(got["query_loss"], expected["query_loss"], rtol=1e-12)


def test_a_loop_ends_at_an_update_that_is_not_finite():
    bad = EPISODES[1]._replace(query_y=np.full_like(EPISODES[1].query_y, np.nan))
    trainer = Trainer(START, 0.01)
    metrics = trainer.compile_loop(PLANE, jit=False)([EPISODES[0], bad, EPISODES[2]])
    assert not metrics["finite"] and int(trainer.iteration) == 1
    assert_weights(trainer, numpy_adam(EPISODES[:1]))


def test_another_objective_may_be_minimised_in_a_phase_before():
    trainer = Trainer(START, 0.01, optimizer="sgd")

    def objective(theta, episode, progress):
        return {"loss": theta["b"] * tf.ones([2], tf.float64)}

    compile_plane(trainer, objective=objective)(EPISODES[0])
    assert_weights(trainer, {"w": START["w"], "b": [0.49]})


def test_an_objective_is_told_how_far_the_training_is():
    """Of 4 iterations: 0, 1/4, 2/4; where the length is not told, 0."""
    told = PLANE._replace(objective=lambda theta, episode, progress: {
        "loss": theta["w"][:, 0] + theta["b"], "progress": tf.fill([2], tf.cast(progress, tf.float64)),
    })  # fmt: skip
    step = Trainer(START, 0.01).compile(told, jit=False, total=4)
    assert [float(step(episode)["progress"]) for episode in EPISODES] == [0, 0.25, 0.5]
    assert float(Trainer(START, 0.01).compile(told, jit=False)(EPISODES[0])["progress"]) == 0
    later = Trainer(START, 0.01).compile(told, jit=False, total=4, begin=2)
    assert [float(later(episode)["progress"]) for episode in EPISODES] == [-1, -0.5, 0]


def test_after_restart_adam_the_next_steps_are_a_fresh_adams():
    trainer = trained(EPISODES[:1])
    trainer.restart_adam()
    start = trainer.current_weights()
    step = compile_plane(trainer)
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
    assert not compile_plane(trainer)(bad)["finite"]
    after = state(trainer)
    assert len(before) == 2 * 3 + 2 and all(np.array_equal(before[name], after[name]) for name in before)


def test_a_gradient_whose_square_is_not_finite_changes_nothing_and_says_so():
    """1e19² is beyond single precision: Adam's moments, and what clips by the norm, would be spoilt for good."""
    method = line()
    trainer = Trainer({"w": tf.zeros([])}, 0.001)

    def steep(theta, batch, progress):
        return {"loss": tf.fill([batch.query_x.shape[0]], 1e20 * theta["w"])}

    metrics = trainer.compile(method, jit=False, objective=steep)(EPISODES[0])
    assert not metrics["finite"] and trainer.second_moments["w"].numpy() == 0


def test_a_step_that_was_not_finite_leaves_no_trace_in_the_next():
    bad = EPISODES[0]._replace(query_y=np.full_like(EPISODES[0].query_y, np.nan))
    assert_weights(trained([bad, *EPISODES]), numpy_adam(EPISODES))


# Networks and losses that the weights don't reach


def sizes(seed):
    return {"w": tf.ones([2, 1]), "b": tf.zeros([1])}


VARIABLE = tf.Variable([[1.0], [1.0]])
FORWARDS = {  # of one task; and the weights that no gradient reaches
    "variables of its own alone": (lambda weights, x: x @ VARIABLE, "w, b"),
    "a variable in place of a weight": (lambda weights, x: x @ VARIABLE + weights["b"], "w"),
    "a weight taken for a constant": (lambda weights, x: x @ weights["w"] + tf.stop_gradient(weights["b"]), "b"),
    "a step function": (lambda weights, x: tf.round(x @ weights["w"] + weights["b"]), "w, b"),
}


def train_once(forward, loss=losses.mse, loop=False, jit=False, num_updates=1):
    """One update of a network written for one task, through the adapter."""
    method = maml.build(maml.Settings(0.1, num_updates), given(Network(sizes, inner_loop.single_task(forward)), loss))
    trainer = Trainer(sizes(0))
    batch = Episode(*(part.astype(np.float32) for part in plane_episode(0)))
    if loop:
        trainer.compile_loop(method, 1, jit)([batch])
    else:
        trainer.compile(method, 1, jit)(batch)
    return trainer


@pytest.mark.parametrize("what", FORWARDS)
@pytest.mark.parametrize("loop, jit", [(False, False), (False, True), (True, False)], ids=["graph", "xla", "loop"])
@pytest.mark.parametrize("num_updates", [1, 25], ids=["a step", "a loop of steps"])
def test_weights_that_no_gradient_reaches_are_named_by_the_first_step(what, loop, jit, num_updates):
    forward, names = FORWARDS[what]
    with pytest.raises(UserError, match=f"^no gradient of the loss reaches {names}; expected a network that"):
        train_once(forward, loop=loop, jit=jit, num_updates=num_updates)


def test_without_the_adapter_they_are_named_too():
    network = Network(sizes, lambda weights, x: layers.add_bias(x @ VARIABLE, weights["b"]))
    trainer = Trainer(sizes(0))
    with pytest.raises(UserError, match="reaches w; expected"):
        trainer.compile(maml.build(maml.Settings(0.1), given(network, losses.mse)), jit=False)(
            Episode(*(part.astype(np.float32) for part in plane_episode(0)))
        )


def test_a_keras_model_called_without_the_weights_is_told():
    model = tf.keras.Sequential([tf.keras.Input([2]), tf.keras.layers.Dense(1)])
    with pytest.raises(UserError, match="reaches w, b; expected a network that computes with the weights it is given"):
        train_once(lambda weights, x: model(x))


def test_a_keras_model_called_with_the_weights_trains():
    model = tf.keras.Sequential([tf.keras.Input([2]), tf.keras.layers.Dense(1)])
    trainer = train_once(lambda weights, x: model.stateless_call([weights["w"], weights["b"]], [], x)[0])
    assert not np.array_equal(trainer.weights["w"], sizes(0)["w"]) and trainer.weights["b"].numpy() != 0


def test_a_loss_that_the_outputs_do_not_reach_is_told():
    loss = inner_loop.single_task(lambda outputs, targets: tf.reduce_mean(tf.cast(outputs > targets, tf.float32)))
    with pytest.raises(UserError, match="reaches w, b; expected .* a loss that can be differentiated in its outputs"):
        train_once(lambda weights, x: x @ weights["w"] + weights["b"], lambda y, t, num_shots: loss(y, t))


def test_a_frozen_part_of_a_network_may_be_a_variable():
    trainer = train_once(lambda weights, x: (x * VARIABLE[:, 0]) @ weights["w"] + weights["b"])
    assert not np.array_equal(trainer.weights["w"], sizes(0)["w"])


@pytest.mark.parametrize("norm", networks.NORMS)
def test_by_design_only_biases_in_front_of_a_batch_norm_have_no_gradient(norm):
    method = maml.build(maml.Settings(0.1), problem("dense", norm, "mse"))
    theta, episode = method.init(0), random_episode("dense", 2, "mse")
    meta_gradient(method.objective, theta, episode, may_stay=networks.without_gradient(theta))
    if norm != "batch_norm":
        meta_gradient(method.objective, theta, episode, may_stay=())
    else:
        with pytest.raises(UserError, match="no gradient of the loss reaches b1, b2;"):
            meta_gradient(method.objective, theta, episode, may_stay=())


def test_a_loss_of_every_example_is_refused():
    """Keras's MSE of a task's 4 examples is 4 numbers, whose sum would be 4 times the loss."""
    loss = inner_loop.single_task(lambda outputs, targets: tf.keras.losses.MSE(targets, outputs))
    with pytest.raises(UserError, match=r"^loss has the shape \[1, 4\], expected one number a task, \[1\]$"):
        train_once(lambda weights, x: x @ weights["w"] + weights["b"], lambda y, t, num_shots: loss(y, t))


@pytest.mark.parametrize("shape", [(), (2, 4)], ids=str)
def test_a_metric_that_is_not_one_number_a_task_is_refused(shape):
    method = line(metric=lambda y, target: tf.zeros(shape, tf.float64))
    with pytest.raises(UserError, match=r"support_accuracy has the shape \[.*\], expected one number a task, \[2\]"):
        mean_meta_gradient(method, W, line_episode((1, 0, 1, 1), (1, 1, 1, 3)))


@pytest.mark.parametrize("loop", [False, True])
def test_steps_that_are_not_finite_are_left_out_and_counted_where_that_is_asked_for(loop):
    bad = EPISODES[1]._replace(query_y=np.full_like(EPISODES[1].query_y, np.nan))
    trainer = Trainer(START, 0.01, skip=True)
    batches = [EPISODES[0], bad, EPISODES[2]]
    if loop:
        trainer.compile_loop(PLANE, jit=False)(batches)
    else:
        step = compile_plane(trainer)
        assert [bool(step(batch)["finite"]) for batch in batches] == [True, False, True]
    assert_weights(trainer, numpy_adam([EPISODES[0], EPISODES[2]]))
    assert (int(trainer.iteration), int(trainer.skipped)) == (3, 1)


# What is carried, and training without queries


def averaging(value):
    """A Method whose loss is w, and which carries in "mean" what it was and `value` times each task's mean input."""

    def objective(theta, episode, progress):
        loss = tf.reduce_mean(inner_loop.per_task(theta, episode.support_x.shape[0])["w"], [1, 2])
        means = tf.reduce_mean(episode.support_x, [1, 2])
        return {"loss": loss, "carried": {"mean": theta["mean"] + value * means}}

    return Method(lambda seed: START, None, None, None, objective)


@pytest.mark.parametrize("tasks_per_chunk", [1, 2, 3])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_what_is_carried_becomes_the_mean_over_the_tasks(optimizer, tasks_per_chunk):
    """Three tasks in chunks: no gradient and no moment of the optimiser moves that entry."""
    start = {"w": START["w"], "mean": tf.constant(2.0, tf.float64)}
    trainer = Trainer(start, 0.01, optimizer)
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    step = trainer.compile(averaging(0.5), tasks_per_chunk, jit=False)
    for count in (1, 2):
        step(Episode(x, x, x, x))
        np.testing.assert_allclose(trainer.weights["mean"], 2 + count * 0.5 * x.mean(), rtol=1e-12)
    assert not np.allclose(trainer.weights["w"], START["w"])


def test_what_is_carried_and_not_finite_changes_nothing_and_says_so():
    start = {"w": START["w"], "mean": tf.constant(2.0, tf.float64)}
    trainer = Trainer(start, 0.01)
    metrics = trainer.compile(averaging(np.inf), jit=False)(EPISODES[0])
    assert not metrics["finite"] and "carried" not in metrics
    assert_weights(trainer, {name: w.numpy() for name, w in start.items()})


@pytest.mark.parametrize("tasks_per_chunk, jit", [(1, False), (1, True), (2, True)])
def test_query_sets_may_be_empty(tasks_per_chunk, jit):
    """For an objective of the support sets alone; the last chunk holds one task."""

    def objective(theta, episode, progress):
        weights = inner_loop.per_task(theta, episode.support_x.shape[0])
        outputs = layers.add_bias(layers.dense(episode.support_x, weights["w"]), weights["b"])
        return {"loss": losses.mse(outputs, episode.support_y)}

    method, trainer = PLANE._replace(objective=objective), Trainer(START, 0.01)
    metrics = trainer.compile(method, tasks_per_chunk, jit)(plane_episode(0, queries=0))
    x, y, *_ = plane_episode(0, queries=0)
    expected = np.mean((x @ START["w"].numpy() + START["b"].numpy() - y) ** 2)
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-12)


# Groups of weights whose gradient is limited together


def test_a_groups_gradient_is_scaled_to_its_norm_as_one():
    """(3, 4) has norm 5 together, scaled to 1; (0.3, 0.4) is short enough; c is in no group."""
    gradients = {"a1": [3.0], "a2": [4.0], "b1": [0.3, 0.4], "c": [100.0]}
    gradients = {name: tf.constant(value, tf.float64) for name, value in gradients.items()}
    groups = ((lambda name: name[0] == "a", 1.0), (lambda name: name[0] == "b", 1.0))
    got = {name: value.numpy().tolist() for name, value in clipped(gradients, groups).items()}
    assert got == {"a1": [pytest.approx(0.6)], "a2": [pytest.approx(0.8)], "b1": [0.3, 0.4], "c": [100.0]}


def test_the_trainer_limits_the_groups_of_its_method():
    """By plain steps of size 1 on −10·w: w moves by 10, limited by 2."""
    for groups, expected in (((), 11.0), (((lambda name: name == "w", 2.0),), 3.0)):
        method = line()._replace(
            objective=lambda theta, episode, progress: {"loss": -10 * theta["w"][None]}, clip_groups=groups
        )
        trainer = Trainer(W, learning_rate=1.0, optimizer="sgd")
        trainer.compile(method, tasks_per_chunk=1, jit=False)(line_episode((1, 0, 1, 1)))
        np.testing.assert_allclose(trainer.weights["w"], expected)
