"""What TensorBoard shows of a run: its settings, its curves as they grow, and its figures."""

from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams


class Events:
    """The events in a run's folder tensorboard/, which is made with the first of them.

    settings: {flag: value}, shown among the hyperparameters, by which runs can be sorted and compared.
    """

    def __init__(self, folder: Path, settings: dict):
        self._folder = Path(folder)
        self._settings = settings
        self._writer = None

    def scalars(self, iteration: int, row: dict) -> None:
        """Adds a value to each curve, {name: number}."""
        with self._opened().as_default(step=iteration):
            for name, value in row.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def pictures(self, iteration: int, paths) -> None:
        """Shows PNG files, each by its name without the ending."""
        with self._opened().as_default(step=iteration):
            for path in paths:
                tf.summary.image(path.stem, tf.io.decode_png(path.read_bytes(), channels=4)[None])
        self._writer.flush()

    def _opened(self):
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder))
            with self._writer.as_default(step=0):
                hparams.hparams({name: _plain(value) for name, value in self._settings.items()})
        return self._writer


def _plain(value):
    """What a hyperparameter may be: a number, a truth value or a text."""
    return value if isinstance(value, bool | int | float) else str(value)
