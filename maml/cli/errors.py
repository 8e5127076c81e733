"""What a user may meet, said in one line: bad input, a full disk, too little memory, what TensorFlow chokes on."""

import textwrap

import tensorflow as tf

from data_generators.errors import UserError

# Whatever content or sizes from outside can raise anywhere below the command line. Anything else is a bug of ours, and
# its traceback is wanted.
FORESEEN = (UserError, OSError, MemoryError, RecursionError, UnicodeError, tf.errors.OpError)
LONGEST = 400


def line(error) -> str:
    """The error of FORESEEN in one line."""
    if isinstance(error, UserError):
        return " ".join(str(error).splitlines())
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        said = _first(error)
        return f"not enough memory{f' ({said})' if said else ''}; expected smaller sizes, or a larger machine"
    if isinstance(error, RecursionError):
        return f"something is nested too deeply ({_first(error)}); expected undamaged files"
    if isinstance(error, tf.errors.OpError):
        return f"TensorFlow: {_first(error)}"
    return " ".join(str(error).splitlines())


def _first(error):
    """The first line of what it says, shortened."""
    said = (getattr(error, "message", None) or str(error)).strip().splitlines()
    return textwrap.shorten(said[0], LONGEST, placeholder=" …") if said else ""
