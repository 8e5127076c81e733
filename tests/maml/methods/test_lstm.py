"""The sequence learners with an LSTM and a GRU: cells by hand, and what a step may know."""

import numpy as np
import pytest
import tensorflow as tf
from toys import problem, random_episode, random_weights

from maml.methods import _recurrent, gru, lstm
from maml.methods.card import Episodes, Task

CELLS = {"lstm": lstm, "gru": gru}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def number(*values):
    return tf.constant([[values]], tf.float64)


def test_a_step_of_an_lstm_by_hand():
    """Length 1, h = 0.5, c = 2; forget, write, show, new enter as 0.1, 0.2, 0.3, 0.4, and h counts 1, 2, 3, 4 times."""
    weights = {"recurrent": tf.constant([[1.0, 2, 3, 4]], tf.float64)}
    state, said = lstm.lstm_cell(1).step(weights, {"h": number(0.5), "c": number(2)}, number(0.1, 0.2, 0.3, 0.4))
    c = sigmoid(0.6 + 1) * 2 + sigmoid(1.2) * np.tanh(2.4)
    np.testing.assert_allclose(state["c"], [[[c]]], rtol=1e-12)
    np.testing.assert_allclose(said, [[[sigmoid(1.8) * np.tanh(c)]]], rtol=1e-12)
    assert state["h"] is said


@pytest.fixture(params=CELLS)
def method(request):
    return CELLS[request.param].build(lstm.Settings(hidden=4), problem("dense", "None", "cross_entropy"))


EPISODE = random_episode("dense", 2, "cross_entropy", support=6)


def answers(method, y):
    """Losses [M, T] of a sequence, whose answers at each t are compared with the same labels whatever y is."""
    of = problem("dense", "None", "cross_entropy")
    seen = {}
    of = of._replace(loss=lambda outputs, targets, shots: seen.setdefault("outputs", outputs)[:, 0, 0])
    name = "lstm" if method.init(0)["recurrent"].shape[1] == 16 else "gru"
    again = CELLS[name].build(lstm.Settings(hidden=4), of)
    again.objective(random_weights(method), EPISODE._replace(support_y=y), 0.0)
    return seen["outputs"].numpy()


def test_a_target_is_known_from_the_next_example_on(method):
    y = EPISODE.support_y.numpy()
    other = y.copy()
    other[:, 2] = np.roll(other[:, 2], 1, -1)
    before, after = answers(method, tf.constant(y)), answers(method, tf.constant(other))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (np.abs(before[:, 3] - after[:, 3]).max(-1) > 1e-6).all()


def test_a_query_is_answered_as_if_it_were_the_next_example(method):
    """One loop over the support set in its order and then the query."""
    theta = random_weights(method)
    state = method.start(theta, *EPISODE[:2])
    order = np.random.default_rng(0).permutation(6)
    got = method.predict(state, EPISODE.query_x).numpy()
    for i in range(got.shape[1]):
        x = tf.concat([tf.gather(EPISODE.support_x, order, axis=1), EPISODE.query_x[:, i : i + 1]], 1)
        y = tf.concat([tf.gather(EPISODE.support_y, order, axis=1), EPISODE.query_y[:, :1]], 1)
        seen = answers_of(method, theta, x, y)
        np.testing.assert_allclose(got[:, i], seen[:, -1], rtol=1e-9)


def answers_of(method, theta, x, y):
    """Outputs of the sequence, by predicting each example after those before it, without a loop over time."""
    cell = (lstm.lstm_cell if theta["recurrent"].shape[1] == 16 else gru.gru_cell)(4)
    last, state, found = tf.zeros_like(y[:, :1]), cell.begin(2, tf.float64), []
    for t in range(x.shape[1]):
        entering = x[:, t : t + 1] @ theta["in_x"] + last @ theta["in_y"] + theta["in_b"]
        state, said = cell.step(theta, state, entering)
        found.append(said @ theta["out"] + theta["out_b"])
        last = y[:, t : t + 1]
    return tf.concat(found, 1).numpy()


def test_the_loss_is_the_sum_over_the_sequence(method):
    theta = random_weights(method)
    outputs = answers_of(method, theta, *EPISODE[:2])
    expected = tf.nn.softmax_cross_entropy_with_logits(EPISODE.support_y, outputs)
    np.testing.assert_allclose(method.objective(theta, EPISODE, 0.0)["loss"], tf.reduce_sum(expected, 1), rtol=1e-9)


def test_accuracies_of_instances_by_hand():
    """Classes 0, 1, 1, 0, taken for 1, 1, 0, 0: of the first ones and of the second ones one each is told right."""
    labels = tf.constant(np.eye(2)[[[0, 1, 1, 0]]])
    outputs = tf.constant(np.eye(2)[[[1, 1, 0, 0]]])
    got = _recurrent.instance_accuracies(outputs, labels)
    assert {name: value.numpy().tolist() for name, value in got.items()} == {
        "instance_1_accuracy": [0.5], "instance_2_accuracy": [0.5],
    }  # fmt: skip


def test_training_is_on_shuffled_sequences():
    for module in CELLS.values():
        assert module.CARD.episodes(Task("omniglot"), lstm.Settings()) == Episodes(5, 10, 0, shuffled=True)


def test_a_body_in_front_is_trained_with_the_rest():
    method = lstm.build(lstm.Settings(hidden=4, body=True), problem("max-pool", "layer_norm", "cross_entropy"))
    episode = random_episode("max-pool", 2, "cross_entropy")
    theta = random_weights(method)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        loss = tf.reduce_sum(method.objective(theta, episode, 0.0)["loss"])
    assert np.abs(tape.gradient(loss, theta)["conv1"]).max() > 0
    assert method.predict(method.start(theta, *episode[:2]), episode.query_x).shape == (2, 5, 3)
