"""The kinds of learning there are, and to which of them, and to which of their methods, an option belongs."""

import dataclasses
import difflib
import functools

from data_generators.errors import UserError
from maml.methods.card import keys
from maml.runs import settings as supervised_settings
from maml.runs import supervised
from maml.runs.kind import Kind
from rl import kind as reinforcement
from rl import settings as reinforcement_settings

SUPERVISED, REINFORCEMENT = supervised.KIND, reinforcement.KIND
KINDS = (SUPERVISED, REINFORCEMENT)
DATASOURCES = tuple(name for kind in KINDS for name in kind.datasources)
DEFAULT_METHOD = "maml"
# As `Kind.resolve`, without a look at the data: (datasource, method, **given by flag) -> Settings.
PRESETS = {SUPERVISED.name: supervised_settings.resolve, REINFORCEMENT.name: reinforcement_settings.resolve}


def suggestion(name, names):
    """'; did you mean sinusoid?' for a name that is one of `names` misspelt; '' where none is near."""
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""


def kind_of(datasource) -> Kind:
    """The Kind that has a data source. UserError where none has."""
    for kind in KINDS:
        if datasource in kind.datasources:
            return kind
    expected = suggestion(datasource, DATASOURCES) or f", expected one of {', '.join(DATASOURCES)}"
    raise UserError(f"datasource is {datasource!r}{expected}")


def method_of(kind, given) -> str:
    """The method asked for by --method or --baseline. UserError for one that this kind of learning doesn't have."""
    method = given.get("method") or DEFAULT_METHOD
    if method not in kind.methods:
        others = [other for other in KINDS if method in other.methods]
        expected = f", which belongs to {named(others[0])}" if others else suggestion(method, kind.methods)
        raise UserError(f"method is {method!r}{expected or ', expected one of ' + ', '.join(kind.methods)}")
    baseline = given.get("baseline")
    return baseline if baseline in kind.methods else method  # a baseline that is none is refused with the settings


def flags_of(record) -> dict[str, dataclasses.Field]:
    """{flag: field} of a Record's type; without what only the house itself sets (flag=False)."""
    fields = [field for field in dataclasses.fields(record) if field.metadata["flag"] is not False]
    return {keys(record)[field.name]: field for field in fields}


@functools.cache
def groups_of(kind, method) -> dict[str, type]:
    """{title: Record type} of a run's settings, whatever its data source."""
    return {title: record for name in kind.datasources for title, record in kind.record_types(name, method).items()}


@functools.cache
def settings_of(kind, method) -> dict[str, dataclasses.Field]:
    """{flag: field} of all settings of a run."""
    return {name: field for record in groups_of(kind, method).values() for name, field in flags_of(record).items()}


def methods_with(kind, name) -> tuple[str, ...]:
    """The methods of a kind of learning that have a setting of this flag."""
    return tuple(method for method in kind.methods if name in settings_of(kind, method))


def presets_of(kind, method) -> dict[str, dict]:
    """{data source: {flag: value}} of a method's presets, for the data sources that it learns from."""
    found = {}
    for datasource in kind.datasources:
        try:
            found[datasource] = PRESETS[kind.name](datasource, method=method).to_dict()
        except UserError:
            continue
    return found


def understands(kind, name) -> bool:
    """Whether an option says something about some run of this kind of learning."""
    return name in kind.test_flags or bool(methods_with(kind, name))


def named(kind) -> str:
    """'reinforcement learning (point, cheetah_vel, …)'."""
    return f"{kind.title} ({', '.join(kind.datasources)})"
