"""Weights that the authors' code trained: its TensorFlow 1 checkpoints, read into a θ of ours.

Their maml.py names the convolutions, w5 and b5 of a convolutional net; every other weight is a `tf.Variable` without a
name, which TensorFlow numbers in the order of creation: Variable, Variable_1, … The normalisations are named by the
number of their scope.
"""

import os
import re
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError
from maml.runs import files

SETTINGS = "--datasource, --num_classes, --num_filters, --conv, --max_pool and --norm settle what is expected"


def prefix_of(given: str | Path) -> Path:
    """The path that the files of a checkpoint share. The name of one of them may have been given."""
    return Path(re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", os.fspath(given)))


def folder_of(logdir: str | Path, settings, given: str | Path) -> Path:
    """The run folder of weights from a checkpoint."""
    return files.run_folder(logdir, f"{settings.name}_imported_{prefix_of(given).name}", settings.seed)


def import_into(run, given: str | Path) -> str:
    """Sets a run's θ to that of a checkpoint, writes its settings into its folder, and returns the checkpoint's name.

    run: a `run.Run`; its iteration becomes the number at the end of the name, as the authors' main.py names them.
    UserError where the folder has the test of other weights, from a checkpoint of the same name.
    """
    prefix, trainer = prefix_of(given), run.state.trainer
    weights = read(prefix, trainer.current_weights())
    _check_same(weights, run.folder, prefix)
    for name, value in weights.items():
        trainer.weights[name].assign(value)
    number = re.search(r"\d+$", prefix.name)
    trainer.iteration.assign(int(number[0]) if number else 0)
    files.write_json(run.folder / "config.json", run.settings.to_dict())
    run.write_weights(prefix.name)  # by which others of the same name are told
    return prefix.name


def _check_same(weights, folder, prefix):
    path = folder / files.WEIGHTS
    there = files.read_weights(path)[0] if path.exists() else {}
    if any(not np.array_equal(value, weights[name]) for name, value in there.items()):
        raise UserError(
            f"{folder} holds the results of another checkpoint of the name {prefix.name}; expected another --logdir"
        )


def read(prefix: str | Path, theta: dict) -> dict:
    """{name: tensor}: the weights in a checkpoint of the authors' code.

    prefix: what the authors' `saver.save` was given, e.g. "model59000"; the name of one of its files will do.
    theta: the weights of the network that is expected, for their names, shapes and types.

    Optimiser slots, moving averages (which nothing uses) and counters are left. A checkpoint of batch norm without any
    offset, beta, gives zeros, which is said on stderr. Raises UserError for a file that can't be read, and for weights
    that are missing, of another shape, or of a normalisation that `theta` hasn't got.
    """
    prefix = _existing_prefix(prefix)
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes = reader.get_variable_to_shape_map()
        names = _names(theta)
        without_beta = _without_beta(names, shapes)
        _check(prefix, {name: theta[name] for name in names if name not in without_beta}, names, shapes)
        weights = {name: w for name, w in theta.items() if name not in without_beta}
        arrays = {name: reader.get_tensor(names[name]) for name in weights}
    except (tf.errors.OpError, LookupError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"checkpoint {prefix} is damaged: {reason}; expected a whole TensorFlow checkpoint") from error
    files.check_finite(f"checkpoint {prefix}", {names[name]: np.asarray(array) for name, array in arrays.items()})
    weights = {name: tf.cast(arrays[name], w.dtype) for name, w in weights.items()}
    if without_beta:
        first = names[without_beta[0]]
        print(f"{prefix} holds no offsets of the batch norm ({first}, …): zeros are taken", file=sys.stderr)
    return {name: weights.get(name, tf.zeros_like(theta[name])) for name in theta}


def _existing_prefix(given):
    """`prefix_of`, as text. UserError where there are no such files."""
    prefix = os.fspath(prefix_of(given))
    if os.path.exists(f"{prefix}.index"):
        return prefix
    folder = Path(prefix) if os.path.isdir(prefix) else Path(prefix).parent
    there = sorted(path.stem for path in folder.glob("*.index"))
    what = "is a folder" if os.path.isdir(prefix) else "is not there"
    found = f"one of those in {folder}: {', '.join(there[:5] + ['…'] * (len(there) > 5))}" if there else "as model59000"
    expected = f"expected the prefix of a checkpoint, {found}"
    raise UserError(f"checkpoint {given} {what} ({prefix}.index is missing); {expected}")


def _names(theta):
    """{name here: name in the authors' checkpoint}."""
    conv = "conv1" in theta
    unnamed = [name for name in theta if re.fullmatch(r"b[1-4]" if conv else r"[wb]\d+", name)]
    variables = {name: f"model/Variable_{i}" if i else "model/Variable" for i, name in enumerate(unnamed)}

    def named(name):
        if normalisation := re.fullmatch(r"(beta|gamma)(\d+)", name):
            # Their forward_fc counts its scopes 0, 2, 3, 4; forward_conv 0, 1, 2, 3.
            layer = int(normalisation[2])
            return f"model/{layer if conv or layer == 0 else layer + 1}/{normalisation[1]}"
        return variables.get(name, f"model/{name}")

    return {name: named(name) for name in theta}


def _without_beta(names, shapes):
    """The offsets of a batch norm, where the checkpoint has not one of them."""
    betas = [name for name in names if name.startswith("beta")]
    batch_norm = not any(name.startswith("gamma") for name in names)
    return betas if batch_norm and not any(names[name] in shapes for name in betas) else []


def _check(prefix, expected, names, shapes):
    for name, weight in expected.items():
        there, shape = names[name], weight.shape.as_list()
        if there not in shapes:
            raise UserError(f"checkpoint {prefix} holds no {there}, expected one of shape {shape}; {SETTINGS}")
        if shapes[there] != shape:
            raise UserError(f"{there} is {shapes[there]} in the checkpoint {prefix}, expected {shape}; {SETTINGS}")
    normalisation = {there for there in shapes if re.fullmatch(r"model/\d+/(beta|gamma)", there)}
    if odd := sorted(normalisation - {names[name] for name in expected}):
        raise UserError(f"checkpoint {prefix} holds {odd[0]}, expected no such normalisation; {SETTINGS}")
