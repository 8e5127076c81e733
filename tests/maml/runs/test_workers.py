"""Workers: how they are told who they are; two of them train what one does, and stop and fail together."""

import json
import socket
import subprocess
import sys
from types import SimpleNamespace

import killed
import numpy as np
import pytest
import tensorflow as tf
import together
from killed import last_state

from data_generators.errors import UserError
from data_generators.sinusoid import SinusoidTasks
from maml.runs import files, workers
from maml.runs.checkpoints import Latest
from maml.runs.workers import Cluster, Plan, check_equal, plan

TWO = ["a:1", "b:2"]


def config(cluster, kind="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.setenv(name, "")  # so that what a test leaves there is taken away again
        monkeypatch.delenv(name)


# Who they are


@pytest.mark.parametrize(
    "text, expected",
    [
        (config({"worker": TWO}), Cluster(("a:1", "b:2"), 0)),
        (config({"worker": TWO}, index=1), Cluster(("a:1", "b:2"), 1)),
        (config({"worker": TWO, "chief": ["c:3"]}, index=1), Cluster(("c:3", "a:1", "b:2"), 2)),
        (config({"worker": TWO, "chief": ["c:3"]}, "chief"), Cluster(("c:3", "a:1", "b:2"), 0)),
    ],
)
def test_tf_config_says_who_is_who_and_the_chief_is_first(text, expected, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    assert plan() == plan("multi_worker") == Plan("multi_worker", expected)
    assert plan().is_chief == (expected.number == 0)
    assert plan("none") == plan(None, ("none", "mirrored")) == Plan("none", None)


@pytest.mark.parametrize("text", ["", config({"worker": ["a:1"]}), config({})])
def test_one_process_is_no_cluster(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    if text == config({}):
        with pytest.raises(UserError, match="says that this is worker 0, and has none"):
            plan()
    else:
        assert plan() == Plan("none", None)


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "can't be read"),
        ('["a:1"]', "can't be read"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}}', "can't be read .KeyError: 'task'"),
        (config({"worker": TWO}, index="x"), "can't be read"),
        (config({"worker": TWO, "ps": ["c:3"]}), "has ps"),
        (config({"worker": TWO}, "evaluator"), "has evaluator"),
        (config({"worker": ["a:1", "b"]}), "the address 'b'"),
        (config({"worker": ["a:1", "a:1"]}), "an address twice"),
        (config({"worker": TWO}, index=2), "this is worker 2, and has 2 of type worker"),
        (config({"worker": TWO, "chief": ["c:3", "d:4"]}), "and has 2 of type chief"),
    ],
)
def test_a_wrong_tf_config_is_one_line(text, said, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=f"TF_CONFIG.*{said}.*expected") as error:
        plan()
    assert "\n" not in str(error.value)


def slurm(monkeypatch, number, **given):
    variables = {
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_NODELIST": "n[2,10]",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
        "SLURM_PROCID": str(number),
        "SLURM_JOB_ID": "20007",
        **given,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("number, node", [(0, "n2"), (1, "n2"), (2, "n10")])
def test_slurms_tasks_are_on_its_nodes_in_its_order(number, node, monkeypatch):
    slurm(monkeypatch, number, SLURMD_NODENAME=node)
    addresses = ("n2:12007", "n2:12008", "n10:12007")
    assert plan() == Plan("multi_worker", Cluster(addresses, number))
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    assert plan() == Plan("multi_worker", Cluster(addresses, number))  # by TF_CONFIG, which TensorFlow reads


@pytest.mark.parametrize(
    "given, said",
    [
        ({"SLURMD_NODENAME": "n10"}, "task 0 runs on n10, not on n2; expected srun --distribution=block"),
        ({"SLURM_STEP_NODELIST": "n[2"}, "can't be read"),
        ({"SLURM_STEP_NUM_TASKS": "many"}, "can't be read"),
    ],
)
def test_a_slurm_step_that_cannot_be_read_is_one_line(given, said, monkeypatch):
    slurm(monkeypatch, 0, **given)
    with pytest.raises(UserError, match=said):
        plan()


def test_several_gpus_are_mirrored_unless_one_says_otherwise(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU 0", "GPU 1"])
    assert plan() == plan("mirrored") == Plan("mirrored", None)
    assert plan("none") == plan(None, ("none", "multi_worker")) == Plan("none", None)


@pytest.mark.parametrize(
    "asked, said",
    [
        ("mirrored", "for several GPUs; TensorFlow sees 0 here"),
        ("multi_worker", "neither TF_CONFIG nor a Slurm step"),
        ("all", "'all', expected one of none, mirrored, multi_worker"),
    ],
)
def test_a_strategy_that_cannot_be_is_one_line(asked, said):
    with pytest.raises(UserError, match=said):
        plan(asked)


def test_a_port_in_use_is_one_line():
    with socket.create_server(("", 0)) as taken:
        address = f"localhost:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"worker 0 of 2 can't have the port of {address}: Address already in use"):
            with workers.joined(Plan("multi_worker", Cluster((address, "localhost:1"), 0))):
                pass


@pytest.mark.parametrize(
    "second, said",
    [
        ({"code": "x", "--seed": 2}, "worker 1 has --seed 2, worker 0 has 1; expected all alike"),
        ({"code": "x"}, "worker 1 has --seed None, worker 0 has 1"),
        ({"code": "y", "--seed": 1}, "worker 1 has code 'y', worker 0 has 'x'"),
    ],
)
def test_workers_that_differ_are_one_line(second, said):
    first = {"code": "x", "--seed": 1}
    with pytest.raises(UserError, match=said):
        check_equal(SimpleNamespace(exchange=lambda mine: [first, second]), first, "all alike")
    check_equal(SimpleNamespace(exchange=lambda mine: [first, dict(first)]), first, "all alike")


# Two and one


def started(folder, *scenarios):
    """{scenario: exit codes of its workers at the first start}."""
    command = [sys.executable, together.__file__, folder, *scenarios]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return {line.rsplit(":", 1)[0]: json.loads(line.rsplit(":", 1)[1]) for line in done.stdout.splitlines()}


@pytest.fixture(scope="module")
def updated(tmp_path_factory):
    """The folder of updates by one worker and by two."""
    folder = tmp_path_factory.mktemp("updates")
    started(folder, "updates:1:never", "updates:2:never")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, exit codes): runs of one worker and of two, undisturbed or told to stop and started again."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, started(folder, "run:1:never", "run:2:never", "run:2:told", "run:2:one goes on")


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])
def test_two_processes_come_where_one_comes(updated, dtype, tolerance):
    """θ after 20 updates on 5 tasks each, the last loss, and the losses of 45 new tasks after 0, 1 and 2 steps."""
    one, two = (np.load(updated / f"updates:{count}:never" / f"{dtype}.npz") for count in (1, 2))
    assert one["losses"].shape == (45, 3) and {"w1", "b1", "w2", "loss"} < set(one.files)
    for name in one.files:
        np.testing.assert_allclose(two[name], one[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_processes_hold_the_same_bits(updated, dtype):
    chief, other = (np.load(updated / f"updates:2:never{which}" / f"{dtype}.npz") for which in ("", " 1"))
    for name in chief.files:
        np.testing.assert_array_equal(other[name], chief[name], err_msg=name)


@pytest.mark.slow
def test_the_folder_says_how_many_replicas_trained(trained):
    rows = files.read_table(trained[0] / "run:2:never" / "metrics.csv")
    assert [row["replicas"] for row in rows] == [2] * 6
    assert "replicas" not in files.read_columns(trained[0] / "run:1:never" / "metrics.csv")


@pytest.mark.slow
def test_told_to_stop_all_stop_and_save_and_go_on_to_the_same_bits(trained):
    """SIGTERM to the worker that is not the chief, as it draws the tasks of iterations 31 to 35."""
    assert trained[1]["run:2:told"] == [143, 143]
    assert (trained[0] / "run:2:told/checkpoints/iteration_00000031").is_dir()
    assert last_state(trained[0] / "run:2:told") == last_state(trained[0] / "run:2:never")
    tables = [(trained[0] / f"run:2:{moment}/metrics.csv").read_bytes() for moment in ("told", "never")]
    assert tables[0] == tables[1]


@pytest.mark.slow
@pytest.mark.parametrize("moment, codes", [("killed", [2, -9]), ("chief killed", [-9, 2])])
def test_where_one_is_killed_the_others_end_and_all_go_on_to_the_same_bits(moment, codes, tmp_path):
    assert started(tmp_path, "run:2:never", f"run:2:{moment}")[f"run:2:{moment}"] == codes
    assert last_state(tmp_path / f"run:2:{moment}") == last_state(tmp_path / "run:2:never")


@pytest.mark.slow
def test_another_number_of_replicas_goes_on_and_the_folder_says_so(trained):
    """Two until iteration 31, then one: where one alone comes."""
    folder, codes = trained[0] / "run:2:one goes on", trained[1]["run:2:one goes on"]
    assert codes == [143, 143]
    assert [row["replicas"] for row in files.read_table(folder / "metrics.csv")] == [2, 2, 2, 1, 1, 1]
    got, expected = (
        killed.run(trained[0] / name, killed.sinusoid_settings(), SinusoidTasks())
        for name in ("run:2:one goes on", "run:1:never")
    )
    assert got.replicas_trained() == {"replicas": [1, 2]} and expected.replicas_trained() == {}
    for run in (got, expected):
        run.restore(Latest())
    for name, weight in expected.weights().items():
        np.testing.assert_allclose(got.weights()[name], weight, rtol=0, atol=1e-5, err_msg=name)
