"""miniImagenet for TensorFlow Datasets: `tfds.load("mini_imagenet")`, laid out by its conventions."""
