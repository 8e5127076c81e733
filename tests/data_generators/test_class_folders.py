"""Folders of class folders: what counts, and what is refused."""

import os
import pathlib
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from data_generators import class_folders
from data_generators.class_folders import check_distinct, list_classes, prepare
from data_generators.errors import UserError
from data_generators.image_files import ZipMember


def write(folder, *names, grey=0):
    """4×4 images whose pixels are grey, grey + 1, ... in the order given."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), grey + i).save(folder / name)


def names(listing):
    return {label: [entry.name for entry in entries] for label, entries in listing.items()}


def refused(folder):
    with pytest.raises(UserError) as caught:
        list_classes(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_classes_and_their_images_are_sorted_by_name(tmp_path):
    write(tmp_path, "b/2.png", "b/1.jpg", "a/10.gif", "a/9.bmp")
    assert list(list_classes(tmp_path)) == ["a", "b"]
    assert names(list_classes(tmp_path)) == {"a": ["10.gif", "9.bmp"], "b": ["1.jpg", "2.png"]}


def test_hidden_files_and_files_that_are_no_images_are_passed_over(tmp_path):
    write(tmp_path, "a/1.png", ".hidden/1.png", "__MACOSX/1.png", "a/.thumbs/1.png")
    for name in ("Thumbs.db", "readme.txt", ".DS_Store", "._a.png", "a/._1.png", "a/Thumbs.db", "a/notes.txt"):
        (tmp_path / name).touch()
    assert names(list_classes(tmp_path)) == {"a": ["1.png"]}


def test_files_that_are_not_read_are_counted_by_their_kind_once(tmp_path, capsys):
    write(tmp_path, "a/1.png", "b/2.png", "b/3.JPG")
    for name in ("a/1.heic", "b/2.HEIC", "b/1.heic", "notes.txt", "b/Makefile", "b/.hidden"):
        (tmp_path / name).touch()
    list_classes(tmp_path)
    said = f"{tmp_path}: 5 of 8 files are not read as images: 3 .heic, 1 .txt, 1 without an ending\n"
    assert capsys.readouterr().err == said
    list_classes(tmp_path)
    assert capsys.readouterr().err == ""


def test_where_every_file_is_an_image_nothing_is_said(tmp_path, capsys):
    write(tmp_path, "a/1.png", "a/2.avif", "b/2.jp2")
    (tmp_path / "b" / ".3.txt").touch()
    list_classes(tmp_path)
    assert capsys.readouterr().err == ""


def test_loose_images_are_counted_and_the_first_named(tmp_path):
    write(tmp_path, "a/1.png", "y.png", "x.png")
    text = f"2 images lie loose in {tmp_path}, the first x.png; expected {tmp_path}/<class>/<image>"
    assert refused(tmp_path) == text


def test_images_nested_deeper_are_named_with_the_level_expected(tmp_path):
    write(tmp_path, "a/1.png", "b/deep/down/1.png")
    assert refused(tmp_path) == f"{tmp_path}/b/deep/down/1.png lies too deep; expected {tmp_path}/<class>/<image>"


def test_class_folders_without_images_are_counted_and_the_first_named(tmp_path):
    write(tmp_path, "a/1.png")
    (tmp_path / "c").mkdir()
    (tmp_path / "b").mkdir()
    assert refused(tmp_path).startswith(f"2 class folders of {tmp_path} hold no images, the first b;")


def test_an_empty_folder_holds_no_class_folders(tmp_path):
    assert refused(tmp_path).startswith(f"{tmp_path} holds no class folders; expected")


def test_folders_all_without_images_are_counted(tmp_path):
    (tmp_path / "b").mkdir()
    assert refused(tmp_path).startswith(f"{tmp_path} holds 1 folders without images; expected")


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file names there are text")
def test_a_class_whose_name_is_no_text_is_named_by_its_bytes(tmp_path):
    os.mkdir(os.path.join(os.fsencode(tmp_path), b"a\xff"))
    assert r"holds a folder named b'a\xff', which is not UTF-8" in refused(tmp_path)


def test_one_class_twice_is_refused():
    check_distinct({"train": {"cat": [], "dog": []}, "test": {"cow": []}})
    with pytest.raises(UserError, match="^train/cat and test/cat are one class by their name; expected"):
        check_distinct({"train": {"cat": [], "dog": []}, "test": {"cow": [], "cat": []}})


def test_classes_that_differ_in_their_case_are_two():
    check_distinct({"train": {"a": [], "A": []}, "test": {"É": [], "é": []}})


# Preparing


@pytest.fixture
def splits(tmp_path):
    write(tmp_path / "data", "a/1.png", "a/2.png", "b/1.png", "c/1.png", "d/1.png", "d/2.png")
    listing = list_classes(tmp_path / "data")
    return {"train": {"a": listing["a"], "d": listing["d"]}, "val": {"b": listing["b"]}, "test": {"c": listing["c"]}}


def test_each_class_of_each_split_holds_its_images_in_order(splits, tmp_path):
    got = prepare("x", splits, (4, 4, 1), tmp_path / "cache")
    assert [got[split].names for split in ("train", "val", "test")] == [("a", "d"), ("b",), ("c",)]
    assert got["train"].images[:, 0, 0, 0].tolist() == [0, 1, 4, 5]
    assert got["train"].offsets.tolist() == [0, 2, 4]
    assert (got["val"].images.tolist(), got["test"].images.tolist()) == ([[[[2]] * 4] * 4], [[[[3]] * 4] * 4])


def test_each_class_knows_the_bytes_of_its_files(splits, tmp_path):
    got = prepare("x", splits, (4, 4, 1), tmp_path / "cache")
    sizes = {name: sum(f.stat().st_size for f in (tmp_path / "data" / name).iterdir()) for name in "abcd"}
    for classes in got.values():
        assert classes.file_sizes == tuple(sizes[name] for name in classes.names)


def test_the_splits_are_views_of_one_memory_map(splits, tmp_path):
    got = prepare("x", splits, (4, 4, 1), tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("x-*.npy")
    for classes in got.values():
        assert isinstance(classes.images, np.memmap) and pathlib.Path(classes.images.filename) == file
        assert not classes.images.flags.owndata


def test_the_second_time_no_image_is_read(splits, tmp_path, monkeypatch):
    first = prepare("x", splits, (4, 4, 1), tmp_path / "cache")
    monkeypatch.setattr(class_folders, "read_images", None)
    second = prepare("x", splits, (4, 4, 1), tmp_path / "cache")
    for split in splits:
        np.testing.assert_array_equal(first[split].images, second[split].images)


def test_another_shape_another_file_or_another_split_is_prepared_anew(splits, tmp_path):
    prepare("x", splits, (4, 4, 1), tmp_path / "cache")
    assert prepare("x", splits, (5, 5, 1), tmp_path / "cache")["val"].images.shape == (1, 5, 5, 1)
    write(tmp_path / "data", "b/1.png", grey=200)
    splits["val"]["b"] = list_classes(tmp_path / "data")["b"]
    assert prepare("x", splits, (4, 4, 1), tmp_path / "cache")["val"].images[0, 0, 0, 0] == 200
    splits["val"], splits["test"] = splits["test"], splits["val"]
    assert prepare("x", splits, (4, 4, 1), tmp_path / "cache")["val"].images[0, 0, 0, 0] == 3


def test_files_of_the_same_names_sizes_and_times_elsewhere_are_others(tmp_path):
    """As two unpacked archives, whose files all have the time 0."""
    greys = {}
    for place, grey in (("one", 10), ("two", 200)):
        write(tmp_path / place, "a/1.bmp", "b/1.bmp", "c/1.bmp", grey=grey)
        for file in (tmp_path / place).rglob("*.bmp"):
            os.utime(file, (0, 0))
        listing = list_classes(tmp_path / place)
        splits = {split: {name: listing[name]} for split, name in zip(("train", "val", "test"), "abc")}
        greys[grey] = prepare("x", splits, (4, 4, 1), tmp_path / "cache")["val"].images.max()
    assert greys == {10: 11, 200: 201}


def test_members_of_a_changed_zip_are_read_anew(tmp_path):
    def zipped(grey):
        write(tmp_path, "a.png", grey=grey)
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name in "abc":
                archive.write(tmp_path / "a.png", f"{name}.png")
        parts = zip(("train", "val", "test"), "abc")
        splits = {split: {name: [ZipMember(tmp_path / "a.zip", f"{name}.png")]} for split, name in parts}
        return prepare("x", splits, (4, 4, 1), tmp_path / "cache")["test"].images[0, 0, 0, 0]

    assert [zipped(1), zipped(2)] == [1, 2]
