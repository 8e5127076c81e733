"""The files of a run folder: text, tables and weights, written whole or not at all.

A table is a csv file of numbers with a header; blank means not measured. Floats are written so that reading them gives
the same bits back. Weights are an .npz archive without pickles.
"""

import csv
import errno
import io
import json
import numbers
import os
import re
import reprlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from data_generators import locks, untrusted
from data_generators.errors import UserError

WEIGHTS = "weights.npz"  # θ as it was tested
_WORDS = {str: "a text", int: "a whole number from 0", float: "a number from 0"}
_ABOUT = "about"  # its entry that is not a weight: what is said about them, as json


def run_folder(logdir: str | Path, experiment: str, seed: int) -> Path:
    """<logdir>/<experiment>/seed_<seed>; nothing is created."""
    return Path(logdir) / experiment / f"seed_{seed}"


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replaces the file in one step, so that a reader or a kill meets the old content or the new, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One fixed name, so that what a kill leaves behind is overwritten by the next try.
    temporary = path.with_name(f".{path.name}.tmp")
    with locks.writing(path.parent):  # or another process that writes the same file would write into this one's
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def read_text(path: str | Path) -> str:
    """The text of a file. UserError naming it if it is missing or not text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: damaged, not a text file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


# Records


def write_json(path: str | Path, record: dict) -> None:
    """Writes a dict sorted and indented. UserError for a number that is not finite: json has no word for it."""
    try:
        text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise UserError(f"{path}: a number to be written is not finite ({error})") from None
    # A name in bytes that are no text, as file systems allow it, is escaped: \udcff, as json itself writes it.
    write_bytes(path, (text + "\n").encode(errors="backslashreplace"))


def read_json(path: str | Path) -> dict:
    """The dict in a json file. UserError naming the file if it is missing, damaged, or holds something else."""
    text = read_text(path)
    try:
        record = untrusted.parse_json(text)
    except ValueError as error:
        raise UserError(f"{path}: damaged, expected json ({error})") from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: expected a json object, got {type(record).__name__}")
    return record


# Tables


def write_table(path: str | Path, columns, rows) -> None:
    """Writes a table.

    columns: names, in order.
    rows: dicts; a missing name leaves a blank.
    """
    write_bytes(path, (",".join(columns) + "\n" + _lines(columns, list(rows))).encode())


def append_row(path: str | Path, columns, row: dict) -> None:
    """Adds one row to the end of a table, after a header if the file is new or empty.

    One write, handed to the operating system before this returns: a killed process leaves whole rows, at worst
    followed by a torn line, which `truncate_table` removes. Append before saving the checkpoint of that iteration.
    """
    path, text = Path(path), _lines(columns, [row])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.stat().st_size == 0:
        text = ",".join(columns) + "\n" + text
    content = text.encode()
    with open(path, "ab", buffering=0) as file:
        if file.write(content) < len(content):  # the disk was full before its end
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def truncate_table(path: str | Path, last: int, key: str = "iteration") -> None:
    """Drops rows whose `key` is beyond `last` and a torn last line; what stays keeps its bytes.

    Call it on resuming from the checkpoint of iteration `last`. A missing file is left missing; a file with no whole
    header becomes empty. UserError if the whole lines are damaged.
    """
    path = Path(path)
    if not path.exists():
        return
    # Decoded only after the cut: a line torn by a crash of the machine may end in anything.
    content = path.read_bytes()
    kept = content[: content.rfind(b"\n") + 1]
    if kept:
        header, *lines = kept.splitlines(keepends=True)
        rows = _parse(path, kept)
        if rows and any(row.get(key) is None for row in rows):
            raise UserError(f"{path}: damaged, expected a number in the column {key} of every row")
        kept = header + b"".join(line for line, row in zip(lines, rows) if row[key] <= last)
    if kept != content:
        write_bytes(path, kept)


def seal_table(path: str | Path) -> dict:
    """Has a table on disk for good, and returns what `check_sealed` holds it against: its rows, and a checksum."""
    path = Path(path)
    if path.exists():
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    return _seal(path)


def check_sealed(path: str | Path, seal: dict) -> str | None:
    """A line about what was done to a table since it was sealed; None where its numbers are the same."""
    now = _seal(Path(path))
    if now["rows"] != seal["rows"]:
        return f"{path} has {now['rows']:,} rows, and had {seal['rows']:,} when this checkpoint was saved"
    return None if now == seal else f"{path} has other numbers in it than when this checkpoint was saved"


def _seal(path):
    rows = read_table(path) if path.exists() and path.stat().st_size else []
    numbers = [sorted((name, value) for name, value in row.items() if value is not None) for row in rows]
    return {"rows": len(rows), "crc32": zlib.crc32(repr(numbers).encode())}


def read_table(path: str | Path) -> list[dict]:
    """The rows, as dicts of int, float, or None for a blank. UserError naming the file if missing or damaged."""
    text = read_text(path)
    if not text.endswith("\n"):
        raise UserError(f"{path}: damaged, " + ("its last line is cut off" if text else "the file is empty"))
    return _parse(path, text.encode())


def read_columns(path: str | Path) -> tuple[str, ...]:
    """The names in a table's header; none where there is no file, or nothing in it."""
    first = read_text(path).partition("\n")[0] if Path(path).exists() else ""
    return tuple(first.split(",")) if first else ()


def rename_columns(path: str | Path, names: dict[str, str]) -> None:
    """Gives columns other names, {old: new}; the rows keep their bytes. A missing file is left missing."""
    columns = read_columns(path)
    renamed = [names.get(name, name) for name in columns]
    if list(columns) != renamed:
        _, _, rows = read_text(path).partition("\n")
        write_bytes(path, (",".join(renamed) + "\n" + rows).encode())


def add_columns(path: str | Path, names) -> None:
    """Adds columns behind those that a table has, blank in the rows there are. Its last line must be whole.

    A missing file is left missing, an empty one empty: `append_row` writes the header.
    """
    if not read_columns(path):
        return
    header, *rows = read_text(path).splitlines()
    lines = [",".join([header, *names]), *(row + "," * len(names) for row in rows)]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _cell(value):
    """Text of one number: '' for None; repr is the shortest text that reads back to the same float."""
    if value is None:
        return ""
    if isinstance(value, (str, bool)):
        raise TypeError(f"a table holds numbers, got {value!r}")
    return str(int(value)) if isinstance(value, numbers.Integral) else repr(float(value))


def _lines(columns, rows):
    unknown = sorted({name for row in rows for name in row} - set(columns))
    if unknown:
        raise KeyError(f"unknown columns {unknown}, expected among {list(columns)}")
    return "".join(",".join(_cell(row.get(name)) for name in columns) + "\n" for row in rows)


def _number(text):
    return None if text == "" else int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def _parse(path, content):
    """The rows of the whole lines of a table, as dicts. UserError names the file and the line that is damaged."""
    try:
        columns, *lines = csv.reader(io.StringIO(content.decode()))
    except (UnicodeDecodeError, ValueError, csv.Error):
        raise UserError(f"{path}: damaged, expected a csv file with a header") from None
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            rows.append(dict(zip(columns, map(_number, line), strict=True)))
        except ValueError:
            expected = f"expected {len(columns)} numbers, got {','.join(line)!r}"
            raise UserError(f"{path}: line {number} is damaged, {expected}") from None
    return rows


# Weights


def write_weights(path: str | Path, weights: dict[str, np.ndarray], about: dict) -> None:
    """Writes θ, {name: array}, and what is said about it, plain values by name."""
    content = io.BytesIO()
    np.savez(content, **{_ABOUT: np.array(json.dumps(about, ensure_ascii=False, sort_keys=True))}, **weights)
    write_bytes(path, content.getvalue())


def read_weights(path: str | Path, expected: dict[str, Any] | None = None) -> tuple[dict[str, np.ndarray], dict]:
    """(θ, what is said about it) as `write_weights` wrote them.

    expected: {name: a tensor or an array} of the network they are for; None: not checked. UserError for a file that is
    missing or damaged, and for weights of other names, shapes or types than expected.
    """
    try:
        weights = untrusted.read_arrays(path)
        about = untrusted.parse_json(str(weights.pop(_ABOUT)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except untrusted.UNREADABLE:
        raise UserError(f"{path}: damaged, expected an archive of weights") from None
    _check_about(path, about)
    check_finite(path, weights)
    for name in sorted({*weights, *(weights if expected is None else expected)}):
        got, needed = _kind(weights.get(name)), _kind((weights if expected is None else expected).get(name))
        if got != needed:
            raise UserError(f"{path}: {name} is {got}, expected {needed}: the settings are of another network")
    return weights, about


def _check_about(path, about):
    """UserError unless what is said about weights is of the types that `write_weights` was given."""
    if not isinstance(about, dict):
        raise UserError(f"{path}: damaged, {_ABOUT} is {type(about).__name__}, expected an object")
    for kind, names in ((str, ("label", "title")), (int, ("iteration", "trained")), (float, ("seconds",))):
        for name in names:
            value = about.get(name, kind())
            if type(value) is not kind or (kind is not str and not 0 <= value < 2**63):
                raise UserError(f"{path}: damaged, {name} is {reprlib.repr(value)}, expected {_WORDS[kind]}")


def check_finite(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """UserError unless all of {name: array} are numbers, and finite."""
    for name, array in arrays.items():
        numeric = array.dtype.kind in "biuf"
        if not (numeric and np.isfinite(array).all()):
            count = np.count_nonzero(~np.isfinite(array)) if numeric else 0
            what = f"is not finite in {count:,} of {array.size:,} entries" if numeric else "holds text or other things"
            raise UserError(f"{path}: {name} {what}, expected finite numbers")


def _kind(weight):
    """'float32 [3, 3]' of an array or a tensor."""
    if weight is None:
        return "missing"
    return f"{np.dtype(getattr(weight.dtype, 'as_numpy_dtype', weight.dtype)).name} {list(weight.shape)}"
