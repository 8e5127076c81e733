"""What must be settled before TensorFlow is imported. So nothing here may import it."""

import contextlib
import importlib
import os
import sys
import tempfile

from absl import flags

# Bits depend on it. It is made for large layers: beside XLA, which gets the small ones, it costs more than it brings.
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
WITHOUT_XLA = ("miniimagenet", "folder")  # data sources whose presets have jit=False
_guessed = set()  # variables that `settle` has set


def settle(argv=None):
    """Sets the environment variables that TensorFlow reads; one that is set already stays.

    argv: the command line; None: that of this process.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no start-up notes; its errors come as exceptions
    if ONEDNN not in os.environ:
        _guessed.add(ONEDNN)
        os.environ[ONEDNN] = _onednn(compiles(sys.argv if argv is None else argv))


def compiles(argv):
    """Whether this command line's meta-updates go through XLA, as far as one can tell without a look at the presets."""
    own = flags.FlagValues()
    for name in ("datasource", "adapt"):
        flags.DEFINE_string(name, None, "", flag_values=own)
    flags.DEFINE_bool("jit", None, "", flag_values=own)
    own.set_gnu_getopt(True)  # --name value: the value of a flag unknown here is not the end of the flags
    try:
        own(argv, known_only=True)
    except flags.Error:  # which is said when the whole command line is read
        return True
    if own.jit is not None:
        return own.jit
    return own.datasource not in WITHOUT_XLA and own.adapt is None  # a classifier is adapted without it


def hold_to(jit, arguments):
    """Starts the process anew, with oneDNN the other way, where `settle` guessed another `jit` than the settings have.

    arguments: the command line that they come from. Nothing happens unless it is this process's own.
    """
    if ONEDNN not in _guessed or os.environ[ONEDNN] == _onednn(jit) or list(arguments) != sys.argv[1:]:
        return
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, ONEDNN: _onednn(jit)})


def _onednn(jit):
    return "0" if jit else "1"


def load():
    """Imports TensorFlow without what it prints while it looks for a GPU, which no log level keeps back."""
    if "tensorflow" in sys.modules:
        return
    try:
        with _saying("loading TensorFlow …"), _quiet():
            importlib.import_module("tensorflow")
    except KeyboardInterrupt:
        print("stopped before anything began", file=sys.stderr)
        raise SystemExit(130) from None


@contextlib.contextmanager
def _saying(words):
    """Shows words within, on a terminal alone: a slow disk takes many seconds."""
    _show(words)
    try:
        yield
    finally:
        _show(" " * len(words))


def _show(words):
    if sys.stderr.isatty():
        print(words, end="\r", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _quiet():
    """Keeps back what is written to the process's standard error, unless an error leaves the block."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except Exception:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
