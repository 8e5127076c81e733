"""`maml`, `python main.py`, `python -m maml.cli`: parse, then run a method, or what was asked for instead."""

import contextlib
import signal
import sys
import threading

from absl import logging

from maml.cli import commands, errors, flags
from maml.runs.progress import answering
from maml.runs.run import STOPS


def main(arguments=None):
    """The exit code: 0; 2 after a line on stderr that says what is wrong; 128 + n after signal n, 130 for Ctrl-C.

    arguments: the words behind the program's name; None: those of this process.
    """
    logging.set_verbosity(logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # β on a terminal that has no β
    go_on = ""
    try:
        with _leaving_on_signals(), answering(STOPS, "stopping …"):
            asked = flags.parse(sys.argv[1:] if arguments is None else arguments)
            wanted = commands.command(asked)
            if wanted in commands.TRAIN and asked["train"]:
                go_on = "; the same command goes on from the last checkpoint"
            return wanted(asked)
    except errors.FORESEEN as error:
        print(f"error: {errors.line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:  # while training, a Run sees to it
        print(f"stopped{go_on}", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)


@contextlib.contextmanager
def _leaving_on_signals():
    """Within, what else would end the process at once interrupts it as Ctrl-C does, and nothing half-made is left.

    Process 1 of a container would not even be ended by them.
    """

    def leave(number, _):
        raise KeyboardInterrupt(number)

    in_main_thread = threading.current_thread() is threading.main_thread()
    ours = [n for n in STOPS if n != signal.SIGINT and in_main_thread and signal.getsignal(n) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
