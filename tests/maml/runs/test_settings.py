"""Settings: the paper's values, what is refused, and the way through config.json and back."""

import dataclasses
import json
from pathlib import Path

import pytest

from data_generators.errors import UserError
from data_generators.sources import SOURCES
from maml import methods
from maml.methods.card import Task
from maml.runs.settings import Settings, record_types, resolve, task_fractions

RESULTS = Path(__file__).parents[3] / "results"


# The table of the paper's settings ([P] 5.1, 5.2, A.1; authors' main.py for the sinusoid), and the step that is read.
PRESETS = {
    "sinusoid": (
        {"datasource": "sinusoid"},
        {"update_batch_size": 10, "query_batch_size": 10, "num_updates": 1, "update_lr": 0.001, "meta_batch_size": 25,
         "metatrain_iterations": 70000, "meta_lr": 0.001, "norm": "None"},
        1,
    ),
    "5-way": (
        {"datasource": "omniglot"},
        {"num_classes": 5, "update_batch_size": 1, "query_batch_size": 1, "num_updates": 1, "update_lr": 0.4,
         "meta_batch_size": 32, "metatrain_iterations": 60000, "meta_lr": 0.001, "norm": "batch_norm",
         "num_filters": 64, "conv": True, "max_pool": False, "stop_grad": False, "clip": None},
        3,
    ),
    "20-way": (
        {"datasource": "omniglot", "num_classes": 20, "update_batch_size": 5},
        {"update_batch_size": 5, "query_batch_size": 5, "num_updates": 5, "update_lr": 0.1, "meta_batch_size": 16,
         "metatrain_iterations": 60000},
        5,
    ),
    "dense": (
        {"datasource": "omniglot", "conv": False},
        {"num_updates": 1, "update_lr": 0.4, "meta_batch_size": 32, "norm": "batch_norm"},
        3,
    ),
    "miniImagenet": (
        {"datasource": "miniimagenet"},
        {"num_classes": 5, "update_batch_size": 1, "query_batch_size": 15, "num_updates": 5, "update_lr": 0.01,
         "meta_batch_size": 4, "metatrain_iterations": 60000, "meta_lr": 0.001, "norm": "batch_norm",
         "num_filters": 32, "max_pool": True, "clip": 10.0, "image_size": None},
        10,
    ),
    "miniImagenet 5-shot": (
        {"datasource": "miniimagenet", "update_batch_size": 5},
        {"update_batch_size": 5, "query_batch_size": 15, "meta_batch_size": 2, "num_updates": 5},
        10,
    ),
    "folder": (
        {"datasource": "folder"},
        {"num_filters": 32, "max_pool": True, "image_size": 84, "channels": 3, "split": "0.64,0.16,0.2",
         "split_seed": 0},
        10,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_the_papers_settings(name):
    given, expected, step_read = PRESETS[name]
    got = resolve(**given)
    assert {flag: got.to_dict()[flag] for flag in expected} == expected
    assert got.card.reading(got.task, got.own).step == step_read


def test_what_is_given_goes_before_the_paper():
    assert resolve("omniglot", update_lr=0.2, meta_batch_size=8).own.inner_lr == 0.2


def test_the_oracle_is_trained_without_adaptation_for_as_long():
    oracle = resolve("sinusoid", baseline="oracle")
    assert (oracle.method, oracle.total_iterations, oracle.card.told_the_task) == ("oracle", 70000, True)
    assert resolve("sinusoid", method="oracle") == oracle


def test_pretraining_alone_is_the_method_pretrained():
    """As the authors spell it."""
    alone = resolve("sinusoid", pretrain_iterations=900, metatrain_iterations=0)
    assert alone == resolve("sinusoid", baseline="pretrained", metatrain_iterations=900)


def test_pretraining_alone_on_images_is_a_classifier_of_all_classes():
    alone = resolve("omniglot", pretrain_iterations=900, metatrain_iterations=0)
    assert alone.method == "maml" and alone.of_all_classes
    assert (alone.training.pretrain_iterations, alone.total_iterations) == (900, 900)


def test_what_belongs_to_the_presets_schedule_goes_with_it():
    """And the clip, which a preset has: every part of MAML++ can be switched off by flags."""
    off = resolve("miniimagenet", "maml_plus_plus", schedule="constant", clip=0.0)
    assert (off.training.schedule, off.training.final_lr, off.training.clip) == ("constant", None, 0)
    assert resolve("omniglot", "maml_plus_plus", schedule="constant").name.endswith("maml_plus_plus_schedule_constant")
    halved = resolve("omniglot", "prototypical", schedule="linear")
    assert (halved.training.halve_every, halved.differences()) == (None, {"schedule": "linear"})
    with pytest.raises(UserError, match="final_lr"):
        resolve("omniglot", "maml_plus_plus", schedule="constant", final_lr=0.1)


def test_an_order_of_the_generalised_entropy_may_be_negative_but_not_of_atkinsons_measure():
    resolve("omniglot", "taml", regulariser="generalised_entropy", inequality_order=-1.0)
    with pytest.raises(UserError, match="inequality_order is -1.0, expected at least 0 with regulariser=atkinson"):
        resolve("omniglot", "taml", regulariser="atkinson", inequality_order=-1.0)


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
    assert resolve(**given).name == name


@pytest.mark.parametrize(
    "given, message",
    [
        (
            {"datasource": "mnist"},
            "datasource is 'mnist', expected one of sinusoid, omniglot, miniimagenet, folder, glyphs",
        ),
        ({"image_size": 84}, "image_size given, but omniglot settles that itself; expected --datasource=folder"),
        ({"datasource": "folder", "image_size": 8}, "image_size is 8, expected at least 16 for four max-pools"),
        ({"datasource": "folder", "image_size": 0, "max_pool": False}, "image_size is 0, expected at least 1"),
        ({"datasource": "folder", "channels": 2}, "channels is 2, expected one of 1, 3"),
        ({"datasource": "folder", "split": "0.5,0.5"}, "split is '0.5,0.5', expected three fractions that sum to 1"),
        ({"datasource": "folder", "split": "0.9,0.2,-0.1"}, "split is '0.9,0.2,-0.1', expected three fractions"),
        ({"norm": "foo"}, "norm is 'foo', expected one of batch_norm, layer_norm, None"),
        ({"baseline": "foo"}, "baseline is 'foo', expected oracle"),
        ({"baseline": "oracle"}, "method oracle learns regression, got datasource omniglot"),
        ({"num_classes": 1}, "num_classes is 1, expected at least 2"),
        ({"num_classes": 5.0}, "num_classes is 5.0, expected int"),
        ({"conv": "no"}, "conv is 'no', expected bool"),
        ({"update_lr": "0.4"}, "update_lr is '0.4', expected float"),
        ({"update_lr": 0}, "update_lr is 0, expected a positive number"),
        ({"update_lr": float("nan")}, "update_lr is nan, expected a positive number"),
        ({"meta_lr": float("inf")}, "meta_lr is inf, expected a positive number"),
        ({"meta_lr": -1.0}, "meta_lr is -1.0, expected a positive number"),
        ({"clip": -1.0}, "clip is -1.0, expected at least 0"),
        ({"num_updates": 0}, "num_updates is 0, expected at least 1"),
        ({"meta_batch_size": 0}, "meta_batch_size is 0, expected at least 1"),
        ({"update_batch_size": -1}, "update_batch_size is -1, expected at least 1"),
        ({"query_batch_size": 0}, "query_batch_size is 0, expected at least 1"),
        ({"num_filters": 0}, "num_filters is 0, expected at least 1"),
        ({"tasks_per_chunk": 0}, "tasks_per_chunk is 0, expected at least 1"),
        ({"iterations_per_call": 0}, "iterations_per_call is 0, expected at least 1"),
        ({"metatrain_iterations": -5}, "metatrain_iterations is -5, expected at least 0"),
        ({"metatrain_iterations": 2**53}, "metatrain_iterations is 9007199254740992, expected a whole number below"),
        ({"iterations_per_call": 10**30}, "expected a whole number below 9,007,199,254,740,992"),
        ({"pretrain_iterations": -5}, "pretrain_iterations is -5, expected at least 0"),
        ({"seed": -1}, "seed is -1, expected at least 0"),
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


@pytest.mark.parametrize("source", SOURCES)
def test_the_way_through_json_and_back(source):
    there = resolve(source)
    assert Settings.from_dict(json.loads(json.dumps(there.to_dict())), "config.json") == there


def record(**changes):
    return {**resolve("omniglot").to_dict(), **changes}


@pytest.mark.parametrize("name", SOURCES)
def test_the_presets_know_what_a_data_source_is(name):
    """Methods import no data."""
    task = Task(name)
    assert (task.photographs, task.classification) == (SOURCES[name].photographs, SOURCES[name].has_images)


def test_an_unknown_setting_in_the_file_is_named():
    with pytest.raises(UserError, match="config.json: these settings are unknown or missing: colour$"):
        Settings.from_dict(record(colour=1), "config.json")


def test_a_missing_setting_in_the_file_is_named():
    with pytest.raises(UserError, match="config.json: these settings are unknown or missing: update_lr$"):
        Settings.from_dict({name: value for name, value in record().items() if name != "update_lr"}, "config.json")


def test_a_setting_of_speed_may_be_missing_in_the_file():
    slim = {name: value for name, value in record().items() if name != "tasks_per_chunk"}
    assert Settings.from_dict(slim, "config.json") == resolve("omniglot")


def test_a_wrong_type_in_the_file_is_named():
    with pytest.raises(UserError, match="config.json: num_classes is 'five', expected int"):
        Settings.from_dict(record(num_classes="five"), "config.json")


def test_runs_that_differ_are_told_apart():
    with pytest.raises(UserError, match="folder holds a run with other settings: update_lr=0.4 there and 0.1 here"):
        resolve("omniglot", update_lr=0.1).check_same(resolve("omniglot"), "folder", "others")


@pytest.mark.parametrize("name, value", [("metatrain_iterations", 9), ("tasks_per_chunk", 9), ("jit", False)])
def test_how_long_and_how_fast_may_differ(name, value):
    resolve("omniglot", **{name: value}).check_same(resolve("omniglot"), "folder", "others")


@pytest.mark.parametrize("method, given", [
    ("maml", {"schedule": "linear"}),
    ("maml", {"schedule": "cosine", "final_lr": 1e-5}),
    ("maml_plus_plus", {"schedule": "constant"}),  # whose loss changes with its progress
])  # fmt: skip
def test_how_long_may_not_differ_where_the_training_goes_by_its_length(method, given):
    longer = resolve("miniimagenet", method, metatrain_iterations=9, **given)
    with pytest.raises(UserError, match="metatrain_iterations=10 there and 9 here"):
        longer.check_same(resolve("miniimagenet", method, metatrain_iterations=10, **given), "folder", "others")


@pytest.mark.parametrize("given", [{"schedule": "cosine"}, {"final_lr": 1e-5}])
def test_a_cosine_ends_at_a_step_size_that_is_given(given):
    with pytest.raises(UserError, match="^final_lr is .*, expected a number with schedule=cosine, or nothing$"):
        resolve("omniglot", **given)


def test_a_setting_is_never_changed_in_place():
    with pytest.raises(AttributeError):
        resolve("omniglot").method = "oracle"


# Folders of older versions


def older(**changes):
    """config.json of before there were methods."""
    today = resolve("sinusoid").to_dict()
    young = (
        "method",
        "norm_scale",
        "norm_averages",
        "norm_epsilon",
        "optimizer",
        "schedule",
        "halve_every",
        "decay_every",
        "final_lr",
        "clip_norm",
        "pretrain_batch",
        "pretrain_lr",
        "norm_momentum",
        "skip_not_finite",
        "train_classes",
    )
    return {**{name: value for name, value in today.items() if name not in young}, "baseline": None, **changes}


@pytest.mark.parametrize(
    "changes, method",
    [
        ({}, "maml"),
        ({"baseline": "oracle", "pretrain_iterations": 70000, "metatrain_iterations": 0}, "oracle"),
        ({"pretrain_iterations": 70000, "metatrain_iterations": 0}, "pretrained"),
    ],
)
def test_settings_of_before_there_were_methods_are_read(changes, method):
    assert Settings.from_dict(older(**changes), "config.json") == resolve("sinusoid", method)


def test_the_one_clip_of_older_relation_networks_is_that_of_each_part():
    today = resolve("omniglot", "relation")
    older = {name: value for name, value in today.to_dict().items() if name not in ("clip_norm", "part_clip_norm")}
    assert Settings.from_dict({**older, "clip_norm": 0.5}, "config.json") == today
    with pytest.raises(UserError, match="config.json: these settings are unknown or missing: part_clip_norm"):
        Settings.from_dict(older, "config.json")


def test_a_pretraining_is_no_part_of_the_papers_meta_training():
    paper = resolve("omniglot").paper_iterations
    assert resolve("omniglot", pretrain_iterations=30000).paper_iterations == paper + 30000
    longer = resolve("omniglot", "fine_tuning", pretrain_iterations=90000)
    assert longer.paper_iterations == resolve("omniglot", "fine_tuning").paper_iterations


@pytest.mark.parametrize("method", ["maml", "anil", "taml", "context_vector"])
def test_a_classifier_trained_for_more_steps_is_read_after_as_many(method):
    """Else after the published 3, and the curve goes on to 10."""
    for steps, expected in ((2, (10, 3)), (5, (10, 5)), (12, (12, 12))):
        settings = resolve("omniglot", method, num_updates=steps)
        assert settings.card.reading(settings.task, settings.own) == expected


@pytest.mark.parametrize("method", methods.names())
def test_no_setting_has_the_name_of_another(method):
    """A record is flat, and a value goes to every field of its name."""
    fields = [field.name for kind in record_types(method).values() for field in dataclasses.fields(kind)]
    assert len(fields) == len(set(fields))


def test_settings_of_before_photographs_had_a_size_are_read():
    slim = {
        name: value for name, value in older().items() if name not in ("image_size", "channels", "split", "split_seed")
    }
    assert Settings.from_dict(slim, "config.json") == resolve("sinusoid")


def test_every_published_folder_is_named_by_its_settings():
    records = {path.parent: json.loads(path.read_text()) for path in RESULTS.glob("*/seed_*/config.json")}
    supervised = {folder: record for folder, record in records.items() if record["datasource"] in SOURCES}
    assert len(supervised) > 10
    for folder, record in supervised.items():
        settings = Settings.from_dict(record, folder)
        assert (settings.name, f"seed_{settings.seed}") == (folder.parent.name, folder.name)


# Beside published numbers


@pytest.mark.parametrize("given, percent", [
    ({}, 98.7), ({"conv": False}, 89.7), ({"num_classes": 20}, 95.8), ({"seed": 3, "jit": False}, 98.7),
    ({"metatrain_iterations": 10, "tasks_per_chunk": 4}, 98.7), ({"update_batch_size": 5}, 99.9),
])  # fmt: skip
def test_a_published_cell_stands_beside_the_papers_settings(given, percent):
    """[P] table 1."""
    (cell,) = resolve("omniglot", **given).cells()
    assert cell.values == {5 if "num_classes" in given else 3: pytest.approx(percent / 100)}


@pytest.mark.parametrize("size, papers", [(2, True), (4, True), (8, False)])
def test_the_papers_and_the_authors_meta_batch_of_miniimagenet_5_shot_both_count(size, papers):
    """[P] A.1 says 2, the authors' main.py 4."""
    assert bool(resolve("miniimagenet", update_batch_size=5, meta_batch_size=size).cells()) == papers


def test_nothing_stands_beside_a_stand_in():
    assert not resolve("miniimagenet", dataset="tiny_imagenet").cells()


@pytest.mark.parametrize("given", [
    {"update_lr": 0.1}, {"num_filters": 32}, {"norm": "layer_norm"}, {"max_pool": True}, {"meta_lr": 0.01},
    {"num_updates": 2}, {"clip": 10.0}, {"query_batch_size": 15}, {"pretrain_iterations": 5000}, {"stop_grad": True},
    {"optimizer": "sgd"},
])  # fmt: skip
def test_nor_beside_other_settings_which_have_a_name_of_their_own(given):
    """Pre-trained, then meta-trained, is not the paper's MAML."""
    other = resolve("omniglot", **given)
    assert not other.cells() and other.name.startswith("omniglot_5way_1shot_") and other.title.count(",") == 2


def test_k_at_test_is_the_cells_and_is_not_read_from_a_name():
    """[P] table 2: 5 points at test, of a network trained with 10."""
    ten = resolve("sinusoid", update_batch_size=10)
    assert [cell.values[1] for cell in ten.cells(5)] == [0.67] and not ten.cells(10) and not ten.cells(1)


def test_a_run_of_ten_shots_is_not_taken_for_one_of_one():
    ten = resolve("omniglot", update_batch_size=10)
    assert (ten.name, ten.title) == ("omniglot_5way_10shot", "Omniglot, 5-way 10-shot")
    assert not ten.cells() and not ten.cells(1)


def test_a_run_tested_with_another_k_has_no_cell():
    assert not resolve("omniglot").cells(5)


def test_what_differs_is_said_by_flag_beside_the_papers_value():
    assert resolve("omniglot", update_lr=0.01).compared() == {"update_lr": (0.01, 0.4)}


def test_where_nothing_is_published_nothing_differs_from_it():
    assert resolve("glyphs", update_lr=0.01).compared() == {}


@pytest.mark.parametrize(
    "source, iterations", [("sinusoid", 70000), ("miniimagenet", 60000), ("glyphs", None), ("folder", None)]
)
def test_how_long_the_paper_trained(source, iterations):
    assert resolve(source, metatrain_iterations=7).paper_iterations == iterations


@pytest.mark.parametrize("split, fractions", [("0.64,0.16,0.2", (0.64, 0.16, 0.2)), (None, None)])
def test_the_fractions_of_a_split(split, fractions):
    assert task_fractions(resolve("folder" if split else "omniglot").task) == fractions


@pytest.mark.parametrize("name", ["maml", "meta_sgd", "reptile"])
def test_running_averages_that_nothing_moves_are_refused(name):
    with pytest.raises(UserError, match=f"norm_averages given, which {name} does not use"):
        resolve("omniglot", name, norm_averages=True)


def test_a_published_result_stands_beside_a_test_that_normalised_the_queries_as_it_did():
    """Reptile's two rows for Omniglot 5-way 1-shot, prototypical networks' one, MAML's one."""
    both = [resolve("omniglot", "reptile").cells(transductive=way)[0].number(50) for way in (True, False)]
    assert both == ["97.68 ± 0.04 %", "95.39 ± 0.09 %"]
    found = {
        (n, way): len(resolve("omniglot", n).cells(1, way)) for n in ("prototypical", "maml") for way in (True, False)
    }
    assert found == {("prototypical", True): 0, ("prototypical", False): 1, ("maml", True): 1, ("maml", False): 0}


@pytest.mark.parametrize("name", ["pretrained", "oracle"])
def test_the_two_phases_of_a_training_without_adaptation_are_one(name):
    settings = resolve("sinusoid", baseline=name, pretrain_iterations=30, metatrain_iterations=12)
    assert (settings.training.pretrain_iterations, settings.training.metatrain_iterations) == (0, 42)
