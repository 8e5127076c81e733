"""Omniglot, from wherever it lies: the same arrays, or an error that says what to do.

Most tests use a full Omniglot drawn here, with two random drawings a character; the last ones the real data.
"""

import io
import os
import pathlib
import random
import shutil
import zipfile

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from PIL import Image

from data_generators import omniglot
from data_generators.errors import UserError

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def png(bits):
    """A one-bit PNG, like Omniglot's; bits: bool [height, width], True is paper."""
    file = io.BytesIO()
    Image.fromarray(bits).save(file, "PNG")
    return file.getvalue()


def write_zips(folder, drawings):
    """The two official zips; drawings: {character: [bits, bits, ...]}, the first 30 alphabets background."""
    alphabets = sorted({character.split("/")[0] for character in drawings})
    folder.mkdir(parents=True, exist_ok=True)
    with (
        zipfile.ZipFile(folder / "images_background.zip", "w") as background,
        zipfile.ZipFile(folder / "images_evaluation.zip", "w") as evaluation,
    ):
        for number, (character, bits) in enumerate(sorted(drawings.items()), start=1):
            part = background if alphabets.index(character.split("/")[0]) < 30 else evaluation
            for drawer, drawing in enumerate(bits, start=1):
                member = f"{pathlib.Path(part.filename).stem}/{character}/{number:04d}_{drawer:02d}.png"
                part.writestr(member, png(drawing))


def extract(folder, target):
    for file in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(target)
    return target


@pytest.fixture(autouse=True)
def nowhere(request, tmp_path, monkeypatch):
    """No test finds data or a cache that it did not put there; only the real Omniglot must have 20 drawings."""
    if "real_zips" not in request.fixturenames:
        monkeypatch.setattr(omniglot, "DRAWINGS", 2)
    monkeypatch.delenv("MAML_DATA", raising=False)
    monkeypatch.setenv("MAML_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def drawings():
    rng = np.random.default_rng(0)
    return {character: rng.random((2, 105, 105)) < 0.5 for character in omniglot.CHARACTERS}


@pytest.fixture(scope="session")
def zips(drawings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zips")
    write_zips(folder, drawings)
    return folder


@pytest.fixture(scope="session")
def tree(zips, tmp_path_factory):
    return extract(zips, tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="session")
def resized(tree, tmp_path_factory):
    """What the authors' data/omniglot_resized holds: every image opened, resized by Lanczos, and saved."""
    folder = tmp_path_factory.mktemp("data") / "omniglot_resized"
    for part in sorted(tree.iterdir()):
        shutil.copytree(part, folder, dirs_exist_ok=True)
    for file in folder.glob("*/*/*.png"):
        Image.open(file).resize((28, 28), Image.Resampling.LANCZOS).save(file)
    return folder


@pytest.fixture(scope="session")
def loaded(zips, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omniglot, "DRAWINGS", 2)
        return omniglot.load(zips, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_zips():
    """The folder of the real Omniglot; skips where there is none."""
    places = [os.environ.get("MAML_DATA"), REPOSITORY.parent / "shared" / "data"]
    for place in places:
        if place and pathlib.Path(place, "omniglot", "images_background.zip").is_file():
            return pathlib.Path(place, "omniglot").resolve()
    pytest.skip(f"no omniglot/images_background.zip in $MAML_DATA ({places[0] or 'not set'}) or {places[1]}")


@pytest.fixture
def tfds_over(tmp_path, monkeypatch):
    """Call it with a folder of zips: from then on TensorFlow Datasets' own builder gets those for its download."""

    def patch(zips):
        extracted = extract(zips, tmp_path / "extracted")
        folders = {name: tmp_path / "downloaded" / name for name in ("train", "eval", "small1", "small2")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        (extracted / "images_evaluation").rename(folders["eval"] / "images_evaluation")
        background = (extracted / "images_background").rename(folders["train"] / "images_background")
        for small in ("small1", "small2"):  # repeat some of the background characters, as the real ones do
            some = sorted(background.iterdir())[0]
            shutil.copytree(some, folders[small] / f"images_background_{small}" / some.name)

        make = tfds.builder
        monkeypatch.setattr(tfds, "builder", lambda name: make(name, data_dir=tmp_path / "tfds"))
        monkeypatch.setattr(
            tfds.download.DownloadManager,
            "download_and_extract",
            lambda self, urls: {name: str(folders[name]) for name in urls},
        )
        monkeypatch.setattr(requests, "head", lambda *_, **__: requests.Response())
        monkeypatch.setattr(requests.Response, "raise_for_status", lambda self: None)

    return patch


def assert_same(got, want):
    for split in ("train", "val", "test"):
        assert got[split].names == want[split].names
        np.testing.assert_array_equal(got[split].offsets, want[split].offsets)
        np.testing.assert_array_equal(got[split].images, want[split].images)


def nearest(bits):
    """uint8 [28, 28, 1]: pixel i comes from the one below the middle of its 3.75 source pixels, strokes (False) 255."""
    rows = np.floor((np.arange(28) + 0.5) * 105 / 28).astype(int)
    return np.where(bits[np.ix_(rows, rows)], 0, 255).astype(np.uint8)[..., None]


def in_order(images):
    return np.stack(sorted(images, key=np.ndarray.tobytes))


# The split


def test_split_has_the_authors_sizes():
    assert {split: len(names) for split, names in omniglot.SPLIT.items()} == {"train": 1100, "val": 100, "test": 423}


def test_split_is_the_documented_shuffle_of_the_sorted_names():
    names = sorted({name for part in omniglot.SPLIT.values() for name in part})
    assert len(names) == 1623
    random.Random(0).shuffle(names)
    assert omniglot.SPLIT == {"train": names[:1100], "val": names[1100:1200], "test": names[1200:]}


# The pixels


def test_every_class_holds_its_own_drawings_by_nearest_neighbour_with_bright_strokes(loaded, drawings):
    for split, classes in loaded.items():
        assert classes.names == tuple(omniglot.SPLIT[split])
        for c, name in enumerate(classes.names):
            got = classes.images[classes.offsets[c] : classes.offsets[c + 1]]
            np.testing.assert_array_equal(got, in_order([nearest(bits) for bits in drawings[name]]))


def test_images_are_bytes_of_28_by_28_by_1(loaded):
    for classes in loaded.values():
        assert classes.images.dtype == np.uint8 and classes.images.shape[1:] == (28, 28, 1)


def test_extracted_tree_gives_the_arrays_of_the_zips(tree, loaded):
    assert_same(omniglot.load(tree), loaded)


def test_authors_resized_tree_gives_the_arrays_of_the_zips(resized, loaded):
    assert_same(omniglot.load(resized), loaded)


def test_authors_tree_before_resizing_gives_the_arrays_of_the_zips(tree, loaded, tmp_path):
    for part in tree.iterdir():
        shutil.copytree(part, tmp_path / "omniglot_resized", dirs_exist_ok=True)
    assert_same(omniglot.load(tmp_path / "omniglot_resized"), loaded)


def test_tensorflow_datasets_gives_the_arrays_of_the_zips(zips, loaded, tfds_over):
    tfds_over(zips)
    assert_same(omniglot.load(), loaded)


# Where it is looked for


def test_parent_of_the_resized_tree_will_do(resized, loaded):
    assert_same(omniglot.load(resized.parent), loaded)


@pytest.mark.parametrize("place", ["omniglot", "python", "omniglot/python"])
def test_parent_of_the_zips_will_do(place, zips, loaded, tmp_path):
    shutil.copytree(zips, tmp_path / "parent" / place)
    assert_same(omniglot.load(tmp_path / "parent"), loaded)


def test_maml_data_names_the_folder(zips, loaded, monkeypatch):
    monkeypatch.setenv("MAML_DATA", str(zips))
    assert_same(omniglot.load(), loaded)


def test_data_in_the_working_directory_is_found(zips, loaded, tmp_path):
    shutil.copytree(zips, tmp_path / "data" / "omniglot")
    assert_same(omniglot.load(), loaded)


def test_data_path_comes_before_maml_data(zips, loaded, monkeypatch, tmp_path):
    (tmp_path / "other" / "images_background").mkdir(parents=True)
    monkeypatch.setenv("MAML_DATA", str(tmp_path / "other"))
    assert_same(omniglot.load(zips), loaded)


def test_what_macos_adds_to_zips_is_passed_over(zips, loaded, tmp_path):
    shutil.copytree(zips, tmp_path / "mac")
    with zipfile.ZipFile(tmp_path / "mac" / "images_background.zip", "a") as archive:
        archive.writestr("__MACOSX/images_background/Angelic/character01/._0965_01.png", b"resource fork")
    assert_same(omniglot.load(tmp_path / "mac"), loaded)


# The cache


def no_reading(*_):
    raise AssertionError("an image was read again")


@pytest.mark.parametrize("source", ["zips", "tree", "resized"])
def test_second_start_reads_no_image(source, request, monkeypatch, loaded):
    folder = request.getfixturevalue(source)
    omniglot.load(folder)
    monkeypatch.setattr(omniglot, "_pixels", no_reading)
    assert_same(omniglot.load(folder), loaded)


def test_second_start_asks_tensorflow_datasets_for_nothing(zips, loaded, monkeypatch):
    def as_if_downloaded():
        yield from omniglot._from_zip(zips / "images_background.zip")
        yield from omniglot._from_zip(zips / "images_evaluation.zip")

    def asked_again():
        raise AssertionError("TensorFlow Datasets was asked again")
        yield

    monkeypatch.setattr(omniglot, "_from_tfds", as_if_downloaded)
    omniglot.load()
    monkeypatch.setattr(omniglot, "_from_tfds", asked_again)
    assert_same(omniglot.load(), loaded)


def first_image(classes, name):
    return classes.images[classes.offsets[classes.names.index(name)]]


def test_changed_zips_are_read_again(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(omniglot, "DRAWINGS", 1)
    name = omniglot.SPLIT["train"][0]
    few = {character: bits[:1] for character, bits in drawings.items()}
    write_zips(tmp_path, few)
    before = omniglot.load(tmp_path)
    write_zips(tmp_path, {**few, name: ~few[name]})
    after = omniglot.load(tmp_path)
    np.testing.assert_array_equal(first_image(after["train"], name), 255 - first_image(before["train"], name))


def test_one_changed_file_of_a_tree_is_read_again(resized, loaded, drawings, tmp_path):
    name = omniglot.SPLIT["train"][0]
    shutil.copytree(resized, tmp_path / "omniglot_resized")
    omniglot.load(tmp_path)
    file = sorted((tmp_path / "omniglot_resized" / name).iterdir())[0]
    stat = file.stat()
    black = png(np.zeros((28, 28), bool))
    file.write_bytes(black + bytes(stat.st_size - len(black)))  # of the same size: what follows a PNG's end is ignored
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    after = omniglot.load(tmp_path)["train"]
    c = after.names.index(name)
    want = in_order([np.full((28, 28, 1), 255, np.uint8), nearest(drawings[name][1])])
    np.testing.assert_array_equal(after.images[after.offsets[c] : after.offsets[c + 1]], want)


# The errors: one line, what came and what was expected


def message(data_path):
    with pytest.raises(UserError) as caught:
        omniglot.load(data_path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_path_that_is_not_there(tmp_path):
    text = message(tmp_path / "nowhere")
    assert f"--data_path {tmp_path / 'nowhere'} is not there" in text and "images_background.zip" in text


def test_a_path_that_is_a_file(zips):
    assert "images_background.zip is a file; expected" in message(zips / "images_background.zip")


def test_maml_data_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MAML_DATA", str(tmp_path / "gone"))
    assert f"$MAML_DATA {tmp_path / 'gone'} is not there" in message(None)


def test_an_empty_folder(tmp_path):
    assert f"{tmp_path} is empty; expected images_background.zip" in message(tmp_path)


def test_another_layout_says_what_was_looked_for_and_where_it_can_be_had(tmp_path):
    (tmp_path / "pictures").mkdir()
    text = message(tmp_path)
    assert f"{tmp_path} holds no Omniglot, nor do omniglot/, omniglot_resized/, python/, omniglot/python/ in it" in text
    assert "https://github.com/brendenlake/omniglot" in text and "<alphabet>/<character>" in text


def test_one_zip_of_the_two_counts_the_missing_characters_and_names_the_first(zips, tmp_path):
    shutil.copy(zips / "images_background.zip", tmp_path)
    with zipfile.ZipFile(zips / "images_background.zip") as archive:
        there = {member.rsplit("/", 1)[0].split("/", 1)[1] for member in archive.namelist()}
    missing = sorted(set(omniglot.CHARACTERS) - there)
    text = message(tmp_path)
    assert f"has {len(there)} characters; expected Omniglot's 1623, of which {len(missing)} are missing" in text
    assert f"the first {missing[0]};" in text


def test_a_tree_of_one_alphabet_lacks_the_others(resized, tmp_path):
    shutil.copytree(resized / "Greek", tmp_path / "Greek")
    assert f"{tmp_path} has 24 characters; expected Omniglot's 1623, of which 1599 are missing" in message(tmp_path)


def test_a_character_folder_without_images_is_missing(resized, tmp_path):
    shutil.copytree(resized, tmp_path / "omniglot_resized")
    for file in (tmp_path / "omniglot_resized" / omniglot.CHARACTERS[7]).iterdir():
        file.unlink()
    assert f"of which 1 are missing, the first {omniglot.CHARACTERS[7]};" in message(tmp_path)


def one_image_tree(tmp_path, data):
    file = tmp_path / "images_background" / omniglot.CHARACTERS[0] / "0001_01.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("cut", [0, 20, 60])
def test_an_image_file_cut_short_is_named(tmp_path, cut):
    file = one_image_tree(tmp_path, png(np.ones((105, 105), bool))[:cut])
    assert message(tmp_path).startswith(f"{file} can't be read as an image")


def test_a_format_that_would_start_another_program_is_not_opened(tmp_path):
    drawing = io.BytesIO()
    Image.new("L", (105, 105)).save(drawing, "EPS")
    file = one_image_tree(tmp_path, drawing.getvalue())
    assert message(tmp_path).startswith(f"{file} can't be read as an image (cannot identify image file")


def test_a_damaged_image_in_a_zip_is_named_with_its_zip(tmp_path):
    member = f"images_background/{omniglot.CHARACTERS[0]}/0001_01.png"
    with zipfile.ZipFile(tmp_path / "images_background.zip", "w") as archive:
        archive.writestr(member, png(np.ones((105, 105), bool)))
    data = bytearray((tmp_path / "images_background.zip").read_bytes())
    data[100] ^= 255  # inside the member, so the zip's own checksum no longer fits
    (tmp_path / "images_background.zip").write_bytes(data)
    assert message(tmp_path).startswith(f"{tmp_path / 'images_background.zip' / member} can't be read as an image")


def add(zips, folder, *names):
    """A copy of the zips with more drawings in the first of them."""
    shutil.copytree(zips, folder)
    with zipfile.ZipFile(folder / "images_background.zip", "a") as archive:
        for name in names:
            archive.writestr(name, png(np.ones((105, 105), bool)))
    return folder


def test_characters_of_too_few_drawings_are_counted_and_the_first_named(drawings, tmp_path):
    few = omniglot.CHARACTERS[5:8]
    write_zips(tmp_path, {name: bits[: 1 if name in few else 2] for name, bits in drawings.items()})
    said = f"has 1 drawings of {few[0]}; 3 of its 1,623 characters have not the 2 of Omniglot; expected "
    assert said in message(tmp_path)
    assert said in message(tmp_path)  # what is in the cache by now is no better


def test_a_drawing_too_many_is_refused(zips, tmp_path):
    name = omniglot.CHARACTERS[0]
    text = message(add(zips, tmp_path / "more", f"images_background/{name}/9999_01.png"))
    assert f"has 3 drawings of {name}; 1 of its 1,623 characters have not the 2 of Omniglot" in text


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_drawing_that_is_in_a_zip_twice_is_refused(zips, tmp_path):
    with zipfile.ZipFile(zips / "images_background.zip") as archive:
        first = archive.namelist()[0]
    folder = add(zips, tmp_path / "twice", first)
    assert message(folder).startswith(
        f"{folder / 'images_background.zip'} has 1 members more than once, the first {first!r}"
    )


def test_a_drawing_that_leads_out_of_the_zip_is_refused(zips, tmp_path):
    folder = add(zips, tmp_path / "out", "../../x.png", "/etc/x/y.png")
    assert message(folder).startswith(
        f"{folder / 'images_background.zip'} has 2 members outside of itself, the first '../../x.png'"
    )


def test_drawings_of_no_character_of_omniglots_are_refused(zips, tmp_path):
    folder = add(zips, tmp_path / "more", "images_background/Klingon/character01/1.png")
    assert "has drawings of 1 characters that are not Omniglot's, the first Klingon/character01; expected" in message(
        folder
    )


def test_a_zip_cut_short_is_named(zips, tmp_path):
    data = (zips / "images_background.zip").read_bytes()
    (tmp_path / "images_background.zip").write_bytes(data[: len(data) // 2])
    assert message(tmp_path).startswith(f"{tmp_path / 'images_background.zip'} can't be read as a zip file")


def test_an_image_of_another_size_is_named_with_its_size(tmp_path):
    file = one_image_tree(tmp_path, png(np.ones((64, 80), bool)))
    assert message(tmp_path) == f"{file} has 80×64 pixels; expected 105×105 or 28×28"


def test_without_data_and_network_the_error_says_what_can_be_done(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise requests.ConnectionError("no route to github.com")

    make = tfds.builder
    monkeypatch.setattr(tfds, "builder", lambda name: make(name, data_dir=tmp_path / "tfds"))
    monkeypatch.setattr(requests, "head", offline)
    text = message(None)
    assert f"no Omniglot in $MAML_DATA (not set) or {tmp_path / 'data'}" in text and "no route to github.com" in text
    assert "images_evaluation.zip from https://github.com/brendenlake/omniglot" in text
    assert "--datasource=glyphs needs neither data nor network" in text


# The real data


@pytest.fixture(scope="module")
def real(real_zips, tmp_path_factory):
    return omniglot.load(real_zips, tmp_path_factory.mktemp("cache"))


def test_real_omniglot_has_20_drawings_of_each_character(real):
    assert all((np.diff(classes.offsets) == 20).all() for classes in real.values())


def test_real_drawings_are_what_the_authors_script_makes_of_them(real, real_zips, tmp_path):
    """Every 40th character, resized as they did: the one-bit image opened, resized by Lanczos, then 1 - x / 255."""
    for part in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(real_zips / f"{part}.zip") as archive:
            members = [name for name in archive.namelist() if name.endswith(".png")]
            for character in sorted({member.split("/", 1)[1].rsplit("/", 1)[0] for member in members})[::40]:
                want = []
                for member in members:
                    if f"/{character}/" in member:
                        image = Image.open(archive.open(member)).resize((28, 28), Image.Resampling.LANCZOS)
                        image.save(tmp_path / "resized.png")
                        want.append(1 - np.asarray(Image.open(tmp_path / "resized.png").convert("L"))[..., None] / 255)
                (classes,) = [classes for classes in real.values() if character in classes.names]
                c = classes.names.index(character)
                got = classes.images[classes.offsets[c] : classes.offsets[c + 1]] / 255
                np.testing.assert_array_equal(got, in_order(want))


def test_real_omniglot_is_the_same_through_tensorflow_datasets(real_zips, tfds_over, tmp_path, monkeypatch):
    """Four of the 20 drawers, to be quick about it."""
    monkeypatch.setattr(omniglot, "DRAWINGS", 4)
    (tmp_path / "some").mkdir()
    for source in real_zips.glob("*.zip"):
        with zipfile.ZipFile(source) as archive, zipfile.ZipFile(tmp_path / "some" / source.name, "w") as some:
            for member in archive.namelist():
                if member.endswith(("_01.png", "_07.png", "_13.png", "_20.png")):
                    some.writestr(member, archive.read(member))
    tfds_over(tmp_path / "some")
    got = omniglot.load()
    assert sum(len(classes.images) for classes in got.values()) == 4 * 1623
    assert_same(got, omniglot.load(tmp_path / "some"))
