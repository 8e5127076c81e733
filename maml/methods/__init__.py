"""The few-shot methods, one file each. The folder is the registry: a file with a CARD is a method of that name."""

import difflib
import functools
import importlib
import pkgutil

from data_generators.errors import UserError

_NO_METHODS = ("card",)


@functools.cache
def names() -> tuple[str, ...]:
    """The methods' names, MAML first, the others in alphabetical order."""
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    found = [name for name in found if not name.startswith("_") and name not in _NO_METHODS]
    return tuple(sorted(found, key=lambda name: (name != "maml", name)))


def get(name):
    """The Card of a method. UserError for a name that there is no method of."""
    if name not in names():
        near = difflib.get_close_matches(str(name), names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(names())}"
        raise UserError(f"method is {name!r}; {hint}")
    return importlib.import_module(f"{__name__}.{name}").CARD
