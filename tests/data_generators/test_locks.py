"""One process at a time, whatever becomes of the others."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from data_generators import locks
from data_generators.errors import UserError

HOLDER = """
import sys
from data_generators import locks
with locks.held(sys.argv[1], "the house"):
    print("in", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds tmp_path/lock until it is told to let go, or is killed."""
    command = [sys.executable, "-c", HOLDER, tmp_path / "lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in\n"
        yield process
        process.kill()


def test_the_lock_is_there_meanwhile(tmp_path):
    with locks.held(tmp_path / "lock", "the house"):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    assert not list(tmp_path.iterdir())


def test_who_has_it_is_named(holder, tmp_path):
    expected = f"^the house is in use by process {holder.pid} on .*; expected one process at a time$"
    with pytest.raises(UserError, match=expected), locks.held(tmp_path / "lock", "the house"):
        raise AssertionError("two are in")
    assert (tmp_path / "lock").exists()


def test_what_a_killed_process_had_is_taken_over(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "lock").exists()
    with locks.held(tmp_path / "lock", "the house"):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")


def test_who_had_it_may_let_go_while_it_is_read_who_that_was(tmp_path, monkeypatch):
    """The file is gone then; it is no reason to go on without a lock."""
    tries, real = [], locks._try

    def try_and_lose(file):
        tries.append(file)
        if len(tries) == 1:
            (tmp_path / "lock").unlink()
            return False
        return real(file)

    monkeypatch.setattr(locks, "_try", try_and_lose)
    with locks.held(tmp_path / "lock", "the house"):
        assert len(tries) == 2 and (tmp_path / "lock").exists()
        with pytest.raises(UserError), locks.held(tmp_path / "lock", "the house"):
            raise AssertionError("two are in")


def test_one_may_wait_for_it(holder, tmp_path, capsys):
    threading.Timer(0.3, lambda: (holder.stdin.write("\n"), holder.stdin.flush())).start()
    with locks.held(tmp_path / "lock", "the house", wait=True):
        assert holder.wait() == 0
    assert f"the house is in use by process {holder.pid} on " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_error_lets_go(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), locks.held(tmp_path / "lock", "the house"):
            raise KeyError
    assert not list(tmp_path.iterdir())


def test_where_there_are_no_locks_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "fcntl", None)
    with locks.held(tmp_path / "lock", "the house"):
        pass
    said = "the house can't be locked (this system has no flock); nobody else may use it meanwhile\n"
    assert capsys.readouterr().err == said
