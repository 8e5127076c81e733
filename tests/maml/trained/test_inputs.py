"""Images, labels and folders that a user gives a classifier: what is read, what is refused."""

import numpy as np
import pytest
import tensorflow as tf
from own_images import LABELS, ONE_HOT, SHAPE, images, make_of, one_line, write_folder, write_images
from toys import random_weights

import maml
from data_generators.errors import UserError
from data_generators.image_files import read_image
from maml import networks
from maml.runs.settings import resolve
from maml.trained import inputs
from maml.trained.classifier import classify_folder

# Images


def test_pixels_are_from_0_to_1():
    np.testing.assert_array_equal(inputs.pixels(np.array([0, 51, 255], np.uint8)), np.float32([0, 0.2, 1]))
    np.testing.assert_array_equal(inputs.pixels(np.float32([0, 0.2, 1])), np.float32([0, 0.2, 1]))


def test_files_are_read_as_the_data_source_reads_its_own(trained, adapted, tmp_path):
    support = write_images(tmp_path, images(6), [f"{i}.png" for i in range(6)])
    queries = write_images(tmp_path / "q", images(4, 1), [f"{i}.png" for i in range(4)])
    got = trained.adapt([str(path) for path in support], LABELS, num_steps=2)
    np.testing.assert_array_equal(got.predict(queries)[1], adapted.predict(images(4, 1))[1])


def test_drawings_are_inverted_and_resized_where_the_source_does_it(tmp_path):
    settings = resolve("omniglot", num_classes=2, num_filters=3)
    net = networks.conv_net((28, 28, 1), 3, 2)
    omniglot = maml.Classifier(settings, random_weights(net, 0, tf.float32), "a test")
    paths = write_images(tmp_path, images(2)[:, :, :, 0], ["a.png", "b.png"])
    expected = np.stack([read_image(path, (28, 28, 1), invert=True) for path in paths])
    np.testing.assert_array_equal(omniglot.adapt(paths, ["a", "b"], 1).support, expected)


def test_a_file_that_is_no_image_is_an_error(trained, tmp_path):
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(UserError, match="a.png can't be read as an image"):
        trained.adapt([tmp_path / "a.png"] * 6, LABELS)


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


# Labels

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


def test_one_class_is_too_few_for_any_method():
    with pytest.raises(UserError, match=r"got 1 class \(ant\), expected 2 or more") as error:
        inputs.read_labels(["ant"] * 6, 6, None)
    one_line(error)


# Folders


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    given = inputs.read_folder(write_folder(tmp_path), 3)
    assert given.labels == ["ant", "ant", "ant", "bee", "cat", "cat"]
    assert [path.name for path in given.labelled] == ["1.png", "3.png", "5.png", "2.png", "0.png", "4.png"]
    assert [path.name for path in given.unlabelled] == ["a.png", "b.png", "c.png", "d.png"]


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
        classify_folder(trained, folder, num_steps=1)
    one_line(error)


def test_without_outputs_a_class_any_number_of_class_folders_will_do_from_two(tmp_path):
    folder, any_number = write_folder(tmp_path), make_of("prototypical", num_classes=5)
    assert "6 images of 3 classes; 4 images classified" in classify_folder(any_number, folder)
    remove_tree(folder / "bee")
    remove_tree(folder / "cat")
    with pytest.raises(UserError, match="holds 1 class folder; expected 2 or more folders <class>/<image>"):
        classify_folder(any_number, folder)
