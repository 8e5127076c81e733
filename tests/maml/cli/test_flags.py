"""Flags made from the records: all that there were, and a run refuses those that say nothing about it."""

import shlex

import pytest

from data_generators.errors import UserError
from maml.cli import commands, flags, kinds, plans

# All flags before there were methods; the authors' come first.
EARLIER = (
    "datasource num_classes baseline pretrain_iterations metatrain_iterations meta_batch_size meta_lr "
    "update_batch_size update_lr num_updates norm num_filters conv max_pool stop_grad log logdir resume train "
    "test_iter test_set train_update_batch_size train_update_lr "
    "seed data_path cache_dir query_batch_size clip tasks_per_chunk iterations_per_call jit eval_tasks eval_queries "
    "transductive checkpoint image_size channels split split_seed outer hvp cg_iterations max_kl horizon render adapt "
    "run adapt_steps export report benchmark help helpfull"
).split()
# What the data or the method settle.
SETTLED = ("dataset", "train_classes", "oracle", "activation", "envs_per_task", "task_draw", "num_shots", "inner_lr")
RUNS = [(kind, method) for kind in kinds.KINDS for method in kind.methods]


def parse(command):
    return flags.parse(shlex.split(command))


@pytest.mark.parametrize("name", EARLIER)
def test_every_earlier_flag_is_there(name):
    assert name in flags.known()


@pytest.mark.parametrize("name", SETTLED)
def test_there_is_no_flag_for_what_nobody_can_ask_for(name):
    assert name not in flags.known()


def test_what_is_not_given_is_none_or_an_options_default():
    asked = parse("--update_lr=0.5")
    assert asked.given == {"update_lr"}
    assert (asked["num_updates"], asked["jit"], asked["logdir"]) == (None, None, None)
    assert (asked["datasource"], asked["train"], asked["log"]) == ("sinusoid", True, True)


@pytest.mark.parametrize(
    "command, name, value",
    [
        ("--num_classes=7", "num_classes", 7),
        ("--num_classes 7", "num_classes", 7),
        ("--update_lr=1", "update_lr", 1.0),
        ("--jit", "jit", True),
        ("--nojit", "jit", False),
        ("--max_pool=True --max_pool=False", "max_pool", False),
        ("--norm=None", "norm", "None"),
    ],
)
def test_values_are_read_by_the_fields_type(command, name, value):
    read = parse(command)[name]
    assert read == value and type(read) is type(value)


def test_a_value_for_the_training_replaces_that_of_the_test():
    asked = parse("--update_lr=0.1 --train_update_lr=0.2 --update_batch_size=3")
    assert asked.settings(["update_lr", "update_batch_size", "num_updates"]) == {
        "update_lr": 0.2,
        "update_batch_size": 3,
    }


def test_the_value_of_the_test_is_another_only_where_both_are_given():
    asked = parse("--update_lr=0.1 --train_update_lr=0.2 --update_batch_size=3")
    options = plans.test_options(asked, kinds.SUPERVISED)
    assert (options["test_update_lr"], options["test_update_batch_size"]) == (0.1, None)


def test_without_training_k_is_that_of_the_test():
    options = plans.test_options(parse("--train=False --update_batch_size=3"), kinds.SUPERVISED)
    assert options["test_update_batch_size"] == 3


@pytest.mark.parametrize("kind, method", RUNS)
def test_a_run_takes_its_own_settings_and_no_others(kind, method):
    """The rule, over all settings of all kinds and methods."""
    texts = {int: "1", float: "0.5", bool: "True", str: "x"}
    every = {name for other, theirs in RUNS for name in kinds.settings_of(other, theirs)}
    for name in every:
        value_type, _ = flags.known()[name]
        asked = parse(f"--method={method} --{name}={texts[value_type]}")
        if name in kinds.settings_of(kind, method):
            assert name in plans.settings_given(asked, kind)
        else:
            with pytest.raises(UserError, match=f"^{name} given, which belongs to "):
                plans.settings_given(asked, kind)


def test_a_method_of_another_kind_is_named_with_it():
    with pytest.raises(UserError, match="^method is 'reptile', which belongs to supervised learning"):
        plans.settings_given(parse("--method=reptile"), kinds.REINFORCEMENT)


def test_options_of_a_test_belong_to_kinds_too():
    with pytest.raises(UserError, match="^data_path, eval_queries given, which belongs to supervised learning"):
        plans.settings_given(parse("--data_path=x --eval_queries=3"), kinds.REINFORCEMENT)


@pytest.mark.parametrize("command", ["--report=False", "--nobenchmark --methods=False"])
def test_what_is_switched_off_is_not_asked_for(command):
    assert commands.command(parse(command)) is commands.train_and_test


@pytest.mark.parametrize("name", [*(name for name in flags.known() if "path" in name or "dir" in name), "run", "adapt"])
def test_a_tilde_that_no_shell_saw_is_the_home_folder(name, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    asked = parse(f"--{name}=~/work")
    assert asked[name] == "/home/ada/work" and asked.arguments == (f"--{name}=~/work",)


@pytest.mark.parametrize(
    "command, problem",
    [
        ("--reproduce=list --seeds=0", "seeds is 0, expected at least 1"),
        ("--reproduce=list --budget=-1", "budget is -1.0, expected a positive number"),
        ("--reproduce=list --budget=nan", "budget is nan, expected a positive number"),
        ("--reproduce=list --budget=inf", "budget is inf, expected a positive number"),
        ("--adapt=x --run=y --adapt_steps=-1", "adapt_steps is -1, expected at least 0"),
    ],
)
def test_options_have_limits_as_settings_have(command, problem):
    with pytest.raises(UserError) as error:
        parse(command)
    assert str(error.value) == problem


def test_flags_may_come_from_a_file(tmp_path):
    (tmp_path / "flags").write_text("--update_lr=0.25\n--nojit\n")
    asked = parse(f"--flagfile={tmp_path / 'flags'}")
    assert (asked["update_lr"], asked["jit"]) == (0.25, False)


def test_the_command_for_the_record(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/main.py"])
    assert commands.command_line(parse("--split=0.5,0.25,0.25 --data_path='my images'")) == (
        "python main.py --split=0.5,0.25,0.25 '--data_path=my images'"
    )
    monkeypatch.setattr("sys.argv", ["/usr/bin/maml"])
    assert commands.command_line(parse("--seed=2")) == "maml --seed=2"
