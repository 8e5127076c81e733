"""Classes that a run was trained on: the same when it goes on, and none of them at test."""

import pytest

from data_generators.errors import UserError
from maml.runs import files, seen


class Contents:
    """Tasks of which only the classes count: {split: {class: how many images}}."""

    def __init__(self, **splits):
        self.splits = {"train": {"a": 4, "b": 4}, "val": {"c": 4}, "test": {"d": 4}} | splits

    def contents(self):
        return self.splits


@pytest.fixture
def folder(tmp_path):
    seen.record(tmp_path, Contents())
    return tmp_path


def test_the_same_classes_may_go_on(folder):
    seen.check_same(folder, Contents())


def test_without_a_record_anything_may(tmp_path):
    seen.check_same(tmp_path, Contents(train={"e": 4}))
    seen.check_same(tmp_path, Contents(test={"a": 4}), "test")


@pytest.mark.parametrize("train", [{"a": 4, "b": 5}, {"a": 4}, {"a": 4, "b": 4, "e": 1}])
def test_other_classes_or_images_are_named(folder, train):
    with pytest.raises(UserError, match="was trained on other data: the train split differs by '[be]'"):
        seen.check_same(folder, Contents(train=train))


def test_as_many_images_of_other_sizes_are_other_data(tmp_path):
    seen.record(tmp_path, Contents(test={"d": [4, 1000]}))
    seen.check_same(tmp_path, Contents(test={"d": [4, 1000]}), "test")
    with pytest.raises(UserError, match="the test split differs by 'd'"):
        seen.check_same(tmp_path, Contents(test={"d": [4, 1001]}), "test")


def test_as_many_images_of_the_same_sizes_and_other_pixels_are_other_data(tmp_path):
    """As formats that don't compress have them; what versions of a decoder differ by is the same data."""
    seen.record(tmp_path, Contents(test={"d": [4, 1000, 127.5]}))
    seen.check_same(tmp_path, Contents(test={"d": [4, 1000, 127.3]}), "test")
    with pytest.raises(UserError, match="the test split differs by 'd'"):
        seen.check_same(tmp_path, Contents(test={"d": [4, 1000, 126.8]}), "test")


@pytest.mark.parametrize(
    "recorded, here", [(4, [4, 1000, 127.5]), ([4, 1000], [4, 1000, 127.5]), (4, [4, 1000]), ([4, 1000], 4)]
)
def test_where_the_sizes_are_not_known_the_numbers_decide(tmp_path, recorded, here):
    """As in run folders of before they were recorded."""
    seen.record(tmp_path, Contents(test={"d": recorded}))
    seen.check_same(tmp_path, Contents(test={"d": here}), "test")
    with pytest.raises(UserError, match="the test split differs by 'd'"):
        seen.check_same(tmp_path, Contents(test={"d": 5}), "test")


@pytest.mark.parametrize("test, name", [({"b": 4, "d": 4}, "b"), ({"d": 5}, "d"), ({"e": 4}, "d")])
def test_another_test_split_is_named(folder, test, name):
    """A class that was trained on; more images; another folder of the same name."""
    said = f"the test split differs by '{name}'; expected the same images of the same classes$"
    with pytest.raises(UserError, match=said):
        seen.check_same(folder, Contents(test=test), "test")


def test_a_test_needs_only_its_own_split_to_be_the_same(folder):
    seen.check_same(folder, Contents(train={"a": 4}), "test")


@pytest.mark.parametrize(
    "train, message",
    [([1], r"train is \[1\]"), (None, "train is None"), ({"a": [1]}, "train is {'a': .1.}"), ({"a": None}, "train is")],
)
def test_a_damaged_record_is_named(folder, train, message):
    files.write_json(folder / seen.CLASSES, {"train": train})
    with pytest.raises(UserError, match=f"classes.json: damaged, {message}.*, expected {{class: how many images}}$"):
        seen.check_same(folder, Contents())
