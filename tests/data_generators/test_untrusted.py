"""Content that claims what it doesn't hold: refused before any memory is taken for it."""

import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from data_generators import untrusted
from data_generators.errors import UserError
from data_generators.image_files import Opener, ZipMember

DEEP = "[" * 100_000 + "]" * 100_000


def archive(path, content=b"\0" * 1000, method=zipfile.ZIP_DEFLATED, patch=()):
    """A zip with the member a; patch: (offset in its entry of the directory, bytes there), in both of its headers."""
    with zipfile.ZipFile(path, "w", method) as opened:
        opened.writestr("a", content)
    data = bytearray(path.read_bytes())
    for offset, value in patch:
        for start in (data.index(b"PK\x01\x02") + offset, data.index(b"PK\x03\x04") + offset - 2):
            data[start : start + len(value)] = value
    path.write_bytes(data)
    return path


def header(shape, dtype="<f4", version=(1, 0)):
    """The beginning of an .npy file."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text.encode()


def test_json_is_read():
    assert untrusted.parse_json('{"a": [1, null]}') == {"a": [1, None]}


@pytest.mark.parametrize("text", [DEEP, '{"a": ' * 100_000, "{", ""])
def test_json_that_is_damaged_or_nested_too_deeply(text):
    with pytest.raises(ValueError):
        untrusted.parse_json(text)


def test_arrays_read_back_to_the_same_bits(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b/c": np.array("β"), "d": np.zeros([0, 2])}
    np.savez(tmp_path / "x.npz", **arrays)
    read = untrusted.read_arrays(tmp_path / "x.npz")
    assert {name: (a.dtype, a.tobytes()) for name, a in read.items()} == {
        name: (a.dtype, a.tobytes()) for name, a in arrays.items()
    }


@pytest.mark.parametrize(
    "content",
    [
        header((10**13,)) + b"\0" * 100,  # 40 TB
        header((10**9,)) + b"\0" * 100,
        header((10**30,)),
        header((-5,)) + b"\0" * 20,
        header((5,), "|O") + b"\0" * 40,
        header((5,)) + b"\0" * 21,
        header((0,), "|V2147483647"),
        header((5,), version=(9, 9)) + b"\0" * 20,
        b"text",
        b"",
    ],
)
def test_an_array_that_claims_another_size_or_type_than_it_has(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as opened:
        opened.writestr("a.npy", content)
    tracemalloc.start()
    with pytest.raises(untrusted.UNREADABLE):
        untrusted.read_arrays(tmp_path / "x.npz")
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def test_arrays_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="claims object"):
        untrusted.read_arrays(tmp_path / "x.npz")


FILE_SIZE = 24  # where the directory of a zip has what a member claims to be when it is unpacked


@pytest.mark.parametrize(
    "patch, message",
    [
        ([(FILE_SIZE, struct.pack("<I", 0xFFFFFFF0))], "4,294,967,280 bytes, more than 1,073,741,824"),
        ([(FILE_SIZE, struct.pack("<I", 1 << 29))], "claims to be 536,870,912 bytes, packed into"),
        ([(8, b"\1\0")], "encrypted"),
        ([(10, b"\x63\0")], "compression method is not supported"),
        ([(10, b"\x0e\0")], ""),  # LZMA
        ([(10, b"\x0c\0")], ""),  # bzip2
        ([(10, b"\x5d\0")], "compression method is not supported"),  # Zstandard
    ],
)
def test_a_member_that_is_odd_is_named_with_its_zip(tmp_path, patch, message):
    path = archive(tmp_path / "x.zip", os.urandom(1000), patch=patch)
    with Opener() as opener, pytest.raises(UserError, match=f"x.zip/a can't be read .*{message}"):
        opener(ZipMember(path, "a"))


def test_a_member_that_is_larger_than_anything_is_not_unpacked(tmp_path, monkeypatch):
    path = archive(tmp_path / "x.zip")
    with zipfile.ZipFile(path) as opened:
        monkeypatch.setattr(opened, "read", None)
        with pytest.raises(ValueError, match="1,000 bytes, more than 999"):
            untrusted.read_member(opened, "a", limit=999)
