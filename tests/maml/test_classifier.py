"""A trained classifier on images of one's own: what it computes, what it keeps, what it refuses."""

import dataclasses
import io
import json
import os
import subprocess
import sys

import authors
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_fixtures import FOLDER as FIXTURES
from toys import random_weights

import maml
from data_generators.errors import UserError
from data_generators.image_files import read_image
from maml import classifier, config, experiment, inner_loop, losses, networks, runs
from maml.checkpoints import Checkpoints

SHAPE = (16, 16, 3)
NET = networks.conv_net(SHAPE, 4, 3, max_pool=True, flatten=True)  # compiled elsewhere: the other form of the layers
LABELS = ["cat", "ant", "bee", "ant", "cat", "ant"]  # 2 cats, 3 ants, 1 bee
ONE_HOT = np.eye(3, dtype=np.float32)[[2, 0, 1, 0, 2, 0]]  # sorted: ant, bee, cat


def small_config(**given):
    small = {"image_size": 16, "num_classes": 3, "num_filters": 4, "update_lr": 0.05}
    return config.resolve("folder", **{**small, **given})


def make(net=NET, seed=0, origin="a test", **given):
    return maml.Classifier(small_config(**given), SHAPE, random_weights(net, seed, tf.float32), origin)


def images(n, seed=0):
    """uint8: every image has its own colour, so that statistics of a batch differ from those of another."""
    rng = np.random.default_rng(seed)
    return (rng.random((n, *SHAPE)) * rng.random((n, 1, 1, 3)) * 255).astype(np.uint8)


def one_line(error):
    (line,) = str(error.value).splitlines()
    return line


@pytest.fixture(scope="module")
def trained():
    return make()


@pytest.fixture(scope="module")
def adapted(trained):
    return trained.adapt(images(6), LABELS, num_steps=2)


# What it computes


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
    return inner_loop.adapt(
        net.forward,
        losses.cross_entropy(2),
        inner_loop.per_task(weights, 1),
        tf.constant(images(6)[None] / 255),
        tf.constant(ONE_HOT[None], tf.float64),
        inner_lr,
        num_steps,
        is_adapted=networks.is_adapted,
    )[-1]


def test_adapting_is_the_inner_loop(adapted):
    for name, expected in by_hand(2, 0.05).items():
        np.testing.assert_allclose(adapted.weights[name], expected[0], atol=1e-5, err_msg=name)


def test_another_step_size_and_number_of_steps(trained):
    got = trained.adapt(images(6), LABELS, num_steps=1, inner_lr=0.2)
    for name, expected in by_hand(1, 0.2).items():
        np.testing.assert_allclose(got.weights[name], expected[0], atol=1e-5, err_msg=name)


def test_nothing_given_it_takes_the_papers_steps_of_the_trainings_size(trained):
    got = trained.adapt(images(6), LABELS)
    assert (got.num_steps, got.inner_lr) == (10, 0.05)  # [P] A.1: 10 steps at test for miniImagenet
    same = trained.adapt(images(6), LABELS, 10, 0.05)
    assert all((got.weights[name].numpy() == w.numpy()).all() for name, w in same.weights.items())


def test_no_step_leaves_the_weights(trained):
    got = trained.adapt(images(6), LABELS, num_steps=0)
    assert all((got.weights[name].numpy() == w.numpy()).all() for name, w in trained.weights.items())


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
    logits = NET.forward(inner_loop.per_task(adapted.weights, 1), tf.constant(images(4, 1)[None] / np.float32(255)))
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
    settings = config.resolve("folder", image_size=16, num_classes=3, conv=False)
    adapted = maml.Classifier(settings, SHAPE, random_weights(net, 0, tf.float32), "a test").adapt(images(6), LABELS, 1)
    logits = net.forward(inner_loop.per_task(adapted.weights, 1), tf.constant(images(4, 1)[None] / np.float32(255)))
    np.testing.assert_allclose(adapted.predict(images(4, 1))[1], tf.nn.softmax(logits[0]), atol=1e-6)
    adapted.export(tmp_path / "model")
    exported = tf.saved_model.load(str(tmp_path / "model")).signatures["one_at_a_time"]
    got = exported(images=tf.constant(images(4, 1) / np.float32(255)))["probabilities"]
    np.testing.assert_allclose(got, adapted.predict(images(4, 1), False)[1], atol=1e-6)


# Image files


def write_images(folder, arrays, names):
    folder.mkdir(parents=True, exist_ok=True)
    for array, name in zip(arrays, names):
        Image.fromarray(array).save(folder / name)
    return [folder / name for name in names]


def test_files_are_read_as_the_data_source_reads_its_own(trained, adapted, tmp_path):
    support = write_images(tmp_path, images(6), [f"{i}.png" for i in range(6)])
    queries = write_images(tmp_path / "q", images(4, 1), [f"{i}.png" for i in range(4)])
    got = trained.adapt([str(path) for path in support], LABELS, num_steps=2)
    np.testing.assert_array_equal(got.predict(queries)[1], adapted.predict(images(4, 1))[1])


def test_drawings_are_inverted_and_resized_where_the_source_does_it(tmp_path):
    settings = config.resolve("omniglot", num_classes=2, num_filters=3)
    net = networks.conv_net((28, 28, 1), 3, 2)
    omniglot = maml.Classifier(settings, (28, 28, 1), random_weights(net, 0, tf.float32), "a test")
    paths = write_images(tmp_path, images(2)[:, :, :, 0], ["a.png", "b.png"])
    expected = np.stack([read_image(path, (28, 28, 1), invert=True) for path in paths])
    np.testing.assert_array_equal(omniglot.adapt(paths, ["a", "b"], 1).support, expected)


def test_a_file_that_is_no_image_is_an_error(trained, tmp_path):
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(UserError, match="a.png can't be read as an image"):
        trained.adapt([tmp_path / "a.png"] * 6, LABELS)


# Bad input

BAD_IMAGES = {
    "another shape": (np.zeros((6, 28, 28, 1), np.uint8), r"of shape \[6, 28, 28, 1\], expected .* \[n, 16, 16, 3\]"),
    "one image": (np.zeros(SHAPE, np.uint8), r"of shape \[16, 16, 3\], expected .* \[n, 16, 16, 3\]"),
    "one file name": ("a.png", "expected .* or a list of file names"),
    "no images": (np.zeros((0, *SHAPE), np.uint8), "got no images"),
    "an empty list": ([], "expected uint8"),
    "integers": (np.zeros((6, *SHAPE), np.int64), "images are int64"),
    "floats to 255": (images(6).astype(np.float32), "values from 0 to 25., expected .* float .0 to 1."),
    "negative floats": (np.full((6, *SHAPE), -0.5), "values from -0.5 to -0.5"),
    "not a number": (np.full((6, *SHAPE), np.nan), "values from nan"),
    "different shapes": ([np.zeros((16, 16, 3)), np.zeros((8, 8, 3))], r"different shapes, expected .* \[16, 16, 3\]"),
}


@pytest.mark.parametrize("what", BAD_IMAGES)
def test_images_that_cannot_be_are_refused(trained, adapted, what):
    given, message = BAD_IMAGES[what]
    for use in (lambda: trained.adapt(given, LABELS), lambda: adapted.predict(given)):
        with pytest.raises(UserError, match=message) as error:
            use()
        one_line(error)


BAD_LABELS = {
    "too few classes": (["ant", "bee"] * 3, r"got 2 classes \(ant, bee\), expected 3"),
    "too many classes": (list("abcdef"), r"got 6 classes \(a, b, c, d, e, …\), expected 3"),
    "too few labels": (LABELS[:5], "got 5 labels for 6 images"),
    "mixed": (["ant", 1, 2] * 2, "labels are int, str, expected all text or all whole numbers"),
    "one-hot": (ONE_HOT, "labels are ndarray, expected"),
}


@pytest.mark.parametrize("what", BAD_LABELS)
def test_labels_that_cannot_be_are_refused(trained, what):
    given, message = BAD_LABELS[what]
    with pytest.raises(UserError, match=message) as error:
        trained.adapt(images(6), given)
    one_line(error)


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


# From a run folder


def write_run(folder, settings, shape, best=1):
    """A run with checkpoints of iterations 1 and 2, `best` by validation, as training writes them. {iteration: θ}."""
    net, _ = experiment.build_learner(settings, shape)
    state = runs.State(experiment.MetaTrainer(net.init(0), settings.meta_lr))
    state.best_iteration.assign(best)
    kept, weights = Checkpoints(folder / "checkpoints", state, settings.to_dict()), {}
    for iteration in (1, 2):
        weights[iteration] = random_weights(net, iteration, tf.float32)
        for name, w in weights[iteration].items():
            state.trainer.weights[name].assign(w)
        state.trainer.iteration.assign(iteration)
        kept.save(iteration)
    (folder / "config.json").write_text(json.dumps(settings.to_dict()))
    return weights


def assert_weights(got, expected):
    assert set(got) == set(expected)
    assert all((got[name].numpy() == w.numpy()).all() for name, w in expected.items())


@pytest.mark.parametrize("checkpoint, iteration", [("best", 1), ("latest", 2), (2, 2), (1, 1)])
def test_a_run_is_loaded_at_the_checkpoint_asked_for(tmp_path, checkpoint, iteration):
    weights = write_run(tmp_path, small_config(), SHAPE)
    loaded = maml.load_run(tmp_path, checkpoint)
    assert_weights(loaded.weights, weights[iteration])
    assert loaded.origin == f"{tmp_path}, iteration {iteration}"
    assert loaded.config == small_config()


SOURCES = {
    "omniglot": ((28, 28, 1), {"num_filters": 3}),
    "glyphs": ((28, 28, 1), {"conv": False}),
    "miniimagenet": ((84, 84, 3), {"num_filters": 3}),
    "folder": ((20, 20, 1), {"num_filters": 3, "image_size": 20, "channels": 1}),
}


@pytest.mark.parametrize("datasource", SOURCES)
def test_the_images_a_run_takes_follow_from_its_settings(tmp_path, datasource):
    shape, given = SOURCES[datasource]
    weights = write_run(tmp_path, config.resolve(datasource, **given), shape)
    loaded = maml.load_run(tmp_path)
    assert loaded.input_shape == shape
    assert_weights(loaded.weights, weights[1])
    support = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    assert loaded.adapt(support, range(5), 1).predict(support)[1].shape == (5, 5)


def test_a_damaged_best_checkpoint_falls_back_to_the_latest(tmp_path, capsys):
    weights = write_run(tmp_path, small_config(), SHAPE)
    os.truncate(tmp_path / "checkpoints/iteration_00000001/state.data-00000-of-00001", 100)
    loaded = maml.load_run(tmp_path)
    assert_weights(loaded.weights, weights[2])
    assert loaded.origin.endswith("iteration 2") and "taking the latest checkpoint instead" in capsys.readouterr().err


def test_damaged_checkpoints_are_an_error(tmp_path):
    write_run(tmp_path, small_config(), SHAPE)
    for path in (tmp_path / "checkpoints").glob("*/state.data*"):
        os.truncate(path, 100)
    with pytest.raises(UserError, match="none of the 2 checkpoints .* can be read"):
        maml.load_run(tmp_path)


def test_an_iteration_that_is_not_there_is_an_error(tmp_path):
    write_run(tmp_path, small_config(), SHAPE)
    with pytest.raises(UserError, match="no checkpoint of iteration 7 in .*; there: 1, 2$"):
        maml.load_run(tmp_path, 7)


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no run in .*nothing, expected a run folder"):
        maml.load_run(tmp_path / "nothing")


def test_a_run_without_checkpoints_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(small_config().to_dict()))
    with pytest.raises(UserError, match="no checkpoint in .*checkpoints"):
        maml.load_run(tmp_path)


def test_regression_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config.resolve("sinusoid").to_dict()))
    for load in (lambda: maml.load_run(tmp_path), lambda: maml.load_authors(tmp_path / "model1", "sinusoid")):
        with pytest.raises(UserError, match="sinusoid has no images"):
            load()


# Kept in a file


def test_saved_and_loaded_it_predicts_the_same_bits(trained, adapted, tmp_path):
    adapted.save(tmp_path / "mine.npz")
    loaded = maml.load_adapted(tmp_path / "mine.npz", trained)
    for transductive in (True, False):
        names, probabilities = loaded.predict(images(4, 1), transductive)
        expected_names, expected = adapted.predict(images(4, 1), transductive)
        np.testing.assert_array_equal(probabilities, expected)
        np.testing.assert_array_equal(names, expected_names)
    for field in dataclasses.fields(adapted):
        if field.name not in ("weights", "support"):
            assert getattr(loaded, field.name) == getattr(adapted, field.name), field.name


def test_whole_numbers_and_floats_are_kept_as_such(trained, tmp_path):
    trained.adapt(images(6) / 255, [3, 1, 2, 1, 3, 1], 1).save(tmp_path / "mine.npz")
    loaded = maml.load_adapted(tmp_path / "mine.npz")
    assert loaded.class_names == (1, 2, 3) and loaded.support.dtype == np.float32


def test_a_saved_file_has_no_pickles(adapted, tmp_path):
    adapted.save(tmp_path / "mine.npz")
    with np.load(tmp_path / "mine.npz", allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file.files} == {"U", "u", "f"}


def test_a_failed_save_leaves_the_earlier_file(adapted, tmp_path, monkeypatch):
    adapted.save(tmp_path / "mine.npz")
    before = (tmp_path / "mine.npz").read_bytes()

    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError):
            adapted.save(tmp_path / "mine.npz")
    assert (tmp_path / "mine.npz").read_bytes() == before


def test_a_file_adapted_from_other_weights_is_refused(adapted, tmp_path):
    adapted.save(tmp_path / "mine.npz")
    with pytest.raises(UserError, match="was adapted from a test, .* other weights than those of another run") as error:
        maml.load_adapted(tmp_path / "mine.npz", make(seed=1, origin="another run"))
    one_line(error)


def test_one_bit_of_one_weight_changes_the_fingerprint(trained):
    w = trained.weights["conv4"].numpy()
    w.view(np.uint32)[0, 0, 0, 0] ^= 1
    other = dataclasses.replace(trained, weights={**trained.weights, "conv4": tf.constant(w)})
    assert other.fingerprint != trained.fingerprint == make().fingerprint


def rewrite(path, **changed):
    """The same file with some arrays changed, or left out where None."""
    with np.load(path) as file:
        arrays = {**{name: file[name] for name in file.files}, **changed}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def flip_the_middle(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "missing": os.remove,
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "flipped": flip_the_middle,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("text"),
    "one array": lambda path: path.write_bytes(npy(np.zeros(3))),
    "another archive": lambda path: np.savez(path, x=np.zeros(3)),
    "pickles": lambda path: np.savez(path, about=np.array({}, object)),
    "another format": lambda path: rewrite(path, about=json.dumps({"format": "maml adapted classifier 0"})),
    "no settings": lambda path: rewrite(path, about=json.dumps({"format": classifier.FORMAT})),
    "a weight missing": lambda path: rewrite(path, **{"weights/w5": None}),
    "a weight of another shape": lambda path: rewrite(path, **{"weights/w5": np.zeros((4, 4), np.float32)}),
    "a weight of another type": lambda path: rewrite(path, **{"weights/b5": np.zeros(3)}),
    "images of another shape": lambda path: rewrite(path, support=np.zeros((6, 8, 8, 3), np.uint8)),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_file_that_is_damaged_or_something_else_is_an_error(adapted, tmp_path, what):
    adapted.save(tmp_path / "mine.npz")
    DAMAGES[what](tmp_path / "mine.npz")
    with pytest.raises(UserError, match="mine.npz") as error:
        maml.load_adapted(tmp_path / "mine.npz")
    one_line(error)


def test_saving_to_a_folder_is_an_error(adapted, tmp_path):
    with pytest.raises(UserError, match="is a folder, expected the name of a file"):
        adapted.save(tmp_path)
    assert not list(tmp_path.iterdir())


# Exported

ALONE = """
import sys
sys.modules.update(maml=None, data_generators=None)  # can't be imported
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
images = np.load(sys.argv[2])
out = {}
for name in ("serving_default", "one_at_a_time"):
    for n in (1, len(images)):
        result = model.signatures[name](images=tf.constant(images[:n]))
        out[f"{name} {n}"] = result["probabilities"]
        out["class_names"] = result["class_names"].numpy().astype("U")
np.savez(sys.argv[3], **out)
"""


def test_tensorflow_alone_predicts_the_same_from_what_is_exported(adapted, tmp_path):
    pixels = images(4, 1) / np.float32(255)
    np.save(tmp_path / "images.npy", pixels)
    (tmp_path / "model").mkdir()  # empty: that may be
    adapted.export(tmp_path / "model")
    arguments = [tmp_path / name for name in ("model", "images.npy", "out.npz")]
    done = subprocess.run([sys.executable, "-c", ALONE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    out = np.load(tmp_path / "out.npz")
    assert out["class_names"].tolist() == ["ant", "bee", "cat"]
    for name, transductive in (("serving_default", True), ("one_at_a_time", False)):
        for n in (1, 4):
            np.testing.assert_allclose(out[f"{name} {n}"], adapted.predict(pixels[:n], transductive)[1], atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.npy", "model", "out.npz"]


@pytest.mark.parametrize("is_folder", [True, False])
def test_exporting_over_something_is_an_error(adapted, tmp_path, is_folder):
    there = tmp_path / "model" / "precious" if is_folder else tmp_path / "model"
    there.parent.mkdir(exist_ok=True)
    there.write_text("mine")
    with pytest.raises(UserError, match="model is there already, expected a new folder, or an empty one"):
        adapted.export(tmp_path / "model")
    assert there.read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_exporting_to_where_nothing_can_be_written_is_an_error(adapted, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="can't write .*file/model") as error:
        adapted.export(tmp_path / "file" / "model")
    one_line(error)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# A folder of images


def write_folder(folder):
    """Two cats, three ants, a bee; four images to classify, of which one is hidden and one is text."""
    for i, label in enumerate(LABELS):
        write_images(folder / label, images(6)[i : i + 1], [f"{i}.png"])
    write_images(folder, images(4, 1), ["d.png", "b.png", "c.png", "a.png"])
    write_images(folder, images(1), [".hidden.png"])
    (folder / "notes.txt").write_text("notes")
    return folder


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


def test_what_a_folder_was_classified_with_is_exported(trained, tmp_path):
    classifier.classify_folder(trained, write_folder(tmp_path / "in"), num_steps=0, export=tmp_path / "out")
    model = tf.saved_model.load(str(tmp_path / "out"))
    result = model.signatures["serving_default"](images=tf.zeros([1, *SHAPE]))
    assert result["class_names"].numpy().tolist() == [b"ant", b"bee", b"cat"]


def remove_tree(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


BAD_FOLDERS = {
    "missing": (lambda folder: folder / "nothing", "nothing is not there; expected 3 folders <class>/<image>"),
    "a file": (lambda folder: folder / "a.png", "a.png is a file; expected 3 folders"),
    "no classes": (lambda folder: folder / "ant", "holds no class folders; expected 3 folders"),
    "a class too few": (lambda folder: remove_tree(folder / "bee") or folder, "holds 2 class folders; expected 3"),
    "a class too many": (lambda folder: (folder / "dog").mkdir() or folder, "holds 4 class folders; expected 3"),
    "an empty class": (lambda folder: (folder / "bee/2.png").unlink() or folder, "bee holds no images"),
    "no loose images": (lambda folder: [p.unlink() for p in folder.glob("*.png")] and folder, "holds no images beside"),
    "an unreadable image": (lambda folder: (folder / "b.png").write_text("x") and folder, "b.png can't be read"),
}


@pytest.mark.parametrize("what", BAD_FOLDERS)
def test_a_folder_laid_out_otherwise_is_an_error(trained, tmp_path, what):
    change, message = BAD_FOLDERS[what]
    folder = change(write_folder(tmp_path))
    with pytest.raises(UserError, match=message) as error:
        classifier.classify_folder(trained, folder, num_steps=1)
    one_line(error)
