"""Settings: the paper's values, what is refused, and the way through config.json and back."""

import json

import pytest

from data_generators.errors import UserError
from maml import config
from maml.config import Config, resolve


# The table of the paper's settings ([P] 5.1, 5.2, A.1; authors' main.py for the sinusoid).
@pytest.mark.parametrize(
    "given, expected",
    [
        (
            {"datasource": "sinusoid"},
            {"update_batch_size": 10, "query_batch_size": 10, "num_updates": 1, "update_lr": 0.001, "meta_batch_size": 25,
             "metatrain_iterations": 70000, "meta_lr": 0.001, "norm": "None", "step_read": 1},
        ),
        (
            {"datasource": "omniglot"},
            {"num_classes": 5, "update_batch_size": 1, "query_batch_size": 1, "num_updates": 1, "update_lr": 0.4,
             "meta_batch_size": 32, "metatrain_iterations": 60000, "meta_lr": 0.001, "norm": "batch_norm",
             "num_filters": 64, "conv": True, "max_pool": False, "stop_grad": False, "clip": None, "step_read": 3},
        ),
        (
            {"datasource": "omniglot", "num_classes": 20, "update_batch_size": 5},
            {"update_batch_size": 5, "query_batch_size": 5, "num_updates": 5, "update_lr": 0.1, "meta_batch_size": 16,
             "metatrain_iterations": 60000, "step_read": 5},
        ),
        (
            {"datasource": "omniglot", "conv": False},
            {"num_updates": 1, "update_lr": 0.4, "meta_batch_size": 32, "norm": "batch_norm", "step_read": 3},
        ),
        (
            {"datasource": "miniimagenet"},
            {"num_classes": 5, "update_batch_size": 1, "query_batch_size": 15, "num_updates": 5, "update_lr": 0.01,
             "meta_batch_size": 4, "metatrain_iterations": 60000, "meta_lr": 0.001, "norm": "batch_norm",
             "num_filters": 32, "max_pool": True, "clip": 10.0, "step_read": 10, "image_size": None},
        ),
        (
            {"datasource": "miniimagenet", "update_batch_size": 5},
            {"update_batch_size": 5, "query_batch_size": 15, "meta_batch_size": 2, "num_updates": 5, "step_read": 10},
        ),
        (
            {"datasource": "folder"},
            {"num_filters": 32, "max_pool": True, "image_size": 84, "channels": 3, "fractions": (0.64, 0.16, 0.2),
             "split_seed": 0, "step_read": 10},
        ),
    ],
    ids=["sinusoid", "5-way", "20-way", "dense", "miniImagenet", "miniImagenet 5-shot", "folder"],
)  # fmt: skip
def test_the_papers_settings(given, expected):
    got = resolve(**given)
    assert {name: getattr(got, name) for name in expected} == expected


def test_what_is_given_goes_before_the_paper():
    assert resolve("omniglot", update_lr=0.2, meta_batch_size=8).update_lr == 0.2


def test_the_oracle_is_trained_without_adaptation_for_as_long():
    oracle = resolve("sinusoid", baseline="oracle")
    assert (oracle.pretrain_iterations, oracle.metatrain_iterations) == (70000, 0)


@pytest.mark.parametrize(
    "given, name",
    [
        ({"datasource": "sinusoid"}, "sinusoid_10shot"),
        ({"datasource": "sinusoid", "baseline": "oracle"}, "sinusoid_10shot_oracle"),
        ({"datasource": "sinusoid", "pretrain_iterations": 9, "metatrain_iterations": 0}, "sinusoid_10shot_pretrained"),
        ({"datasource": "omniglot"}, "omniglot_5way_1shot"),
        ({"datasource": "omniglot", "num_classes": 20, "update_batch_size": 5}, "omniglot_20way_5shot"),
        ({"datasource": "omniglot", "conv": False}, "omniglot_5way_1shot_dense"),
        ({"datasource": "omniglot", "stop_grad": True}, "omniglot_5way_1shot_first_order"),
        ({"datasource": "omniglot", "norm": "None"}, "omniglot_5way_1shot_no_norm"),
        ({"datasource": "glyphs", "max_pool": True}, "glyphs_5way_1shot_max_pool"),
        ({"datasource": "miniimagenet", "stop_grad": True}, "miniimagenet_5way_1shot_first_order"),
        ({"datasource": "miniimagenet", "max_pool": False}, "miniimagenet_5way_1shot_strided"),
        ({"datasource": "miniimagenet", "conv": False}, "miniimagenet_5way_1shot_dense"),
        ({"datasource": "miniimagenet", "dataset": "tiny_imagenet"}, "tiny_imagenet_5way_1shot"),
    ],
)
def test_each_method_has_a_folder_of_its_own(given, name):
    assert resolve(**given).experiment == name


@pytest.mark.parametrize(
    "given, message",
    [
        ({"datasource": "mnist"}, "datasource is 'mnist', expected one of sinusoid, omniglot, miniimagenet, folder, glyphs"),
        ({"image_size": 84}, "image_size given, but omniglot settles that itself; expected --datasource=folder"),
        ({"datasource": "folder", "image_size": 8}, "image_size is 8, expected at least 16 for four max-pools"),
        ({"datasource": "folder", "image_size": 0, "max_pool": False}, "image_size is 0, expected at least 1"),
        ({"datasource": "folder", "channels": 2}, "channels is 2, expected 1 (grey) or 3 (colour)"),
        ({"datasource": "folder", "split": "0.5,0.5"}, "split is '0.5,0.5', expected three fractions that sum to 1"),
        ({"datasource": "folder", "split": "0.9,0.2,-0.1"}, "split is '0.9,0.2,-0.1', expected three fractions"),
        ({"norm": "foo"}, "norm is 'foo', expected one of batch_norm, layer_norm, None"),
        ({"baseline": "foo"}, "baseline is 'foo', expected oracle"),
        ({"baseline": "oracle"}, "baseline oracle goes with datasource sinusoid only, got omniglot"),
        ({"num_classes": 1}, "num_classes is 1, expected at least 2"),
        ({"num_classes": 5.0}, "num_classes is 5.0, expected int"),
        ({"conv": "no"}, "conv is 'no', expected bool"),
        ({"update_lr": "0.4"}, "update_lr is '0.4', expected float"),
        ({"update_lr": 0}, "update_lr is 0, expected a positive number"),
        ({"update_lr": float("nan")}, "update_lr is nan, expected a positive number"),
        ({"meta_lr": float("inf")}, "meta_lr is inf, expected a positive number"),
        ({"meta_lr": -1.0}, "meta_lr is -1.0, expected a positive number"),
        ({"clip": 0.0}, "clip is 0.0, expected a positive number"),
        ({"num_updates": 0}, "num_updates is 0, expected at least 1"),
        ({"meta_batch_size": 0}, "meta_batch_size is 0, expected at least 1"),
        ({"update_batch_size": -1}, "update_batch_size is -1, expected at least 1"),
        ({"query_batch_size": 0}, "query_batch_size is 0, expected at least 1"),
        ({"num_filters": 0}, "num_filters is 0, expected at least 1"),
        ({"tasks_per_chunk": 0}, "tasks_per_chunk is 0, expected at least 1"),
        ({"iterations_per_call": 0}, "iterations_per_call is 0, expected at least 1"),
        ({"metatrain_iterations": -5}, "metatrain_iterations is -5, expected at least 0"),
        ({"pretrain_iterations": -5}, "pretrain_iterations is -5, expected at least 0"),
        ({"seed": -1}, "seed is -1, expected 0 to 2147483647"),
        ({"seed": 2**31}, "seed is 2147483648, expected 0 to 2147483647"),
        ({"max_pool": True, "conv": False}, "max_pool goes with conv"),
        ({"num_filters": 32, "conv": False}, "num_filters goes with conv"),
        ({"datasource": "sinusoid", "num_classes": 5}, "num_classes given, but sinusoid tasks have no classes"),
        ({"datasource": "sinusoid", "max_pool": True, "conv": True}, "conv, max_pool given, but sinusoid tasks"),
        ({"datasource": "sinusoid", "num_filters": 32}, "num_filters given, but sinusoid tasks"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(UserError) as error:
        resolve(**{"datasource": "omniglot", **given})
    assert message in str(error.value) and "\n" not in str(error.value)


def test_unknown_names_raise():
    with pytest.raises(TypeError, match="num_clases"):
        resolve("omniglot", num_clases=5)


@pytest.mark.parametrize("source", config.SOURCES)
def test_the_way_through_json_and_back(source):
    there = resolve(source)
    assert Config.from_dict(json.loads(json.dumps(there.to_dict())), "config.json") == there


def record(**changes):
    return {**resolve("omniglot").to_dict(), **changes}


def test_an_unknown_setting_in_the_file_is_named():
    with pytest.raises(UserError, match="config.json: these settings are unknown or missing: colour$"):
        Config.from_dict(record(colour=1), "config.json")


def test_a_missing_setting_in_the_file_is_named():
    with pytest.raises(UserError, match="config.json: these settings are unknown or missing: update_lr$"):
        Config.from_dict({name: value for name, value in record().items() if name != "update_lr"}, "config.json")


def test_a_setting_of_speed_may_be_missing_in_the_file():
    slim = {name: value for name, value in record().items() if name != "tasks_per_chunk"}
    assert Config.from_dict(slim, "config.json") == resolve("omniglot")


def test_a_wrong_type_in_the_file_is_named():
    with pytest.raises(UserError, match="config.json: num_classes is 'five', expected int"):
        Config.from_dict(record(num_classes="five"), "config.json")


def test_runs_that_differ_are_told_apart():
    with pytest.raises(UserError, match="folder holds a run with other settings: update_lr=0.4 there and 0.1 here"):
        resolve("omniglot", update_lr=0.1).check_same(resolve("omniglot"), "folder", "others")


@pytest.mark.parametrize("name, value", [("metatrain_iterations", 9), ("tasks_per_chunk", 9), ("jit", False)])
def test_how_long_and_how_fast_may_differ(name, value):
    resolve("omniglot", **{name: value}).check_same(resolve("omniglot"), "folder", "others")


def test_a_setting_is_never_changed_in_place():
    with pytest.raises(AttributeError):
        Config("omniglot").seed = 2


@pytest.mark.parametrize("given", [{}, {"conv": False}, {"stop_grad": True}, {"num_classes": 20}, {"seed": 3, "jit": False},
                                   {"metatrain_iterations": 10, "tasks_per_chunk": 4}, {"update_batch_size": 5}])  # fmt: skip
def test_a_published_cell_may_stand_beside_the_papers_settings(given):
    assert config.resolve("omniglot", **given).is_papers


@pytest.mark.parametrize("size, papers", [(2, True), (4, True), (8, False)])
def test_the_papers_and_the_authors_meta_batch_of_miniimagenet_5_shot_both_count(size, papers):
    """[P] A.1 says 2, the authors' main.py 4."""
    assert config.resolve("miniimagenet", update_batch_size=5, meta_batch_size=size).is_papers == papers


def test_a_stand_in_is_not_the_papers():
    assert not config.resolve("miniimagenet", dataset="tiny_imagenet").is_papers


@pytest.mark.parametrize("given", [{"update_lr": 0.1}, {"num_filters": 32}, {"norm": "layer_norm"}, {"max_pool": True},
                                   {"meta_lr": 0.01}, {"num_updates": 2}, {"clip": 10.0}, {"query_batch_size": 15}])  # fmt: skip
def test_and_not_beside_others(given):
    assert not config.resolve("omniglot", **given).is_papers
