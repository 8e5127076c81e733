"""The table and the picture of all methods follow from the run folders."""

import re

import pytest
from result_folders import evaluation, write_run, write_sinusoid

from maml import methods
from maml.methods.card import accuracy
from maml.reports import side_by_side, summaries

HEAD = f"| {side_by_side.FIRST} | 5-way 1-shot | 5-way 5-shot | 20-way 1-shot | 20-way 5-shot |"
CELL = accuracy(("omniglot", 5, 1), (98.0, 0.2), 3, "[T]", normalisation="one query at a time")


def section(base):
    return side_by_side.section(summaries.load_all(base), base)


def row(base, method):
    """The cells behind a method's name."""
    (found,) = [line for line in section(base).splitlines() if line.startswith(f"| {method} |")]
    return [cell.strip() for cell in found.strip("|").split("|")][1:]


@pytest.fixture
def toy(monkeypatch):
    """Puts a method with these published results beside MAML."""

    def add(*published):
        card = methods.get("maml")._replace(title="Toy", paper="[T]", published=published)
        monkeypatch.setattr(methods, "get", lambda name, get=methods.get: card if name == "toy" else get(name))
        monkeypatch.setattr(methods, "names", lambda: ("maml", "toy"))

    return add


def write_toy(base, **changes):
    about = {"method": "toy", "method_title": "Toy", **changes}
    return write_run(base, "omniglot_5way_1shot_toy", **about)


def test_without_runs_there_is_no_section(tmp_path):
    assert section(tmp_path) == ""


def test_measured_stands_beside_published_in_the_line_of_its_way(tmp_path):
    alone = evaluation(suffix="_one_at_a_time", transductive=False, values=[0.2, 0.8, 0.9, 0.85])
    write_run(tmp_path, evaluations=[evaluation(), alone])
    assert HEAD in section(tmp_path)
    assert row(tmp_path, "MAML") == [
        "together **91.25 ± 0.41 %** (98.7 ± 0.4 %)<br>alone **85.00 ± 0.41 %**",
        "not run<br>together (99.9 ± 0.1 %)",
        "not run<br>together (95.8 ± 0.3 %)",
        "not run<br>together (98.9 ± 0.2 %)",
    ]


def test_seeds_are_averaged_and_a_short_training_is_not_bold(tmp_path):
    for seed, value in enumerate((0.98, 0.99)):
        write_run(
            tmp_path, seed=seed, trained=1000, evaluations=[evaluation(values=[0.2, 0.8, 0.9, value], iteration=1000)]
        )
    assert row(tmp_path, "MAML")[0] == "together 98.50 ± 0.41 % (98.7 ± 0.4 %)"


def test_of_trainings_with_several_k_the_one_that_was_run_is_shown(toy, tmp_path):
    """And without a run the one with the K of the test."""
    five = CELL._replace(num_shots=5)
    toy(five._replace(trained_shots=1), five._replace(values={3: 0.99}))
    write_run(tmp_path)
    assert row(tmp_path, "Toy")[1] == "not run<br>alone (99.0 ± 0.2 %)"
    write_toy(tmp_path, evaluations=[evaluation(), evaluation(5, 5, values=[0.2, 0.8, 0.9, 0.95])])
    assert row(tmp_path, "Toy")[1] == "together **95.00 ± 0.41 %**<br>alone (98.0 ± 0.2 %)<br>trained with K = 1"


def test_a_paper_that_tests_both_ways_has_both_in_its_cell(toy, tmp_path):
    toy(CELL, accuracy(("omniglot", 5, 1), (99.0, 0.1), 3, "[T]"))
    write_toy(tmp_path)
    assert row(tmp_path, "Toy")[0] == "together **91.25 ± 0.41 %** (99.0 ± 0.1 %)<br>alone (98.0 ± 0.2 %)"


def test_a_run_of_which_nothing_is_published_has_its_row(toy, tmp_path):
    toy()
    write_toy(tmp_path)
    write_toy(tmp_path, seed=1, variant={"num_updates": 2})
    assert row(tmp_path, "Toy") == ["together **91.25 ± 0.41 %**", "–", "–", "–"]
    assert row(tmp_path, "Toy, num_updates=2")[0] == "together **91.25 ± 0.41 %**"


def test_settings_are_the_same_in_whichever_order(toy, tmp_path):
    toy(CELL._replace(variant={"num_updates": 3, "conv": False}, label="Toy, longer"))
    write_toy(tmp_path, variant={"conv": False, "num_updates": 3})
    assert row(tmp_path, "Toy, longer")[0] == "together **91.25 ± 0.41 %**<br>alone (98.0 ± 0.2 %)"


def test_data_sets_without_published_results_come_by_name(tmp_path):
    for name in ("folder_b", "glyphs", "folder_a"):
        write_run(tmp_path, f"{name}_5way_1shot", datasource="glyphs", dataset=name)
    assert re.findall("### (.+)", section(tmp_path)) == ["a", "b", "Glyphs"]


def test_what_a_paper_has_of_other_settings_has_a_row_once_it_is_run(toy, tmp_path):
    toy(CELL._replace(variant={"num_updates": 3}, label="Toy, longer"))
    write_run(tmp_path)
    assert "Toy" not in section(tmp_path)
    write_toy(tmp_path, variant={"num_updates": 3})
    assert row(tmp_path, "Toy, longer")[0] == "together **91.25 ± 0.41 %**<br>alone (98.0 ± 0.2 %)"


def test_a_data_set_without_published_results_has_its_own_table(tmp_path):
    write_run(tmp_path, "glyphs_5way_1shot", datasource="glyphs", dataset="glyphs")
    assert f"| {side_by_side.FIRST} | 5-way 1-shot |\n" in section(tmp_path) and row(tmp_path, "MAML") == [
        "together **91.25 ± 0.41 %**"
    ]


@pytest.mark.parametrize("other", [{"split": "val"}, {"step": 1}])
def test_a_test_unlike_the_papers_is_not_shown_beside_it(other, tmp_path):
    """And a data set with no other has no table."""
    write_run(tmp_path, evaluations=[evaluation(**other)])
    assert section(tmp_path) == ""


def test_the_pictures_lie_beside_the_page(tmp_path):
    write_run(tmp_path)
    write_sinusoid(tmp_path)
    write_sinusoid(tmp_path, method="oracle")
    text = section(tmp_path)
    for dataset in ("omniglot", "sinusoid"):
        assert f"![methods](methods_{dataset}.png)" in text
        assert (tmp_path / f"methods_{dataset}.png").read_bytes().startswith(b"\x89PNG")


def test_methods_are_drawn_from_the_least_to_the_most_accurate_on_an_axis_that_holds_100_percent(toy, tmp_path, drawn):
    toy(CELL)
    write_toy(tmp_path, evaluations=[evaluation(values=[0.2, 0.8, 0.9, 1.0], error=0.0)])
    write_run(tmp_path)
    section(tmp_path)
    (figure,) = drawn
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["MAML", "Toy"]
    low, high = axis.get_xlim()
    assert 0 < low < 0.9125 and side_by_side.HIGHEST < high < 1


@pytest.mark.parametrize("trained, face", [(30_000, "white"), (60_000, side_by_side.ORANGE)])
def test_what_was_cut_short_is_drawn_hollow(trained, face, tmp_path, drawn):
    write_run(tmp_path, trained=trained)
    section(tmp_path)
    axis = drawn[0].axes[0]
    (dot,) = [container.lines[0] for container in axis.containers]
    assert dot.get_markerfacecolor() == face
    assert "cut short" in [text.get_text() for text in drawn[0].legends[0].get_texts()]


@pytest.mark.parametrize("trained, face", [(30_000, "white"), (70_000, side_by_side.GREEN)])
def test_a_method_on_waves_that_was_cut_short_is_drawn_hollow(trained, face, tmp_path, drawn):
    for method in ("maml", "pretrained"):
        write_sinusoid(tmp_path, method=method, trained=trained)
    section(tmp_path)
    assert drawn[0].axes[0].containers[0].lines[0].get_markerfacecolor() == face


def test_panels_are_two_beside_each_other_and_none_is_empty(tmp_path, drawn):
    write_run(tmp_path)
    entry = side_by_side.entries("omniglot", summaries.load_all(tmp_path))["MAML"][5, 1]
    side_by_side.draw(tmp_path / "a.png", "title", {"MAML": dict.fromkeys([(5, 1), (5, 5), (20, 1)], entry)})
    shown = [axis for axis in drawn[0].axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in shown] == ["5-way 1-shot", "5-way 5-shot", "20-way 1-shot"]
    assert [axis.get_subplotspec().num1 for axis in shown] == [0, 1, 2]
    assert shown[0].get_gridspec().get_geometry() == (2, 2)
