"""The page of results follows from the run folders, and from nothing else."""

import ast

import pytest
from result_folders import evaluation, published, summary, write_run, write_sinusoid

from data_generators.errors import UserError
from maml import methods
from maml.methods.card import accuracy, not_run
from maml.reports import cells, page
from maml.reports.tables import Row, table
from maml.runs import files, settings

TINY = {"datasource": "miniimagenet", "dataset": "tiny_imagenet", "title": "Tiny-ImageNet stand-in, 5-way 1-shot"}
OMNIGLOT = "5-way 1-shot<br>`python main.py --datasource=omniglot`"
PUBLISHED = [(name, cell) for name in methods.names() for cell in methods.get(name).published if cell.measured_here]


def rebuild(base, **more):
    return page.rebuild(base, **more).read_text(encoding="utf-8")


def rows(text, start, heading=None):
    """The cells of the rows, below a heading, in which the cells begin so."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section(text, heading).splitlines()]
    return [line for line in lines if line[: len(start)] == [*start]]


def section(text, heading):
    return text if heading is None else text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def omniglot(base):
    """Rows of MAML's 5-way 1-shot in the table of Omniglot."""
    return rows(rebuild(base), ["MAML", OMNIGLOT], "Omniglot")


def opening(base, experiment="Omniglot, 5-way 1-shot: MAML"):
    (row,) = rows(rebuild(base), [experiment], "The paper beside ours")
    return row


# The opening table


def test_without_runs_every_published_cell_is_not_run(tmp_path):
    text = section(rebuild(tmp_path), "The paper beside ours")
    papers = [cell for name, cell in PUBLISHED if methods.get(name).paper == methods.get("maml").paper]
    assert len(papers) >= 12 and text.count("| not run |") == len(papers)
    for cell in papers:
        assert f" | {cell} | not run |" in text


def test_the_page_opens_with_the_paper_beside_ours(tmp_path):
    write_run(tmp_path, seed=3)
    assert rebuild(tmp_path).split("\n## ")[1].startswith("The paper beside ours\n\n| experiment |")
    assert opening(tmp_path) == [
        "Omniglot, 5-way 1-shot: MAML", "98.7 ± 0.4 %", "**91.25 ± 0.41 %**", "95 % interval over tasks", "600", "3",
        "60,000", "1 h 02 min",
    ]  # fmt: skip


def test_the_opening_table_has_the_seeds_with_the_longest_training(tmp_path):
    """By hand: (98 + 99) / 2; the intervals are the same."""
    for seed, value in ((10, 0.98), (2, 0.99)):
        write_run(tmp_path, seed=seed, evaluations=[evaluation(values=[0.2, 0.8, 0.9, value])])
    write_run(tmp_path, seed=1, trained=1000, evaluations=[evaluation(iteration=1000)])
    assert opening(tmp_path)[2:7] == ["**98.50 ± 0.41 %**", "95 % interval over tasks", "600", "2, 10", "60,000"]


def test_squared_errors_are_the_mean_and_deviation_between_seeds(tmp_path):
    """By hand: mean of 0.5, 0.6, 0.7 is 0.6, their sample standard deviation 0.1."""
    for seed, error in enumerate((0.5, 0.6, 0.7)):
        write_sinusoid(tmp_path, (3.0, error, 0.25, 0.125), seed=seed)
    assert opening(tmp_path, "Sinusoid, 5 points, after 1, 5, 10 steps: MAML")[1:7] == [
        "0.67, 0.38, 0.35", "**0.600 ± 0.100**, **0.250 ± 0.000**, **0.125 ± 0.000**",
        "standard deviation between seeds", "600", "0, 1, 2", "70,000",
    ]  # fmt: skip
    assert rows(rebuild(tmp_path), ["MAML", "5"], "Sinusoid") == [[
        "MAML", "5", "–", "**0.600** ± 0.100", "0.67", "**0.250** ± 0.000", "0.38", "**0.125** ± 0.000", "0.35",
        "", "standard deviation between seeds", "600", "70,000",
        "0: 0.500, 0.250, 0.125<br>1: 0.600, 0.250, 0.125<br>2: 0.700, 0.250, 0.125",
    ]]  # fmt: skip


def test_squared_errors_of_one_seed_have_their_interval_over_tasks(tmp_path):
    write_sinusoid(tmp_path, (3.0, 0.5, 0.25, 0.125))
    (row,) = rows(rebuild(tmp_path), ["MAML", "20"], "Sinusoid")
    assert row[3:5] == ["**0.500** ± 0.010", "–"] and row[9:] == ["", "95 % interval over tasks", "600", "70,000", "0"]


def test_a_step_that_is_read_and_not_published_has_its_column(tmp_path):
    """Reptile's 32nd."""
    test = evaluation(5, 5, values=[3.0, *[0.5] * 31, 0.25], error=0.01, step=32, transductive=None)
    write_sinusoid(tmp_path, method="maml", evaluations=[test])
    (row,) = rows(rebuild(tmp_path), ["MAML", "5"], "Sinusoid")
    assert row[3] == "**0.500** ± 0.010" and row[9] == "**0.250** ± 0.010 (32 steps)"


def test_squared_errors_without_inner_steps_have_their_column(tmp_path):
    for seed in (1, 2):
        write_sinusoid(tmp_path, [0.1 * seed], "gru", seed)
    (row,) = rows(rebuild(tmp_path), ["GRU", "20"], "Sinusoid")
    assert row[2:9] == ["**0.150** ± 0.071", *["–"] * 6] and row[-1] == "1: 0.100<br>2: 0.200"


# The table of a data set


def test_measured_stands_beside_published(tmp_path):
    write_run(tmp_path)
    assert omniglot(tmp_path) == [[
        "MAML", OMNIGLOT, "98.7 ± 0.4 %", "**91.25 ± 0.41 %**", "", "", "95 % interval over tasks", "600", "1", "3",
        "60,000 (best: 59,000)", "0",
    ]]  # fmt: skip


def test_seeds_are_averaged_and_listed(tmp_path):
    for seed, value in ((10, 0.98), (2, 0.99)):
        write_run(tmp_path, seed=seed, evaluations=[evaluation(values=[0.2, 0.8, 0.9, value])])
    (row,) = omniglot(tmp_path)
    assert row[3] == "**98.50 ± 0.41 %**"
    assert row[-2:] == ["60,000", "2: 99.00 ± 0.41 %, best 59,000<br>10: 98.00 ± 0.41 %, best 59,000"]


def test_of_seeds_that_were_tested_both_ways_both_are_shown(tmp_path):
    for seed, value in ((1, 0.98), (2, 0.96)):
        alone = evaluation(suffix="_one_at_a_time", transductive=False, values=[0.2, 0.8, 0.9, value - 0.1])
        write_run(tmp_path, seed=seed, evaluations=[evaluation(values=[0.2, 0.8, 0.9, value]), alone])
    (row,) = omniglot(tmp_path)
    assert row[-1] == (
        "1: together 98.00 ± 0.41 %, alone 88.00 ± 0.41 %, best 59,000<br>"
        "2: together 96.00 ± 0.41 %, alone 86.00 ± 0.41 %, best 59,000"
    )


@pytest.mark.parametrize(
    "trained, test",
    [
        (1000, {"iteration": 900}),
        (60_000, {"checkpoint": "latest", "iteration": 1000}),
        (60_000, {"checkpoint": "iteration 1000", "iteration": 1000}),
    ],
)
def test_a_short_run_is_marked(trained, test, tmp_path):
    write_run(tmp_path, trained=trained, evaluations=[evaluation(**test)])
    (row,) = omniglot(tmp_path)
    assert row[3] == "91.25 ± 0.41 %" and row[-2].startswith("1,000 of 60,000 iterations")


def test_a_short_run_is_not_averaged_with_a_full_one(tmp_path):
    write_run(tmp_path, seed=0)
    short = evaluation(values=[0.2, 0.3, 0.4, 0.5], iteration=1000)
    write_run(tmp_path, seed=1, trained=1000, evaluations=[short])
    assert [row[3] for row in omniglot(tmp_path)] == ["**91.25 ± 0.41 %**", "50.00 ± 0.41 %"]


def test_seeds_tested_with_other_queries_have_a_row_of_their_own(tmp_path):
    for seed, queries in enumerate((1, 15, 1)):
        write_run(tmp_path, seed=seed, evaluations=[evaluation(1, queries)])
    assert [row[8] for row in omniglot(tmp_path)] == ["1", "15"]


def test_one_query_at_a_time_stands_beside_the_papers_way(tmp_path):
    alone = {"transductive": False, "error": 0.005, "suffix": "_one_at_a_time"}
    tests = [
        evaluation(),
        evaluation(**alone, values=[0.2, 0.8, 0.8, 0.85]),
        evaluation(1, 15, values=[0.2, 0.8, 0.8, 0.9]),
        evaluation(1, 15, **alone, values=[0.2, 0.8, 0.8, 0.8]),
    ]
    write_run(tmp_path, evaluations=tests)
    (row,) = omniglot(tmp_path)
    assert row[2:6] == ["98.7 ± 0.4 %", "**91.25 ± 0.41 %**", "", "**85.00 ± 0.50 %**"]
    (other,) = rows(rebuild(tmp_path), ["Omniglot, 5-way 1-shot, seed 0"], "The same networks, tested otherwise")
    assert other[2:5] == ["5", "1", "15"] and other[-2:] == ["90.00 ± 0.41 %", "80.00 ± 0.50 %"]


def test_a_headline_tested_one_query_at_a_time_stands_in_that_column(tmp_path):
    write_run(tmp_path, evaluations=[evaluation(transductive=False)])
    assert omniglot(tmp_path)[0][2:6] == ["98.7 ± 0.4 %", "", "", "**91.25 ± 0.41 %**"]


@pytest.mark.parametrize("method", ["maml", "oracle"])
def test_the_methods_of_the_sinusoid_have_rows_for_each_k_they_were_tested_with(method, tmp_path):
    """The oracle as well, of which nothing is published."""
    write_sinusoid(tmp_path, method=method)
    found = [row for row in rows(rebuild(tmp_path), [methods.get(method).title], "Sinusoid")]
    assert [row[1] for row in found] == ["5", "10", "20"]
    assert "## Other runs" not in rebuild(tmp_path)


def test_every_context_the_paper_prints_is_there(tmp_path):
    text = rebuild(tmp_path)
    (mann,) = rows(text, ["MANN, no conv"], "Omniglot")
    assert mann[1:] == ["82.8 %", "94.9 %", "–", "–"]
    (lstm,) = [row for row in rows(text, ["meta-learner LSTM"], "miniImagenet") if len(row) == 3]
    assert lstm[1:] == ["43.44 ± 0.77 %", "60.60 ± 0.71 %"]
    (mann,) = rows(text, ["MANN, instance 2"], "Omniglot")
    assert mann[1:] == ["82.8 %", "not run", "[S2] table 1, second-hand"]
    (l2,) = rows(text, ["multi-task, l2"], "Sinusoid")
    assert l2[1:9] == ["5", "–", "not run", "7.18", "not run", "5.69", "not run", "5.60"]


def test_what_is_measured_beside_the_curve_stands_beside_its_published_value(tmp_path):
    """Whatever K of the N-way K-shot test, as the sequences are the same."""
    test = evaluation(
        transductive=None, published=None, values=[0.6], step=0, measures={"instance_2_accuracy": [0.5, 0.01]}
    )
    about = {"method": "mann", "method_title": "MANN", "evaluations": [test]}
    write_run(tmp_path, "omniglot_5way_1shot_mann", seed=3, **about)
    (two,) = rows(rebuild(tmp_path), ["MANN, instance 2"], "Omniglot")
    assert two[1:3] == ["82.8 %", "seed 3: **50.00 ± 1.00 %**"]
    (three,) = rows(rebuild(tmp_path), ["MANN, instance 3"], "Omniglot")
    assert three[2] == "not run"


@pytest.mark.parametrize("name, cell", PUBLISHED)
def test_the_command_beside_a_published_cell_runs_its_settings(name, cell):
    """Parsed as the command line does, they stand beside that cell."""
    given = dict(flag.removeprefix("--").partition("=")[::2] for flag in cells.command(name, cell).split()[2:])
    given = {key: _value(text) for key, text in given.items()}
    trained = settings.resolve(given.pop("datasource"), **given)
    assert cell in trained.cells(cell.num_shots, num_classes=cell.num_classes)


def _value(text):
    """Of a flag as it stands in a command."""
    try:
        return ast.literal_eval(text or "True")
    except ValueError:
        return text


# Methods of other papers

TOY = "5-way 1-shot<br>`python main.py --datasource=omniglot --method=toy`"
CELL = accuracy(("omniglot", 5, 1), (98.0, 0.2), 3, "[T]", normalisation="one query at a time")


@pytest.fixture
def toy(monkeypatch):
    """Puts a method with these published results, and other fields of its card, beside MAML."""

    def add(*published, **changes):
        card = methods.get("maml")._replace(title="Toy", paper="[T]", published=published, **changes)
        monkeypatch.setattr(methods, "get", lambda name, get=methods.get: card if name == "toy" else get(name))
        monkeypatch.setattr(methods, "names", lambda: ("maml", "toy"))

    return add


def write_toy(base, **changes):
    alone = evaluation(suffix="_one_at_a_time", transductive=False, values=[0.2, 0.8, 0.9, 0.875])
    tests = {"evaluations": [evaluation(), alone]}
    return write_run(base, "omniglot_5way_1shot_toy", **{"method": "toy", "method_title": "Toy", **tests, **changes})


def test_another_method_stands_in_the_same_table_with_what_differs_from_its_paper(toy, tmp_path):
    toy(CELL, differs="No hands.")
    write_toy(tmp_path)
    text = rebuild(tmp_path)
    (row,) = rows(text, ["Toy"], "Omniglot")
    assert row[1:6] == [TOY, "", "**91.25 ± 0.41 %**", "98.0 ± 0.2 %", "**87.50 ± 0.41 %**"]
    assert "\n- Toy: No hands.\n" in section(text, "Omniglot")
    assert "Toy" not in section(text, "The paper beside ours")
    assert omniglot(tmp_path)[0][3] == "not run"


def test_what_a_paper_has_beside_its_method_is_apart(toy, tmp_path):
    toy(CELL, *not_run("Toy by others", "[U]", {("omniglot", 5, 1): (90.0, 0.5), ("omniglot", 20, 1): 70.0}))
    write_toy(tmp_path)
    (row,) = rows(rebuild(tmp_path), ["Toy by others"], "Omniglot")
    assert row == ["Toy by others", "90.0 ± 0.5 %", "70.0 %", "95 % interval over tasks", "[U]"]


def test_what_a_run_without_published_results_differs_in_is_said(toy, tmp_path):
    toy(differs="No hands.")
    write_toy(tmp_path)
    assert "\n- Toy: No hands.\n" in section(rebuild(tmp_path), "Omniglot")


def test_a_paper_that_tests_both_ways_has_one_row(toy, tmp_path):
    together = accuracy(("omniglot", 5, 1), (99.0, 0.1), 3, "[T]", error_is="± of their own")
    toy(CELL, together)
    (row,) = rows(rebuild(tmp_path), ["Toy"], "Omniglot")
    assert row[2:6] == ["99.0 ± 0.1 %", "not run", "98.0 ± 0.2 %", "not run"]
    assert row[6] == "95 % interval over tasks, ± of their own"


@pytest.mark.parametrize("step_sizes, alone", [((0.1, 0.4), "**80.00 ± 0.41 %**"), ((), "")])
def test_where_the_step_size_is_chosen_it_is_for_each_way_by_itself(step_sizes, alone, toy, tmp_path):
    toy(CELL, step_sizes=step_sizes)
    other = evaluation(values=[0.2, 0.6, 0.7, 0.8], suffix="_alone", transductive=False, inner_lr=0.1)
    write_toy(tmp_path, evaluations=[evaluation(), other])
    (row,) = rows(rebuild(tmp_path), ["Toy"], "Omniglot")
    assert row[3:6:2] == ["**91.25 ± 0.41 %**", alone]


def test_a_training_that_does_not_depend_on_k_stands_beside_every_k(toy, tmp_path):
    toy(CELL._replace(num_shots=5, trained_shots=0))
    write_toy(tmp_path, evaluations=[evaluation(), evaluation(5, 5, values=[0.2, 0.8, 0.9, 0.95])])
    (row,) = rows(rebuild(tmp_path), ["Toy"], "Omniglot")
    tested = "<br>tested by `--train=False --test_set --train_update_batch_size=1 --update_batch_size=5`"
    assert row[1] == TOY.replace("1-shot", "5-shot") + tested and row[3] == "**95.00 ± 0.41 %**"


def test_a_training_that_does_not_depend_on_n_stands_beside_every_n(toy, tmp_path):
    """One that was tested with another N, and one that was trained with it."""
    toy(CELL._replace(num_classes=20), same_for_every_n=True)
    twenty = {"ways": 20, "suffix": "_20", "values": [0.2, 0.8, 0.9, 0.75]}
    write_toy(tmp_path, evaluations=[evaluation(), evaluation(**twenty)])
    (row,) = rows(rebuild(tmp_path), ["Toy"], "Omniglot")
    tested = "<br>tested by `--train=False --test_set --train_num_classes=5 --num_classes=20`"
    assert row[1] == TOY.replace("5-way", "20-way") + tested and row[3] == "**75.00 ± 0.41 %**"
    write_run(tmp_path, "b", method="toy", num_classes=20, evaluations=[evaluation(values=[0.2, 0.8, 0.9, 0.7])])
    commands = {row[1]: row[3] for row in rows(rebuild(tmp_path), ["Toy"], "Omniglot")}
    assert commands[TOY.replace("5-way", "20-way").replace("toy`", "toy --num_classes=20`")] == "**70.00 ± 0.41 %**"


def test_a_training_with_another_n_does_not(toy, tmp_path):
    toy(CELL._replace(num_classes=20))
    write_toy(tmp_path, evaluations=[evaluation(), evaluation(ways=20, suffix="_20")])
    (row,) = rows(rebuild(tmp_path), ["Toy"], "Omniglot")
    assert row[3] == "not run"


def test_a_training_with_another_k_says_so(toy, tmp_path):
    toy(CELL._replace(num_shots=5, trained_shots=1))
    write_toy(tmp_path, evaluations=[evaluation(), evaluation(5, 5, values=[0.2, 0.8, 0.9, 0.95])])
    (row,) = rows(rebuild(tmp_path), ["Toy"], "Omniglot")
    tested = "<br>tested by `--train=False --test_set --train_update_batch_size=1 --update_batch_size=5`"
    assert row[1] == TOY.replace("1-shot", "5-shot, trained with 1") + tested and row[3] == "**95.00 ± 0.41 %**"


def test_what_a_paper_has_of_other_settings_is_apart_until_it_is_run(toy, tmp_path):
    toy(CELL, CELL._replace(variant={"num_updates": 2}), CELL._replace(variant={"num_updates": 3}))
    write_toy(tmp_path, variant={"num_updates": 3})
    text = rebuild(tmp_path)
    assert [row[3] for row in rows(text, ["Toy"], "Omniglot")] == ["not run", "**91.25 ± 0.41 %**"]
    (row,) = rows(text, ["Toy, trained with K = 1: `--num_updates=2`"], "Omniglot")
    assert row[1] == "98.0 ± 0.2 %"


# What no published number stands beside


@pytest.mark.parametrize(
    "changes",
    [
        {"datasource": "glyphs", "dataset": "glyphs"},
        {"variant": {"inner_lr": 0.1}},
        {"num_shots": 5},
        {"num_classes": 7},
        {"evaluations": [evaluation(split="val")]},
        {"evaluations": [evaluation(step=1)]},
        {"variant": {"imported": "model60000"}},
    ],
)
def test_a_run_without_a_published_cell_is_listed_apart(changes, tmp_path):
    write_run(tmp_path, **changes)
    text = rebuild(tmp_path)
    before, after = text.split("## Every run")[1].split("## Other runs")
    number = "80.00" if changes.get("evaluations", [{"step": 3}])[0]["step"] == 1 else "91.25"
    assert number in after and number not in before + section(text, "The paper beside ours")


def test_a_run_by_the_papers_settings_is_found_whatever_its_folder_is_called(tmp_path):
    write_run(tmp_path, "mine", variant={"conv": False})
    assert opening(tmp_path, "Omniglot, 5-way 1-shot: MAML, no conv")[2] == "**91.25 ± 0.41 %**"
    assert opening(tmp_path)[2] == "not run"


def test_settings_that_count_as_the_same_do(tmp_path):
    """[C] has a meta-batch of 4 for miniImagenet's 5 shots, [P] of 2."""
    test = evaluation(5, 5, values=[0.2] * 10 + [0.63], step=10)
    task = {"datasource": "miniimagenet", "dataset": "miniimagenet", "num_shots": 5}
    write_run(tmp_path, evaluations=[test], variant={"num_tasks": 4}, **task)
    assert opening(tmp_path, "miniImagenet, 5-way 5-shot: MAML")[2] == "**63.00 ± 0.41 %**"


def test_a_stand_in_never_stands_beside_what_is_published(tmp_path):
    test = evaluation(values=[0.2] * 10 + [0.9125], step=10, iteration=5000)
    write_run(tmp_path, "tiny_imagenet_5way_1shot", evaluations=[test], trained=5000, **TINY)
    text = rebuild(tmp_path)
    assert opening(tmp_path, "miniImagenet, 5-way 1-shot: MAML")[2] == "not run"
    (row,) = rows(text, ["Tiny-ImageNet stand-in, 5-way 1-shot, test<br>`python main.py --seed=0`"])
    assert row[1] == "91.25 ± 0.41 %" and row[-2].startswith("5,000 of 60,000 iterations")
    assert row in rows(text, row[:1], "In place of miniImagenet") and "## Other runs" not in text


def test_what_a_training_was_cut_to_is_said(tmp_path):
    assert "too few" not in rebuild(tmp_path)
    write_run(tmp_path, cut="there are 7 classes to train on: trained on less")
    assert "- Omniglot, 5-way 1-shot, seed 0: there are 7 classes to train on: trained on less\n" in rebuild(tmp_path)


# Around the tables


def test_figures_are_linked_relative_once_an_experiment(tmp_path):
    for seed in (1, 0):
        (write_run(tmp_path, seed=seed) / "adaptation_curve.png").write_bytes(b"")
    text = rebuild(tmp_path)
    assert "](omniglot_5way_1shot/seed_0/adaptation_curve.png)" in text and "seed_1/adaptation_curve.png" not in text


def test_a_curve_of_one_point_is_not_shown(tmp_path):
    (write_run(tmp_path, evaluations=[evaluation(values=[0.9], step=0)]) / "adaptation_curve.png").write_bytes(b"")
    assert "adaptation_curve.png" not in rebuild(tmp_path)


def test_runs_are_listed_with_machine_and_wall_time(tmp_path):
    write_run(tmp_path)
    text = rebuild(tmp_path)
    assert "\na machine; python 3.11\n" in text
    folder = "[omniglot_5way_1shot, seed 0](omniglot_5way_1shot/seed_0)"
    assert f"| {folder} | `python main.py --seed=0` | 1 h 02 min | abc |" in text


def test_the_ledger_is_included_word_for_word(tmp_path):
    ledger = "## Deviations\n\n| a | ± |\n"
    (tmp_path / "deviations.md").write_text(ledger, encoding="utf-8")
    assert f"\n\n{ledger}\n## " in rebuild(tmp_path)


def test_the_page_ends_with_the_settings_of_every_published_cell(tmp_path):
    text = section(rebuild(tmp_path), "Settings of the published results")
    for name, cell in PUBLISHED:
        if cells.is_papers(name):
            assert text.count(f"| `{cells.command(name, cell)}` |") == 1
    (row,) = rows(text, ["Omniglot, 20-way 1-shot: MAML"])
    assert "inner_lr 0.1, num_updates 5" in row[-1] and "jit" not in text


def test_rebuilding_changes_nothing(tmp_path):
    for seed in (3, 20):
        write_run(tmp_path, seed=seed)
        write_sinusoid(tmp_path, seed=seed)
    assert rebuild(tmp_path) == rebuild(tmp_path)


MEANINGS = ("over tasks", "between seeds", "over 3 seeds", "of what is not known here")


def test_every_plus_minus_is_explained_in_its_table(tmp_path):
    """By the head of its column or of the table's first, or by a cell of its row."""
    for seed in (1, 2):
        write_run(tmp_path, seed=seed)
        write_sinusoid(tmp_path, seed=seed)
    write_sinusoid(tmp_path, method="pretrained")
    found = 0
    for block in rebuild(tmp_path).split("\n\n"):
        head, *lines = [line.strip("|").split("|") for line in block.splitlines() if line.startswith("|")] or [[]]
        for row in lines:
            for name, cell in zip(head, row, strict=True):
                if "±" in cell:
                    found += 1
                    said = (name, head[0], *row)
                    assert any(meaning in text for meaning in MEANINGS for text in said), row
    assert found > 20


def test_a_damaged_summary_is_named_and_the_page_kept(tmp_path):
    (tmp_path / "README.md").write_text("old")
    write_run(tmp_path, hardware=None)
    with pytest.raises(UserError, match="summary.json.*hardware"):
        page.rebuild(tmp_path)
    assert (tmp_path / "README.md").read_text() == "old"


@pytest.mark.parametrize("name", ["README.md", "index.html"])
def test_a_page_that_is_not_ours_is_kept(tmp_path, name):
    (tmp_path / name).write_text("# My project\n")
    write_run(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=f"{name} is no page of results, and would be written over; expected"):
        page.rebuild(tmp_path)
    assert (tmp_path / name).read_text() == "# My project\n" and sorted(tmp_path.rglob("*")) == before


def test_the_pages_that_are_published_are_ours():
    page.check_place(page.PROJECT / "results")


def test_a_missing_results_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="none"):
        page.rebuild(tmp_path / "none")


# Other packages' parts


class Part:
    """A part of the page with one table."""

    KIND = "rl"

    def __init__(self):
        self.checked = []

    def check(self, run):
        self.checked.append(run.experiment)

    def beside(self, runs):
        return [Row("Walk", "1.00", f"{len(runs)} runs", "standard error over tasks", front=True)]

    def section(self, runs, base):
        return "\n## Walking\n\n" + table(["run"], [[run.experiment] for run in runs])

    def pictures(self, runs, base):
        return "\nWalking man\n"

    def settings(self):
        return [["Walk", "`python walk.py`", "legs 2"]]


def test_a_part_gets_its_runs_and_its_places(tmp_path):
    write_run(tmp_path, "walk", kind="rl", unit="return")
    write_run(tmp_path)
    part = Part()
    text = rebuild(tmp_path, parts=[part])
    assert part.checked == ["walk"]
    assert rows(text, ["Walk", "1.00", "1 runs"], "The paper beside ours")
    assert "| walk |" in section(text, "Walking") and "walk" not in section(text, "Omniglot")
    assert "Walking man" in section(text, "Figures")
    assert rows(text, ["Walk", "`python walk.py`"], "Settings of the published results")


# The project's README

MARKED = f"before {page.MARKS[0]} old {page.MARKS[1]} after"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with a marked README."""
    monkeypatch.setattr(page, "PROJECT", tmp_path)
    (tmp_path / "README.md").write_text(MARKED)
    (tmp_path / "results").mkdir()
    return tmp_path


def front(project, **more):
    page.rebuild(project / "results", **more)
    return (project / "README.md").read_text(encoding="utf-8")


def test_the_projects_readme_has_a_row_for_each_experiment_that_was_run(project):
    for seed in (1, 2):
        write_run(project / "results", seed=seed)
    write_run(project / "results", seed=3, trained=1000)
    write_sinusoid(project / "results")
    text = front(project, parts=[Part()])
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert lines[2:] == [
        ["Omniglot, 5-way 1-shot: MAML", "98.7 ± 0.4 %", "**91.25 ± 0.41 %**", "95 % interval over tasks", "1, 2",
         "60,000", "1 h 02 min"],
        ["Sinusoid, 5 points, after 1, 5, 10 steps: MAML", "0.67, 0.38, 0.35",
         "**0.500 ± 0.010**, **0.250 ± 0.010**, **0.125 ± 0.010**", "95 % interval over tasks", "0", "70,000",
         "1 h 02 min"],
        ["Walk", "1.00", "0 runs", "standard error over tasks"],
    ]  # fmt: skip
    assert text.startswith(f"before {page.MARKS[0]}\n") and text.endswith(f"{page.MARKS[1]} after")


def test_its_table_is_less_than_a_screen(project):
    class Long(Part):
        def beside(self, runs):
            return [Row(f"Walk {i}", "1.00", "2.00", front=True) for i in range(40)]

    text = front(project, parts=[Long()])
    assert "Walk 0" in text and "Walk 39" not in text and "| and 28 more |" in text
    assert text.count("\n") <= 17


def test_its_picture_has_a_wave_and_a_classifier(project):
    results = project / "results"
    write_run(results, evaluations=[evaluation(published=published({3: 0.987}))])
    write_run(results, seed=1, evaluations=[evaluation(published=None)])
    assert "front.png" not in front(project)
    folder = write_sinusoid(results)
    for shots in (5, 10):
        points = {"x": 0.5, "truth": 1.0, "step_0": 0.0, "step_1": 0.5, "step_10": 0.9}
        files.write_table(folder / f"fits_{shots}shot.csv", tuple(points), [points])
        files.write_table(folder / f"support_{shots}shot.csv", ("x", "y"), [{"x": 0.5, "y": 1.0}])
    assert f"{page.MARKS[0]}\n![a wave" in front(project) and "(results/front.png)" in front(project)
    assert (results / "front.png").read_bytes().startswith(b"\x89PNG")


def test_other_methods_are_left_to_the_page(project):
    write_sinusoid(project / "results", method="pretrained")
    write_run(project / "results", "tiny_imagenet_5way_1shot", **TINY)
    assert "pretrained" not in front(project) and "Tiny" not in front(project)


def test_a_readme_elsewhere_is_left_alone(project):
    elsewhere = project / "elsewhere" / "results"
    write_run(elsewhere)
    (elsewhere.parent / "README.md").write_text(MARKED)
    page.rebuild(elsewhere)
    write_run(project / "logs")
    page.rebuild(project / "logs")
    assert (elsewhere.parent / "README.md").read_text() == (project / "README.md").read_text() == MARKED


def test_a_readme_without_marks_is_left_alone(project):
    (project / "README.md").write_text("mine")
    write_run(project / "results")
    assert front(project) == "mine"


def test_the_projects_own_results_are_next_to_its_readme():
    assert (page.PROJECT / "results" / "README.md").exists() and (page.PROJECT / "maml" / "reports").is_dir()


def test_the_summary_written_here_is_a_whole_one(tmp_path):
    assert files.read_json(write_run(tmp_path) / "summary.json") == summary()
