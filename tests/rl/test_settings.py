"""Settings: the paper's values for each experiment and method, what is refused, and a run's name and title."""

import dataclasses
import json
from pathlib import Path

import pytest

from data_generators.errors import UserError
from rl import policy, trpo
from rl.settings import METHODS, Settings, resolve
from rl.tasks import DATASOURCES, TITLES

EVERY = [(d, m) for d in DATASOURCES for m in METHODS]
RESULTS = Path(__file__).parents[2] / "results"


def episodes_of(c):
    return c.num_tasks * c.rollouts


@pytest.mark.parametrize(
    "datasource, tasks, episodes, inner_lr, max_kl",
    [  # rl/settings.py's sources, as a table
        ("point", 20, 20, 0.5, 0.01),
        ("cheetah_vel", 40, 20, 0.1, 0.01),
        ("cheetah_dir", 40, 20, 0.1, 0.02),
        ("ant_vel", 40, 20, 0.1, 0.01),
        ("ant_dir", 40, 40, 0.1, 0.01),
    ],
)
def test_the_papers_maml(datasource, tasks, episodes, inner_lr, max_kl):
    c = resolve(datasource)
    assert (c.num_tasks, c.rollouts, c.inner_lr, c.max_kl) == (tasks, episodes, inner_lr, max_kl)
    assert (c.method, c.num_updates, c.outer, c.hvp, c.first_order) == ("maml", 1, "trpo", "finite_difference", False)
    assert c.task_draw == "iteration" and c.activation == "relu" and not c.oracle


@pytest.mark.parametrize("datasource, method", EVERY)
def test_every_preset_is_a_record_that_reads_back(datasource, method):
    c = resolve(datasource, method)
    assert Settings.from_dict(json.loads(json.dumps(c.to_dict())), "config.json") == c
    assert c.differences() == {} and c.is_papers
    assert c.oracle == (method == "oracle") and (c.metatrain_iterations == 0) == (method == "random")


@pytest.mark.parametrize("datasource", [d for d in DATASOURCES if d != "point"])
def test_baselines_are_trained_on_100_pooled_episodes(datasource):
    """20,000 steps an iteration of 100 environments, without inner steps."""
    for method, draw in (("pretrained", "once"), ("oracle", "episode")):
        c = resolve(datasource, method)
        assert (c.num_tasks, c.envs_per_task, episodes_of(c), c.num_updates) == (1, 100, 100, 0)
        assert c.task_draw == draw and c.outer == "trpo" and c.max_kl == 0.01


def test_the_points_baselines():
    pretrained, oracle = resolve("point", "pretrained"), resolve("point", "oracle")
    assert (pretrained.outer, pretrained.meta_lr, pretrained.num_updates) == ("adam", 0.001, 0)
    assert (pretrained.num_tasks, pretrained.rollouts, pretrained.task_draw) == (20, 20, "iteration")
    assert episodes_of(oracle) == 10 and oracle.outer == "trpo"  # 1000 steps of horizon 100
    assert resolve("point", "random").activation == "tanh"


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
        (dict(datasource="point", outer="sgd"), "outer is 'sgd', expected one of trpo, trpo_subsampled, adam, promp"),
        (dict(datasource="point", max_kl=0.0), "max_kl is 0.0, expected a positive number"),
        (dict(datasource="point", max_kl=float("nan")), "max_kl is nan, expected a positive number"),
        (dict(datasource="point", cg_iterations=0), "cg_iterations is 0, expected at least 1"),
        (
            dict(datasource="point", outer="adam", cg_iterations=5),
            "cg_iterations is 5, expected 10 with outer=adam, where it",
        ),
        (dict(datasource="point", outer_steps=2), "outer_steps is 2, expected 1 with outer=trpo"),
        (dict(datasource="point", outer="promp", max_kl=0.1), "max_kl is 0.1, expected 0.01 with outer=promp"),
        (dict(datasource="point", ratio_clip=0.0), "ratio_clip is 0.0, expected a positive number"),
        (dict(datasource="point", inner_loss="ratio"), "inner_loss is 'ratio', expected one of log_likelihood, "),
        (dict(datasource="point", inner_kl_penalty=-1.0), "inner_kl_penalty is -1.0, expected at least 0"),
        (
            dict(datasource="point", inner_kl_penalty=float("inf")),
            "inner_kl_penalty is inf, expected a finite number",
        ),
        (dict(datasource="point", method="oracle", inner_kl_penalty=1.0), "with training without inner steps"),
        (dict(datasource="point", outer_batch_size=0), "outer_batch_size is 0, expected at least 1"),
        (
            dict(datasource="ant_vel", method="pretrained", outer_batch_size=9),
            "expected None with training without inner",
        ),
        (dict(datasource="point", hvp_tasks=0), "hvp_tasks is 0, expected at least 1"),
        (dict(datasource="point", hvp_tasks=21), "hvp_tasks is 21, expected 1 to 20, the tasks there are"),
        (dict(datasource="point", outer="adam", hvp_tasks=5), "hvp_tasks is 5, expected None with outer=adam"),
        (dict(datasource="point", outer="trpo_subsampled", meta_lr=0.1), "expected 0.001 with outer=trpo_subsampled"),
        (dict(datasource="point", context_size=3), "context_size is 3, expected 0 of a policy without a context"),
        (dict(datasource="point", method="context_vector", context_size=0), "context_size is 0, expected at least 1"),
        (dict(datasource="point", seed=1.5), "seed is 1.5, expected int"),
        (dict(datasource="point", meta_lr=0.1), "meta_lr is 0.1, expected 0.001 with outer=trpo"),
        (dict(datasource="point", outer="adam", hvp="exact"), "hvp is 'exact', expected finite_difference"),
        (dict(datasource="point", method="random", max_kl=0.1), "max_kl is 0.1, expected 0.01 with a random policy"),
        (dict(datasource="ant_vel", method="random", outer="adam"), "outer is 'adam', expected trpo with a random"),
        (dict(datasource="ant_vel", method="oracle", stop_grad=True), "stop_grad is True, expected False"),
        (dict(datasource="ant_vel", method="random", update_lr=0.5), "to test with another: --train_update_lr=0.1"),
    ],
)
def test_bad_settings_get_one_line(given, message):
    with pytest.raises(UserError, match=message) as caught:
        resolve(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "datasource, method, episodes, environments",
    [
        ("cheetah_vel", "oracle", 8, 8),
        ("cheetah_vel", "maml", 20, 4),
        ("cheetah_dir", "maml", 6, 3),
        ("ant_dir", "maml", 6, 1),
    ],
)
def test_environments_divide_the_episodes(datasource, method, episodes, environments):
    c = resolve(datasource, method, update_batch_size=episodes)
    assert (c.rollouts, c.envs_per_task) == (episodes, environments)
    assert not c.differences().keys() - {"rollouts"}


@pytest.mark.parametrize(
    "given", [dict(cg_iterations=10), dict(horizon=200), dict(max_kl=0.02), dict(hvp="finite_difference")]
)
def test_the_papers_value_given_by_name_is_the_papers_run(given):
    c = resolve("cheetah_dir", **given)
    assert c == resolve("cheetah_dir") and c.is_papers and c.name == "cheetah_dir"


@pytest.mark.parametrize("datasource, horizon", [("cheetah_dir", 200), ("point", 100)])
def test_a_record_without_the_later_settings_is_the_papers(datasource, horizon):
    record = resolve(datasource).to_dict()
    later = {
        "cg_iterations": 10, "horizon": horizon, "hvp_tasks": None, "adapted": "all", "context_size": 0,
        "inner_loss": "log_likelihood", "ratio_clip": None, "inner_kl_penalty": 0.0, "outer_steps": 1,
        "outer_batch_size": None,
    }  # fmt: skip
    assert {name: record.pop(name) for name in later} == later
    for old in (record, record | dict(horizon=None)):
        assert Settings.from_dict(old, "config.json") == resolve(datasource)


@pytest.mark.parametrize(
    "change", [dict(epochs=3), dict(seed="1"), dict(update_batch_size="20"), dict(outer="sgd"), dict(seed=None)]
)
def test_a_damaged_record_is_named(change):
    with pytest.raises(UserError, match=f"^run/config.json: [^\n]*{next(iter(change))}"):
        Settings.from_dict(resolve("point").to_dict() | change, "run/config.json")


@pytest.mark.parametrize(
    "datasource, given, name, title",
    [
        ("cheetah_vel", {}, "cheetah_vel", "Half-cheetah, goal velocity: MAML"),
        ("point", dict(method="oracle"), "point_oracle", "2-D navigation: oracle"),
        ("point", dict(baseline="random"), "point_random", "2-D navigation: random"),
        ("ant_vel", dict(stop_grad=True), "ant_vel_first_order", "Ant, goal velocity: MAML, first order"),
        ("ant_vel", dict(cg_iterations=20), "ant_vel_cg20", "Ant, goal velocity: MAML, 20 CG iterations"),
        ("ant_vel", dict(outer="adam"), "ant_vel_adam", "Ant, goal velocity: MAML, Adam"),
        (
            "ant_vel",
            dict(outer="trpo_subsampled"),
            "ant_vel_trpo_subsampled",
            "Ant, goal velocity: MAML, TRPO, products of a quarter of the tasks",
        ),
        (
            "ant_vel",
            dict(hvp_tasks=10),
            "ant_vel_hvp_tasks_10",
            "Ant, goal velocity: MAML, Hessian-vector products of 10 tasks",
        ),
        ("point", dict(method="pretrained", outer="trpo"), "point_pretrained_trpo", "2-D navigation: pretrained, TRPO"),
        ("ant_dir", dict(max_kl=0.05), "ant_dir_max_kl_0.05", "Ant, goal direction: MAML, max kl 0.05"),
        ("ant_vel", dict(method="anil"), "ant_vel_anil", "Ant, goal velocity: ANIL"),
        (
            "point",
            dict(method="context_vector", context_size=2),
            "point_context_vector_context_size_2",
            "2-D navigation: context vector, context size 2",
        ),
        ("point", dict(update_lr=0.1), "point_update_lr_0.1", "2-D navigation: MAML, update lr 0.1"),
        ("ant_vel", dict(hvp="exact"), "ant_vel_hvp_exact", "Ant, goal velocity: MAML, exact Hessian-vector products"),
        ("ant_vel", dict(metatrain_iterations=3, seed=5, jit=False), "ant_vel", "Ant, goal velocity: MAML"),
    ],
)
def test_name_and_title_say_what_differs_from_the_preset(datasource, given, name, title):
    c = resolve(datasource, **given)
    assert (c.name, c.title) == (name, title)


def test_either_hessian_vector_product_is_the_papers():
    """They estimate the same."""
    assert resolve("ant_vel", hvp="exact").is_papers and not resolve("ant_vel", cg_iterations=20).is_papers


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/seed_*/config.json")), ids=lambda path: path.parts[-3])
def test_what_was_run_before_reads_as_it_is(path):
    record = json.loads(path.read_text())
    if record["datasource"] not in DATASOURCES:
        pytest.skip("a supervised run")
    c = Settings.from_dict(record, path)
    assert (c.name, c.seed) == (path.parts[-3], int(path.parts[-2].removeprefix("seed_")))


@pytest.mark.parametrize(
    "given, tasks, iterations",
    [
        (dict(), 10, 30),
        (dict(meta_batch_size=20), 5, 30),
        (dict(meta_batch_size=2), 1, 30),
        (dict(hvp_tasks=40, cg_iterations=10), 40, 10),
    ],
)
def test_the_outer_step_that_is_ours_has_values_of_its_own(given, tasks, iterations):
    """The paper's for the rest; never the paper's run."""
    c = resolve("cheetah_dir", outer="trpo_subsampled", **given)
    assert (c.hvp_tasks, c.cg_iterations, c.max_kl) == (tasks, iterations, 0.02)
    assert not c.is_papers and Settings.from_dict(c.to_dict(), "config.json") == c
    renamed = {"meta_batch_size": "num_tasks"}
    assert c.differences().keys() == {"outer", *(renamed.get(name, name) for name in given)}


def test_promps_own_settings():
    """[Q] run_scripts/pro-mp_run_mujoco.py; whatever isn't in it is MAML's."""
    c = resolve("cheetah_dir", outer="promp")
    assert (c.inner_loss, c.ratio_clip, c.inner_kl_penalty, c.outer_steps) == ("likelihood_ratio", 0.3, 5e-4, 5)
    assert (c.meta_lr, c.inner_lr, c.name) == (0.001, 0.1, "cheetah_dir_promp")
    assert c.differences() == {"outer": "promp"} and not c.is_papers
    assert resolve("cheetah_dir", outer="promp", ratio_clip=0.2).name == "cheetah_dir_promp_ratio_clip_0.2"
    assert Settings.from_dict(c.to_dict(), "config.json") == c


def test_what_keeps_a_published_curve_away():
    given = dict(stop_grad=True, update_lr=0.3, hvp="exact", metatrain_iterations=3)
    compared = resolve("point", **given).compared()
    assert compared == {"stop_grad": (True, False), "update_lr": (0.3, 0.5), "hvp": ("exact", "finite_difference")}
    assert resolve("point", hvp="exact").compared() == {}


def test_the_method_may_be_given_as_a_baseline():
    assert resolve("point", baseline="oracle") == resolve("point", "oracle") == resolve("point", "maml", "oracle")
    with pytest.raises(UserError, match="method is 'random' and baseline 'oracle', expected one of them"):
        resolve("point", "random", "oracle")
    for name in ("best", "anil"):
        expected = f"baseline is '{name}', expected one of pretrained, random, oracle, or nothing"
        with pytest.raises(UserError, match=expected):
            resolve("point", baseline=name)


def test_another_run_in_the_same_folder_is_named():
    ours, theirs = resolve("point", cg_iterations=20, metatrain_iterations=7), resolve("point", update_lr=0.3)
    different = "update_lr=0.3 there and 0.5 here, cg_iterations=10 there and 20 here"
    with pytest.raises(UserError, match=f"run holds a run with other settings: {different}; expected x"):
        ours.check_same(theirs, "run", "x")
    resolve("point", jit=False, tasks_per_chunk=3, metatrain_iterations=2).check_same(resolve("point"), "run", "x")


def test_what_nobody_knows_is_a_type_error():
    with pytest.raises(TypeError, match="unknown settings: num_clases"):
        resolve("point", num_clases=5)


def test_every_experiment_has_a_title():
    assert tuple(TITLES) == DATASOURCES


def test_adam_as_the_outer_step_of_a_task_with_another_kl_limit():
    assert resolve("cheetah_dir", outer="adam").differences() == {"outer": "adam"}


def test_the_algorithm_knows_the_products_that_may_be_chosen():
    assert Settings.__dataclass_fields__["hvp"].metadata["choices"] == trpo.HVP


def test_the_algorithm_knows_what_an_inner_step_may_move():
    assert Settings.__dataclass_fields__["adapted"].metadata["choices"] == policy.ADAPTED


@pytest.mark.parametrize("datasource", DATASOURCES)
def test_anil_and_the_context_vector_have_mamls_settings(datasource):
    def beside_maml(method):
        ours, maml = resolve(datasource, method).to_dict(), resolve(datasource).to_dict()
        return {name: value for name, value in ours.items() if value != maml[name]}

    assert beside_maml("anil") == {"method": "anil", "adapted": "head"}
    assert beside_maml("context_vector").keys() == {"method", "adapted", "context_size", "update_lr"}


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        resolve("point").seed = 2
