"""Where data may lie, for a user without a home folder too: no $HOME, and no entry in the system's list of users."""

import pathlib

import pytest

from data_generators import cache, image_folder, omniglot, places
from data_generators.errors import UserError
from data_generators.image_classes import stack_classes


@pytest.fixture
def homeless(monkeypatch):
    pwd = pytest.importorskip("pwd")

    def unknown(_):
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("MAML_CACHE", raising=False)


def test_the_home_folder_stands_for_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert places.expanded("~/x") == pathlib.Path("/somewhere/x")


@pytest.mark.parametrize("read", [omniglot.load, image_folder.load, image_folder.dataset_name])
def test_without_a_home_folder_a_tilde_is_named(homeless, read):
    with pytest.raises(UserError, match="^~/x begins with ~, but there is no home folder; expected "):
        read("~/x")


def test_without_a_home_folder_there_is_no_cache_and_that_is_said(homeless, capsys):
    classes = stack_classes([[[[[1]]]]], ["a"])
    assert cache.cached("x", "key", None, lambda _: classes) is classes
    assert capsys.readouterr().err.startswith("cache: can't write ~/.cache/maml (")
