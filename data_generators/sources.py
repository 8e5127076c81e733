"""From the name of a data source to its tasks."""

from data_generators.errors import UserError
from data_generators.image_classes import ImageTasks
from data_generators.sinusoid import SinusoidTasks


def load(datasource, num_classes=5, oracle=False, data_path=None, cache_dir=None):
    """The tasks of a data source: an object with `sample` and `check` (see `ImageTasks`).

    num_classes: N, for images. oracle: for the sinusoid. data_path: where the data lies (None: looked for).
    cache_dir: where prepared arrays are kept. Raises UserError for an unknown source or data that can't be read.
    """
    if datasource == "sinusoid":
        return SinusoidTasks(oracle)
    if datasource == "omniglot":
        from data_generators import omniglot

        # [C] data_generator.py: every class of every task is turned by 0, 90, 180 or 270 degrees, at test too.
        return ImageTasks(omniglot.load(data_path, cache_dir), num_classes, rotate=True)
    if datasource == "glyphs":
        from data_generators import glyphs

        return ImageTasks(glyphs.load(cache_dir), num_classes, rotate=True)
    raise UserError(f"datasource is {datasource!r}, expected sinusoid, omniglot or glyphs")
