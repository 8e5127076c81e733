"""Characters drawn from Matplotlib's fonts."""

import hashlib
import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from data_generators import glyphs
from data_generators.errors import UserError
from data_generators.image_classes import ImageTasks


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("glyphs")


@pytest.fixture(scope="module")
def splits(cache):
    return glyphs.load(cache)


def all_names(splits):
    return [name for classes in splits.values() for name in classes.names]


def test_there_are_at_least_600_characters_of_seven_alphabets(splits):
    names = all_names(splits)
    assert len(names) >= 600
    assert {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "LAO", "DIGIT"} <= {name.split()[0] for name in names}


def test_splits_are_70_10_20_percent_and_share_no_character(splits):
    names = all_names(splits)
    shares = [len(splits[split].names) / len(names) for split in ("train", "val", "test")]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.002)
    assert len(set(names)) == len(names)


def test_every_class_has_at_least_20_drawings(splits):
    assert all(np.diff(classes.offsets).min() >= 20 for classes in splits.values())


def test_no_drawing_occurs_twice(splits):
    drawings = [image.tobytes() for classes in splits.values() for image in classes.images]
    assert len(set(drawings)) == len(drawings)


def test_characters_that_look_alike_are_one_class(splits):
    names = all_names(splits)
    assert "LATIN CAPITAL LETTER A" in names
    assert "GREEK CAPITAL LETTER ALPHA" not in names and "CYRILLIC CAPITAL LETTER A" not in names


def test_strokes_are_bright_on_black(splits):
    for classes in splits.values():
        assert classes.images.shape[1:] == (28, 28, 1) and classes.images.dtype == np.uint8
        assert classes.images.max(axis=(1, 2, 3)).min() > 127
        assert not classes.images[:, [0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_upright_drawings_are_centred_to_a_pixel(splits):
    for classes in splits.values():
        for image in classes.images[classes.offsets[:-1], :, :, 0]:
            for axis in (0, 1):
                ink = np.flatnonzero(image.max(axis=axis))
                assert abs((ink[0] + ink[-1]) / 2 - 13.5) <= 1


def test_tasks_of_one_shot_and_fifteen_queries_can_be_drawn_from_every_split(splits):
    tasks = ImageTasks(splits, num_classes=20, rotate=False)
    for split in splits:
        assert tasks.sample(split, 0, 0, 2, num_shots=5, num_queries=15).query_x.shape == (2, 300, 28, 28, 1)


def digest(splits):
    return hashlib.sha256(b"".join(classes.images.tobytes() for classes in splits.values())).hexdigest()


def test_another_process_draws_the_same_images(splits, tmp_path):
    program = (
        "import hashlib; from data_generators import glyphs; s = glyphs.load(); "
        "print(hashlib.sha256(b''.join(c.images.tobytes() for c in s.values())).hexdigest())"
    )
    ours = {"PYTHONHASHSEED": "1", "MAML_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **ours}, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == digest(splits)


def test_the_second_start_reads_the_cache(splits, cache, monkeypatch):
    monkeypatch.setattr(glyphs, "_draw_all", None)
    assert digest(glyphs.load(cache)) == digest(splits)


def test_a_matplotlib_without_its_fonts_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(UserError, match="holds 0 DejaVu and STIX font faces; expected the 16"):
        glyphs.load(tmp_path)
