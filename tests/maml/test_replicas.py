"""Replicas compute what one does. Those of one process are logical CPUs, in a process of their own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data_generators.image_classes import ImageClasses, ImageTasks
from data_generators.sinusoid import SinusoidTasks
from maml import methods
from maml.replicas import Alone, here

LOGICAL = Path(__file__).with_name("logical.py")
TRAINED = [name for name in methods.names() if methods.get(name).is_trained]
CASES = [f"{name}-{kind}" for name in TRAINED for kind in methods.get(name).learns]
# TAML's tasks have a loss together; what prototypical networks carry is no gradient.
QUICK = ["again", "taml-classification", "prototypical-classification"]


def differences(*names):
    """{method: {what: difference}} of two logical CPUs to one."""
    done = subprocess.run([sys.executable, LOGICAL, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {name: of for line in lines for name, of in line.items()}


def assert_same(found, names):
    """To float64's rounding, and to the last bit "again"."""
    assert list(found) == names
    for name, of_method in found.items():
        assert {"tasks loss", "curve"} <= of_method.keys()
        assert of_method.pop("again", 0) == 0, name
        assert {what: off for what, off in of_method.items() if not off < 1e-12} == {}, name


def test_two_replicas_compute_what_one_does_and_the_same_again():
    assert_same(differences(*QUICK), QUICK[1:])


@pytest.fixture(scope="module")
def of_every_method():
    """In one process: starting TensorFlow takes as long as a method does."""
    return differences(*CASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_replicas_compute_what_one_does_by_every_method(name, of_every_method):
    assert_same({name: of_every_method[name]}, [name])


def test_what_tasks_give_is_gathered():
    part, of_all = Alone().shared(5)
    assert (part, of_all([1.5, None])) == (slice(0, 5), [1.5, None])


def test_outside_a_strategys_scope_there_is_one():
    replicas = here()
    assert isinstance(replicas, Alone) and replicas.count == 1 and replicas.is_chief
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        assert here().count == 1


def image_tasks():
    images = np.random.default_rng(0).integers(0, 256, (24, 5, 5, 1), dtype=np.uint8)
    classes = ImageClasses(images, np.arange(0, 25, 4), tuple("abcdef"))
    return ImageTasks({"train": classes}, 3, rotate=True)


@pytest.mark.parametrize("tasks", [image_tasks(), SinusoidTasks(), SinusoidTasks(oracle=True)])
@pytest.mark.parametrize("shuffled, distorted", [(False, None), (True, "affine")])
@pytest.mark.parametrize("part", [slice(0, 2), slice(2, 5), slice(4, 5)])
def test_a_part_of_the_tasks_is_the_same_as_among_all(tasks, shuffled, distorted, part):
    how = "train", 3, 7, 5, 1, 2, None, shuffled, distorted
    for got, expected in zip(tasks.sample(*how, part), tasks.sample(*how)):
        np.testing.assert_array_equal(got, expected[part])
