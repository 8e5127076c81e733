"""`maml`, `python main.py`, `python -m maml.cli`: parse, then run a method, or what was asked for instead."""

import sys

from absl import logging

from data_generators.errors import UserError
from maml.cli import commands, flags


def main(arguments=None):
    """The exit code: 0; 2 after a line on stderr that says what is wrong; 130 after Ctrl-C.

    arguments: the words behind the program's name; None: those of this process.
    """
    logging.set_verbosity(logging.WARNING)
    try:
        asked = flags.parse(sys.argv[1:] if arguments is None else arguments)
        return commands.command(asked)(asked)
    except (UserError, OSError) as error:  # OSError: folders that can't be written, a full disk
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while training, a Run sees to it
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
