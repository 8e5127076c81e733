"""The reinforcement-learning part of the page of results, and of the project's README, follow from the run folders."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import write_run

from data_generators.errors import UserError
from maml import records
from maml import report as page
from rl import published, report

ROOT = Path(__file__).parents[2]


def rebuild(base):
    return page.rebuild(base, parts=[report]).read_text(encoding="utf-8")


def rows(text, start, heading="### Half-cheetah, goal velocity"):
    """The cells of the rows below a heading whose first cells begin so."""
    section = text.split(f"\n{heading}\n")[1].split("\n#")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()]
    return [line for line in lines if len(line) > 1 and line[0].startswith(start)]


def evaluation(**changes):
    """An entry of a summary's evaluations that is the headline's of write_run but for `changes`."""
    return {"file": "a.csv", "tasks": 40, "rollouts": 20, "learning_rates": [0.1, 0.05, 0.05], "checkpoint": "best",
            "iteration": 500, "returns": [-3.0, -2.0, -1.5, -1.0], "sems": [0.25] * 4, **changes}  # fmt: skip


def test_without_runs_every_curve_is_not_run(tmp_path):
    text = rebuild(tmp_path).split("## Reinforcement learning")[1]
    for command in published.COMMANDS.values():
        assert f"`{command}` | measured | not run |" in text
    assert text.count("not run") == text.count("| published |") - 2 == 20  # context vectors are never run


def test_the_other_sections_stay_as_they_are(tmp_path):
    (tmp_path / "deviations.md").write_text("## Deviations\n")
    alone = page.rebuild(tmp_path, "alone.md").read_text(encoding="utf-8")
    before, rest = rebuild(tmp_path).split("\n## Reinforcement learning\n")
    assert before + rest[rest.index("\n## ") :] == alone


def test_measured_stands_above_published(tmp_path):
    """Published: [P] figure 5, as the authors stored it; write_run measures 1 more, ± 2."""
    write_run(tmp_path)
    text = rebuild(tmp_path)
    (measured,) = rows(text, "MAML")
    assert measured[:2] == ["MAML<br>`python main.py --datasource=cheetah_vel`", "measured"]
    assert measured[2:6] == ["**−128.53 ± 2.00**", "**−77.57 ± 2.00**", "**−65.62 ± 2.00**", "**−59.78 ± 2.00**"]
    assert measured[6:] == ["500 (best: 500)", "40", "1"]
    below = rows(text, "")[rows(text, "").index(measured) + 1]
    assert below[:2] == ["", "published"] and below[6:] == ["475", "40", ""]
    assert below[2:6] == ["−129.53 ± 8.54", "−78.57 ± 5.09", "−66.62 ± 4.62", "−60.78 ± 4.45"]


def test_oracle_and_random_policy(tmp_path):
    for method in ("oracle", "random"):
        write_run(tmp_path, method=method)
    (oracle,), (random,) = (rows(rebuild(tmp_path), method) for method in ("oracle", "random"))
    assert oracle[2:] == ["**−53.47 ± 2.00**", "", "", "", "975 (best: 975)", "40", "1"]
    assert random[2] == "**−253.83 ± 2.00**" and random[-3] == "none"


def test_context_vector_is_context(tmp_path):
    """[P] table 5."""
    (row,) = rows(rebuild(tmp_path), "context vector", "### Half-cheetah, goal direction")
    assert row == ["context vector", "published", "−40.49", "−44.08", "−38.27", "−42.50", "", "", ""]


def test_short_run_is_marked(tmp_path):
    write_run(tmp_path, checkpoint="latest", iteration=100, iterations_total=100)
    (row,) = rows(rebuild(tmp_path), "MAML")
    assert row[2] == "−128.53 ± 2.00" and row[-3] == "**100 of 500 iterations** (latest)"


def test_every_seed_has_a_row(tmp_path):
    for seed in (10, 2):
        write_run(tmp_path, seed=seed)
    assert [row[-1] for row in rows(rebuild(tmp_path), "MAML")] == ["2", "10"]


def test_diverged_simulations_are_told(tmp_path):
    write_run(tmp_path, diverged=3)
    (row,) = rows(rebuild(tmp_path), "MAML")
    assert row[-2] == "40 (3 simulations diverged)"


def test_other_settings_are_listed_apart(tmp_path):
    write_run(tmp_path, experiment="cheetah_vel_first_order", papers=False)
    text = rebuild(tmp_path)
    assert rows(text, "MAML")[0][2] == "not run"
    (row,) = rows(text, "Half-cheetah", "### Other reinforcement-learning runs")
    assert row[:2] == ["Half-cheetah, goal velocity: MAML, first order<br>`python main.py --seed=1`", "−128.53 ± 2.00"]


def test_other_tests_of_the_same_policy_are_listed_apart(tmp_path):
    write_run(tmp_path, evaluations=[evaluation(), evaluation(checkpoint="iteration 25", iteration=25, tasks=10)])
    (row,) = rows(rebuild(tmp_path), "Half-cheetah", "### The same policies, tested otherwise")
    assert row == ["Half-cheetah, goal velocity: MAML, seed 1", "iteration 25", "10", "20", "0.1, 0.05, 0.05",
                   "−3.00 ± 0.25", "−2.00 ± 0.25", "−1.50 ± 0.25", "−1.00 ± 0.25"]  # fmt: skip


def test_figures_stand_below_their_table(tmp_path):
    for name in ("figure_5.png", "learning_curve.png"):
        (write_run(tmp_path) / name).write_bytes(b"")
    section = rebuild(tmp_path).split("### Half-cheetah, goal velocity")[1].split("###")[0]
    assert "\nHalf-cheetah, goal velocity: figure 5\n\n![figure 5](cheetah_vel/seed_1/figure_5.png)\n" in section
    assert "\nHalf-cheetah, goal velocity: MAML, learning curve\n\n![learning curve](cheetah_vel/seed_1/" in section


def test_figures_are_in_the_order_of_the_methods(tmp_path):
    for method in ("oracle", "pretrained"):
        (write_run(tmp_path, method=method) / "learning_curve.png").write_bytes(b"")
    text = rebuild(tmp_path)
    assert text.index("](cheetah_vel_pretrained/seed_1/learning") < text.index("](cheetah_vel_oracle/seed_1/learning")


def test_runs_are_listed_with_machine_and_wall_time(tmp_path):
    write_run(tmp_path)
    assert (
        "\na machine; python 3.11\n\n| run | command | wall time | commit |\n| --- | --- | --- | --- |\n"
        "| [cheetah_vel, seed 1](cheetah_vel/seed_1) | `python main.py --seed=1` | 1 h 02 min | abc |\n"
    ) in rebuild(tmp_path)


def test_the_supervised_report_passes_over_these_runs(tmp_path):
    write_run(tmp_path)
    assert page.load_runs(tmp_path) == []


def test_this_report_passes_over_supervised_runs(tmp_path):
    folder = write_run(tmp_path)
    records.write_json(tmp_path / "sinusoid_10shot" / "seed_1" / "summary.json", {"unit": "mse"})
    assert [run.folder for run in report.load_runs(tmp_path)] == [folder]


def test_the_projects_readme_has_a_row_for_each_run(tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "results"
    readme.write_text(f"before {page.MARKS[0]} old {page.MARKS[1]} after")
    write_run(results, "cheetah_dir", "oracle")
    write_run(results, "cheetah_dir", iterations_total=100, iteration=100)
    write_run(results, "cheetah_dir", experiment="cheetah_dir_first_order", papers=False)
    rebuild(results)
    *_, first, second, last = readme.read_text(encoding="utf-8").splitlines()
    name = "Half-cheetah, goal direction"
    assert [line.strip("| ").split(" | ") for line in (first, second)] == [
        [f"{name}: MAML, seed 1, after 1 step: return ± standard error", "293.19 ± 8.79", "294.19 ± 2.00",
         "**100 of 500 iterations**"],
        [f"{name}: oracle, seed 1, after 0 steps: return ± standard error", "442.69 ± 4.33", "**443.69 ± 2.00**",
         "500"],
    ]  # fmt: skip
    assert last == "<!-- /results --> after"


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"rollouts": None, "commit": 1}, "expected a number, text or list for rollouts, commit"),
        ({"returns": []}, r"got returns \[\]"),
        ({"returns": [1.0, None, 1.0, 1.0]}, r"got returns \[1.0, None"),
        ({"sems": [1.0]}, r"got sems \[1.0\]"),
        ({"step": 4}, "got step 4"),
        ({"method": "mml"}, "got method 'mml'"),
        ({"datasource": "cheetah"}, "got datasource 'cheetah'"),
        ({"published_returns": 3}, "got published_returns 3"),
        ({"evaluations": [{"file": "a.csv"}]}, "got evaluations"),
        ({"evaluations": [evaluation(sems=[0.25])]}, "got evaluations"),
        ({"unit": "returns"}, "unit is 'returns', expected one of accuracy, mse, return"),
    ],
)
def test_damaged_summary_is_named_and_the_page_kept(changes, named, tmp_path):
    (tmp_path / "README.md").write_text("old")
    folder = write_run(tmp_path)
    records.write_json(folder / "summary.json", {**records.read_json(folder / "summary.json"), **changes})
    with pytest.raises(UserError, match=f"summary.json: damaged, [^\n]*{named}"):
        rebuild(tmp_path)
    assert (tmp_path / "README.md").read_text() == "old"


WITHOUT = """
import sys
sys.modules.update(mujoco=None, gymnasium=None, tensorflow=None)  # can't be imported
import main
main.parse_flags(["main.py", "--report", "--logdir=results"])
sys.exit(main.main([]))
"""


def test_the_command_needs_neither_mujoco_nor_tensorflow_and_draws_first(tmp_path):
    folder = write_run(tmp_path / "results")
    done = subprocess.run([sys.executable, "-c", WITHOUT], check=False, capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"wrote {Path('results/README.md')}\n"), done.stderr
    assert (folder / "figure_5.png").exists()
    assert "](cheetah_vel/seed_1/figure_5.png)" in (tmp_path / "results/README.md").read_text(encoding="utf-8")
