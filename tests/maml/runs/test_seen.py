"""Classes that a run was trained on: the same when it goes on, and none of them at test."""

import pytest

from data_generators.errors import UserError
from maml.runs import seen


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
    seen.check_unseen(tmp_path, Contents(test={"a": 4}), "test")


@pytest.mark.parametrize("train", [{"a": 4, "b": 5}, {"a": 4}, {"a": 4, "b": 4, "e": 1}])
def test_other_classes_or_images_are_named(folder, train):
    with pytest.raises(UserError, match="was trained on other data: the train split differs by '[be]'"):
        seen.check_same(folder, Contents(train=train))


def test_a_test_class_that_was_trained_on_is_named(folder):
    with pytest.raises(UserError, match="1 classes of the test split, the first 'b', were in the train split when"):
        seen.check_unseen(folder, Contents(test={"b": 9, "d": 4}), "test")


def test_a_validation_class_that_is_a_test_class_there_was_not_trained_on(folder):
    seen.check_unseen(folder, Contents(val={"d": 4}), "val")
