"""miniImagenet for TensorFlow Datasets, laid out by its conventions.

Importing this registers the builder: after it, `tfds.load("mini_imagenet")` finds it. The builder says what must lie in
TensorFlow Datasets' manual_dir.
"""

from data_generators.mini_imagenet_tfds.mini_imagenet_dataset_builder import Builder

__all__ = ["Builder"]
