"""What has been prepared once is read back, and nothing wrong ever is."""

import os

import numpy as np
import pytest

from data_generators.cache import cached
from data_generators.image_classes import stack_classes


def classes():
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1), dtype=np.uint8)
    return stack_classes([images[:20], images[20:]], ["Ä/one", "two"])


def not_again():
    raise AssertionError("built again")


def assert_same(got):
    want = classes()
    np.testing.assert_array_equal(got.images, want.images)
    np.testing.assert_array_equal(got.offsets, want.offsets)
    assert got.names == want.names and got.images.dtype == np.uint8 and got.offsets.dtype == np.int64


def test_the_second_call_reads_what_the_first_one_built(tmp_path):
    cached("x", "key", tmp_path, classes)
    assert_same(cached("x", "key", tmp_path, not_again))


def test_another_key_is_built_anew(tmp_path):
    cached("x", "key", tmp_path, lambda: stack_classes([np.zeros((1, 1, 1, 1), np.uint8)], ["old"]))
    assert_same(cached("x", "other key", tmp_path, classes))


def flip_a_pixel(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path):
    path.write_bytes(b"")


def overwrite(path):
    path.write_text("not an archive")


@pytest.mark.parametrize("damage", [flip_a_pixel, cut_short, empty, overwrite])
def test_a_damaged_file_is_made_again_with_a_note(tmp_path, capsys, damage):
    cached("x", "key", tmp_path, classes)
    (path,) = tmp_path.iterdir()
    damage(path)
    assert_same(cached("x", "key", tmp_path, classes))
    assert f"{path} is damaged" in capsys.readouterr().err
    assert_same(cached("x", "key", tmp_path, not_again))


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert_same(cached("x", "key", tmp_path / "file" / "cache", classes))
    assert "going on without a cache" in capsys.readouterr().err


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached("x", "key", tmp_path, classes)
    assert not list(tmp_path.iterdir())


def test_maml_cache_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MAML_CACHE", str(tmp_path / "here"))
    cached("x", "key", None, classes)
    assert len(list((tmp_path / "here").iterdir())) == 1


def test_the_home_folder_is_used_when_nothing_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MAML_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    cached("x", "key", None, classes)
    assert len(list((tmp_path / ".cache" / "maml").iterdir())) == 1
