"""The command line as a test calls it."""

import shlex

from maml.cli import commands, flags
from maml.cli.__main__ import main


def call(command):
    """The exit code of a command line."""
    return main(shlex.split(command))


def plan(command):
    """The Plan of a command line that is for a run."""
    return commands.plan(flags.parse(shlex.split(command)))


def refused(capsys, command):
    """The one line that `command` ends with."""
    code = call(command)
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2 and line.startswith("error: ")
    return line
