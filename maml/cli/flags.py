"""Flags made from the fields of records, and what a command line gives of them."""

import functools
import re
from typing import Any, NamedTuple, get_args

from absl import flags

from data_generators import places
from data_generators.errors import UserError
from maml.cli import kinds, options

DEFINE = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_bool}
# {setting: the flag that has it for the training, where the setting's own flag is another one for the test}
TWINS = {name.removeprefix("train_"): name for name in kinds.flags_of(options.Test) if name.startswith("train_")}


class CommandLine(NamedTuple):
    """What was asked for.

    arguments: the words behind the program's name.
    values: {flag: its value} of all flags; None where one is not given and has no default.
    given: names of those given.
    """

    arguments: tuple
    values: dict[str, Any]
    given: frozenset

    def __getitem__(self, name):
        return self.values[name]

    def settings(self, names) -> dict[str, Any]:
        """{flag: value} of the settings of these names that are given for the training."""
        found = {name: self.values[name] for name in names if name in self.given}
        return found | {name: self.values[TWINS[name]] for name in names if self.is_twice(name)}

    def is_twice(self, name) -> bool:
        """Whether a setting has a value of its own for the training, so that its own flag is the test's."""
        return name in TWINS and self.values[TWINS[name]] != -1


def value_type(field) -> type:
    """The one type besides None that a field's values have."""
    (kind,) = [kind for kind in get_args(field.type) or (field.type,) if kind is not type(None)]
    return kind


@functools.cache
def known() -> dict[str, tuple]:
    """{flag: (type, default)} of all flags. What is not given of a run's settings is its preset's."""
    found = {}
    for record in options.RECORDS:
        found |= {name: (value_type(field), field.default) for name, field in kinds.flags_of(record).items()}
    for kind in kinds.KINDS:
        for method in kind.methods:
            for name, field in kinds.settings_of(kind, method).items():
                expected, _ = found.setdefault(name, (value_type(field), None))
                if expected is not value_type(field):
                    raise TypeError(f"--{name} is {expected.__name__} and {value_type(field).__name__}, of {method}")
    return found


def parse(arguments) -> CommandLine:
    """The CommandLine of the words behind the program's name. UserError for what can't be read."""
    values = flags.FlagValues()
    for name, (kind, default) in known().items():
        DEFINE[kind](name, default, "", flag_values=values, short_name="h" if name == "help" else None)
    try:
        unnamed = values(["main.py", *arguments])[1:]
    except flags.Error as error:
        raise UserError(f"{_problem(error, values)} (--help lists the flags)") from error
    if unnamed:
        raise UserError(f"unexpected {' '.join(unnamed)!r}, expected only flags, --name=value (--help lists the flags)")
    given = frozenset(name for name in known() if values[name].present)
    if empty := [name for name in known() if name in given and values[name].value == ""]:
        raise UserError(f"--{empty[0]}= has nothing behind it, expected a value, or the command without it")
    found = {name: values[name].value for name in known()}
    found |= {name: str(places.expanded(found[name])) for name in options.PATHS if found[name]}
    for record in options.RECORDS:  # a run's settings are checked with its presets
        record(**{field.name: found[name] for name, field in kinds.flags_of(record).items()})
    return CommandLine(tuple(arguments), found, given)


def _problem(error, values):
    """What absl found wrong, on one line."""
    if isinstance(error, flags.UnrecognizedFlagError):
        asked, there = f"--{error.flagname}", [f"--{name}" for name in known()]
        return f"there is no flag {asked}{kinds.suggestion(asked, there)}"
    problem = str(error).replace("\n", " ")
    if wrong := re.match(r"(flag --(\w+)=.*?): ", problem):
        return f"{wrong[1]}: expected {values[wrong[2]].parser.syntactic_help or 'true or false'}"
    return problem
