"""The authors' checkpoints: every weight at its place, and what isn't theirs or doesn't fit refused."""

import os

import authors
import numpy as np
import pytest
import tensorflow as tf
from toys import random_weights

from data_generators.errors import UserError
from maml import networks
from maml.runs import authors as checkpoints

NETWORKS = {
    "conv, batch norm": networks.conv_net((16, 16, 2), 3, 5, "batch_norm"),
    "conv, max-pool": networks.conv_net((16, 16, 2), 3, 5, "batch_norm", max_pool=True, flatten=True),
    "conv, layer norm": networks.conv_net((16, 16, 2), 3, 5, "layer_norm"),
    "conv, no norm": networks.conv_net((16, 16, 2), 3, 5, "None"),
    "dense, batch norm": networks.dense_net(6, (7, 7, 7, 7), 5, "batch_norm"),  # scopes 0, 2, 3, 4
    "dense, layer norm": networks.dense_net(6, (7, 7, 7, 7), 5, "layer_norm"),
    "sinusoid": networks.dense_net(1, (4, 4), 1),
}
CONV = NETWORKS["conv, batch norm"]


def weights_of(net):
    return random_weights(net, dtype=tf.float32)


def saved(folder, net=CONV, **how):
    """The prefix of a checkpoint of `weights_of(net)`."""
    authors.save(folder / "model59000", weights_of(net), **how)
    return folder / "model59000"


def assert_same(got, expected):
    assert list(got) == list(expected)
    for name, w in expected.items():
        np.testing.assert_array_equal(got[name], w, name)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_is_read_to_its_place(tmp_path, name):
    net = NETWORKS[name]
    assert_same(checkpoints.read(saved(tmp_path, net), net.init(0)), weights_of(net))


@pytest.mark.parametrize("name", ["conv, batch norm", "sinusoid"])
def test_adams_slots_are_left(tmp_path, name):
    net = NETWORKS[name]
    prefix = saved(tmp_path, net, adam=True)
    assert any(name.endswith("/Adam_1") for name, _ in tf.train.list_variables(str(prefix)))
    assert_same(checkpoints.read(prefix, net.init(0)), weights_of(net))


def test_the_variables_of_the_published_checkpoint_are_those_expected(tmp_path):
    """Their names and shapes, as listed from the authors' miniImagenet 5-way 1-shot model."""
    shapes = {"model/conv1": [3, 3, 3, 32], **{f"model/conv{i}": [3, 3, 32, 32] for i in (2, 3, 4)}}
    shapes |= {name: [32] for name in ("model/Variable", "model/Variable_1", "model/Variable_2", "model/Variable_3")}
    shapes |= {f"model/{i}/beta": [32] for i in range(4)} | {"model/w5": [800, 5], "model/b5": [5]}
    values = [tf.fill(shape, float(i)) for i, shape in enumerate(shapes.values())]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "m"), tensor_names=list(shapes), shape_and_slices=[""] * len(shapes), tensors=values
    )
    net = networks.conv_net((84, 84, 3), 32, 5, max_pool=True, flatten=True)
    weights = checkpoints.read(tmp_path / "m", net.init(0))
    got = {name: float(tf.reshape(w, [-1])[0]) for name, w in weights.items()}
    order = ["conv1", "conv2", "conv3", "conv4", "b1", "b2", "b3", "b4", "beta0", "beta1", "beta2", "beta3", "w5", "b5"]
    assert got == {name: float(i) for i, name in enumerate(order)}


@pytest.mark.parametrize("suffix", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_the_name_of_one_of_its_files_will_do(tmp_path, suffix):
    prefix = saved(tmp_path)
    assert os.path.exists(f"{prefix}{suffix}") == bool(suffix)
    assert_same(checkpoints.read(f"{prefix}{suffix}", CONV.init(0)), weights_of(CONV))


# Normalisations


def test_without_offsets_zeros_are_taken_and_that_is_said(tmp_path, capsys):
    prefix = saved(tmp_path, without=[f"beta{i}" for i in range(4)])
    expected = {name: tf.zeros_like(w) if name.startswith("beta") else w for name, w in weights_of(CONV).items()}
    assert_same(checkpoints.read(prefix, CONV.init(0)), expected)
    said = capsys.readouterr().err
    assert said == f"{prefix} holds no offsets of the batch norm (model/0/beta, …): zeros are taken\n"


def test_with_offsets_nothing_is_said(tmp_path, capsys):
    checkpoints.read(saved(tmp_path), CONV.init(0))
    assert capsys.readouterr().err == ""


def read_error(prefix, net=CONV):
    """The one line that is said."""
    with pytest.raises(UserError) as error:
        checkpoints.read(prefix, net.init(0))
    (line,) = str(error.value).splitlines()
    return line


def test_one_offset_missing_is_an_error(tmp_path):
    assert "holds no model/2/beta, expected one of shape [3]" in read_error(saved(tmp_path, without=["beta2"]))


def test_a_layer_norm_without_offsets_is_an_error(tmp_path):
    net = NETWORKS["conv, layer norm"]
    prefix = saved(tmp_path, net, without=[f"beta{i}" for i in range(4)])
    assert "holds no model/0/beta" in read_error(prefix, net)


@pytest.mark.parametrize("norm, there", [("batch_norm", "model/0/gamma"), ("None", "model/0/beta")])
def test_a_normalisation_that_is_not_expected_is_an_error(tmp_path, norm, there):
    line = read_error(saved(tmp_path, NETWORKS["conv, layer norm"]), networks.conv_net((16, 16, 2), 3, 5, norm))
    assert f"holds {there}, expected no such normalisation" in line and "--norm" in line


# Weights that don't fit


@pytest.mark.parametrize(
    "value, what", [(np.nan, "is not finite in 1 of 1 entries"), ("a", "holds text or other things")]
)
def test_what_is_not_a_finite_number_is_an_error(tmp_path, value, what):
    net = NETWORKS["sinusoid"]
    names = ["model/Variable", *(f"model/Variable_{i}" for i in range(1, 6))]
    values = [*list(weights_of(net).values())[:5], tf.fill([1], value)]
    tf.raw_ops.SaveV2(prefix=str(tmp_path / "m"), tensor_names=names, shape_and_slices=[""] * 6, tensors=values)
    assert read_error(tmp_path / "m", net).endswith(f"model/Variable_5 {what}, expected finite numbers")


def test_another_shape_is_shown_with_the_one_expected(tmp_path):
    line = read_error(saved(tmp_path), networks.conv_net((16, 16, 2), 4, 5))
    assert line.startswith("model/conv1 is [3, 3, 2, 3] in the checkpoint ")
    assert "expected [3, 3, 2, 4]; " in line and "--num_filters" in line


def test_another_number_of_classes_is_an_error(tmp_path):
    line = read_error(saved(tmp_path), networks.conv_net((16, 16, 2), 3, 20))
    assert line.startswith("model/w5 is [3, 5] in the checkpoint ") and "expected [3, 20]; " in line


def test_a_missing_weight_is_named(tmp_path):
    line = read_error(saved(tmp_path, without=["conv2", "w5"]))
    assert "holds no model/conv2, expected one of shape [3, 3, 3, 3]; " in line


def test_a_dense_net_in_place_of_a_convolutional_one_is_an_error(tmp_path):
    line = read_error(saved(tmp_path, NETWORKS["dense, batch norm"]))
    assert "holds no model/conv1" in line and "--conv" in line


# Files


def test_a_missing_checkpoint_names_those_beside_it(tmp_path):
    saved(tmp_path)
    line = read_error(tmp_path / "model100")
    assert "model100 is not there" in line and line.endswith(f"one of those in {tmp_path}: model59000")


def test_a_folder_names_those_in_it(tmp_path):
    saved(tmp_path)
    assert f"{tmp_path} is a folder" in (line := read_error(tmp_path)) and line.endswith(": model59000")


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    assert "is not there" in read_error(tmp_path / "nothing" / "model1")


def flip(path):
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", [flip, lambda path: os.truncate(path, 30), lambda path: path.write_text("text")])
def test_a_damaged_file_is_an_error(tmp_path, suffix, damage):
    prefix = saved(tmp_path)
    damage(tmp_path / f"model59000.{suffix}")
    assert f"checkpoint {prefix} is damaged: " in read_error(prefix)


def test_missing_data_is_an_error(tmp_path):
    prefix = saved(tmp_path)
    os.remove(f"{prefix}.data-00000-of-00001")
    assert f"checkpoint {prefix} is damaged: " in read_error(prefix)
