"""The command line as a test calls it."""

import shlex

from absl.testing import flagsaver

import main


def call(command, function=main.main):
    """`function` with the flags of `command` set; the exit code, for main."""
    with flagsaver.flagsaver():
        main.parse_flags(["main.py", *shlex.split(command)])
        return function([]) if function is main.main else function()


def refused(capsys, command):
    """The one line that `command` ends with."""
    try:
        code = call(command)
    except SystemExit as exit:
        code = exit.code
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2 and line.startswith("error: ")
    return line
