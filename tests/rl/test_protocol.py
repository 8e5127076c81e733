"""How policies are tested: the published curves' protocols, and others."""

import pytest

from data_generators.errors import UserError
from maml.runs.checkpoints import Latest
from rl.protocol import Protocol, protocol_of
from rl.settings import resolve


@pytest.mark.parametrize(
    "datasource, method, rates, episodes",
    [
        ("point", "maml", [0.5, 0.25, 0.25, 0.25], 40),
        ("cheetah_vel", "pretrained", [0.02, 0.01, 0.01], 20),
        ("cheetah_dir", "random", [1.0, 0.5, 0.5], 20),
        ("ant_vel", "pretrained", [0.2, 0.1, 0.1], 20),
        ("ant_dir", "maml", [0.1, 0.001, 0.001], 40),
        ("ant_dir", "pretrained", [0.2, 0.1, 0.1], 40),
        ("ant_dir", "oracle", [], 40),
        ("point", "anil", [0.5, 0.25, 0.25, 0.25], 40),
        ("ant_dir", "anil", [0.1, 0.05, 0.05], 40),
        ("ant_dir", "context_vector", [1.0, 0.5, 0.5], 40),
    ],
)
def test_the_papers_test_protocol(datasource, method, rates, episodes):
    protocol = protocol_of(resolve(datasource, method))
    assert protocol.learning_rates == pytest.approx(rates) and protocol.rollouts == episodes


def test_a_policy_trained_otherwise_is_tested_as_it_was_trained():
    c = resolve("point", update_lr=0.2, update_batch_size=10)
    protocol = protocol_of(c)
    assert (protocol.learning_rates[:2], protocol.rollouts, protocol.suffix) == ([0.2, 0.1], 10, "")
    assert protocol_of(c, first_lr=0.5).suffix == "_lr_0.5" and not c.is_papers


@pytest.mark.parametrize("method", ["anil", "context_vector"])
def test_what_adapts_in_training_is_tested_as_it_was_trained(method):
    for datasource in ("point", "cheetah_dir"):
        c = resolve(datasource, method)
        assert protocol_of(c).learning_rates[:2] == [c.inner_lr, c.inner_lr / 2] and protocol_of(c).suffix == ""
    c = resolve("point", method, update_lr=0.2, update_batch_size=10)
    assert (protocol_of(c).learning_rates[:2], protocol_of(c).rollouts) == ([0.2, 0.1], 10)


@pytest.mark.parametrize(
    "given, suffix",
    [
        ({}, ""),
        (dict(rollouts=20, tasks=40, first_lr=0.1), ""),  # as they are
        (dict(checkpoint=Latest()), "_latest"),
        (dict(checkpoint=25, tasks=3), "_iteration_25_tasks_3"),
        (dict(rollouts=2, first_lr=0.25), "_rollouts_2_lr_0.25"),
    ],
)
def test_the_suffix_says_how_a_test_differs(given, suffix):
    assert protocol_of(resolve("cheetah_vel"), **given).suffix == suffix


@pytest.mark.parametrize("steps, rates", [(0, []), (1, [0.5]), (3, [0.5, 0.25, 0.25])])
def test_step_sizes(steps, rates):
    assert Protocol(steps, 0.5, 0.25, rollouts=2, tasks=2).learning_rates == rates


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(tasks=1), "eval_tasks is 1, expected 2 to 40"),
        (dict(tasks=41), "eval_tasks is 41, expected 2 to 40"),
        (dict(rollouts=0), "update_batch_size is 0, expected at least 1"),
        (dict(first_lr=0.0), "update_lr is 0.0, expected a positive number"),
        (dict(first_lr=float("nan")), "update_lr is nan, expected a positive number"),
    ],
)
def test_bad_values_get_one_line(given, message):
    with pytest.raises(UserError, match=message):
        protocol_of(resolve("point"), **given)
