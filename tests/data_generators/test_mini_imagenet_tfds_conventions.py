"""What TensorFlow Datasets asks of every builder: registration, metadata, splits, features, reading back."""

import pytest
import tensorflow_datasets as tfds

from data_generators.mini_imagenet_tfds.mini_imagenet_dataset_builder import Builder

pytest.importorskip("dill", reason="tensorflow_datasets.testing imports dill")


class BuilderTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = {"train": 4, "validation": 2, "test": 2}
