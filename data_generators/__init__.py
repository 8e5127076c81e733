"""Tasks to learn from, and nothing about models.

Importing it also gives TensorFlow Datasets a builder of miniImagenet, `tfds.load("mini_imagenet")`, whose instructions
say what must lie in its manual_dir.
"""

from data_generators.tfds_registration import register

register()
