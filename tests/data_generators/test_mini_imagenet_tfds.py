"""The TensorFlow Datasets builder of miniImagenet, over a few tiny images beside it."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

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


@pytest.mark.parametrize("both", ["tensorflow_datasets, data_generators", "data_generators, tensorflow_datasets"])
def test_importing_both_packages_registers_the_builder(both):
    program = f"import {both}, tensorflow_datasets as tfds; print(tfds.builder_cls('mini_imagenet').name)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "mini_imagenet"


def test_data_generators_alone_imports_neither_tensorflow_nor_its_datasets():
    program = (
        "import sys, data_generators.sources; from data_generators import image_folder, mini_imagenet, omniglot; "
        "print([name for name in ('tensorflow', 'tensorflow_datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_looking_for_tensorflow_datasets_without_importing_it_changes_nothing():
    program = (
        "import data_generators, importlib.util; assert importlib.util.find_spec('tensorflow_datasets'); "
        "import tensorflow_datasets as tfds; print(tfds.builder_cls('mini_imagenet').name)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "mini_imagenet"
