"""Omniglot as its users have it: drawn here in full but with two random drawings a character, and the real one."""

import io
import os
import pathlib
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from data_generators import omniglot

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def png(bits):
    """A one-bit PNG, like Omniglot's; bits: bool [105, 105], True is paper."""
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
def nowhere(tmp_path, monkeypatch):
    """No test finds data or a cache that it did not put there."""
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
    """Call it with a folder of zips: from then on TensorFlow Datasets' own builder gets those in place of its download."""

    def patch(zips):
        import requests
        import tensorflow_datasets as tfds

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
