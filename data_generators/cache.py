"""Prepared image classes kept on disk, so that the second start is quick."""

import hashlib
import os
import pathlib
import sys
import tempfile
import zipfile
import zlib

import numpy as np

from data_generators.image_classes import ImageClasses


def cached(name, key, cache_dir, build):
    """The ImageClasses that `build()` returns, read back from `cache_dir` if they were stored under the same key.

    key: anything whose repr says all that the result depends on. cache_dir: None for $MAML_CACHE, else ~/.cache/maml.
    A damaged file (the archive holds a checksum of each array) is rebuilt, and a folder that can't be written is done
    without; both are said on stderr. Raises only what `build` raises.
    """
    folder = pathlib.Path(cache_dir or os.environ.get("MAML_CACHE") or "~/.cache/maml").expanduser()
    path = folder / f"{name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.npz"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        print(f"cache: {path} is damaged ({error}) and is made again", file=sys.stderr)
    classes = build()
    try:
        _write(path, classes)
    except OSError as error:
        print(f"cache: can't write {path} ({error}); going on without a cache", file=sys.stderr)
    return classes


def _read(path):
    with np.load(path, allow_pickle=False) as arrays:
        return ImageClasses(arrays["images"], arrays["offsets"], tuple(arrays["names"].tolist()))


def _write(path, classes):
    """Writes beside `path` and renames, so that a reader or a crash never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            np.savez(file, images=classes.images, offsets=classes.offsets, names=np.array(classes.names))
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
