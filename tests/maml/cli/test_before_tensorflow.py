"""What is settled before TensorFlow is imported."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from maml.cli import before_tensorflow, kinds

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_it_agrees_with_the_presets_of_maml(kind):
    for datasource, preset in kinds.presets_of(kind, "maml").items():
        assert before_tensorflow.compiles(["main.py", f"--datasource={datasource}"]) == preset["jit"]


@pytest.mark.parametrize(
    "arguments, compiled",
    [
        ("", True),
        ("--datasource=omniglot --nojit", False),
        ("--nojit --datasource=omniglot --update_lr 0.1 --jit=True", True),
        ("--datasource miniimagenet", False),
        ("--update_lr 0.1 --datasource=folder", False),
        ("--datasource=miniimagenet --jit", True),
        ("--benchmark", True),
        ("--adapt=photos --run=logs/a", False),
        ("--jit=perhaps", True),
        ("--nonsense -x", True),
    ],
)
def test_it_reads_the_command_line_as_the_command_does(arguments, compiled):
    assert before_tensorflow.compiles(["main.py", *arguments.split()]) == compiled


def test_a_variable_that_is_set_stays(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    before_tensorflow.settle(["main.py", "--datasource=omniglot"])
    assert (os.environ["TF_ENABLE_ONEDNN_OPTS"], os.environ["TF_CPP_MIN_LOG_LEVEL"]) == ("1", "0")


@pytest.mark.parametrize("flag, expected", [("--datasource=omniglot", "0"), ("--datasource=miniimagenet", "1")])
def test_tensorflow_finds_it_settled(flag, expected, tmp_path):
    """Seen by a stand-in for TensorFlow that the command imports first."""
    (tmp_path / "tensorflow.py").write_text(
        "import os\nprint(os.environ['TF_ENABLE_ONEDNN_OPTS'], os.environ['TF_CPP_MIN_LOG_LEVEL'])\nraise SystemExit"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run([sys.executable, ROOT / "main.py", flag], capture_output=True, text=True, env=environment)
    assert done.stdout == f"{expected} 3\n"


def test_a_tensorflow_that_cannot_be_imported_says_why(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'no such processor\\n')\nraise ImportError('broken')"
    )
    done = subprocess.run(
        [sys.executable, ROOT / "main.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1 and "no such processor" in done.stderr and "ImportError: broken" in done.stderr


def test_ctrl_c_while_tensorflow_is_imported(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise KeyboardInterrupt")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, ROOT / "main.py"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (130, "stopped before anything began\n")


@pytest.mark.parametrize("terminal, shown", [(True, "loading\r       \r"), (False, "")])
def test_a_terminal_is_told_what_one_waits_for(terminal, shown, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := io.StringIO())
    screen.isatty = lambda: terminal
    with pytest.raises(KeyboardInterrupt), before_tensorflow._saying("loading"):
        raise KeyboardInterrupt
    assert screen.getvalue() == shown


@pytest.fixture
def begun_anew(monkeypatch):
    """The environments that a process was started anew with."""
    environments = []
    monkeypatch.setattr(os, "execve", lambda program, arguments, environment: environments.append(environment))
    monkeypatch.setattr(sys, "argv", ["main.py", "--datasource=omniglot", "--method=prototypical"])
    return environments


def test_a_wrong_guess_starts_the_process_anew(monkeypatch, begun_anew):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    monkeypatch.setattr(before_tensorflow, "_guessed", set())
    before_tensorflow.settle()
    before_tensorflow.hold_to(True, sys.argv[1:])
    assert begun_anew == []
    before_tensorflow.hold_to(False, sys.argv[1:])
    assert [environment["TF_ENABLE_ONEDNN_OPTS"] for environment in begun_anew] == ["1"]


def test_a_choice_is_not_held_against_the_settings(monkeypatch, begun_anew):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setattr(before_tensorflow, "_guessed", set())
    before_tensorflow.settle()
    before_tensorflow.hold_to(False, sys.argv[1:])
    assert begun_anew == []


def test_whoever_calls_the_command_line_is_not_started_anew(monkeypatch, begun_anew):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setattr(before_tensorflow, "_guessed", {"TF_ENABLE_ONEDNN_OPTS"})
    before_tensorflow.hold_to(False, ["--datasource=miniimagenet"])
    assert begun_anew == []
