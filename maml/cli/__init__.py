"""The command line, `maml` or `python main.py`. What must happen before TensorFlow is imported happens here."""

from maml.cli import before_tensorflow

before_tensorflow.settle()
before_tensorflow.load()
