"""--reproduce: what is missing, in which order it is run, and what stops it."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import call, refused

from data_generators import mini_imagenet, sources
from data_generators.errors import UserError
from maml import methods
from maml.cli import estimate, flags, kinds, plans, reproduce
from maml.reports import experiments, summaries
from maml.reports.experiments import Experiment
from maml.runs.kind import Progress
from maml.runs.settings import resolve
from maml.runs.supervised import SupervisedLearner
from rl import page as reinforcement_page

ROOT = Path(__file__).parents[3]
TINY = ("--datasource=sinusoid", "--metatrain_iterations=20", "--iterations_per_call=5", "--nojit", "--eval_tasks=4")


def trained(runs):
    return {run.seed for run in runs if run.iterations.trained == 20}


@pytest.fixture
def tiny(monkeypatch, tmp_path_factory):
    """The sinusoid as the only experiment, its training complete after 20 iterations."""
    one = Experiment("waves", "sinusoid", TINY, trained, {(): trained})
    monkeypatch.setattr(experiments, "experiments", lambda method: [one])
    monkeypatch.setattr(reinforcement_page, "experiments", lambda: [])
    monkeypatch.setattr(estimate, "in_a_process", lambda flags: 0.0)
    monkeypatch.setenv("MAML_CACHE", str(tmp_path_factory.mktemp("cache")))
    return one


@pytest.fixture
def called(monkeypatch):
    """The commands that were run, which do nothing."""
    commands = []
    monkeypatch.setattr(reproduce, "_call", lambda command, until: commands.append(command) or 0)
    return commands


def seeds(results):
    return sorted(run.seed for run in summaries.load_all(results))


def test_what_is_missing_is_trained_tested_and_put_on_the_page(tiny, tmp_path, capsys):
    assert call(f"--reproduce=sinusoid --logdir={tmp_path}") == 0
    assert seeds(tmp_path) == [1] and "20 of 70,000 iterations" in (tmp_path / "README.md").read_text(encoding="utf-8")
    capsys.readouterr()
    assert call(f"--reproduce=list --logdir={tmp_path}") == 0
    assert capsys.readouterr().out == "waves: seeds finished 1\n"


def test_a_folder_that_was_published_without_its_checkpoints_is_left_alone(tiny, called, tmp_path):
    folder = tmp_path / "sinusoid_10shot" / "seed_1"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("iteration\n")
    assert call(f"--reproduce=all --logdir={tmp_path} --seeds=2") == 1  # the commands do nothing here
    assert [words[-2] for words in called] == ["--seed=2", "--seed=3"]


def test_the_list_runs_nothing(tiny, called, tmp_path, capsys):
    assert call(f"--reproduce=list --logdir={tmp_path} --seeds=3") == 0 and not called
    expected = f"waves: seeds finished none, to run 1, 2, 3, 0.0 h each by python main.py {' '.join(TINY)}\n"
    assert capsys.readouterr().out == expected


def test_the_cheapest_comes_first(tiny, called, tmp_path, monkeypatch):
    costly = tiny._replace(flags=(*TINY, "--norm=layer_norm"))
    monkeypatch.setattr(experiments, "experiments", lambda method: [costly, tiny])
    monkeypatch.setattr(estimate, "in_a_process", lambda flags: float(len(flags)))
    call(f"--reproduce=all --logdir={tmp_path}")
    assert ["--norm=layer_norm" in words for words in called] == [False, True]


def test_what_cannot_be_run_is_said_and_the_rest_is_run(tiny, called, tmp_path, capsys, monkeypatch):
    def without_data(flags):
        raise UserError("no images here")

    monkeypatch.setattr(estimate, "in_a_process", without_data)
    assert call(f"--reproduce=all --logdir={tmp_path}") == 1 and not called
    assert "waves: seeds finished none, cannot be run: no images here" in capsys.readouterr().out


@pytest.mark.parametrize("found", mini_imagenet.STAND_INS)
def test_a_stand_in_is_not_trained_on_for_a_published_number(tiny, called, tmp_path, capsys, monkeypatch, found):
    mini = tiny._replace(datasource="miniimagenet")
    monkeypatch.setattr(experiments, "experiments", lambda method: [mini])
    monkeypatch.setattr(sources, "dataset_name", lambda *_: found)
    assert call(f"--reproduce=all --logdir={tmp_path}") == 1 and not called
    said = f"cannot be run: these data are {sources.title(found)}, expected miniImagenet\n"
    assert capsys.readouterr().out == f"waves: seeds finished none, {said}"


def test_a_page_that_is_not_ours_is_said_before_anything_is_run(tiny, called, tmp_path, capsys):
    (tmp_path / "README.md").write_text("# My project\n")
    assert "README.md is no page of results" in refused(capsys, f"--reproduce=all --logdir={tmp_path}")
    assert not called and call(f"--reproduce=list --logdir={tmp_path}") == 0


def test_a_command_that_changes_nothing_is_not_run_for_ever(tiny, called, tmp_path, capsys):
    assert call(f"--reproduce=all --logdir={tmp_path}") == 1 and len(called) == 1
    assert "waves: still missing after" in capsys.readouterr().err


def test_a_name_that_is_unknown(tiny, tmp_path, capsys):
    assert "reproduce is 'sinusoids'; did you mean sinusoid?" in refused(capsys, "--reproduce=sinusoids")


@pytest.mark.parametrize(
    "command, problem",
    [
        ("--reproduce=all --num_classes=5", "num_classes given, which --reproduce has no use for"),
        ("--datasource=sinusoid --seeds=3", "seeds given without reproduce, expected --reproduce=<what> with it"),
        ("--reproduce=all --method=protonet", "method is 'protonet'"),
        ("--reproduce=list --method=gru", "method gru has no published result that a command here is for; expected"),
    ],
)
def test_what_is_refused(capsys, command, problem):
    assert problem in refused(capsys, command)


# Every published result


def test_the_experiments_of_the_paper():
    found = experiments.experiments()
    assert len({one.flags for one in found}) == len(found)
    assert ("--datasource=omniglot", "--num_classes=20", "--update_batch_size=5") in [one.flags for one in found]
    assert {one.datasource for one in found} == {"sinusoid", "omniglot", "miniimagenet"}


def test_a_result_with_one_query_at_a_time_needs_a_test_of_its_own():
    one = next(one for one in experiments.experiments("prototypical") if one.datasource == "omniglot")
    assert one.flags == ("--datasource=omniglot", "--method=prototypical")
    assert one.next_command(2, []) == (*one.flags, "--seed=2")
    done = one._replace(trained=lambda runs: {2})
    assert done.next_command(2, []) == (*one.flags, "--seed=2", "--train=False", "--test_set", "--transductive=False")


@pytest.mark.parametrize("name", [None, *methods.names()])
def test_every_test_that_is_asked_for_can_be(name):
    """A network without batch norm is not asked to normalise each query by itself."""
    for one in experiments.experiments(name):
        for words in one.tests:
            asked = flags.parse([*one.flags, *words])
            kind = kinds.kind_of(asked["datasource"])
            settings = resolve(asked["datasource"], **plans.settings_given(asked, kind))
            kind.protocol(settings, plans.test_options(asked, kind))


def test_a_training_for_another_n_is_not_the_one_that_is_asked_for():
    """The run for 20 classes lies in another folder than the one for 5, by which the tests of all go."""
    (one,) = experiments.experiments("pixels")
    runs = summaries.load_all("results")
    twenty = [run for run in runs if run.method == "pixels" and run.num_classes == 20]
    assert one.trained(twenty) == set() and one.next_command(1, twenty) == (*one.flags, "--seed=1")
    assert one.finished(runs) == {1}


def test_one_training_is_tested_for_every_n_and_k_that_it_does_not_depend_on():
    """Of nearest neighbour the classifier knows of neither; prototypical networks are trained with a K."""
    (one,) = (one for one in experiments.experiments("nearest_neighbour") if one.datasource == "omniglot")
    assert one.flags == ("--datasource=omniglot", "--method=nearest_neighbour")
    n, k = ("--train_num_classes=5", "--num_classes=20"), ("--train_update_batch_size=1", "--update_batch_size=5")
    assert set(one.tests) == {(*words, "--transductive=False") for words in ((), n, k, (*n, *k))}
    trained = [one for one in experiments.experiments("prototypical") if one.datasource == "omniglot"]
    assert [one.flags[2:] for one in trained] == [(), ("--update_batch_size=5",)]


def test_published_runs_count_as_finished():
    """Those of this repository, by what their summaries say."""
    runs = summaries.load_all("results")
    by_flags = {one.flags: one.finished(runs) for one in experiments.experiments()}
    assert by_flags["--datasource=sinusoid",] == {1, 2, 3}
    navigation = next(one for one in reinforcement_page.experiments() if one.flags == ("--datasource=point",))
    assert navigation.finished(runs) == {1, 2} and navigation.next_command(1, runs) is None
    directions = next(one for one in reinforcement_page.experiments() if one.flags == ("--datasource=cheetah_dir",))
    assert directions.finished(runs) == set()  # all are shorter than the paper's


# Stopping

CHILD = """
import signal, sys, time
def save(*_):
    open(sys.argv[1], "a").write("saved\\n")
    sys.exit(130)
signal.signal(signal.SIGINT, save)
open(sys.argv[1], "a").write("begun\\n")
time.sleep(100)
"""


def test_the_end_of_the_budget_is_one_ctrl_c(tmp_path):
    command = [sys.executable, "-c", CHILD, str(tmp_path / "said")]
    with pytest.raises(subprocess.TimeoutExpired):
        reproduce._call(command, time.monotonic() + 3)
    assert (tmp_path / "said").read_text() == "begun\nsaved\n"
    with pytest.raises(subprocess.TimeoutExpired):  # nothing is begun after it
        reproduce._call(command, time.monotonic())
    assert (tmp_path / "said").read_text() == "begun\nsaved\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_stops_it_stops_the_run(tmp_path, number):
    said = tmp_path / "said"

    def stop_when_begun():
        while not said.exists() or not said.read_text():
            time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident, number)

    threading.Thread(target=stop_when_begun, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        reproduce._call([sys.executable, "-c", CHILD, str(said)], None)
    assert said.read_text() == "begun\nsaved\n"


PARENT = """
import sys
from maml.cli import reproduce
reproduce._call([sys.executable, "-c", sys.argv[2], sys.argv[1]], None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with the one that started it")
def test_where_it_is_killed_the_run_ends_by_itself(tmp_path):
    said = tmp_path / "said"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(said), CHILD.replace("SIGINT", "SIGTERM")], cwd=ROOT)
    while not said.exists() or not said.read_text():
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    until = time.monotonic() + 30
    while said.read_text() != "begun\nsaved\n" and time.monotonic() < until:
        time.sleep(0.05)
    assert said.read_text() == "begun\nsaved\n"


# How long it takes


def test_an_estimate_is_measured_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate, "LEAST_SECONDS", 0.001)
    assert 0 < estimate.hours(list(TINY)) < 1
    assert not list(tmp_path.iterdir())


def test_an_estimate_of_a_training_that_fails(monkeypatch):
    monkeypatch.setattr(SupervisedLearner, "advance", lambda learner: Progress(failure="not finite"))
    with pytest.raises(UserError, match="^not finite$"):
        estimate.hours(list(TINY))


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """What is measured: 1.0 hours the first time, 2.0 the second; by code that git knows."""
    hours, times = iter([1.0, 2.0, 3.0]), []
    monkeypatch.setattr(estimate, "in_a_process", lambda flags: times.append(flags) or next(hours))
    monkeypatch.setattr(estimate, "provenance", lambda packages: {"commit": "abc"})
    monkeypatch.setenv("MAML_CACHE", str(tmp_path / "cache"))
    return times


def test_what_was_measured_once_is_kept(measured):
    assert [estimate.once(["--a"]), estimate.once(["--b"]), estimate.once(["--a"])] == [1.0, 2.0, 1.0]
    assert measured == [["--a"], ["--b"]]


@pytest.mark.parametrize("commit", ["def", "abc+changes"])
def test_other_code_is_measured_anew(measured, monkeypatch, commit):
    assert estimate.once(["--a"]) == 1.0
    monkeypatch.setattr(estimate, "provenance", lambda packages: {"commit": commit})
    assert estimate.once(["--a"]) == 2.0


@pytest.mark.parametrize("content", ["", "[]", '{"of": "no use"}'])
def test_what_was_kept_and_is_damaged_is_measured_anew(measured, tmp_path, content):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / estimate.KEPT).write_text(content)
    assert [estimate.once(["--a"]), estimate.once(["--a"])] == [1.0, 1.0]


def test_where_nothing_can_be_kept_it_is_measured_each_time(measured, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert [estimate.once(["--a"]), estimate.once(["--a"])] == [1.0, 2.0]


def test_the_estimate_of_what_has_no_training():
    assert estimate.hours(["--datasource=point", "--baseline=random"]) == 0.0


def test_an_estimate_of_what_cannot_be(tmp_path, monkeypatch):
    monkeypatch.delenv("MAML_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="data"):
        estimate.hours(["--datasource=miniimagenet"])


def test_each_run_is_told_the_strategy(tiny, called, tmp_path):
    assert call(f"--reproduce=all --logdir={tmp_path} --strategy=none") == 1  # the commands do nothing here
    assert called and all("--strategy=none" in words for words in called)


def test_several_workers_are_refused(tiny, called, tmp_path, monkeypatch, capsys):
    command = f"--reproduce=all --logdir={tmp_path}"
    assert "which several workers can't share" in refused(capsys, f"{command} --strategy=multi_worker")
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    assert "no TF_CONFIG" in refused(capsys, command) and not called
