"""Tasks to learn from, and nothing about models.

`import data_generators.mini_imagenet_tfds` gives TensorFlow Datasets a builder of miniImagenet.
"""
