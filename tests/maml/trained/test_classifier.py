"""A trained classifier on images of one's own: what it computes, for MAML's networks and for every method."""

import json

import authors
import numpy as np
import pytest
import tensorflow as tf
from own_images import (
    LABELS,
    NET,
    ONE_HOT,
    SHAPE,
    images,
    make,
    make_of,
    method_of,
    one_line,
    small_settings,
    write_folder,
)
from test_fixtures import FOLDER as FIXTURES
from toys import random_weights

import maml
from data_generators.errors import UserError
from maml import inner_loop, losses, networks
from maml.trained import classifier


def per_task(weights):
    return inner_loop.per_task(weights, 1)


# MAML's


@pytest.mark.skipif(FIXTURES is None, reason="no fixtures: set MAML_FIXTURES to their folder")
@pytest.mark.parametrize("name", ["omniglot_5way_1shot", "miniimagenet_5way_1shot"])
def test_the_authors_code_and_their_checkpoint_read_here_predict_the_same(tmp_path, name):
    data = np.load(FIXTURES / f"{name}.npz")
    flags = json.loads(str(data["flags"]))
    authors.save(tmp_path / "model1", {k[8:]: data[k] for k in data.files if k.startswith("weights/")}, adam=True)
    given = {key: flags[key] for key in ("num_classes", "num_filters", "max_pool", "norm", "conv", "update_lr")}
    loaded = maml.load_authors(tmp_path / "model1", flags["datasource"], **given)
    recorded = data["query_outputs_after_each_step"]
    for task in range(recorded.shape[1]):
        support, query = (data[f"{part}_x"][task].reshape(-1, *loaded.input_shape) for part in ("support", "query"))
        labels = data["support_y"][task].argmax(1)
        for step in range(1, len(recorded) + 1):
            logits = recorded[step - 1, task].astype(np.float64)
            expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            names, probabilities = loaded.adapt(support, labels, step).predict(query)
            np.testing.assert_allclose(probabilities, expected, atol=2e-5)
            np.testing.assert_array_equal(names, expected.argmax(1))


def by_hand(num_steps, inner_lr):
    """θ' of the unequal classes, by the layers that XLA compiles, in float64. 6 images of 3 classes: 2 a class."""
    net = networks.conv_net(SHAPE, 4, 3, max_pool=True, flatten=True, dtype=tf.float64)
    weights = {name: tf.cast(w, tf.float64) for name, w in random_weights(NET, dtype=tf.float32).items()}
    support_x, support_y = tf.constant(images(6)[None] / 255), tf.constant(ONE_HOT[None], tf.float64)

    def task_loss(weights):
        return losses.cross_entropy(net.forward(weights, support_x), support_y, 2)

    return inner_loop.adapt(task_loss, per_task(weights), inner_lr, num_steps, is_adapted=networks.is_adapted)[-1]


def test_adapting_is_the_inner_loop(adapted):
    for name, expected in by_hand(2, 0.05).items():
        np.testing.assert_allclose(adapted.state[name], expected, atol=1e-5, err_msg=name)


def test_another_step_size_and_number_of_steps(trained):
    got = trained.adapt(images(6), LABELS, num_steps=1, inner_lr=0.2)
    for name, expected in by_hand(1, 0.2).items():
        np.testing.assert_allclose(got.state[name], expected, atol=1e-5, err_msg=name)


def test_nothing_given_it_takes_the_papers_steps_of_the_trainings_size(trained):
    got = trained.adapt(images(6), LABELS)
    assert (got.num_steps, got.inner_lr) == (10, 0.05)  # [P] A.1: 10 steps at test for miniImagenet
    same = trained.adapt(images(6), LABELS, 10, 0.05)
    assert all((got.state[name].numpy() == w.numpy()).all() for name, w in same.state.items())


def test_no_step_leaves_the_weights(trained):
    got = trained.adapt(images(6), LABELS, num_steps=0)
    assert all((got.state[name][0].numpy() == w.numpy()).all() for name, w in trained.weights.items())


def test_classes_are_sorted_whatever_their_order(trained, adapted):
    order = [4, 2, 0, 5, 1, 3]
    got = trained.adapt(images(6)[order], [LABELS[i] for i in order], num_steps=2)
    assert got.class_names == adapted.class_names == ("ant", "bee", "cat")
    np.testing.assert_allclose(got.predict(images(4, 1))[1], adapted.predict(images(4, 1))[1], atol=1e-4)


def test_labels_may_be_whole_numbers(trained, adapted):
    got = trained.adapt(images(6), np.array([10, 2, 3, 2, 10, 2]), num_steps=2)
    assert got.class_names == (2, 3, 10)  # as numbers, not as text
    names, probabilities = got.predict(images(4, 1))
    np.testing.assert_array_equal(probabilities, adapted.predict(images(4, 1))[1])
    np.testing.assert_array_equal(names, np.array([2, 3, 10])[probabilities.argmax(1)])


def test_floats_are_the_same_images(trained, adapted):
    got = trained.adapt(images(6) / 255, LABELS, num_steps=2)
    expected = adapted.predict(images(4, 1))[1]
    np.testing.assert_allclose(got.predict(images(4, 1) / np.float32(255))[1], expected, atol=1e-5)


def test_predictions_are_the_networks(adapted):
    logits = NET.forward(adapted.state, tf.constant(images(4, 1)[None] / np.float32(255)))
    names, probabilities = adapted.predict(images(4, 1))
    np.testing.assert_allclose(probabilities, tf.nn.softmax(logits[0]), atol=1e-5)
    assert names.tolist() == [adapted.class_names[i] for i in probabilities.argmax(1)]
    assert probabilities.dtype == np.float32 and probabilities.shape == (4, 3)


def test_together_a_prediction_depends_on_the_other_images(adapted):
    both = adapted.predict(images(4, 1))[1]
    assert np.abs(both[:2] - adapted.predict(images(4, 1)[:2])[1]).max() > 0.01


def test_one_at_a_time_it_does_not(adapted, monkeypatch):
    together = adapted.predict(images(5, 1), transductive=False)[1]
    alone = [adapted.predict(images(5, 1)[i : i + 1], transductive=False)[1] for i in range(5)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-6)
    monkeypatch.setattr(classifier, "AT_A_TIME", 2)
    np.testing.assert_allclose(adapted.predict(images(5, 1), transductive=False)[1], together, atol=1e-6)


def test_one_at_a_time_the_statistics_are_the_support_sets(adapted):
    """The support images themselves, normalised by their own statistics, come out as they do together."""
    support = images(6)
    np.testing.assert_allclose(adapted.predict(support, False)[1], adapted.predict(support)[1], atol=1e-6)


@pytest.mark.parametrize("norm", ["layer_norm", "None"])
def test_without_batch_norm_both_are_the_same(norm):
    net = networks.conv_net(SHAPE, 4, 3, norm, max_pool=True, flatten=True)
    adapted = make(net, norm=norm).adapt(images(6), LABELS, num_steps=1)
    together, alone = (adapted.predict(images(4, 1), transductive)[1] for transductive in (True, False))
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(adapted.predict(images(4, 1)[:1])[1], together[:1], atol=1e-6)


def test_a_dense_classifier(tmp_path):
    net = networks.dense_net(16 * 16 * 3, (256, 128, 64, 64), 3, "batch_norm")
    settings = small_settings(conv=False, num_filters=None)
    adapted = maml.Classifier(settings, random_weights(net, 0, tf.float32), "a test").adapt(images(6), LABELS, 1)
    logits = net.forward(adapted.state, tf.constant(images(4, 1)[None] / np.float32(255)))
    np.testing.assert_allclose(adapted.predict(images(4, 1))[1], tf.nn.softmax(logits[0]), atol=1e-6)
    adapted.export(tmp_path / "model")
    exported = tf.saved_model.load(str(tmp_path / "model")).signatures["one_at_a_time"]
    got = exported(images=tf.constant(images(4, 1) / np.float32(255)))["probabilities"]
    np.testing.assert_allclose(got, adapted.predict(images(4, 1), False)[1], atol=1e-6)


def test_one_bit_of_one_weight_changes_the_fingerprint(trained):
    w = trained.weights["conv4"].numpy()
    w.view(np.uint32)[0, 0, 0, 0] ^= 1
    other = maml.Classifier(trained.settings, {**trained.weights, "conv4": tf.constant(w)}, "a test")
    assert other.fingerprint != trained.fingerprint == make().fingerprint


@pytest.mark.parametrize(
    "given, message",
    [
        ({"num_steps": -1}, "num_steps is -1, expected 0 or more"),
        ({"num_steps": 1.5}, "num_steps is 1.5"),
        ({"inner_lr": 0}, "inner_lr is 0, expected a positive number"),
        ({"inner_lr": float("nan")}, "inner_lr is nan"),
        ({"inner_lr": 1e38}, r"diverged at inner_lr 1e\+38 in 10 steps"),
    ],
)
def test_steps_that_cannot_be_are_refused(trained, given, message):
    with pytest.raises(UserError, match=message) as error:
        trained.adapt(images(6), LABELS, **given)
    one_line(error)


# Of other methods


def pixels(images):
    return tf.constant(images[None] / np.float32(255))


@pytest.mark.parametrize("method", ["meta_sgd", "prototypical", "reptile", "fine_tuning"])
def test_adapting_is_the_methods_start_and_steps_and_predicting_its_predict(method):
    classifier = make_of(method)
    adapted = classifier.adapt(images(6), LABELS, num_steps=None if method == "prototypical" else 2)
    made, x, y = method_of(classifier.settings), pixels(images(6)), tf.constant(ONE_HOT[None])
    state = made.start(classifier.weights, x, y)
    for _ in range(adapted.num_steps):
        state = made.step(state, x, y)
    tf.nest.map_structure(np.testing.assert_array_equal, adapted.state, state)
    for transductive, reference in ((True, None), (False, x)):
        expected = tf.nn.softmax(made.predict(state, pixels(images(4, 1)), reference)[0])
        np.testing.assert_array_equal(adapted.predict(images(4, 1), transductive)[1], expected)


def test_a_step_size_given_takes_the_place_of_those_learnt():
    learnt = make_of("meta_sgd")
    own, given = learnt.adapt(images(6), LABELS, 1), learnt.adapt(images(6), LABELS, 1, 0.05)
    plain = {name: w for name, w in learnt.weights.items() if not name.startswith("alpha")}
    expected = maml.Classifier(small_settings(), plain, "a test").adapt(images(6), LABELS, 1).state
    assert all((given.state[name].numpy() == w.numpy()).all() for name, w in expected.items())
    assert np.abs(own.state["w5"] - given.state["w5"]).max() > 1e-4
    assert (own.inner_lr, given.inner_lr) == (None, 0.05)


def test_a_step_size_chosen_on_validation_tasks_is_taken():
    plain = make_of("fine_tuning")
    chosen = maml.Classifier(plain.settings, plain.weights, "a test", inner_lr=0.5)
    got, expected = chosen.adapt(images(6), LABELS, 1), plain.adapt(images(6), LABELS, 1, 0.5)
    assert got.inner_lr == 0.5 and plain.adapt(images(6), LABELS, 1).inner_lr == plain.settings.own.inner_lr
    tf.nest.map_structure(np.testing.assert_array_equal, got.state, expected.state)


@pytest.mark.parametrize("num_classes", [2, 6])
def test_without_outputs_a_class_any_number_of_classes_will_do(num_classes):
    """Prototypes of classes of one image each: the image itself is as near as can be, with the same statistics."""
    adapted = make_of("prototypical").adapt(images(6), [i % num_classes for i in range(6)])
    names, probabilities = adapted.predict(images(6))
    assert adapted.class_names == tuple(range(num_classes)) and probabilities.shape == (6, num_classes)
    if num_classes == 6:
        assert names.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("given", [{"num_steps": 3}, {"inner_lr": 0.1}])
def test_steps_of_a_method_without_any_are_refused(given):
    with pytest.raises(
        UserError, match="prototypical networks has no inner steps, got .*; expected none, or 0 steps"
    ) as error:
        make_of("prototypical").adapt(images(6), LABELS, **given)
    one_line(error)
    assert make_of("prototypical").adapt(images(6), LABELS, num_steps=0).num_steps == 0


# A folder of images


def test_a_folder_is_classified(trained, tmp_path):
    lines = classifier.classify_folder(trained, write_folder(tmp_path), num_steps=2).splitlines()
    order = [1, 3, 5, 2, 0, 4]  # ants, bees, cats, by file name
    adapted = trained.adapt(images(6)[order], [LABELS[i] for i in order], num_steps=2)
    names, probabilities = adapted.predict(images(4, 1)[[3, 1, 2, 0]])
    expected = [[name, f"{100 * row.max():.1f}"] for name, row in zip(names, probabilities)]
    assert [line.split()[0] for line in lines[:4]] == ["a.png", "b.png", "c.png", "d.png"]
    assert [line.split()[1:3] for line in lines[:4]] == expected
    second = np.argsort(probabilities, axis=1)[:, 1]
    assert [line.split()[5] for line in lines[:4]] == [adapted.class_names[i] for i in second]
    assert lines[4].startswith("a test; 6 images of 3 classes, 2 steps of 0.05; 4 images classified, together")
    assert len(lines) == 5


def test_a_folder_is_classified_one_image_at_a_time(trained, tmp_path):
    together = classifier.classify_folder(trained, write_folder(tmp_path), num_steps=2).splitlines()
    alone = classifier.classify_folder(trained, tmp_path, num_steps=2, transductive=False).splitlines()
    assert alone[-1].endswith("4 images classified, each by itself") and alone[:4] != together[:4]


@pytest.mark.parametrize("method, papers_way", [("meta_sgd", True), ("prototypical", False)])
def test_it_says_where_the_images_are_normalised_as_in_the_methods_paper(tmp_path, method, papers_way):
    folder = write_folder(tmp_path)
    for transductive, how in ((True, "together"), (False, "each by itself")):
        last = classifier.classify_folder(make_of(method), folder, transductive=transductive).splitlines()[-1]
        assert (f"4 images classified, {how}, as in the paper" in last) == (transductive == papers_way)
        assert (", 1 step;" in last) == (method == "meta_sgd")


def test_what_a_folder_was_classified_with_is_exported(trained, tmp_path):
    classifier.classify_folder(trained, write_folder(tmp_path / "in"), num_steps=0, export=tmp_path / "out")
    model = tf.saved_model.load(str(tmp_path / "out"))
    result = model.signatures["serving_default"](images=tf.zeros([1, *SHAPE]))
    assert result["class_names"].numpy().tolist() == [b"ant", b"bee", b"cat"]
