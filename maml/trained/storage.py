"""An adapted classifier on disk: one file without pickles, which `read` takes back, and a SavedModel for others.

A file is an .npz archive: "about", json with the format, the settings and the rest; "support", the images adapted on;
and the state, an array for each tensor of its nest, named by its place there: "state/conv1", "state/weights/w5",
"state/means".
"""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from data_generators import untrusted
from data_generators.errors import UserError
from maml.runs import files
from maml.runs.settings import Settings

FORMAT = "maml adapted classifier 2"  # stands in every file
ABOUT = ("class_names", "num_steps", "inner_lr", "origin", "fingerprint")  # fields of an AdaptedClassifier, as json
# What files held before there were other methods than MAML: "config" for the settings, and "weights/<name>" for the
# state, a dict of the one task's weights without the task axis.
FORMAT_OF_WEIGHTS = "maml adapted classifier 1"


class Stored(NamedTuple):
    """settings: Settings. about: {name of ABOUT: value}. support: images. state: {place in the nest: array}."""

    settings: Settings
    about: dict
    support: np.ndarray
    state: dict


def write(path: str | os.PathLike, about: dict, settings: Settings, support: np.ndarray, state: Any) -> None:
    """Writes one file, whole or not at all. Arguments as in `Stored`, but the state a nest of tensors."""
    if os.path.isdir(path):
        raise UserError(f"{path} is a folder, expected the name of a file")
    about = json.dumps({**about, "format": FORMAT, "settings": settings.to_dict()})
    content = io.BytesIO()
    np.savez(content, about=about, support=support, **{place: t.numpy() for place, t in places(state).items()})
    files.write_bytes(path, content.getvalue())


def read(path: str | os.PathLike) -> Stored:
    """What `write` wrote, of either format. UserError for a file that is missing, damaged or something else."""
    arrays = _read_arrays(path)
    try:
        about = untrusted.parse_json(str(arrays.pop("about")))
        old = {FORMAT: False, FORMAT_OF_WEIGHTS: True}[about.pop("format")]
        support = arrays.pop("support")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not an adapted classifier, expected a file that `save` wrote") from error
    if old:
        arrays = {name.replace("weights/", "state/"): array[None] for name, array in arrays.items()}
    files.check_finite(path, {"support": support, **arrays})
    settings = Settings.from_dict(about.pop("config" if old else "settings", {}), path)
    return Stored(settings, about, support, arrays)


def places(nest: Any, place: str = "state") -> dict:
    """{place: tensor} of a nest of dicts, tuples, named tuples and lists, in the order of `tf.nest.flatten`."""
    if isinstance(nest, dict):
        parts = sorted(nest.items())
    elif isinstance(nest, (tuple, list)):
        parts = zip(getattr(nest, "_fields", range(len(nest))), nest)
    else:
        return {place: nest}
    return {name: leaf for key, part in parts for name, leaf in places(part, f"{place}/{key}").items()}


def _read_arrays(path):
    """{name: array} of an .npz file. UserError if it is missing, damaged, or something else."""
    try:
        return untrusted.read_arrays(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path} cannot be read ({reason}), expected a file that `save` wrote") from error
    except untrusted.UNREADABLE as error:
        raise UserError(f"{path} is damaged or not an adapted classifier, expected a file that `save` wrote") from error


def export(
    folder: str | os.PathLike, predictions: dict[str, Callable], state: Any, input_shape: tuple, class_names: tuple
) -> None:
    """Writes a SavedModel that TensorFlow runs without this package, to a folder that is new or empty.

    folder: where to.
    predictions: {name of a signature: (state, float32 pixels [n, H, W, C], n left open) -> probabilities [n, N]}.
    state: a nest of tensors, which become the model's variables.
    input_shape: (H, W, C). class_names: N, for the signatures' second result. "<name>_rows" has each image's class in
        its place, so that all results have a row an image.
    UserError if the folder isn't empty or can't be written.
    """
    folder = check_new(folder)
    module, names = tf.Module(), tf.constant([str(name) for name in class_names])
    variables = tf.nest.map_structure(tf.Variable, state)
    module.state = tf.nest.flatten(variables)
    pixels = tf.TensorSpec([None, *input_shape], tf.float32, name="images")

    def signature(prediction, results):
        @tf.function(input_signature=[pixels])
        def predict(images):
            probabilities = prediction(tf.nest.map_structure(tf.convert_to_tensor, variables), images)
            return {"probabilities": probabilities, **results(probabilities)}

        return predict

    def with_names(probabilities):
        return {"class_names": tf.identity(names)}

    def with_likeliest(probabilities):
        return {"class_name": tf.gather(names, tf.argmax(probabilities, -1))}

    signatures = {name: signature(prediction, with_names) for name, prediction in predictions.items()}
    signatures |= {f"{name}_rows": signature(prediction, with_likeliest) for name, prediction in predictions.items()}
    _save_model(module, signatures, folder)


def check_new(folder: str | os.PathLike) -> Path:
    """The absolute path of a folder that is new or empty. UserError for another."""
    folder = Path(os.path.abspath(folder))
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} is there already, expected a new folder, or an empty one, to export to")
    return folder


def _save_model(module, signatures, folder):
    """The SavedModel, whole or not at all."""
    unfinished = folder.with_name(f".unfinished_{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    # Nothing but predictions is exported: not the gradients of the kernels.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    try:
        tf.saved_model.save(module, str(unfinished), signatures, options)
        if folder.exists():
            folder.rmdir()
        os.replace(unfinished, folder)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"can't write {folder} ({error}), expected a place that may be written to") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
