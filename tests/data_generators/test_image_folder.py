"""Folders of one's own images."""

import random

import numpy as np
import pytest
from PIL import Image

from data_generators import image_folder
from data_generators.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MAML_CACHE", str(tmp_path / "cache"))


def write(folder, *names, size=(4, 4)):
    """Images whose grey is the place of their name in the list."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size, i).save(folder / name)


@pytest.fixture
def home(tmp_path):
    """Ten classes of two images, 00 to 09: image 1 of class c is c of 255 bright, in every format and size."""
    for c in range(10):
        write(tmp_path / "My Photos!" / f"{c:02d}", *["x.png"] * c, "1.bmp", "2.png", size=(5 + c, 9))
        for extra in (tmp_path / "My Photos!" / f"{c:02d}").glob("x.png"):
            extra.unlink()
    return tmp_path / "My Photos!"


def shuffled(seed):
    names = [f"{c:02d}" for c in range(10)]
    random.Random(seed).shuffle(names)
    return names


def test_the_split_is_the_documented_shuffle_cut_by_the_fractions(home):
    splits = image_folder.load(home)
    names = shuffled(0)
    want = {"train": names[:6], "val": names[6:8], "test": names[8:]}  # round(6.4), round(8.0)
    assert {split: list(classes.names) for split, classes in splits.items()} == {s: sorted(n) for s, n in want.items()}


def test_another_seed_gives_another_split(home):
    assert shuffled(1)[:6] != shuffled(0)[:6]
    assert list(image_folder.load(home, split_seed=1)["train"].names) == sorted(shuffled(1)[:6])


def test_every_class_holds_its_own_images_whatever_their_format_and_size(home):
    for classes in image_folder.load(home, image_size=6).values():
        assert classes.images.shape[1:] == (6, 6, 3) and classes.images.dtype == np.uint8
        for c, name in enumerate(classes.names):
            of_class = classes.images[classes.offsets[c] : classes.offsets[c + 1]]
            np.testing.assert_array_equal(of_class[0], np.full((6, 6, 3), int(name)))
            np.testing.assert_array_equal(of_class[1], np.full((6, 6, 3), int(name) + 1))


def test_the_default_is_84_by_84_in_colour(home):
    assert image_folder.load(home)["test"].images.shape[1:] == (84, 84, 3)


def test_one_channel_is_grey(home):
    assert image_folder.load(home, image_size=5, channels=1)["val"].images.shape[1:] == (5, 5, 1)


@pytest.mark.parametrize(
    "split, sizes", [((0.98, 0.01, 0.01), (8, 1, 1)), ((0.01, 0.98, 0.01), (1, 8, 1)), ((0.01, 0.01, 0.98), (1, 1, 8))]
)
def test_every_split_gets_a_class(home, split, sizes):
    splits = image_folder.load(home, image_size=2, split=split)
    assert tuple(len(splits[name].names) for name in ("train", "val", "test")) == sizes


def test_three_classes_are_one_for_each_split(tmp_path):
    write(tmp_path / "a", "x/1.png", "y/1.png", "z/1.png")
    assert all(len(classes.names) == 1 for classes in image_folder.load(tmp_path / "a", image_size=2).values())


def test_split_folders_are_taken_as_they_are(tmp_path):
    write(tmp_path / "a", "train/y/1.png", "train/x/1.png", "val/z/1.png", "test/w/1.png")
    splits = image_folder.load(tmp_path / "a", image_size=2)
    assert [splits[split].names for split in ("train", "val", "test")] == [("x", "y"), ("z",), ("w",)]
    assert splits["train"].images[:, 0, 0, 0].tolist() == [1, 0]


def test_a_class_may_be_called_train(tmp_path):
    write(tmp_path / "a", "train/1.png", "bus/1.png", "car/1.png")
    names = {classes.names for classes in image_folder.load(tmp_path / "a", image_size=2).values()}
    assert names == {("train",), ("bus",), ("car",)}


def test_photographs_are_turned_upright(tmp_path):
    write(tmp_path / "a", "x/1.png", "y/1.png", "z/1.png")
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(np.array([[0], [255]], np.uint8)).save(tmp_path / "a" / "x" / "1.png", exif=exif)
    splits = image_folder.load(tmp_path / "a", image_size=2)
    (x,) = [classes for classes in splits.values() if classes.names == ("x",)]
    assert x.images[0, :, 0, 0].tolist() == [255, 0]


def test_the_second_start_reads_no_image(home, monkeypatch):
    first = image_folder.load(home)
    monkeypatch.setattr("data_generators.class_folders.read_images", None)
    np.testing.assert_array_equal(image_folder.load(home)["train"].images, first["train"].images)


def test_the_name_is_made_of_the_folders_own(home, tmp_path):
    assert image_folder.dataset_name(home) == "folder_my_photos"
    assert image_folder.dataset_name(f"{home}/") == "folder_my_photos"
    names = {"写真": "写真", "Фото 2": "фото_2", "Größe": "größe", "Gro\u0308ße": "größe", "__+": "images"}
    assert [image_folder.dataset_name(tmp_path / name) for name in names] == [f"folder_{n}" for n in names.values()]


# The errors


def message(folder, **options):
    with pytest.raises(UserError) as caught:
        image_folder.load(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("split", [(0.5, 0.5), (0.5, 0.5, 0.0), (0.6, 0.6, -0.2), (0.5, 0.2, 0.2), (0.4, 0.3, 0.3, 0)])
def test_fractions_that_are_no_split_are_shown(home, split):
    shown = ", ".join(map(str, split))
    assert message(home, split=split) == f"split is {shown}; expected three positive fractions that sum to 1"


@pytest.mark.parametrize(
    "options, given",
    [
        ({"split": (0.5, 0.25, 0.25)}, "split"),
        ({"split_seed": 5}, "split_seed"),
        ({"split": (0.5, 0.25, 0.25), "split_seed": 5}, "split and split_seed"),
    ],
)
def test_split_folders_are_not_divided_again(tmp_path, options, given):
    write(tmp_path / "a", "train/x/1.png", "val/z/1.png", "test/w/1.png")
    expected = f"{given} given, but {tmp_path / 'a'} holds train, val, test as splits; expected neither with these"
    assert message(tmp_path / "a", **options) == expected


def test_a_negative_seed_is_refused(home):
    assert message(home, split_seed=-1) == "split_seed is -1, expected at least 0"


@pytest.mark.parametrize("options", [{"image_size": 0}, {"channels": 2}])
def test_a_shape_that_no_image_has_is_refused(home, options):
    assert "expected at least 1 pixel, 1 or 3 channels" in message(home, **options)


def test_a_folder_that_is_missing_or_a_file_or_empty(tmp_path):
    assert f"--data_path {tmp_path / 'gone'} is not there; expected a folder of class" in message(tmp_path / "gone")
    (tmp_path / "file").touch()
    assert f"--data_path {tmp_path / 'file'} is a file; expected" in message(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'} holds no class folders; expected" in message(tmp_path / "empty")


def test_loose_images_beside_class_folders_are_counted(home):
    write(home, "loose.png")
    assert message(home).startswith(f"1 images lie loose in {home}, the first loose.png;")


def test_two_classes_are_too_few(tmp_path):
    write(tmp_path / "a", "x/1.png", "y/1.png")
    assert f"{tmp_path / 'a'} holds 2 classes; expected at least 3" in message(tmp_path / "a")


def test_classes_that_differ_in_their_case_are_two(home):
    before = len(list(home.iterdir()))
    write(home, "cat/1.png", "Cat/1.png")
    if len(list(home.iterdir())) < before + 2:
        pytest.skip("a file system on which they are one")
    splits = image_folder.load(home, home / ".cache", 4, 1)
    assert {"cat", "Cat"} <= {name for classes in splits.values() for name in classes.names}


def test_a_class_in_two_split_folders_is_refused(tmp_path):
    write(tmp_path / "a", "train/x/1.png", "val/z/1.png", "test/x/1.png")
    assert f"{tmp_path}/a/train/x and {tmp_path}/a/test/x are one class by their name" in message(tmp_path / "a")


def test_some_of_the_split_folders_are_not_enough(tmp_path):
    write(tmp_path / "a", "train/x/1.png", "test/z/1.png")
    assert message(tmp_path / "a").startswith(f"{tmp_path / 'a'} holds train, test as splits; expected")


def test_classes_beside_split_folders_are_refused(tmp_path):
    write(tmp_path / "a", "train/x/1.png", "val/y/1.png", "test/z/1.png", "more/1.png", "loose.png")
    assert "holds train, val, test as splits and beside them 2 others, more first; expected" in message(tmp_path / "a")


def test_an_unreadable_image_is_named(home):
    (home / "03" / "0.jpg").write_bytes(b"no image")
    assert message(home).startswith(f"{home / '03' / '0.jpg'} can't be read as an image")
