"""Settings: the paper's values for each experiment and method, and what is refused."""

import dataclasses

import pytest

from data_generators.errors import UserError
from rl import config

EVERY = [(d, m) for d in config.DATASOURCES for m in config.METHODS]


def episodes_of(c):
    return c.meta_batch_size * c.update_batch_size


@pytest.mark.parametrize(
    "datasource, tasks, episodes, inner_lr, max_kl",
    [  # rl/config.py's sources, as a table
        ("point", 20, 20, 0.5, 0.01),
        ("cheetah_vel", 40, 20, 0.1, 0.01),
        ("cheetah_dir", 40, 20, 0.1, 0.02),
        ("ant_vel", 40, 20, 0.1, 0.01),
        ("ant_dir", 40, 40, 0.1, 0.01),
    ],
)
def test_the_papers_maml(datasource, tasks, episodes, inner_lr, max_kl):
    c = config.resolve(datasource)
    assert (c.meta_batch_size, c.update_batch_size, c.update_lr, c.max_kl) == (tasks, episodes, inner_lr, max_kl)
    assert (c.method, c.num_updates, c.outer, c.hvp, c.stop_grad) == ("maml", 1, "trpo", "finite_difference", False)
    assert c.task_draw == "iteration" and c.activation == "relu" and not c.oracle


@pytest.mark.parametrize("datasource, method", EVERY)
def test_every_preset_is_a_config(datasource, method):
    c = config.resolve(datasource, method)
    assert config.Config(**c.to_dict()) == c
    assert c.oracle == (method == "oracle") and (c.metatrain_iterations == 0) == (method == "random")


@pytest.mark.parametrize("datasource", [d for d in config.DATASOURCES if d != "point"])
def test_baselines_are_trained_on_100_pooled_episodes(datasource):
    """20,000 steps an iteration of 100 environments, without inner steps."""
    for method, draw in (("pretrained", "once"), ("oracle", "episode")):
        c = config.resolve(datasource, method)
        assert (c.meta_batch_size, c.envs_per_task, episodes_of(c), c.num_updates) == (1, 100, 100, 0)
        assert c.task_draw == draw and c.outer == "trpo" and c.max_kl == 0.01


def test_the_points_baselines():
    pretrained, oracle = config.resolve("point", "pretrained"), config.resolve("point", "oracle")
    assert (pretrained.outer, pretrained.meta_lr, pretrained.num_updates) == ("adam", 0.001, 0)
    assert (pretrained.meta_batch_size, pretrained.update_batch_size, pretrained.task_draw) == (20, 20, "iteration")
    assert episodes_of(oracle) == 10 and oracle.outer == "trpo"  # 1000 steps of horizon 100
    assert config.resolve("point", "random").activation == "tanh"


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
    ],
)
def test_the_papers_test_protocol(datasource, method, rates, episodes):
    protocol = config.test_protocol(config.resolve(datasource, method))
    assert protocol.learning_rates == pytest.approx(rates) and protocol.update_batch_size == episodes


def test_a_policy_trained_otherwise_is_tested_as_it_was_trained():
    c = config.resolve("point", update_lr=0.2, update_batch_size=10)
    protocol = config.test_protocol(c)
    assert (protocol.learning_rates[:2], protocol.update_batch_size, protocol.suffix) == ([0.2, 0.1], 10, "")
    assert config.test_protocol(c, first_lr=0.5).suffix == "_lr_0.5" and not c.is_papers


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(datasource="humanoid"), "datasource is 'humanoid', expected one of point, "),
        (dict(datasource="point", method="best"), "method is 'best', expected one of maml, "),
        (dict(datasource="point", horizon=0), "horizon is 0, expected at least 1"),
        (dict(datasource="point", meta_batch_size=0), "meta_batch_size is 0, expected at least 1"),
        (dict(datasource="point", num_updates=-1), "num_updates is -1, expected at least 0"),
        (dict(datasource="point", envs_per_task=21), "envs_per_task is 21, expected 1 to 20"),
        (dict(datasource="point", hvp="fisher"), "hvp is 'fisher', expected one of finite_difference, exact"),
        (dict(datasource="point", outer="sgd"), "outer is 'sgd', expected one of trpo, adam"),
        (dict(datasource="point", max_kl=0.0), "max_kl is 0.0, expected a positive number"),
        (dict(datasource="point", max_kl=float("nan")), "max_kl is nan, expected a positive number"),
        (dict(datasource="point", cg_iterations=0), "cg_iterations is 0, expected at least 1"),
        (dict(datasource="point", outer="adam", cg_iterations=5), "cg_iterations is 5, expected 10 with outer=adam, where it changes nothing"),
        (dict(datasource="point", seed=1.5), "seed is 1.5, expected int"),
        (dict(datasource="point", meta_lr=0.1), "meta_lr is 0.1, expected 0.001 with outer=trpo"),
        (dict(datasource="point", outer="adam", hvp="exact"), "hvp is 'exact', expected finite_difference with outer=adam"),
        (dict(datasource="point", method="random", max_kl=0.1), "max_kl is 0.1, expected 0.01 with a random policy, where it changes nothing"),
        (dict(datasource="ant_vel", method="random", outer="adam"), "outer is 'adam', expected trpo with a random policy"),
        (dict(datasource="ant_vel", method="oracle", stop_grad=True), "stop_grad is True, expected False with training without"),
        (dict(datasource="ant_vel", method="random", update_lr=0.5), "to test with another: --train_update_lr=0.1 beside it"),
    ],
)
def test_bad_settings_get_one_line(given, message):
    with pytest.raises(UserError, match=message) as caught:
        config.resolve(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "datasource, method, episodes, environments",
    [("cheetah_vel", "oracle", 8, 8), ("cheetah_vel", "maml", 20, 4), ("cheetah_dir", "maml", 6, 3), ("ant_dir", "maml", 6, 1)],
)
def test_environments_divide_the_episodes(datasource, method, episodes, environments):
    c = config.resolve(datasource, method, update_batch_size=episodes)
    assert (c.update_batch_size, c.envs_per_task) == (episodes, environments)


@pytest.mark.parametrize("given", [dict(cg_iterations=10), dict(horizon=200), dict(max_kl=0.02), dict(hvp="finite_difference")])
def test_the_papers_value_given_by_name_is_the_papers_run(given):
    c = config.resolve("cheetah_dir", **given)
    assert c == config.resolve("cheetah_dir") and c.is_papers and c.experiment == "cheetah_dir"


def test_a_record_without_the_later_settings_is_the_papers():
    record = config.resolve("cheetah_dir").to_dict()
    assert (record.pop("cg_iterations"), record.pop("horizon")) == (10, 200)
    assert config.Config.from_dict(record, "config.json").is_papers
    assert config.Config.from_dict(record | dict(horizon=None), "config.json").is_papers


def test_adam_as_the_outer_step_of_a_task_with_another_kl_limit():
    assert config.resolve("cheetah_dir", outer="adam").experiment == "cheetah_dir_adam"


def test_a_config_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.resolve("point").seed = 2
