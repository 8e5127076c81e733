"""Tests of a trained policy: tables, summary, and the curve beside the published one."""

import json

import numpy as np
import pytest

from maml import records
from rl import config, experiment, published, testing

FEW = dict(meta_batch_size=2, update_batch_size=2, jit=False, tasks_per_chunk=2)


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """(run folder, summary) of the random policy of 2-D navigation, by the published protocol."""
    folder = tmp_path_factory.mktemp("results") / "point_random" / "seed_1"
    run = experiment.Run(config.resolve("point", "random"), folder, log=False)
    run.train()
    return folder, testing.test(run, config.test_protocol(config.resolve("point", "random")), "the command")


def test_the_summary_is_of_the_tables(tested):
    folder, summary = tested
    assert records.read_json(folder / "summary.json") == json.loads(json.dumps(summary))
    curve = records.read_table(folder / "adaptation_test.csv")
    assert [row["step"] for row in curve] == [0, 1, 2, 3, 4]
    assert [row["return"] for row in curve] == summary["returns"]
    assert [row["return_sem"] for row in curve] == summary["sems"]
    assert summary["measured"] == summary["returns"][1] and summary["interval"] == 1.96 * summary["sems"][1]


def test_the_curve_is_over_40_tasks(tested):
    folder, summary = tested
    of_tasks = records.read_table(folder / "returns_test.csv")
    goals = [[row["goal_1"], row["goal_2"]] for row in of_tasks]
    np.testing.assert_allclose(goals[:1], [[-0.08297800, 0.22032449]], rtol=1e-6)  # NumPy's legacy generator, seed 1
    assert len(of_tasks) == 40 == summary["tasks"]
    for step in range(5):
        values = np.array([row[f"step_{step}"] for row in of_tasks])
        assert values.mean() == pytest.approx(summary["returns"][step])
        assert values.std(ddof=1) / np.sqrt(40) == pytest.approx(summary["sems"][step])


def test_adaptation_helps_a_random_policy(tested):
    """Initial weights decide: eight seeds gave −66 to −138 before adaptation, −35 to −54 after four steps."""
    returns = tested[1]["returns"]
    assert -160 < returns[0] < -50 and returns[0] + 20 < returns[4] < -25


def test_the_published_curve_stands_beside(tested):
    summary = tested[1]
    curve = published.find("point", "random")
    assert summary["published_returns"] == list(curve.means) and summary["published"] == curve.means[1]
    lines = testing.headline(summary).splitlines()
    assert len(lines) == 8 and "-82.66 ±  1.12" in lines[3]
    assert "40 episodes of each policy, step sizes 0.5, 0.25, 0.25, 0.25" in lines[1]


def test_diverged_simulations_are_said(tested):
    assert testing.headline(tested[1] | {"diverged": 2}).endswith("2 episodes ended because the simulation diverged")
    assert "diverged" not in testing.headline(tested[1])


def test_trajectories_of_one_task(tested):
    folder, _ = tested
    table = records.read_table(folder / "trajectories_test.csv")
    assert {(row["task"], round(row["goal_1"], 4), round(row["goal_2"], 4)) for row in table} == {(6, -0.2955, 0.3781)}
    assert {row["step"] for row in table} == {0, 1, 2, 3, 4} and {row["episode"] for row in table} == set(range(5))
    starts = [row for row in table if row["time"] == 0]
    assert len(starts) == 25 and all(row["x"] == row["y"] == 0 for row in starts)
    moves = np.diff([[row["x"], row["y"]] for row in table[:50]], axis=0)
    assert 0 < np.abs(moves).max() <= 0.1 + 1e-6


def test_a_film_goes_with_the_policy_it_shows(tested):
    folder, _ = tested
    run = experiment.Run(config.resolve("point", "random"), folder, log=False)
    films = [folder / "filmstrip_tasks_2.png", folder / "filmstrip.png"]
    for film in films:
        film.write_bytes(b"")
    testing.test(run, config.test_protocol(run.config, tasks=2, rollouts=None), "another")
    assert [film.exists() for film in films] == [False, True]
    (folder / "adaptation_test_tasks_2.csv").unlink()
    (folder / "returns_test_tasks_2.csv").unlink()


def test_another_protocol_is_added_and_leaves_the_headline(tested):
    folder, summary = tested
    run = experiment.Run(config.resolve("point", "random"), folder, log=False)
    other = testing.test(run, config.test_protocol(config.resolve("point", "random"), rollouts=2, tasks=3, first_lr=0.1), "another")
    assert other["published"] is None and "nothing published" in testing.headline(other)
    recorded = records.read_json(folder / "summary.json")
    assert recorded["measured"] == summary["measured"] and recorded["command"] == "the command"
    files = {"adaptation_test.csv", "adaptation_test_rollouts_2_tasks_3_lr_0.1.csv"}
    assert files <= {e["file"] for e in recorded["evaluations"]}
    assert len(records.read_table(folder / "returns_test_rollouts_2_tasks_3_lr_0.1.csv")) == 3


def test_other_settings_than_the_papers_have_nothing_beside_them(tmp_path):
    settings = config.resolve("point", metatrain_iterations=0, horizon=5, **FEW)
    run = experiment.Run(settings, tmp_path / "point" / "seed_1", log=False)
    run.train()
    summary = testing.test(run, config.test_protocol(settings, tasks=2), "command")
    assert summary["published"] is None and "of 0 of 100 iterations" in testing.headline(summary)
    assert not (tmp_path / "point" / "seed_1" / "trajectories_test.csv").exists()


def test_the_oracle_does_not_adapt(tmp_path):
    settings = config.resolve("point", "oracle", metatrain_iterations=0)
    run = experiment.Run(settings, tmp_path / "point_oracle" / "seed_1", log=False)
    run.train()
    summary = testing.test(run, config.test_protocol(config.resolve("point", "oracle")), "command")
    assert summary["step"] == 0 and len(summary["returns"]) == 1
    assert summary["published"] == pytest.approx(-2.288)
