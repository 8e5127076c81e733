"""The reinforcement-learning part of the page of results, and of the project's README, follow from the run folders."""

import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import evaluation, write_run

from data_generators.errors import UserError
from maml.reports import page, summaries
from maml.runs import files
from rl import page as part
from rl import published
from rl.settings import METHODS
from rl.tasks import DATASOURCES

ROOT = Path(__file__).parents[2]


def rebuild(base):
    return page.rebuild(base, parts=[part]).read_text(encoding="utf-8")


def part_runs(base):
    return [run for run in summaries.load_all(base) if run.kind == part.KIND]


def rows(text, start, heading="### Half-cheetah, goal velocity"):
    """The cells of the rows below a heading whose first cells begin so."""
    section = text.split(f"\n{heading}\n")[1].split("\n#")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()]
    return [line for line in lines if len(line) > 1 and line[0].startswith(start)]


def test_without_runs_every_curve_is_not_run(tmp_path):
    text = rebuild(tmp_path).split("## Reinforcement learning")[1]
    for datasource in DATASOURCES:
        for method in METHODS:
            assert f"`{published.command(datasource, method)}` | measured | not run |" in text
    assert text.count("not run") == 30 and text.count("| published |") == 22  # of context vectors two, of ANIL none


def sections(text):
    """{heading: text below it} of a page."""
    return {part.split("\n")[0]: part for part in text.split("\n## ")}


def test_the_other_sections_stay_as_they_are(tmp_path):
    (tmp_path / "deviations.md").write_text("## Deviations\n")
    alone = sections(page.rebuild(tmp_path, "alone.md").read_text(encoding="utf-8"))
    ours = sections(rebuild(tmp_path))
    assert {heading for heading in ours if ours[heading] != alone.get(heading)} == {
        "The paper beside ours", "Reinforcement learning", "Settings of the published results"}  # fmt: skip
    assert alone.keys() < ours.keys()


def test_measured_stands_above_published(tmp_path):
    """Published: [P] figure 5, as the authors stored it; write_run measures 1 more, ± 2."""
    write_run(tmp_path)
    text = rebuild(tmp_path)
    (measured,) = rows(text, "MAML")
    assert measured[:2] == ["MAML<br>`python main.py --datasource=cheetah_vel`", "measured"]
    assert measured[2:6] == ["**−128.53 ± 2.00**", "**−77.57 ± 2.00**", "**−65.62 ± 2.00**", "**−59.78 ± 2.00**"]
    assert measured[6:] == ["standard error over tasks", "40", "500 (best: 500)", "1"]
    below = rows(text, "")[rows(text, "").index(measured) + 1]
    assert below[:2] == ["", "published"] and below[6:] == ["standard error over tasks", "40", "475", ""]
    assert below[2:6] == ["−129.53 ± 8.54", "−78.57 ± 5.09", "−66.62 ± 4.62", "−60.78 ± 4.45"]


def test_oracle_and_random_policy(tmp_path):
    for method in ("oracle", "random"):
        write_run(tmp_path, method=method)
    (oracle,), (random,) = (rows(rebuild(tmp_path), method) for method in ("oracle", "random"))
    assert oracle[2:] == ["**−53.47 ± 2.00**", "", "", "", "standard error over tasks", "40", "975 (best: 975)", "1"]
    assert random[2] == "−253.83 ± 2.00" and random[-2] == "none"


def test_a_context_vector_stands_above_what_is_printed_of_it(tmp_path):
    """[P] table 5, without ±."""
    write_run(tmp_path, "cheetah_dir", "context_vector")
    text = rebuild(tmp_path)
    section = text.split("### Half-cheetah, goal direction")[1]
    published = "|  | published | −40.49 | −44.08 | −38.27 | −42.50 |  |  |  |  |\n"
    (row,) = rows(text, "context vector", "### Half-cheetah, goal direction")
    assert row[2:4] == ["**−39.49 ± 2.00**", "**−43.08 ± 2.00**"] and published in section
    (opening,) = [row for row in part.beside(part_runs(tmp_path)) if row.is_run]
    assert (opening.published, opening.measured) == ("−44.08", "**−43.08 ± 2.00**")


def test_anil_has_nothing_published_beside_it(tmp_path):
    write_run(tmp_path, method="anil")
    text = rebuild(tmp_path)
    (row,) = rows(text, "ANIL")
    assert row[:3] == [
        "ANIL<br>`python main.py --datasource=cheetah_vel --method=anil`",
        "measured",
        "**−4.00 ± 2.00**",
    ]
    assert not [row for row in part.beside(part_runs(tmp_path)) if row.is_run]
    assert "anil" not in [experiment.flags[-1] for experiment in part.experiments()]


def test_short_run_is_marked(tmp_path):
    write_run(tmp_path, checkpoint="latest", trained=100)
    (row,) = rows(rebuild(tmp_path), "MAML")
    assert row[2] == "−128.53 ± 2.00" and row[-2] == "100 of 500 iterations (latest)"


def test_every_seed_has_a_row(tmp_path):
    for seed in (10, 2):
        write_run(tmp_path, seed=seed)
    assert [row[-1] for row in rows(rebuild(tmp_path), "MAML")] == ["2", "10"]


def test_diverged_simulations_are_told(tmp_path):
    write_run(tmp_path, diverged=3)
    (row,) = rows(rebuild(tmp_path), "MAML")
    assert row[-3] == "40 (3 simulations diverged)"


def test_other_settings_are_listed_apart(tmp_path):
    write_run(tmp_path, given={"stop_grad": True})
    text = rebuild(tmp_path)
    assert rows(text, "MAML")[0][2] == "not run"
    (row, published) = rows(text, "", "### Other reinforcement-learning runs")[-2:]
    title = "Half-cheetah, goal velocity: MAML, first order<br>`python main.py --seed=1`"
    assert row[:3] == [title, "measured", "−128.53 ± 2.00"] and published[:4:3] == ["", "−78.57 ± 5.09"]


def test_other_tests_of_the_same_policy_are_listed_apart(tmp_path):
    other = evaluation(file="adaptation_test_iteration_25.csv", checkpoint="iteration 25", iteration=25, tasks=10)
    write_run(tmp_path, others=[other])
    (row,) = rows(rebuild(tmp_path), "Half-cheetah", "### The same policies, tested otherwise")
    assert row == ["Half-cheetah, goal velocity: MAML, seed 1", "iteration 25", "10", "20", "0.1, 0.05, 0.05",
                   "−3.00 ± 0.25", "−2.00 ± 0.25", "−1.50 ± 0.25", "−1.00 ± 0.25",
                   "standard error over tasks"]  # fmt: skip


def test_figures_and_the_film_of_the_policy_that_is_quoted(tmp_path):
    for name in ("figure_5.png", "learning_curve.png", "filmstrip_iteration_90.png", "filmstrip_iteration_80.png"):
        (write_run(tmp_path, trained=100, iteration=90) / name).write_bytes(b"")
    text, place = rebuild(tmp_path).split("## Figures")[1], "](cheetah_vel/seed_1/"
    assert f"\nHalf-cheetah, goal velocity: figure 5\n\n![figure 5{place}figure_5.png)\n" in text
    named = "Half-cheetah, goal velocity: MAML, learning curve, 100 of 500 iterations"
    assert f"\n{named}\n\n![learning curve{place}learning_curve.png)\n" in text
    assert f"{place}filmstrip_iteration_90.png)" in text and "iteration_80" not in text


def test_a_film_of_a_later_seed_stands_among_the_figures_of_the_first(tmp_path):
    (write_run(tmp_path, trained=100, iteration=90) / "learning_curve.png").write_bytes(b"")
    for seed in (2, 3):
        folder = write_run(tmp_path, seed=seed, trained=100, iteration=80)
        for name in ("filmstrip_iteration_80.png", "learning_curve.png"):
            (folder / name).write_bytes(b"")
    text = rebuild(tmp_path).split("## Figures")[1]
    assert text.count("](cheetah_vel/seed_2/filmstrip_iteration_80.png)") == 1
    assert text.count("filmstrip_iteration") == 1 and "](cheetah_vel/seed_1/learning_curve.png)" in text


def test_figures_are_in_the_order_of_the_methods(tmp_path):
    for method in ("oracle", "pretrained"):
        (write_run(tmp_path, method=method) / "learning_curve.png").write_bytes(b"")
    text = rebuild(tmp_path)
    assert text.index("](cheetah_vel_pretrained/seed_1/learning") < text.index("](cheetah_vel_oracle/seed_1/learning")


def test_the_opening_table_has_a_row_for_each_published_curve(tmp_path):
    """Of several seeds the mean, ± the mean of their standard errors, and no shorter training beside whole ones."""
    write_run(tmp_path, values=[-1.0, -80.0, -3.0, -4.0])
    write_run(tmp_path, seed=2, values=[-1.0, -90.0, -3.0, -4.0])
    write_run(tmp_path, seed=3, trained=100, values=[-1.0, -10.0, -3.0, -4.0])
    write_run(tmp_path, given={"stop_grad": True})
    beside = {row.experiment: row for row in part.beside(part_runs(tmp_path))}
    assert len(beside) == 22
    row = beside["Half-cheetah, goal velocity, after 1 step: MAML"]
    assert (row.published, row.measured) == ("−78.57 ± 5.09 (iteration 475)", "**−85.00 ± 2.00**")
    assert row.spread == "standard error over tasks"
    assert (row.tasks, row.seeds, row.iterations, row.front) == ("40", "1, 2", "500", True)
    assert not beside["Half-cheetah, goal velocity, after 0 steps: oracle"].is_run


def test_where_no_seed_was_trained_to_the_end_all_speak(tmp_path):
    """By hand: the mean of −80 and −10."""
    write_run(tmp_path, trained=200, values=[-1.0, -80.0, -3.0, -4.0])
    write_run(tmp_path, seed=3, trained=100, values=[-1.0, -10.0, -3.0, -4.0])
    (row,) = [row for row in part.beside(part_runs(tmp_path)) if row.is_run]
    assert (row.measured, row.seeds, row.iterations) == ("−45.00 ± 2.00", "1, 3", "100 to 200 of 500 iterations")


def test_a_random_policy_has_no_training_to_tell_of(tmp_path):
    write_run(tmp_path, "point", "random")
    (row,) = [row for row in part.beside(part_runs(tmp_path)) if row.is_run]
    assert row.experiment == "2-D navigation, after 1 step: random" and (row.iterations, row.time) == ("none", "")


def test_the_last_table_has_the_settings_of_each_published_curve():
    rows = {experiment: (command, text) for experiment, command, text in part.settings()}
    command, text = rows["2-D navigation: oracle"]
    assert command == "`python main.py --datasource=point --baseline=oracle`"
    assert "rollouts 10" in text and "oracle True" in text and "metatrain_iterations 100" in text
    assert len(rows) == 30


def test_runs_are_listed_with_machine_and_wall_time(tmp_path):
    write_run(tmp_path)
    assert (
        "\na machine; python 3.11\n\n| run | command | wall time | commit |\n| --- | --- | --- | --- |\n"
        "| [cheetah_vel, seed 1](cheetah_vel/seed_1) | `python main.py --seed=1` | 1 h 02 min | abc |\n"
    ) in rebuild(tmp_path)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"method": "mml"}, "method is 'mml', expected one of maml, pretrained, random, oracle, anil, "),
        ({"datasource": "cheetah"}, "datasource is 'cheetah', expected one of point, "),
    ],
)
def test_what_the_tables_cannot_take_is_named_and_the_page_kept(changes, named, tmp_path):
    (tmp_path / "README.md").write_text("old")
    folder = write_run(tmp_path)
    files.write_json(folder / "summary.json", {**files.read_json(folder / "summary.json"), **changes})
    with pytest.raises(UserError, match=f"summary.json: damaged, {named}"):
        rebuild(tmp_path)
    assert (tmp_path / "README.md").read_text() == "old"


def test_more_steps_than_any_curve_has_are_no_test_of_ours(tmp_path):
    write_run(tmp_path, others=[evaluation(file="b.csv", values=[1.0] * 6, errors=[1.0] * 6)])
    with pytest.raises(UserError, match="b.csv has 5 gradient steps, expected at most 3"):
        rebuild(tmp_path)


WITHOUT = """
import runpy, sys
sys.modules.update(mujoco=None, gymnasium=None)  # can't be imported
sys.argv = ["main.py", "--report", "--logdir=results"]
runpy.run_path(sys.path[0] + "/main.py", run_name="__main__")
"""


def test_the_command_needs_no_mujoco_and_draws_first(tmp_path):
    folder = write_run(tmp_path / "results")
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{WITHOUT}"],
                          check=False, capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"wrote {Path('results/README.md')}\n"), done.stderr
    assert (folder / "figure_5.png").exists()
    assert "](cheetah_vel/seed_1/figure_5.png)" in (tmp_path / "results/README.md").read_text(encoding="utf-8")
