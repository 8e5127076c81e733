"""Whatever content or sizes can raise ends the command with 2 and a line; a bug of ours keeps its traceback."""

import pytest
import tensorflow as tf
from commands import call, refused

from maml.cli import commands

OUT_OF_MEMORY = tf.errors.ResourceExhaustedError(
    None, None, "OOM when allocating tensor with shape[9]\n  more [Op:Add]"
)


@pytest.mark.parametrize(
    "error, said",
    [
        (MemoryError(), "not enough memory; expected smaller sizes, or a larger machine"),
        (MemoryError("Unable to allocate 36.4 TiB"), "not enough memory (Unable to allocate 36.4 TiB); expected"),
        (OUT_OF_MEMORY, "not enough memory (OOM when allocating tensor with shape[9]); expected smaller sizes"),
        (tf.errors.DataLossError(None, None, "corrupted\n\nrecord"), "TensorFlow: corrupted"),
        (RecursionError("maximum recursion depth"), "nested too deeply (maximum recursion depth)"),
        (UnicodeEncodeError("ascii", "β", 0, 1, "ordinal not in range"), "can't encode"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_what_comes_from_outside_is_one_line(monkeypatch, capsys, error, said):
    def fails(_):
        raise error

    monkeypatch.setattr(commands, "train_and_test", fails)
    assert said in refused(capsys, "--datasource=sinusoid")


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fails(_):
        raise KeyError("name")

    monkeypatch.setattr(commands, "train_and_test", fails)
    with pytest.raises(KeyError):
        call("--datasource=sinusoid")
