"""What the benchmark measures: every method's update, and MAML's in three forms that compute the same."""

import math

import numpy as np
import pytest

from data_generators.errors import UserError
from maml import methods
from maml.benchmarks import machine, meta_step

CARDS = {name: methods.get(name) for name in methods.names()}
LEARN_IMAGES = [name for name, card in CARDS.items() if "classification" in card.learns and card.is_trained]


@pytest.fixture
def little_data(monkeypatch):
    """Few random images."""
    monkeypatch.setattr(meta_step, "RANDOM_DATA", {"omniglot": (8, 20), "miniimagenet": (5, 20)})


def test_the_arithmetic_of_the_papers_meta_iterations():
    """By hand, for Omniglot: 32 tasks of 5 + 5 images; 14², 7², 4², 2² outputs, 9·1·64 and 9·64·64 products each."""
    first, others = 2 * 14**2 * 9 * 64, 2 * (7**2 + 4**2 + 2**2) * 9 * 64 * 64
    assert meta_step.case_of("omniglot").flops(32) == 32 * 5 * (first * (4 + 2) + others * (9 + 3))
    assert meta_step.case_of("miniimagenet").flops(4) == pytest.approx(88.7e9, rel=1e-3)


@pytest.mark.parametrize("name", LEARN_IMAGES)
def test_one_update_of_every_method(name, little_data):
    case = meta_step.case_of("omniglot", name, num_filters=2)
    metrics = case.step(case.method(), jit=False)(case.draw()(2))
    assert bool(metrics["finite"])


def test_what_has_nothing_to_train_is_refused():
    with pytest.raises(UserError, match="pixels has nothing to train, expected a method that has"):
        meta_step.case_of("omniglot", "pixels")


def test_the_three_forms_of_mamls_step_compute_the_same(little_data):
    case = meta_step.case_of("omniglot", num_filters=2, meta_batch_size=2)
    batch = case.draw()(2)
    steps = case.step(case.method(), jit=False), case.adapter_step(), case.whole_task_step()
    losses = [[float(step(batch)["loss"]) for _ in range(3)] for step in steps]
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-3)


def test_calls_are_counted_and_compared(monkeypatch):
    monkeypatch.setattr(machine, "SECONDS", 0.01)
    monkeypatch.setattr(machine, "MATRIX", 4)
    rates, flops = machine.alternate({"nothing": lambda: 0.0})
    assert rates["nothing"] > 0 and flops > 0


def test_peak_memory_where_the_system_does_not_say(monkeypatch):
    monkeypatch.setattr(machine, "resource", None)
    monkeypatch.setattr(machine.pathlib.Path, "exists", lambda _: False)
    assert math.isnan(machine.peak_memory())
