"""What the benchmark measures: every method's update, and MAML's in three forms that compute the same."""

import math

import numpy as np
import pytest

from data_generators.errors import UserError
from maml import methods
from maml.benchmarks import machine, meta_step
from maml.methods.card import keys
from maml.runs.settings import resolve

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
    of_five = meta_step.case_of("omniglot", update_batch_size=5)
    assert of_five.flops(32) == 5 * meta_step.case_of("omniglot").flops(32)  # as many queries, too


@pytest.mark.parametrize("name", LEARN_IMAGES)
def test_one_update_of_every_method(name, little_data):
    steps = {"num_updates": 2} if "num_updates" in keys(CARDS[name].Settings) else {}
    case = meta_step.case_of("omniglot", name, num_filters=2, **steps)
    metrics = case.step(case.method(), jit=False)(case.draw()(2))
    assert bool(metrics["finite"])


def test_another_method_with_steps_stands_beside_maml(little_data, monkeypatch, capsys):
    monkeypatch.setattr(machine, "alternate", lambda contenders: ({w: len(f()) for w, f in contenders.items()}, 0.0))
    small = {"num_filters": 2, "meta_batch_size": 2, "jit": False}
    monkeypatch.setattr(meta_step, "resolve", lambda *of, **given: resolve(*of, **{**given, **small}))
    case = meta_step.case_of("omniglot", "anil")
    monkeypatch.setattr(case.__class__, "step", lambda *_: lambda tasks: range(4))
    monkeypatch.setattr(case.__class__, "learning", lambda *_: lambda tasks: range(2))
    meta_step._print_beside_maml(case, {})
    assert "     8.0 tasks/s  ANIL in training" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["anil", "maml"])
def test_new_tasks_are_learnt_as_at_test(name, little_data):
    case = meta_step.case_of("omniglot", name, num_filters=2, jit=False)
    method, tasks = case.method(), case.draw()(3)
    state = method.start(method.init(0), tasks.support_x, tasks.support_y)
    for _ in range(case.settings.card.reading(case.settings.task, case.settings.own).step):
        state = method.step(state, tasks.support_x, tasks.support_y)
    found = np.concatenate(case.learning(method)(tasks))
    np.testing.assert_allclose(found, method.predict(state, tasks.query_x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, stands", [("maml", False), ("anil", True), ("matching", False), ("fine_tuning", False)])
def test_which_methods_stand_beside_maml(name, stands, little_data):
    assert meta_step.case_of("omniglot", name).is_beside_maml == stands


def test_what_has_nothing_to_train_is_refused():
    with pytest.raises(UserError, match="pixels has nothing to train, expected a method that has"):
        meta_step.case_of("omniglot", "pixels")


def test_more_classes_than_there_are_random_ones(little_data):
    with pytest.raises(UserError, match="num_classes is 20, the benchmark has 8 random ones"):
        meta_step.case_of("omniglot", num_classes=20)


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
