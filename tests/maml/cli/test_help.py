"""What --help, --helpfull and --methods say."""

import re
import shlex

import pytest
from commands import call

from maml import methods
from maml.cli import flags, help, kinds, plans


def of(command):
    """The text of --help beside a command."""
    asked = flags.parse(shlex.split(command))
    kind = kinds.kind_of(asked["datasource"])
    return help.of_a_run(kind, asked["datasource"], plans.settings_given(asked, kind))


def names(text):
    """The flags that a text explains."""
    return set(re.findall(r"^ +--(?:\[no\])?(\w+): ", text, re.M))


def line(text, name):
    """What a text says of a flag, on one line."""
    (found,) = re.findall(rf"^  --(?:\[no\])?{name}: (.*(?:\n    .*)*)", text, re.M)
    return " ".join(found.split())


def test_the_full_help_explains_every_flag():
    assert names(help.of_everything()) == set(flags.known())


@pytest.mark.parametrize(
    "command, name, value",
    [
        ("--datasource=sinusoid", "update_lr", "[0.001]"),
        ("--datasource=omniglot", "update_lr", "[0.4]"),
        ("--datasource=omniglot --num_classes=20", "update_lr", "[0.1]"),
        ("--datasource=miniimagenet", "meta_batch_size", "[4]"),
        ("--datasource=miniimagenet --update_batch_size=5", "meta_batch_size", "[2]"),
        ("--datasource=miniimagenet", "clip", "[10]"),
        ("--datasource=omniglot", "clip", "[nothing]"),
        ("--datasource=folder", "image_size", "[84]"),
        ("--datasource=cheetah_dir", "max_kl", "[0.02]"),
        ("--datasource=point --baseline=pretrained", "outer", "(trpo, trpo_subsampled, adam, promp) [adam]"),
        ("--datasource=omniglot --method=reptile", "num_updates", "[5]"),
    ],
)
def test_help_has_the_value_for_exactly_this_run(command, name, value):
    assert line(of(command), name).endswith(value)


def test_help_has_the_papers_symbol():
    assert line(of("--datasource=omniglot"), "update_lr") == "α: step size of the inner loop [0.4]"


def test_a_value_that_is_given_is_shown():
    assert line(of("--datasource=omniglot --update_lr=0.3"), "update_lr").endswith("[0.3]")


@pytest.mark.parametrize(
    "command, without",
    [
        ("--datasource=sinusoid", {"num_classes", "conv", "num_filters", "image_size", "max_kl", "train_ways"}),
        ("--datasource=omniglot", {"image_size", "split", "horizon"}),
        ("--datasource=omniglot --method=prototypical", {"num_updates", "stop_grad", "update_lr"}),
        ("--datasource=point", {"norm", "query_batch_size"}),
    ],
)
def test_help_leaves_out_what_says_nothing_about_the_run(command, without):
    assert without <= set(flags.known()) and not without & names(of(command))


@pytest.mark.parametrize("kind, method", [(kind, method) for kind in kinds.KINDS for method in kind.methods])
def test_there_is_help_for_every_method(kind, method):
    for datasource in kinds.presets_of(kind, method):
        assert f"--datasource={datasource} --method={method}" in of(f"--datasource={datasource} --method={method}")


def test_the_data_sources_are_named():
    said = line(help.of_everything(), "datasource")
    assert all(name in said for name in kinds.DATASOURCES)


def test_presets_are_grouped_by_value():
    presets = {name: {"x": value} for name, value in zip("abcd", (1, 2, 2, 3.5))}
    assert help.by_datasource("x", presets) == "[a: 1; d: 3.5; else 2]"
    assert help.by_datasource("x", {"a": {"x": None}, "b": {"x": None}}) == "[nothing]"


def test_the_full_help_has_the_presets_of_each_data_source():
    text = help.of_everything()
    assert (
        "meta-updates [sinusoid: 70000; else 60000]" in text
        and "meta-updates [point: 100; ant_dir: 575; else 500]" in text
    )


def test_the_methods_are_a_table(capsys):
    assert call("--methods") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {text.split()[0]: text for text in lines[1 : len(methods.names()) + 1]}
    assert tuple(rows) == methods.names()
    for name, row in rows.items():
        card = methods.get(name)
        assert all(part in row for part in (card.title, card.paper, *card.learns))
    assert "omniglot 5-way 1/5-shot, 20-way 1/5-shot" in rows["maml"]


@pytest.mark.parametrize("command", ["--help --adapt=photos", "--render --help", "--help --report --max_kl=1"])
def test_help_comes_whatever_else_is_asked_for(command, capsys):
    assert call(command) == 0
    assert "--helpfull lists" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flag, text", [("--help", "--helpfull lists"), ("-h", "--helpfull lists"), ("--helpfull", "Reptile")]
)
def test_help_is_printed(flag, text, capsys):
    assert call(flag) == 0
    assert text in capsys.readouterr().out
