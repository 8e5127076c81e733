"""Policies in run folders: trained, killed and gone on with, the best θ kept, tested."""

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml.runs import files, testing
from maml.runs.checkpoints import Best, Latest
from maml.runs.run import Run
from rl import published
from rl.learner import METRICS_COLUMNS, PolicyLearner
from rl.meta_rl import MetaRL
from rl.protocol import protocol_of
from rl.settings import resolve

FEW = dict(meta_batch_size=2, update_batch_size=2, horizon=6, jit=False, tasks_per_chunk=2)


def make_run(folder, method="maml", iterations=4, **given):
    few = FEW | dict(metatrain_iterations=iterations) | (dict(meta_batch_size=1) if method == "oracle" else {})
    return Run(PolicyLearner(resolve("point", method, **few, **given)), folder, log=False)


def rows(folder, but=("sampling_seconds", "learning_seconds")):
    """metrics.csv without what differs from run to run."""
    return [{n: v for n, v in row.items() if n not in but} for row in files.read_table(folder / "metrics.csv")]


def state(run):
    """{name: array} of all that its newest checkpoint holds, but how long it took."""
    path = run.checkpoints.folder / f"iteration_{max(run.checkpoints.iterations()):08d}" / "state"
    reader = tf.train.load_checkpoint(str(path))
    names = [n for n in reader.get_variable_to_shape_map() if "seconds" not in n and "OBJECT_GRAPH" not in n]
    return {name: np.asarray(reader.get_tensor(name)) for name in names}


def fake_iterate(self):
    """Quick, and a function of θ and the iteration, as MetaRL.iterate."""
    rng = np.random.default_rng(self.iteration)
    for weight in self.trainer.weights.values():
        weight.assign(0.9 * weight + rng.standard_normal(weight.shape, np.float32))
    self.trainer.iteration.assign_add(1)
    post_return = float(tf.reduce_sum(self.trainer.weights["w1"]))
    return {
        "pre_return": -1.0, "post_return": post_return, "loss_before": 0.0, "loss": -1.0, "kl": 0.001, "backtracks": 0,
        "accepted": True, "reason": "", "steps": 48, "diverged": 0, "sampling_seconds": 1.0, "learning_seconds": 1.0,
        "failure": "", "spoilt": False,
    }  # fmt: skip


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(MetaRL, "iterate", fake_iterate)


# Training


class Killed(BaseException):
    """Nothing catches it and nothing is tidied up, so the folder is left as a kill leaves it."""


def killed_after_row(patch, number):
    append_row, calls = files.append_row, []

    def killed(*arguments):
        append_row(*arguments)
        calls.append(1)
        if len(calls) == number:
            raise Killed

    patch.setattr(files, "append_row", killed)


def test_killed_and_started_again_ends_as_never_killed(tmp_path, monkeypatch):
    """Environments' and policies' random numbers included."""
    whole = make_run(tmp_path / "whole", iterations=3)
    whole.train()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after_row(patch, 3)
        make_run(tmp_path / "killed", iterations=3).train()
    again = make_run(tmp_path / "killed", iterations=3)
    assert again.checkpoints.iterations() == [0, 1, 2]
    again.train()
    assert rows(again.folder) == rows(whole.folder)
    ours, theirs = state(again), state(whole)
    assert ours.keys() == theirs.keys() and sum("weights" in name for name in ours) >= 7
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    table = files.read_table(again.folder / "metrics.csv")
    assert [row["iteration"] for row in table] == [1, 2, 3] and tuple(table[0]) == METRICS_COLUMNS
    assert all(row["steps"] >= 48 and row["kl"] < 0.01 for row in table)


def with_returns(monkeypatch, returns):
    returns = iter(returns)
    monkeypatch.setattr(MetaRL, "iterate", lambda self: fake_iterate(self) | {"post_return": next(returns)})


LUCKY = [-20.0] * 5 + [-8.0] + [-10.0] * 12  # one lucky draw of tasks among even ones


def test_the_best_has_the_highest_mean_return_over_ten_iterations(tmp_path, monkeypatch):
    with_returns(monkeypatch, LUCKY)
    run = make_run(tmp_path, iterations=18)
    run.train()
    assert float(run.state.best_score) == pytest.approx(-9.8)  # of iterations 5 to 14, counted from 0
    assert run.restore(Best()) == "best" and run.iteration == 14


def test_the_mean_goes_on_over_a_restart(tmp_path, monkeypatch):
    with_returns(monkeypatch, LUCKY)
    for iterations in (7, 18):
        run = make_run(tmp_path, iterations=iterations)
        run.train()
    assert run.restore(Best()) == "best" and run.iteration == 14


@pytest.mark.parametrize("kept", [None, 0, 3])
def test_where_rows_were_lost_the_mean_is_of_ten_later_iterations(tmp_path, monkeypatch, capsys, kept):
    """metrics.csv is gone, empty or has three rows of seven, whose returns are the highest, when the run goes on."""
    with_returns(monkeypatch, [0.0] * 3 + [-30.0] * 4 + [-10.0] * 11)
    make_run(tmp_path, iterations=7).train()
    table = tmp_path / "metrics.csv"
    lines = table.read_bytes().splitlines(keepends=True)
    table.unlink() if kept is None else table.write_bytes(b"".join(lines[: kept and kept + 1]))
    run = make_run(tmp_path, iterations=18)
    run.train()
    assert f"metrics.csv has {kept or 0} rows, and had 7 when" in capsys.readouterr().err
    assert float(run.state.best_score) == -10 and run.restore(Best()) == "best" and run.iteration == 16


def test_the_best_is_kept_among_many(tmp_path, monkeypatch):
    with_returns(monkeypatch, [0.0, 5.0, *[1.0] * 23])
    run = make_run(tmp_path, iterations=25)
    run.train()
    assert run.checkpoints.iterations() == [10, *range(16, 26)]
    assert run.restore(Best()) == "best" and run.iteration == 10


def test_few_returns_choose_nothing_yet(tmp_path, monkeypatch):
    with_returns(monkeypatch, [100.0, *[1.0] * 19])
    run = make_run(tmp_path, iterations=20)
    run.train()
    assert run.restore(Best()) == "best" and run.iteration == 9


def test_a_rejected_step_is_said(tmp_path, monkeypatch, capsys):
    rejected = dict(accepted=False, reason="KL 0.02 above 0.01")
    monkeypatch.setattr(MetaRL, "iterate", lambda self: fake_iterate(self) | rejected)
    make_run(tmp_path, iterations=1).train()
    assert "iteration 1: outer step rejected: KL 0.02 above 0.01" in capsys.readouterr().err
    assert rows(tmp_path)[0]["accepted"] == 0


def test_a_step_that_ruins_the_policy_stops_the_training_and_is_not_saved(tmp_path):
    """A step of Adam of 1e38: every action is NaN then. Episodes that end at once would return 0, the best of all."""
    run = make_run(tmp_path, outer="adam", meta_lr=1e38)
    with pytest.raises(UserError) as error:
        run.train()
    said = "loss or KL is not finite after the outer step at iteration 1"
    said += "; --resume=False with a smaller --meta_lr or --update_lr starts anew"
    assert str(error.value) == f"{said}; the last good checkpoint is of iteration 0 in {tmp_path / 'checkpoints'}"
    assert run.checkpoints.iterations() == [0] and not (tmp_path / "metrics.csv").exists()


@pytest.mark.parametrize(
    "method, given, flags",
    [
        ("maml", {}, "--max_kl or --update_lr"),
        ("maml", dict(outer="promp"), "--meta_lr or --update_lr"),
        ("oracle", {}, "--max_kl"),
        ("pretrained", {}, "--meta_lr"),  # of 2-D navigation: Adam
    ],
)
def test_the_step_sizes_that_may_help_are_flags_of_this_training(tmp_path, monkeypatch, method, given, flags):
    monkeypatch.setattr(MetaRL, "iterate", lambda self: fake_iterate(self) | {"failure": "it fails"})
    with pytest.raises(
        UserError, match=f"^it fails at iteration 1; --resume=False with a smaller {flags} starts anew;"
    ):
        make_run(tmp_path, method, **given).train()


def test_columns_that_came_later_stand_behind_those_of_an_older_table(tmp_path, monkeypatch):
    older = METRICS_COLUMNS[: METRICS_COLUMNS.index("learning_seconds") + 1]
    with monkeypatch.context() as patch:
        patch.setattr(PolicyLearner, "columns", older)
        patch.setattr(MetaRL, "iterate", fake_iterate)
        make_run(tmp_path, iterations=1).train()
    assert files.read_columns(tmp_path / "metrics.csv") == older
    make_run(tmp_path, iterations=2).train()
    first, second = files.read_table(tmp_path / "metrics.csv")
    assert files.read_columns(tmp_path / "metrics.csv") == METRICS_COLUMNS
    assert first["policy_std"] is first["episode_steps"] is None
    assert second["episode_steps"] == 6 and second["policy_std"] > 0


@pytest.mark.parametrize("spoilt, said", [(True, "of iteration 1 in"), (False, "of iteration 2 in")])
def test_where_every_simulation_diverges_the_last_good_checkpoint_is_named(tmp_path, monkeypatch, spoilt, said):
    """Iteration 3 samples by θ of checkpoint 2: that is no good where θ itself diverges."""

    def iterate(self):
        failed = {"failure": "every simulation diverged", "spoilt": spoilt} if self.iteration == 2 else {}
        return fake_iterate(self) | failed

    monkeypatch.setattr(MetaRL, "iterate", iterate)
    with pytest.raises(UserError, match=f"^every simulation diverged at iteration 3; .* checkpoint is {said} "):
        make_run(tmp_path).train()
    assert [row["iteration"] for row in rows(tmp_path)] == [1, 2]


def test_an_iteration_without_a_return_is_no_score(tmp_path, monkeypatch):
    with_returns(monkeypatch, [-5.0, float("nan"), *[-10.0] * 11])
    run = make_run(tmp_path, iterations=13)
    run.train()
    assert float(run.state.best_score) == -10.0 and run.restore(Best()) == "best" and run.iteration == 11


def test_a_policy_that_diverges_has_no_test(tmp_path):
    learner = PolicyLearner(resolve("point", metatrain_iterations=0, **FEW))
    learner.state.weights["b1"].assign(np.nan * learner.state.weights["b1"])
    with pytest.raises(
        UserError, match="after 0 gradient steps, so that there is no return to quote; expected another checkpoint$"
    ):
        learner.evaluate(protocol_of(learner.settings, tasks=2), tmp_path)


@pytest.mark.parametrize("diverged, text", [(0, ""), (2, ", 2 diverged")])
def test_the_progress_bar(diverged, text):
    row = {"pre_return": -80.25, "post_return": -40.0, "kl": 0.008, "steps": 9000, "diverged": diverged,
           "sampling_seconds": 1.0, "learning_seconds": 2.0}  # fmt: skip
    learner = PolicyLearner(resolve("point", "random"))
    assert learner.describe(row) == "return -80.2 → -40.0, KL 0.0080, 3,000 steps/s" + text


def test_the_random_policy_can_be_tested_untrained(tmp_path):
    run = Run(PolicyLearner(resolve("point", "random")), tmp_path, log=False)
    run.train()
    assert run.restore(Best()) == "latest" and run.iteration == 0
    assert not (tmp_path / "metrics.csv").exists()


@pytest.mark.parametrize("method", ["pretrained", "oracle"])
def test_baselines_are_trained_alike(tmp_path, method):
    run = make_run(tmp_path, method, iterations=2)
    run.train()
    assert all(row["pre_return"] == row["post_return"] for row in rows(tmp_path))
    assert run.checkpoints.iterations() == [0, 1, 2]


def test_training_on_for_longer(tmp_path, fake):
    for name, lengths in (("whole", (4,)), ("in_two", (2, 4))):
        for iterations in lengths:
            make_run(tmp_path / name, iterations=iterations).train()
    assert rows(tmp_path / "in_two") == rows(tmp_path / "whole")


def test_fewer_iterations_than_there_are(tmp_path, fake):
    make_run(tmp_path, iterations=2).train()
    with pytest.raises(UserError, match="trained to iteration 2 already, expected no more than the 1 asked for"):
        make_run(tmp_path, iterations=1).train()


# Testing


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """(run folder, summary) of the random policy of 2-D navigation, by the published protocol."""
    folder = tmp_path_factory.mktemp("results") / "point_random" / "seed_1"
    run = Run(PolicyLearner(resolve("point", "random")), folder, log=False)
    run.train()
    return folder, testing.test(run, protocol_of(run.settings), "the command")


def test_the_evaluation_is_of_the_tables(tested):
    folder, summary = tested
    (evaluation,) = summary["evaluations"]
    curve = files.read_table(folder / "adaptation_test.csv")
    assert [row["step"] for row in curve] == [0, 1, 2, 3, 4]
    assert [row["return"] for row in curve] == evaluation["values"]
    assert [row["return_sem"] for row in curve] == evaluation["errors"]
    assert evaluation["error_is"] == "standard error over tasks" and evaluation["step"] == 1
    assert (evaluation["rollouts"], evaluation["learning_rates"]) == (40, [0.5, 0.25, 0.25, 0.25])


def test_what_the_summary_says_of_the_run(tested):
    _, summary = tested
    said = [summary[name] for name in ("kind", "method", "method_title", "datasource", "dataset", "unit", "headline")]
    assert said == ["rl", "random", "random", "point", "point", "return", "adaptation_test.csv"]
    assert (summary["title"], summary["variant"]) == ("2-D navigation: random", {})
    assert summary["iterations"] == {"trained": 0, "paper": 0} and {"mujoco", "gymnasium"} <= summary["versions"].keys()


def test_the_curve_is_over_40_tasks(tested):
    folder, summary = tested
    (evaluation,) = summary["evaluations"]
    of_tasks = files.read_table(folder / "returns_test.csv")
    goals = [[row["goal_1"], row["goal_2"]] for row in of_tasks]
    np.testing.assert_allclose(goals[:1], [[-0.08297800, 0.22032449]], rtol=1e-6)  # NumPy's legacy generator, seed 1
    assert len(of_tasks) == 40 == evaluation["tasks"]
    for step in range(5):
        values = np.array([row[f"step_{step}"] for row in of_tasks])
        assert values.mean() == pytest.approx(evaluation["values"][step])
        assert values.std(ddof=1) / np.sqrt(40) == pytest.approx(evaluation["errors"][step])


def test_adaptation_helps_a_random_policy(tested):
    """Initial weights decide: eight seeds gave −66 to −138 before adaptation, −35 to −54 after four steps."""
    returns = tested[1]["evaluations"][0]["values"]
    assert -160 < returns[0] < -50 and returns[0] + 20 < returns[4] < -25


def test_the_published_curve_stands_beside(tested):
    beside, curve = tested[1]["evaluations"][0]["published"], published.find("point", "random")
    assert list(beside["values"]) == ["0", "1", "2", "3", "4"] and beside["values"]["1"] == curve.means[1]
    assert beside["errors"]["1"] == curve.sems[1] and beside["source"] == curve.source


def test_trajectories_of_one_task(tested):
    table = files.read_table(tested[0] / "trajectories_test.csv")
    assert {(row["task"], round(row["goal_1"], 4), round(row["goal_2"], 4)) for row in table} == {(6, -0.2955, 0.3781)}
    assert {row["step"] for row in table} == {0, 1, 2, 3, 4} and {row["episode"] for row in table} == set(range(5))
    starts = [row for row in table if row["time"] == 0]
    assert len(starts) == 25 and all(row["x"] == row["y"] == 0 for row in starts)
    moves = np.diff([[row["x"], row["y"]] for row in table[:50]], axis=0)
    assert 0 < np.abs(moves).max() <= 0.1 + 1e-6


def test_there_are_no_trajectories_of_padding(monkeypatch):
    """Two episodes, with room for a third behind them."""
    adapt = MetaRL.adapt

    def with_padding(*arguments, **named):
        for weights, t in adapt(*arguments, **named):
            padded = {n: np.pad(v, [(0, 0), (0, 6), (0, 0)][: v.ndim]) for n, v in t._asdict().items()}
            yield weights, t._replace(**padded | {"log_stds": t.log_stds})

    monkeypatch.setattr(MetaRL, "adapt", with_padding)
    learner = PolicyLearner(resolve("point", metatrain_iterations=0, **FEW))
    (result,) = learner.evaluate(protocol_of(learner.settings, tasks=40), None)
    _, table = result.tables["trajectories_test.csv"]
    assert {row["episode"] for row in table} == {0, 1} and len(table) == 5 * 2 * 6


def test_another_protocol_leaves_the_headline_and_films(tested):
    folder, _ = tested
    film = folder / "filmstrip_iteration_0_tasks_3.png"
    film.write_bytes(b"")
    run = Run(PolicyLearner(resolve("point", "random")), folder, log=False)
    protocol = protocol_of(run.settings, rollouts=2, tasks=3, first_lr=0.1, checkpoint=Latest())
    testing.test(run, protocol, "another")
    recorded = files.read_json(folder / "summary.json")
    assert (recorded["headline"], recorded["command"]) == ("adaptation_test.csv", "the command")
    other = "test_latest_rollouts_2_tasks_3_lr_0.1.csv"
    by_file = {evaluation["file"]: evaluation for evaluation in recorded["evaluations"]}
    assert by_file.keys() == {"adaptation_test.csv", f"adaptation_{other}"}
    assert by_file[f"adaptation_{other}"]["published"] is None
    assert len(files.read_table(folder / f"returns_{other}")) == 3 and film.exists()


def test_other_settings_than_the_papers_have_nothing_beside_them(tmp_path):
    learner = PolicyLearner(resolve("point", metatrain_iterations=0, **FEW))
    (result,) = learner.evaluate(protocol_of(learner.settings, tasks=2), tmp_path)
    assert result.evaluation["published"] is None
    # Two tasks are too few for trajectories.
    assert result.tables.keys() == {"adaptation_test_tasks_2.csv", "returns_test_tasks_2.csv"}


def test_a_method_without_a_published_curve_has_nothing_beside_it():
    learner = PolicyLearner(resolve("point", "anil", metatrain_iterations=0))
    assert learner._published(protocol_of(learner.settings)) is None


def test_the_oracle_does_not_adapt(tmp_path):
    learner = PolicyLearner(resolve("point", "oracle", metatrain_iterations=0))
    (result,) = learner.evaluate(protocol_of(learner.settings), tmp_path)
    assert result.evaluation["step"] == 0 and len(result.evaluation["values"]) == 1
    assert result.evaluation["published"]["values"] == {"0": pytest.approx(-2.288)}
