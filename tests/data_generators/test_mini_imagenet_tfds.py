"""The TensorFlow Datasets builder of miniImagenet, over a few tiny images beside it."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

import data_generators
from data_generators import mini_imagenet
from data_generators.mini_imagenet_tfds.mini_imagenet_dataset_builder import Builder


def test_tfds_load_gives_the_images_that_we_load(tmp_path):
    dummy = Builder.code_path.parent / "dummy_data"
    builder = tfds.builder("mini_imagenet", data_dir=tmp_path / "tfds")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=dummy))
    ours = mini_imagenet.load(dummy, tmp_path / "cache")
    for split, name in {"train": "train", "val": "validation", "test": "test"}.items():
        examples = sorted(tfds.as_numpy(builder.as_dataset(split=name)), key=lambda example: example["file_name"])
        np.testing.assert_array_equal([example["image"] for example in examples], ours[split].images)
        labels = [label.encode() for label in ours[split].names for _ in range(2)]
        assert [example["label"] for example in examples] == labels


def test_without_the_files_the_error_says_what_to_get(tmp_path):
    builder = Builder(data_dir=tmp_path / "tfds")
    with pytest.raises(AssertionError, match="meta-learning-lstm"):
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=tmp_path / "manual"))


def output_of(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_its_package_registers_the_builder():
    program = (
        "import data_generators.mini_imagenet_tfds, tensorflow_datasets as tfds; "
        "print(tfds.builder_cls('mini_imagenet').name)"
    )
    assert output_of(program) == "mini_imagenet"


def test_importing_data_generators_changes_nothing_of_tensorflow_datasets():
    program = (
        "import sys; before = list(sys.meta_path); import data_generators.sources; assert sys.meta_path == before; "
        "import tensorflow_datasets as tfds; print('mini_imagenet' in tfds.list_builders())"
    )
    assert output_of(program) == "False"


def test_data_generators_without_it_import_neither_tensorflow_nor_its_datasets():
    names = [file.stem for file in pathlib.Path(data_generators.__file__).parent.glob("*.py")]
    assert {"sources", "omniglot", "mini_imagenet", "sinusoid"} <= set(names)
    program = (
        f"import sys; from data_generators import {', '.join(name for name in names if name != '__init__')}; "
        "print([name for name in ('tensorflow', 'tensorflow_datasets') if name in sys.modules])"
    )
    assert output_of(program) == "[]"
