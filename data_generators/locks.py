"""What one process does at a time. The operating system keeps the lock, and ends it with the process, however it ends.

It is `flock`, which local file systems have, and NFS on Linux, there between all machines. Where there is none, as on
Windows, nothing is locked, and that is said.
"""

import contextlib
import os
import pathlib
import platform
import sys

from data_generators.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def held(path, what, wait=False):
    """Within, no other process is in here with this path: a file that says who is, and is there only meanwhile.

    what: for people, what is locked. wait: where another process has it, wait until it is done, and say so; else that
    is a UserError, which names the process. Raises OSError where the file can't be written.
    """
    path = pathlib.Path(path)
    file = _locked(path, what, wait)
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)
            file.close()


@contextlib.contextmanager
def writing(folder):
    """Within, no other process is in here with this folder. It waits for those that are; nothing is left in the folder.

    For moments, and not one within another. Where folders have no locks, as on Windows and NFS, nothing is locked.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        descriptor = None
    try:
        if descriptor is not None and fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(path, what, wait):
    """The open file; None where there are no locks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = open(path, "a+", encoding="utf-8")
        try:
            if not _try(file):
                holder = path.read_text(encoding="utf-8").strip() or "another process"
                if not wait:
                    raise UserError(f"{what} is in use by {holder}; expected one process at a time")
                print(f"{what} is in use by {holder}: waiting for it", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            # Who had it before may have removed the file between our opening and our locking it.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {platform.node()}\n")
                file.flush()
                return file
        except FileNotFoundError:  # who had it removed the file before we read who it was
            file.close()
            continue
        except OSError as error:
            file.close()
            path.unlink(missing_ok=True)
            print(f"{what} can't be locked ({error}); nobody else may use it meanwhile", file=sys.stderr)
            return None
        except BaseException:
            file.close()
            raise
        file.close()


def _try(file):
    """Whether the lock was free, and is ours now. OSError where there are none."""
    if fcntl is None:
        raise OSError("this system has no flock")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
