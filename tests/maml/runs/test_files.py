"""Files of a run: what is written is read back, whole, and damage is named."""

import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from data_generators.errors import UserError
from maml.runs import files

COLUMNS = ("iteration", "loss")


def write_metrics(path, first, last):
    """Rows whose losses are hard to write in few digits."""
    for iteration in range(first, last + 1):
        files.append_row(path, COLUMNS, {"iteration": iteration, "loss": np.float32(1 / iteration)})


def test_run_folder():
    assert files.run_folder("results", "sinusoid_10shot", 3).as_posix() == "results/sinusoid_10shot/seed_3"


def test_json_reads_back_and_is_sorted(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": 0.1, "a": None})
    assert files.read_json(tmp_path / "a.json") == {"b": 0.1, "a": None}
    assert (tmp_path / "a.json").read_text() == '{\n  "a": null,\n  "b": 0.1\n}\n'


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_word_for_a_number_that_is_not_finite(tmp_path, number):
    with pytest.raises(UserError, match="a.json: a number to be written is not finite"):
        files.write_json(tmp_path / "a.json", {"values": [1.0, number]})
    assert not (tmp_path / "a.json").exists()


def test_a_name_that_is_no_text_is_written_and_read_back(tmp_path):
    """As a path on the command line may be."""
    files.write_json(tmp_path / "a.json", {"command": "--data_path=\udcff β"})
    assert files.read_json(tmp_path / "a.json") == {"command": "--data_path=\udcff β"}


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1}


def test_several_processes_that_write_one_file_leave_it_whole(tmp_path):
    code = """
import pathlib, sys
from maml.runs import files
for i in range(200):
    files.write_bytes(pathlib.Path(sys.argv[1]), sys.argv[2].encode() * (1000 * (i % 7 + 1)))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "page")]
    writers = [subprocess.Popen([*command, letter], stderr=subprocess.PIPE) for letter in "abc"]
    assert [process.communicate()[1] for process in writers] == [b""] * 3
    left = (tmp_path / "page").read_text()
    assert len(set(left)) == 1 and len(left) % 1000 == 0
    assert os.listdir(tmp_path) == ["page"]


def test_reader_of_the_old_file_reads_it_whole(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with open(path) as reader:
        files.write_json(path, {"a": 2})
        assert reader.read() == '{\n  "a": 1\n}\n'


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-300, -2.0, float(np.float32(0.1)), float("inf"), 7])
def test_numbers_read_back_to_the_same_bits(tmp_path, value):
    files.write_table(tmp_path / "a.csv", ("x",), [{"x": value}])
    got = files.read_table(tmp_path / "a.csv")[0]["x"]
    assert got == value and type(got) is type(value)


def test_blank_where_not_measured(tmp_path):
    files.write_table(tmp_path / "a.csv", ("step", "loss", "accuracy"), [{"step": 0, "loss": 0.5}])
    assert (tmp_path / "a.csv").read_text() == "step,loss,accuracy\n0,0.5,\n"
    assert files.read_table(tmp_path / "a.csv") == [{"step": 0, "loss": 0.5, "accuracy": None}]


def test_zero_dimensional_arrays_are_not_rounded(tmp_path):
    files.write_table(tmp_path / "a.csv", ("x",), [{"x": np.array(1.5)}])
    assert files.read_table(tmp_path / "a.csv") == [{"x": 1.5}]


def test_unknown_column_is_refused(tmp_path):
    with pytest.raises(KeyError, match="lost"):
        files.append_row(tmp_path / "a.csv", COLUMNS, {"iteration": 1, "lost": 2.0})
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("checkpoint", [0, 4, 7])
@pytest.mark.parametrize("torn", [b"", b"8", b"8,0.12", b"8,\xff"])
def test_killed_and_resumed_table_is_the_uninterrupted_one(tmp_path, checkpoint, torn):
    write_metrics(tmp_path / "whole.csv", 1, 12)
    write_metrics(tmp_path / "resumed.csv", 1, 7)
    with open(tmp_path / "resumed.csv", "ab") as file:
        file.write(torn)
    files.truncate_table(tmp_path / "resumed.csv", checkpoint)
    write_metrics(tmp_path / "resumed.csv", checkpoint + 1, 12)
    assert (tmp_path / "resumed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_row_that_is_written_in_part_is_an_error(tmp_path):
    """As where a disk is full at the end of a block: the next row would stand behind the torn one."""
    files.append_row(tmp_path / "t.csv", ("a", "b"), {"a": 1, "b": 2})
    limit = (tmp_path / "t.csv").stat().st_size + 2
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="No space left"):
            files.append_row(tmp_path / "t.csv", ("a", "b"), {"a": 3, "b": 4})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_torn_header_is_written_again(tmp_path):
    (tmp_path / "a.csv").write_text("itera")
    files.truncate_table(tmp_path / "a.csv", 0)
    write_metrics(tmp_path / "a.csv", 1, 1)
    assert (tmp_path / "a.csv").read_text() == "iteration,loss\n1,1.0\n"


def test_truncating_nothing_makes_no_file(tmp_path):
    files.truncate_table(tmp_path / "a.csv", 5)
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(
    "content", [b"a,b\n1\n", b"a,b\n1,two\n", b"a,b\n1,2\n3,", b"", b"\xff\xfe\n", b"a,b\n1,2,3\n", b"a,b\n\n1,2\n"]
)
def test_damaged_table_is_named(tmp_path, content):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match="metrics.csv") as error:
        files.read_table(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b'{"a": 1', b"[1]", b"", b"\xff", b'{"a": ' * 100_000, None])
def test_damaged_or_missing_json_is_named(tmp_path, content):
    path = tmp_path / "summary.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="summary.json") as error:
        files.read_json(path)
    assert "\n" not in str(error.value)


def test_damage_before_the_last_line_is_not_truncated_away(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("iteration,loss\n1,0.5\nrubbish\n3,0.5\n")
    with pytest.raises(UserError, match="line 3"):
        files.truncate_table(path, 1)


def test_columns_get_other_names_and_the_rows_keep_their_bytes(tmp_path):
    (tmp_path / "a.csv").write_text("iteration,pre_loss,colour\n1,0.50,\n2,1e0,7\n")
    files.rename_columns(tmp_path / "a.csv", {"pre_loss": "support_loss"})
    assert (tmp_path / "a.csv").read_text() == "iteration,support_loss,colour\n1,0.50,\n2,1e0,7\n"


def test_renaming_columns_of_no_file_makes_none(tmp_path):
    files.rename_columns(tmp_path / "a.csv", {"a": "b"})
    assert not (tmp_path / "a.csv").exists()


def test_new_columns_are_blank_in_the_rows_there_are(tmp_path):
    (tmp_path / "a.csv").write_text("iteration,loss\n1,0.50\n")
    files.add_columns(tmp_path / "a.csv", ["penalty", "entropy"])
    assert (tmp_path / "a.csv").read_text() == "iteration,loss,penalty,entropy\n1,0.50,,\n"


def test_a_table_with_nothing_in_it_gets_its_columns_with_its_first_row(tmp_path):
    files.add_columns(tmp_path / "none.csv", ["entropy"])
    assert not (tmp_path / "none.csv").exists()
    (tmp_path / "a.csv").touch()
    files.add_columns(tmp_path / "a.csv", ["entropy"])
    files.append_row(tmp_path / "a.csv", ("iteration", "entropy"), {"iteration": 1, "entropy": 0.5})
    assert (tmp_path / "a.csv").read_text() == "iteration,entropy\n1,0.5\n"


def test_tensorflow_is_not_imported():
    """So that the page and the figures start at once."""
    code = "from maml.reports import page, plots; from maml.runs import files, provenance"
    code = f"import sys; {code}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Weights

THETA = {"conv1": np.arange(6, dtype=np.float32).reshape(2, 3), "alpha/conv1": np.zeros([], np.float32)}
ABOUT = {"title": "Omniglot, 5-way 1-shot", "iteration": 7}


@pytest.fixture
def weights(tmp_path):
    """The path of THETA, written."""
    files.write_weights(tmp_path / "weights.npz", THETA, ABOUT)
    return tmp_path / "weights.npz"


def test_weights_read_back_to_the_same_bits(weights):
    got, about = files.read_weights(weights, THETA)
    assert [(name, w.dtype, w.tobytes()) for name, w in got.items()] == [
        (n, w.dtype, w.tobytes()) for n, w in THETA.items()
    ]
    assert about == ABOUT


def test_weights_hold_no_pickles(weights):
    with np.load(weights, allow_pickle=False) as archive:
        assert {archive[name].dtype.kind for name in archive.files} == {"f", "U"}


def test_the_same_weights_have_the_same_bytes(weights, tmp_path):
    files.write_weights(tmp_path / "again.npz", THETA, ABOUT)
    assert weights.read_bytes() == (tmp_path / "again.npz").read_bytes()


@pytest.mark.parametrize(
    "expected, message",
    [
        ({**THETA, "b1": np.zeros(3, np.float32)}, r"b1 is missing, expected float32 \[3\]"),
        ({"conv1": THETA["conv1"]}, r"alpha/conv1 is float32 \[\], expected missing"),
        ({**THETA, "conv1": np.zeros([3, 2], np.float32)}, r"conv1 is float32 \[2, 3\], expected float32 \[3, 2\]"),
        ({**THETA, "conv1": np.zeros([2, 3])}, r"conv1 is float32 \[2, 3\], expected float64 \[2, 3\]"),
    ],
)
def test_weights_of_another_network_are_refused(weights, expected, message):
    with pytest.raises(UserError, match=f"weights.npz: {message}"):
        files.read_weights(weights, expected)


@pytest.mark.parametrize("how", [lambda content: content[:-50], lambda content: b"", lambda content: b"text", None])
def test_damaged_or_missing_weights_are_named(weights, how):
    content = weights.read_bytes()
    os.remove(weights)
    if how is not None:
        weights.write_bytes(how(content))
    with pytest.raises(UserError, match="weights.npz") as error:
        files.read_weights(weights)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.array([1, np.nan, np.inf], np.float32), "b1 is not finite in 2 of 3 entries, expected finite numbers"),
        (np.array(["1", "2"]), "b1 holds text or other things, expected finite numbers"),
    ],
)
def test_weights_that_are_not_finite_numbers_are_refused(tmp_path, array, message):
    files.write_weights(tmp_path / "weights.npz", {"b1": array}, ABOUT)
    with pytest.raises(UserError, match=f"weights.npz: {message}$"):
        files.read_weights(tmp_path / "weights.npz")


def test_one_flipped_bit_is_noticed(weights):
    content = bytearray(weights.read_bytes())
    content[content.find(THETA["conv1"].tobytes()) + 5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match="weights.npz: damaged"):
        files.read_weights(weights)


@pytest.mark.parametrize(
    "about, message",
    [
        ([1], "about is list, expected an object"),
        ({"iteration": "7"}, "iteration is '7', expected a whole number from 0"),
        ({"iteration": 10**30}, "iteration is 10+, expected a whole number from 0"),
        ({"seconds": None}, "seconds is None, expected a number from 0"),
        ({"label": 3}, "label is 3, expected a text"),
    ],
)
def test_what_is_said_of_weights_is_of_its_type(tmp_path, about, message):
    files.write_weights(tmp_path / "weights.npz", THETA, about)
    with pytest.raises(UserError, match=f"weights.npz: damaged, {message}$"):
        files.read_weights(tmp_path / "weights.npz")


def test_weights_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "weights.npz", about=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="weights.npz: damaged"):
        files.read_weights(tmp_path / "weights.npz")
