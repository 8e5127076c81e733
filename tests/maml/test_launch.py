"""Several workers of one machine, started by a command: programs without TensorFlow."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

TELLS = """
import json, os, sys
config = json.loads(os.environ["TF_CONFIG"])
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
open(f"{sys.argv[1]}/{config['task']['index']}", "w").write(json.dumps([config, cores, sys.argv[2:]]))
print("shown", config["task"]["index"])
"""
FAILS = """
import json, os, sys, time
if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
    print("a note\\nerror: what is wrong")
    sys.exit(3)
time.sleep(120)
"""
STOPS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
open(f"{sys.argv[1]}/{time.monotonic_ns()}", "w").close()
time.sleep(120)
"""


def launch(program, tmp_path, *words, workers=2):
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, "-m", "maml.launch", f"--workers={workers}", tmp_path / "program.py", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_each_worker_is_told_which_it_is_and_has_its_share_of_the_cores(tmp_path):
    process = launch(TELLS, tmp_path, tmp_path, "--flag=1", workers=2)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and shown == "shown 0\n"
    (first, cores, words), (second, others, _) = (json.loads((tmp_path / str(i)).read_text()) for i in range(2))
    assert first["cluster"] == second["cluster"] and len(set(first["cluster"]["worker"])) == 2
    assert [config["task"] for config in (first, second)] == [{"type": "worker", "index": i} for i in range(2)]
    assert words == ["--flag=1"]
    if cores is not None and len(os.sched_getaffinity(0)) >= 2:
        assert sorted(cores + others) == sorted(os.sched_getaffinity(0))


def test_once_a_worker_has_failed_the_others_are_ended_and_its_last_word_is_shown(tmp_path):
    process = launch(FAILS.replace("120", "1"), tmp_path)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (3, "worker 1 ended with code 3: error: what is wrong\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_workers_end_with_a_launcher_that_is_killed(tmp_path):
    program = STOPS.replace(
        "sys.exit(143)", "(open(sys.argv[1] + '/told' + str(time.monotonic_ns()), 'w'), sys.exit())"
    )
    process, until = launch(program, tmp_path, tmp_path), time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    while len(list(tmp_path.glob("told*"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(list(tmp_path.glob("told*"))) == 2


@pytest.mark.slow
def test_a_worker_that_waits_for_one_that_failed_is_ended_within_a_minute(tmp_path):
    process = launch(FAILS, tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == 3


def test_a_signal_is_passed_on_and_the_exit_code_is_the_stops(tmp_path):
    process, until = launch(STOPS, tmp_path, tmp_path), time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "")
