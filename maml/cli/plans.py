"""What a command line asks for: the Plan of a run, and what is refused."""

from pathlib import Path
from typing import Any, NamedTuple

from data_generators.errors import UserError
from maml.cli import kinds, options
from maml.cli.flags import TWINS, known
from maml.runs import authors, files
from maml.runs.kind import Kind
from maml.runs.resolve import settle

LOGDIR = "logs"
RECORDS = options.General, options.Adapt, options.Reproduce, options.Instead
GENERAL, ADAPT, REPRODUCE, INSTEAD = map(kinds.flags_of, RECORDS)


class Plan(NamedTuple):
    """What a run is to be.

    options: {option: value or None} of how to test, as its Kind takes them.
    imported: where a checkpoint of the authors' code lies, whose weights are tested; None: the run's own are.
    """

    kind: Kind
    settings: Any
    folder: Path
    protocol: Any
    options: dict
    imported: Path | None


def plan(asked, scratch: Path | None = None) -> Plan:
    """The Plan of a command line, held against what the run folder holds. UserError for what can't be.

    scratch: where a worker that is not the chief has the run folder, which then holds nothing.
    """
    kind = kinds.kind_of(asked["datasource"])
    given, options = settings_given(asked, kind), test_options(asked, kind)
    settings = kind.resolve(asked["datasource"], options, **given)
    if not (asked["train"] or asked["resume"]):
        raise UserError("resume=False given with train=False, which trains nothing to begin anew; expected one of them")
    logdir = scratch or asked["logdir"] or LOGDIR
    if scratch:
        imported, folder = options.get("checkpoint"), files.run_folder(scratch, settings.name, settings.seed)
    elif options.get("checkpoint"):  # no folder has settings of its own for it: they are the flags'
        imported = authors.prefix_of(options["checkpoint"])
        folder = authors.folder_of(logdir, settings, imported)
    else:
        imported = None
        settings, folder = settle(kind, settings, given, logdir, asked["train"], asked["resume"])
    return Plan(kind, settings, folder, kind.protocol(settings, options), options, imported)


def settings_given(asked, kind):
    """{flag: value} of the settings of the training, with method and baseline.

    UserError for an option that such a run doesn't understand.
    """
    choice, method = method_asked(asked, kind)
    fields = kinds.settings_of(kind, method)
    understood = {*GENERAL, *INSTEAD, *kind.test_flags, *with_twins(fields)}
    refuse(asked, understood, lambda name: whose(name, kind, method))
    return choice | asked.settings(fields)


def method_asked(asked, kind):
    """({"method", "baseline": where given}, the name of the method that they mean)."""
    choice = {name: asked[name] for name in ("method", "baseline") if asked[name] not in (None, "None")}
    return choice, kinds.method_of(kind, choice)


def with_twins(fields):
    """The flags of settings, and those that have them for the training alone."""
    return {*fields, *(TWINS[name] for name in fields if name in TWINS)}


def test_options(asked, kind):
    """{option: value} of those of a test that this kind of learning understands.

    test_update_lr, test_update_batch_size, test_num_classes: α, K and N at test, where --train_… has those of the
    training; K also where there is no training that it could be meant for.
    """
    found = {name: asked[name] for name in kind.test_flags if name in known()}
    for name in TWINS:
        for_test = asked.is_twice(name) or (name == "update_batch_size" and not asked["train"])
        found[f"test_{name}"] = asked[name] if for_test else None
    return found


# What is refused


def refuse(asked, understood, why):
    """UserError if an option is given that is not understood. why: its name -> what is wrong, behind "given"."""
    odd = [name for name in known() if name in asked.given and name not in understood]
    if odd:
        reason = why(odd[0])
        raise UserError(f"{', '.join(name for name in odd if why(name) == reason)} given{reason}")


def whose(name, kind, method):
    """To what an option belongs that a run of this kind and method doesn't understand."""
    name = {twin: setting for setting, twin in TWINS.items()}.get(name, name)
    for flag, value, others in (("adapt", "folder", ADAPT), ("reproduce", "what", REPRODUCE)):
        if name in others:
            return f" without {flag}, expected --{flag}=<{value}> with it"
    if methods := kinds.methods_with(kind, name):
        return f", which belongs to method {', '.join(methods)}; this is method {method}"
    owners = " and ".join(kinds.named(other) for other in kinds.KINDS if kinds.understands(other, name))
    return f", which belongs to {owners}; expected the command without it"


def no_use(what):
    """A `why` of `refuse` for a command that understands little."""
    return lambda name: f", which {what} has no use for; expected the command without it"
