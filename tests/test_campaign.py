"""A training on the command line survives kills, damage to its files and odd flags, at random (see campaign.py)."""

import subprocess
import sys
from pathlib import Path

import pytest

SHARE = "0.4"  # of what it can do: the rest is for those who change what it is about


@pytest.mark.slow
@pytest.mark.parametrize("seed, training", [(1, "sinusoid"), (1, "point")])
def test_nothing_is_lost_and_nothing_changes_without_a_word(tmp_path, seed, training):
    if training == "point":
        pytest.importorskip("mujoco")
    program = Path(__file__).with_name("campaign.py")
    done = subprocess.run(
        [sys.executable, program, tmp_path, str(seed), training, SHARE], capture_output=True, timeout=900
    )
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))  # a flag may be any bytes
    assert done.returncode == 0, err[-3000:]
    assert [line for line in out.splitlines() if line.startswith("WRONG")] == []
