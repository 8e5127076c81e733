"""An adapted classifier kept in a file, and exported for TensorFlow alone."""

import collections
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from own_images import LABELS, SHAPE, images, make, make_of, one_line, small_settings

import maml
from data_generators.errors import UserError
from maml.trained import storage

METHODS = ["maml", "meta_sgd", "prototypical", "reptile"]  # states: a dict, names with a /, a nest, integers
Pair = collections.namedtuple("Pair", ["zeta", "alpha"])


def adapt(method):
    steps = 0 if method == "prototypical" else 1
    return (make() if method == "maml" else make_of(method)).adapt(images(6), LABELS, steps)


# Kept in a file


@pytest.mark.parametrize("method", METHODS)
def test_saved_and_loaded_it_predicts_the_same_bits(tmp_path, method):
    adapted = adapt(method)
    adapted.save(tmp_path / "mine.npz")
    loaded = maml.load_adapted(tmp_path / "mine.npz", make() if method == "maml" else make_of(method))
    tf.nest.map_structure(np.testing.assert_array_equal, loaded.state, adapted.state)
    np.testing.assert_array_equal(loaded.support, adapted.support)
    for name in ("settings", "class_names", "num_steps", "inner_lr", "origin", "fingerprint"):
        assert getattr(loaded, name) == getattr(adapted, name), name
    for transductive in (True, False):
        names, probabilities = loaded.predict(images(4, 1), transductive)
        expected_names, expected = adapted.predict(images(4, 1), transductive)
        np.testing.assert_array_equal(probabilities, expected)
        np.testing.assert_array_equal(names, expected_names)


def test_it_may_have_other_classes_than_the_training_where_the_method_takes_any(tmp_path):
    make_of("prototypical").adapt(images(6), [1, 2, 1, 2, 1, 2]).save(tmp_path / "mine.npz")
    loaded = maml.load_adapted(tmp_path / "mine.npz")
    assert loaded.class_names == (1, 2) and loaded.predict(images(4, 1))[1].shape == (4, 2)


def test_whole_numbers_and_floats_are_kept_as_such(trained, tmp_path):
    trained.adapt(images(6) / 255, [3, 1, 2, 1, 3, 1], 1).save(tmp_path / "mine.npz")
    loaded = maml.load_adapted(tmp_path / "mine.npz")
    assert loaded.class_names == (1, 2, 3) and loaded.support.dtype == np.float32


def test_any_nest_is_kept_and_comes_back(tmp_path):
    """tf.nest sorts the keys of dicts, and leaves the fields of a named tuple as they are."""
    nest = {"b": Pair(tf.constant([1.0]), (tf.constant([2]), tf.constant([[3.0]]))), "a": [tf.constant([True])]}
    places = ["state/a/0", "state/b/zeta", "state/b/alpha/0", "state/b/alpha/1"]
    assert list(storage.places(nest)) == places
    assert [t.numpy().item() for t in storage.places(nest).values()] == [
        t.numpy().item() for t in tf.nest.flatten(nest)
    ]
    storage.write(tmp_path / "mine.npz", {}, small_settings(), images(1), nest)
    stored = storage.read(tmp_path / "mine.npz").state
    back = tf.nest.pack_sequence_as(nest, [stored[place] for place in places])
    tf.nest.map_structure(np.testing.assert_array_equal, back, nest)
    assert isinstance(back["b"], Pair) and stored["state/b/alpha/0"].dtype == np.int32


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


# A config.json of the time when MAML was the only method.
OLD_SETTINGS = {
    "baseline": None, "channels": 3, "clip": 10.0, "conv": True, "dataset": None, "datasource": "folder",
    "image_size": 16, "iterations_per_call": 1, "jit": False, "max_pool": True, "meta_batch_size": 4, "meta_lr": 0.001,
    "metatrain_iterations": 60000, "norm": "batch_norm", "num_classes": 3, "num_filters": 4, "num_updates": 5,
    "pretrain_iterations": 0, "query_batch_size": 15, "seed": 1, "split": "0.64,0.16,0.2", "split_seed": 0,
    "stop_grad": False, "tasks_per_chunk": 1, "update_batch_size": 1, "update_lr": 0.05,
}  # fmt: skip


def write_old(path, adapted, **changed):
    """A file as it was written before there were other methods than MAML."""
    about = {name: getattr(adapted, name) for name in storage.ABOUT}
    about |= {"format": "maml adapted classifier 1", "config": OLD_SETTINGS}
    weights = {f"weights/{name}": w[0].numpy() for name, w in adapted.state.items()}
    arrays = {"about": json.dumps(about), "support": adapted.support, **weights, **changed}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def test_files_from_before_there_were_other_methods_are_read(trained, adapted, tmp_path):
    write_old(tmp_path / "mine.npz", adapted)
    loaded = maml.load_adapted(tmp_path / "mine.npz", trained)
    assert loaded.settings.method == "maml" and (loaded.num_steps, loaded.inner_lr) == (2, 0.05)
    for transductive in (True, False):
        got, expected = (one.predict(images(4, 1), transductive)[1] for one in (loaded, adapted))
        np.testing.assert_array_equal(got, expected)


def test_a_weight_missing_there_is_an_error(adapted, tmp_path):
    write_old(tmp_path / "mine.npz", adapted, **{"weights/w5": None})
    with pytest.raises(UserError, match="mine.npz is damaged"):
        maml.load_adapted(tmp_path / "mine.npz")


def rewrite(path, **changed):
    """The same file with some arrays changed, or left out where None."""
    with np.load(path) as file:
        arrays = {**{name: file[name] for name in file.files}, **changed}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def tell(path, **changed):
    """The same file with other facts about it."""
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
    rewrite(path, about=json.dumps(about | changed))


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
    "no settings": lambda path: rewrite(path, about=json.dumps({"format": storage.FORMAT})),
    "a fact missing": lambda path: rewrite(
        path, about=json.dumps({"format": storage.FORMAT, "settings": small_settings().to_dict()})
    ),
    "no class names": lambda path: tell(path, class_names=3),
    "a class too many": lambda path: tell(path, class_names=["ant", "bee", "cat", "dog"]),
    "a method that isn't there": lambda path: tell(path, settings={**small_settings().to_dict(), "method": "none"}),
    "another method": lambda path: tell(path, settings=small_settings("meta_sgd").to_dict()),
    "a weight missing": lambda path: rewrite(path, **{"state/w5": None}),
    "a weight of another shape": lambda path: rewrite(path, **{"state/w5": np.zeros((1, 4, 4), np.float32)}),
    "a weight of another type": lambda path: rewrite(path, **{"state/b5": np.zeros((1, 3))}),
    "a weight that isn't finite": lambda path: rewrite(path, **{"state/b5": np.full((1, 3), np.nan, np.float32)}),
    "text for a weight": lambda path: rewrite(path, **{"state/b5": np.array([["a", "b", "c"]])}),
    "images that aren't finite": lambda path: rewrite(path, support=np.full((6, 16, 16, 3), np.inf, np.float32)),
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
images = np.load(sys.argv[1])
out = {}
for folder in sys.argv[3:]:
    model = tf.saved_model.load(folder)
    for name in ("serving_default", "one_at_a_time"):
        for n in (1, len(images)):
            result = model.signatures[name](images=tf.constant(images[:n]))
            out[f"{folder} {name} {n}"] = result["probabilities"]
            out[f"{folder} class_names"] = result["class_names"].numpy().astype("U")
            rows = model.signatures[f"{name}_rows"](images=tf.constant(images[:n]))
            out[f"{folder} {name} {n} rows"] = rows["probabilities"]
            out[f"{folder} {name} {n} class_name"] = rows["class_name"].numpy().astype("U")
np.savez(sys.argv[2], **out)
"""


def test_tensorflow_alone_predicts_the_same_from_what_is_exported(tmp_path):
    methods = ("maml", "prototypical")
    pixels, adapted = images(4, 1) / np.float32(255), {method: adapt(method) for method in methods}
    np.save(tmp_path / "images.npy", pixels)
    (tmp_path / "maml").mkdir()  # empty: that may be
    for method in methods:
        adapted[method].export(tmp_path / method)
    command = [sys.executable, "-c", ALONE, "images.npy", "out.npz", *methods]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = np.load(tmp_path / "out.npz")
    for method in methods:
        assert out[f"{method} class_names"].tolist() == ["ant", "bee", "cat"]
        for name, transductive in (("serving_default", True), ("one_at_a_time", False)):
            for n in (1, 4):
                likeliest, expected = adapted[method].predict(pixels[:n], transductive)
                np.testing.assert_allclose(out[f"{method} {name} {n}"], expected, atol=1e-6)
                np.testing.assert_allclose(out[f"{method} {name} {n} rows"], expected, atol=1e-6)
                assert out[f"{method} {name} {n} class_name"].tolist() == [str(found) for found in likeliest]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["images.npy", "out.npz", *methods])


def test_any_nest_is_exported(tmp_path):
    state = Pair((tf.constant([[2.0, 0.5, 1.0]]), tf.constant([3])), {"a/b": tf.constant([[1.0, 0.0, 1.0]])})

    def predict(state, x):
        (scale, power), offset = state.zeta, state.alpha["a/b"]
        mean = tf.reduce_mean(x, [1, 2])
        return mean * scale ** tf.cast(power, tf.float32)[:, None] + offset

    storage.export(tmp_path / "model", {"serving_default": predict}, state, SHAPE, ("a", "b", "c"))
    pixels = tf.constant(images(4) / np.float32(255))
    exported = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"](images=pixels)
    np.testing.assert_allclose(exported["probabilities"], predict(state, pixels), atol=1e-6)


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
