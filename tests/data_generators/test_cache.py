"""What has been prepared once is read back, and nothing wrong ever is."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from data_generators import cache, locks
from data_generators.cache import cached
from data_generators.image_classes import ImageClasses, stack_classes


def classes(_=None):
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1), dtype=np.uint8)
    return stack_classes([images[:20], images[20:]], ["Ä/one", "two"])


def in_place(allocate):
    """As `classes`, in the array that the cache hands out."""
    want = classes()
    images = allocate(want.images.shape)
    images[...] = want.images
    return ImageClasses(images, want.offsets, want.names)


BUILDS = [classes, in_place]


def not_again(_):
    raise AssertionError("built again")


def assert_same(got):
    want = classes()
    np.testing.assert_array_equal(got.images, want.images)
    np.testing.assert_array_equal(got.offsets, want.offsets)
    assert got.names == want.names and got.images.dtype == np.uint8 and got.offsets.dtype == np.int64


@pytest.mark.parametrize("build", BUILDS)
def test_the_second_call_reads_what_the_first_one_built(tmp_path, build):
    assert_same(cached("x", "key", tmp_path, build))
    assert_same(cached("x", "key", tmp_path, not_again))


@pytest.mark.parametrize("build", BUILDS)
def test_both_calls_give_a_read_only_memory_map_of_the_stored_file(tmp_path, build):
    for made in (build, not_again):
        images = cached("x", "key", tmp_path, made).images
        (file,) = tmp_path.glob("x-*.npy")
        assert isinstance(images, np.memmap) and pathlib.Path(images.filename) == file and not images.flags.writeable


def test_what_build_fills_is_on_disk_and_not_in_memory(tmp_path):
    def build(allocate):
        images = allocate((2, 3, 3, 1))
        assert isinstance(images, np.memmap) and tmp_path in pathlib.Path(images.filename).parents
        assert not images.any()
        images[...] = 7
        return ImageClasses(images, np.array([0, 2]), ("a",))

    assert (cached("x", "key", tmp_path, build).images == 7).all()


def test_a_pair_of_files_is_stored_and_nothing_else(tmp_path):
    cached("x", "key", tmp_path, in_place)
    pixels, about = sorted(tmp_path.iterdir(), key=lambda file: file.suffix, reverse=True)
    assert (pixels.suffix, about.suffix, pixels.stem) == (".npy", ".json", about.stem)
    np.testing.assert_array_equal(np.load(pixels), classes().images)
    text = json.loads(about.read_text())
    assert (text["offsets"], text["names"]) == ([0, 20, 50], ["Ä/one", "two"])


def test_another_key_is_built_anew(tmp_path):
    cached("x", "key", tmp_path, lambda _: stack_classes([np.zeros((1, 1, 1, 1), np.uint8)], ["old"]))
    assert_same(cached("x", "other key", tmp_path, classes))


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 1
    path.write_bytes(data)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-10])


def empty(path):
    path.write_bytes(b"")


def overwrite(path):
    path.write_text("nothing of the kind")


@pytest.mark.parametrize("damage", [flip_a_bit, cut_short, empty, overwrite])
@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_a_damaged_file_is_made_again_with_a_note(tmp_path, capsys, damage, suffix):
    cached("x", "key", tmp_path, classes)
    (pixels,) = tmp_path.glob("*.npy")
    damage(pixels.with_suffix(suffix))
    assert_same(cached("x", "key", tmp_path, classes))
    assert f"{pixels} is damaged" in capsys.readouterr().err
    assert_same(cached("x", "key", tmp_path, not_again))


def test_a_pair_that_does_not_belong_together_is_made_again_with_a_note(tmp_path, capsys):
    cached("x", "other", tmp_path, lambda _: stack_classes([255 - classes().images], ["old"]))
    (other,) = tmp_path.glob("*.json")
    cached("x", "key", tmp_path, classes)
    (about,) = set(tmp_path.glob("*.json")) - {other}
    about.write_bytes(other.read_bytes())
    assert_same(cached("x", "key", tmp_path, classes))
    assert "is damaged" in capsys.readouterr().err


def test_pixels_whose_description_was_never_written_are_made_again_without_a_word(tmp_path, capsys):
    cached("x", "key", tmp_path, classes)
    next(tmp_path.glob("*.json")).unlink()
    assert_same(cached("x", "key", tmp_path, classes))
    assert not capsys.readouterr().err


def test_a_description_without_its_pixels_is_made_again_with_a_note(tmp_path, capsys):
    cached("x", "key", tmp_path, classes)
    next(tmp_path.glob("*.npy")).unlink()
    assert_same(cached("x", "key", tmp_path, classes))
    assert "is damaged" in capsys.readouterr().err


def test_another_format_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FORMAT", 0)
    cached("x", "key", tmp_path, lambda _: stack_classes([np.zeros((1, 1, 1, 1), np.uint8)], ["old"]))
    monkeypatch.undo()
    assert_same(cached("x", "key", tmp_path, classes))


@pytest.mark.parametrize("build", BUILDS)
def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, capsys, build):
    (tmp_path / "file").touch()
    assert_same(cached("x", "key", tmp_path / "file" / "cache", build))
    (line,) = capsys.readouterr().err.splitlines()
    assert "going on without a cache" in line


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("function", ["open", "fsync", "replace"])
def test_a_disk_that_is_full_is_done_without(tmp_path, capsys, monkeypatch, build, function):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(*((cache, "open", full, False) if function == "open" else (os, function, full)))
    assert_same(cached("x", "key", tmp_path, build))
    monkeypatch.undo()
    (line,) = capsys.readouterr().err.splitlines()
    assert "no space left on device" in line and "going on without a cache" in line
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached("x", "key", tmp_path, classes)
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from data_generators.cache import cached

def build(allocate):
    allocate((2, 2, 2, 1))
    os.kill(os.getpid(), signal.SIGKILL)

cached("x", sys.argv[2], sys.argv[1], build)
"""


@pytest.mark.parametrize("key", ["the same", "another"])
def test_what_a_kill_left_is_cleared_up_by_the_next(tmp_path, key):
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path, "the same"])
    assert killed.returncode == -signal.SIGKILL and any(path.is_dir() for path in tmp_path.iterdir())
    assert_same(cached("x", key, tmp_path, classes))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]


def test_what_another_process_is_preparing_is_waited_for(tmp_path, monkeypatch):
    """And read then, not built again."""
    others, said = [], []

    def build(allocate):
        other = threading.Thread(target=lambda: others.append(cached("x", 1, tmp_path, not_again)))
        other.start()
        others.append(other)
        while "is in use by" not in "".join(said):
            time.sleep(0.01)
        return classes()

    monkeypatch.setattr(locks, "print", lambda line, file: said.append(line), raising=False)
    assert_same(cached("x", 1, tmp_path, build))
    others[0].join()
    assert_same(others[1])


def test_an_error_of_build_goes_through_and_leaves_nothing_behind(tmp_path):
    def build(allocate):
        allocate((2, 3, 3, 1))
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        cached("x", "key", tmp_path, build)
    assert not list(tmp_path.iterdir())


def test_maml_cache_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MAML_CACHE", str(tmp_path / "here"))
    cached("x", "key", None, classes)
    assert len(list((tmp_path / "here").iterdir())) == 2


def test_the_home_folder_is_used_when_nothing_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MAML_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    cached("x", "key", None, classes)
    assert len(list((tmp_path / ".cache" / "maml").iterdir())) == 2
