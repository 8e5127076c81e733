"""What no machine can hold is refused before anything is built; what runs is not."""

import os

import killed
import pytest
from commands import refused

from data_generators import sources
from data_generators.errors import UserError
from maml import methods
from maml.runs import memory
from maml.runs.problems import problem_of
from maml.runs.protocol import Protocol
from maml.runs.settings import resolve

GIB = 2**30


@pytest.fixture
def machine(monkeypatch):
    """With 1 GiB, so that 4 GiB are just not refused."""
    monkeypatch.setattr(memory, "of_this_machine", lambda: GIB)


def test_several_times_the_memory_is_refused_and_less_is_not(machine):
    memory.check({"a": GIB, "b": 3 * GIB})
    with pytest.raises(
        UserError, match="^b alone would take 3 GiB of memory or more, this machine has 1 GiB; expected"
    ):
        memory.check({"a": GIB + 1, "b": 3 * GIB})


def test_where_the_memory_is_unknown_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(os, "sysconf_names", {})
    assert memory.of_this_machine() is None
    memory.check({"a": 2.0**90})


@pytest.mark.parametrize("size, words", [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (2.0**100, "1,048,576 YiB")])
def test_bytes_in_words(size, words):
    assert memory.in_words(size) == words


def test_the_estimate_of_a_sinusoid():
    """θ is 1·40 + 40 + 40·40 + 40 + 40 + 1 = 1,761 numbers, three times with Adam's moments; 25 tasks of 20 points."""
    settings = resolve("sinusoid")
    needed = memory.of_training(settings, problem_of(settings))
    assert needed == {"the weights": 1761 * 3 * 4, "a meta-batch": 25 * 20 * 4}


def test_the_estimate_of_images():
    """θ of 4 convolutions of 64 filters and a layer of 5; 32 tasks of 10 images; a chunk of 2 tasks, 14×14 maps."""
    settings = resolve("omniglot", tasks_per_chunk=2)
    needed = memory.of_training(settings, problem_of(settings))
    theta = 9 * 64 + 3 * 9 * 64 * 64 + 4 * 64 + 4 * 64 + 64 * 5 + 5
    assert needed == {
        "the weights": theta * 3 * 4,
        "a meta-batch": 32 * 10 * 28 * 28 * 4,
        "a chunk of tasks after the first layer": 2 * 10 * 64 * 14 * 14 * 4,
    }


def test_episodes_that_are_cut_to_the_data_count_as_the_smallest():
    settings = resolve("omniglot", method="prototypical", train_ways=10**9)
    assert memory.of_training(settings, problem_of(settings))["a meta-batch"] < GIB


@pytest.mark.parametrize("method", methods.names())
def test_a_preset_of_any_method_takes_less_than_a_small_machine_has(method, machine):
    for datasource in ("sinusoid", "omniglot"):
        try:
            settings = resolve(datasource, method=method)
        except UserError:  # which it doesn't learn
            continue
        memory.check(memory.of_training(settings, problem_of(settings)))
        memory.check(memory.of_test(settings, Protocol("test", (5,))))


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--datasource=omniglot --num_filters=200000", "a layer of --num_filters alone would take 1.31 TiB"),
        ("--datasource=omniglot --num_filters=1000000000000", "a layer of --num_filters alone would take"),
        ("--datasource=omniglot --method=fine_tuning --num_filters=200000", "a layer of --num_filters alone would"),
        ("--datasource=omniglot --meta_batch_size=1000000000", "a meta-batch alone would take 28.5 TiB"),
        ("--meta_batch_size=100000000000", "a meta-batch alone would take 7.28 TiB"),
        ("--update_batch_size=100000000000", "a meta-batch alone would take"),
        ("--datasource=omniglot --update_batch_size=100000000000", "alone would take"),
        ("--method=lstm --hidden=1000000000", "the weights alone would take"),
        (
            "--datasource=omniglot --pretrain_iterations=5 --pretrain_batch=1000000000000",
            "a batch of the pretraining alone would take 2.79 PiB",
        ),
        ("--datasource=omniglot --method=fine_tuning --batch_size=1000000000000", "a batch of the pretraining alone"),
        ("--train_update_batch_size=10 --update_batch_size=1000000000000", "a task of the test alone would take"),
        ("--datasource=omniglot --eval_queries=1000000000000", "a task of the test alone would take"),
    ],
)
def test_the_command_line_refuses_it_before_any_data_are_read(flags, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "load", None)
    assert message in refused(capsys, flags)
    assert os.listdir() == []


def test_a_trained_run_that_asks_for_too_much_is_refused_too():
    with pytest.raises(UserError, match="a layer of --num_filters alone would take"):
        killed.run("nowhere", killed.image_settings(num_filters=10**9), killed.image_tasks())
