"""Reptile by hand: f(x) = w·x, squared error, w = 0, inner step size 0.1, examples (1, 1) and (2, 0); and its traps."""

import numpy as np
import pytest
import tensorflow as tf
from toys import given, mean_meta_gradient, problem, random_episode, random_weights

from data_generators.episode import Episode
from maml import inner_loop, losses, optimizers
from maml.meta_training import Trainer
from maml.methods import reptile
from maml.methods.card import Episodes, Task
from maml.networks import Network

W = {"w": tf.constant(0.0, tf.float64)}
NET = Network(lambda seed: W, lambda weights, x, num_reference=None: weights["w"][:, None, None] * x)


def line(**settings):
    """Reptile with plain gradient steps, a minibatch of one example."""
    settings = {"inner_optimizer": "sgd", "inner_lr": 0.1, "num_updates": 2, "inner_batch": 1, **settings}
    return reptile.build(reptile.Settings(**settings), given(NET, losses.mse))


def pools(*tasks):
    """An Episode without queries, of tasks of as many examples (x, y)."""
    x, y = (tf.constant([[[example[i]] for example in task] for task in tasks], tf.float64) for i in (0, 1))
    return Episode(x, y, x[:, :0], y[:, :0])


def in_order(*examples):
    """The pool in which those are the first minibatches of one."""
    order = reptile.minibatch(tf.range(len(examples))[None], tf.zeros([1], tf.int32), len(examples))[0].numpy()
    return [examples[np.flatnonzero(order == place)[0]] for place in range(len(examples))]


def gradient(method, episode, theta=W):
    return float(mean_meta_gradient(method, theta, episode)[1]["w"])


# The outer step


def test_the_gradient_is_what_the_inner_steps_went_back():
    """g = −2, w = 0.2, g = −1.6, w = 0.36: their sum, −3.6, times the step size."""
    np.testing.assert_allclose(gradient(line(), pools([(1, 1)])) / 0.1, -3.6, rtol=1e-12)


def test_over_different_minibatches_it_is_the_sum_of_their_gradients():
    """g = −2, w = 0.2; then 1.6 of the other, w = 0.04. MAML's gradient would be 1.28, first order 1.6."""
    np.testing.assert_allclose(gradient(line(), pools(in_order((1, 1), (2, 0)))) / 0.1, -0.4, rtol=1e-12)


def test_with_one_step_it_is_the_plain_gradient():
    np.testing.assert_allclose(gradient(line(num_updates=1), pools([(1, 1)])) / 0.1, -2, rtol=1e-12)


def test_the_outer_step_goes_part_of_the_way():
    """ε = 0.5: from 0 halfway to 0.36."""
    trainer = Trainer(W, 0.5, "sgd")
    trainer.compile(line(), jit=False)(pools([(1, 1)]))
    np.testing.assert_allclose(trainer.weights["w"], 0.18, rtol=1e-12)


def test_the_outer_step_goes_to_the_mean_of_the_tasks():
    """ε = 1, tasks that end at 0.36 and, their y being −1/9, at −0.04; in chunks of one."""
    trainer = Trainer(W, 1.0, "sgd")
    trainer.compile(line(), tasks_per_chunk=1, jit=False)(pools([(1, 1)], [(1, -1 / 9)]))
    np.testing.assert_allclose(trainer.weights["w"], 0.16, rtol=1e-12)


def test_the_step_size_goes_from_1_towards_0():
    """Over 2 iterations, 1 and 0.5: to 0.36; from there the steps lead on to 1 − 0.8²·0.64 = 0.5904, half of it."""
    trainer = Trainer(W, optimizers.linear(1.0, 2), "sgd")
    step = trainer.compile(line(), jit=False)
    for _ in range(2):
        step(pools([(1, 1)]))
    np.testing.assert_allclose(trainer.weights["w"], (0.36 + 0.5904) / 2, rtol=1e-12)


def test_no_gradient_flows_through_the_inner_steps():
    """It would be −3.6·0.1·(1 − 0.8²) = −0.1296."""
    np.testing.assert_allclose(gradient(line(), pools([(1, 1)])), -0.36, rtol=1e-12)


def test_the_distance_is_half_the_square_over_all_weights_of_a_task():
    weights = {"a": tf.constant([[1.0, 2.0], [0.0, 0.0]]), "b": tf.constant([3.0, 0.0])}
    targets = {"a": tf.constant([[1.0, 0.0], [0.0, 0.0]]), "b": tf.constant([1.0, 2.0])}
    np.testing.assert_array_equal(reptile.distance(weights, targets), [4, 2])


def test_what_is_recorded_is_of_the_first_and_of_the_last_minibatch():
    """(0 − 1)² of θ, and (2·0.2 − 0)² of what one step made of it."""
    result = line().objective(W, pools(in_order((1, 1), (2, 0))), 0.0)
    np.testing.assert_allclose([result["support_loss"][0], result["adapted_loss"][0]], [1, 0.16], rtol=1e-12)


# Minibatches


def test_minibatches_walk_through_the_pool_without_replacement():
    """Six examples in fours: the second batch has the last two of the first pass and the first two of the second."""
    pool = tf.range(6)[None]
    rows = [reptile.minibatch(pool, tf.constant([step]), 4)[0].numpy() for step in range(3)]
    passes = np.concatenate(rows).reshape(2, 6)
    np.testing.assert_array_equal(np.sort(passes), [range(6)] * 2)
    assert not np.array_equal(*passes)  # each in another order


def test_every_task_is_at_its_own_place():
    pool = tf.stack([tf.range(6), tf.range(6)])
    both = reptile.minibatch(pool, tf.constant([0, 1]), 2)
    for i in range(2):
        np.testing.assert_array_equal(both[i], reptile.minibatch(pool[:1], tf.constant([i]), 2)[0])


def test_after_all_orders_they_come_again():
    pool = tf.range(4)[None]
    first, later = (reptile.minibatch(pool, tf.constant([step]), 4) for step in (1, 1 + reptile.PASSES))
    np.testing.assert_array_equal(first, later)


def test_a_minibatch_is_no_larger_than_the_pool():
    rows = reptile.minibatch(tf.range(3)[None], tf.constant([5]), 10)
    np.testing.assert_array_equal(np.sort(rows), [[0, 1, 2]])


@pytest.mark.parametrize("jit", [False, True])
def test_minibatches_may_be_compiled(jit):
    pool, taken = tf.reshape(tf.range(24), [2, 6, 2]), tf.constant([1, 4])
    compiled = tf.function(lambda *a: reptile.minibatch(*a, 4), jit_compile=jit)
    np.testing.assert_array_equal(compiled(pool, taken), reptile.minibatch(pool, taken, 4))


def sizes_seen(**settings):
    """(examples of an inner step in training, at test), of a pool of 8."""
    seen = []

    def forward(weights, x, num_reference=None):
        seen.append(x.shape[1])
        return NET.forward(weights, x)

    settings = reptile.Settings("sgd", num_updates=1, **settings)
    method = reptile.build(settings, given(NET._replace(forward=forward), losses.mse))
    episode = pools([(1, 1)] * 8)
    method.objective(W, episode, 0.0)
    method.step(method.start(W, *episode[:2]), *episode[:2])
    return tuple(seen)


def test_a_step_in_training_and_a_step_at_test_have_minibatches_of_their_own():
    assert sizes_seen(inner_batch=6, test_batch=3) == (6, 3)
    assert sizes_seen(inner_batch=6, test_batch=15) == (6, 8)


# The inner Adam


def adam_state(v=0.0, t=0.0):
    return {name: tf.constant([value], tf.float64) for name, value in {"w": 0.0, "adam_v/w": v, "adam_t": t}.items()}


def gradient_of(value):
    return {"w": tf.constant([value], tf.float64)}


@pytest.mark.parametrize("value", [2.0, -1e-3])
def test_adams_first_step_is_the_step_size_in_the_direction_of_the_gradient(value):
    stepped = reptile.adam_update(gradient_of(value), adam_state(), 0.001)
    np.testing.assert_allclose(stepped["w"], [-0.001 * np.sign(value)], rtol=1e-3)  # ε beside √v of 3e-5


def test_second_moments_go_on_where_they_were():
    """After a gradient of 2 one of 1 moves 0.63255 of the step size; with moments forgotten it would be the whole."""
    first = reptile.adam_update(gradient_of(2.0), adam_state(), 0.001)
    second = reptile.adam_update(gradient_of(1.0), {**first, "w": adam_state()["w"]}, 0.001)
    np.testing.assert_allclose(second["w"], [-0.00063255], rtol=1e-5)
    assert second["adam_t"].numpy() == [2]


def test_there_is_no_momentum():
    """β1 = 0: without a gradient nothing moves, whatever there was before."""
    first = reptile.adam_update(gradient_of(2.0), adam_state(), 0.001)
    np.testing.assert_array_equal(reptile.adam_update(gradient_of(0.0), first, 0.001)["w"], first["w"])


def test_the_tasks_of_a_meta_update_start_from_the_same_moments_and_leave_their_mean():
    """k = 2 steps. Task 1: support (1, 1). Task 2 is at its minimum: its gradients are 0 and v only shrinks."""
    method = line(inner_optimizer="adam", inner_lr=0.001)
    theta = {**method.init(0), "adam_v/w": tf.constant(0.5, tf.float64), "adam_t": tf.constant(7.0, tf.float64)}
    trainer = Trainer(theta, 1.0, "sgd")
    trainer.compile(method, tasks_per_chunk=1, jit=False)(pools([(1, 1)], [(1, 0)]))
    w, v, t = 0.0, 0.5, 7
    for _ in range(2):
        g, t = 2 * (w - 1), t + 1
        v = 0.999 * v + 0.001 * g**2
        w -= 0.001 * np.sqrt(1 - 0.999**t) * g / (np.sqrt(v) + 1e-8)
    np.testing.assert_allclose(trainer.weights["w"], w / 2, rtol=1e-10)
    np.testing.assert_allclose(trainer.weights["adam_v/w"], (v + 0.999**2 * 0.5) / 2, rtol=1e-12)
    assert float(trainer.weights["adam_t"]) == 9


def test_every_task_starts_from_the_moments_of_training_at_test():
    method = line(inner_optimizer="adam")
    theta = {**method.init(0), "adam_v/w": tf.constant(0.5, tf.float64), "adam_t": tf.constant(7.0, tf.float64)}
    state = method.start(theta, *pools([(1, 1)], [(1, 0)])[:2])
    assert {name: w.numpy().tolist() for name, w in state.items()} == {
        "w": [0, 0], "adam_v/w": [0.5, 0.5], "adam_t": [7, 7], "taken": [0, 0],
    }  # fmt: skip


def test_a_plain_gradient_step_needs_no_moments():
    assert line().init(0).keys() == {"w"}


# On a network


def test_inner_and_outer_steps_move_batch_norms_offsets_too():
    method = reptile.build(reptile.Settings(num_updates=2), problem("dense", "batch_norm", "cross_entropy"))
    theta, episode = method.init(0), random_episode("dense", 2, "cross_entropy")
    theta |= {name: w for name, w in random_weights(method).items() if reptile.is_moved(name)}
    stepped = method.step(method.start(theta, *episode[:2]), *episode[:2])
    _, gradients = mean_meta_gradient(method, theta, episode)
    for i in range(2):
        assert np.abs(stepped[f"beta{i}"] - inner_loop.per_task(theta, 2)[f"beta{i}"]).max() > 1e-4
        assert np.abs(gradients[f"beta{i}"]).max() > 1e-4


def test_training_needs_no_queries():
    method = reptile.build(reptile.Settings(num_updates=2), problem("dense", "None", "cross_entropy"))
    episode = random_episode("dense", 2, "cross_entropy", query=0)
    assert Trainer(method.init(0), 1.0, "sgd").compile(method, tasks_per_chunk=1)(episode)["finite"]


def test_episodes_of_training_are_shuffled_pools_whatever_the_shots_at_test():
    for shots in (1, 5):
        assert reptile.episodes(Task("omniglot", num_shots=shots), reptile.Settings()) == Episodes(
            5, 10, 0, shuffled=True
        )


@pytest.mark.parametrize("task, batches", [
    (Task("omniglot", num_classes=5), (10, 5, 5)),
    (Task("omniglot", num_classes=20), (20, 10, 10)),
    (Task("miniimagenet", num_shots=1), (10, 8, 15)),
    (Task("miniimagenet", num_shots=5), (10, 8, 15)),
])  # fmt: skip
def test_presets_are_the_readmes_of_the_authors(task, batches):
    preset = reptile.preset(task)
    assert (preset["inner_batch"], preset["num_updates"], preset["test_batch"]) == batches
