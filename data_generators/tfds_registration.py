"""Makes `tfds.load("mini_imagenet")` known to TensorFlow Datasets as soon as both packages are imported, in any order.

Whoever only imports data_generators doesn't pay for importing TensorFlow Datasets: half a second, on each start.
"""

import importlib
import importlib.abc
import sys

BUILDER = "data_generators.mini_imagenet_tfds.mini_imagenet_dataset_builder"


class _AfterImport(importlib.abc.MetaPathFinder):
    """Lets the other finders find tensorflow_datasets, and registers the builder once it has been loaded."""

    def find_spec(self, fullname, path, target=None):
        if fullname != "tensorflow_datasets":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec:
            load = spec.loader.exec_module

            def load_and_register(module):
                load(module)
                sys.meta_path.remove(self)
                importlib.import_module(BUILDER)

            spec.loader.exec_module = load_and_register
        return spec


def register():
    """Registers the builder now if TensorFlow Datasets is imported, else when it will be."""
    if sys.modules.get("tensorflow_datasets"):
        importlib.import_module(BUILDER)
    else:
        sys.meta_path.insert(0, _AfterImport())
