"""Content that anyone may have written: archives, arrays and json, read without believing the sizes that they claim."""

import io
import json
import lzma
import math
import struct
import zipfile
import zlib

import numpy as np

# What damaged, encrypted, truncated or unknown content raises in zipfile, NumPy and Pillow.
UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,  # RecursionError and NotImplementedError are among them
    MemoryError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
MEMBER_LIMIT = 1 << 30  # bytes of a file in a zip: four times those of the largest photograph that Pillow opens
DENSEST = 1100  # deflate packs 1,032 bytes into one
ITEM_LIMIT = 1 << 20  # bytes of one number or text of an array


def parse_json(text):
    """What a json text says. ValueError for a damaged one, and for one that is nested deeper than Python follows."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_member(archive, name, limit=MEMBER_LIMIT):
    """The bytes of a file in an open ZipFile. One of UNREADABLE, before anything is unpacked, for impossible sizes.

    limit: bytes that it may have.
    """
    info = archive.getinfo(name)
    if info.file_size > limit:
        raise ValueError(f"{info.file_size:,} bytes, more than {limit:,}")
    if info.file_size > DENSEST * info.compress_size:
        raise ValueError(f"claims to be {info.file_size:,} bytes, packed into {info.compress_size:,}")
    content = archive.read(name)
    if len(content) != info.file_size:
        raise ValueError(f"{len(content):,} bytes, and claims to be {info.file_size:,}")
    return content


def read_arrays(path):
    """{name: array} of an .npz archive; nothing is unpickled. One of UNREADABLE where it can't be read."""
    with zipfile.ZipFile(path) as archive:
        contents = {name.removesuffix(".npy"): read_member(archive, name, math.inf) for name in archive.namelist()}
    return {name: _array(content) for name, content in contents.items()}


def _array(content):
    """The array of an .npy file. ValueError before any memory is taken for numbers that it doesn't hold."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"format {version}")
    shape, _, dtype = read[version](file)
    held = len(content) - file.tell()
    if dtype.hasobject or dtype.itemsize > ITEM_LIMIT or math.prod(shape) * dtype.itemsize != held:
        raise ValueError(f"claims {dtype.name} of shape {list(shape)} and holds {held:,} bytes")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)
