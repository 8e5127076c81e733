"""The texts of --help, --helpfull and --methods, made from the records and the cards."""

import textwrap
from collections import Counter

from data_generators.errors import UserError
from maml import methods as registry
from maml.cli import kinds, options
from maml.cli.flags import value_type
from maml.methods.card import Task

WIDTH = 110

WELCOME = """MAML (Finn, Abbeel, Levine 2017) and other few-shot methods: train, test, compare, adapt.

Begin with

    python main.py --datasource=sinusoid            a minute or two, no data: regression, the paper's figures 2 and 3
    python main.py --datasource=glyphs              characters drawn from fonts, no data: 5-way 1-shot
    python main.py --datasource=omniglot            the paper's first experiment; the data are downloaded if need be
    python main.py --datasource=folder --data_path=DIR         your own images, a folder of class folders
    python main.py --datasource=point               reinforcement learning: 2-D navigation

    --method=NAME                                   another method on the same tasks; --methods lists them
    --train=False --test_set                        test again what is trained (of reinforcement learning --train=False)

A run goes to logs/<experiment>/seed_<seed>; the same command goes on where a stopped run was. Classify your own
images with a trained run by --adapt=DIR --run=FOLDER. See what the paper's tables still lack, and run it, by
--reproduce=list and --reproduce=all.

--help shows the flags and the values that a run takes, README.md and docs/ the rest.
"""

EXAMPLES = """The paper's experiments, and other methods on the same tasks, from the command line.

    python main.py --datasource=omniglot                                  5-way 1-shot, trained, tested, compared, drawn
    python main.py --datasource=omniglot --num_classes=20 --update_batch_size=5     20-way 5-shot
    python main.py --datasource=omniglot --conv=False                     the dense classifier
    python main.py --datasource=omniglot --method=NAME                    another method; --methods lists them
    python main.py --datasource=sinusoid                                  regression; figures 2 and 3
    python main.py --datasource=sinusoid --baseline=oracle                its two baselines
    python main.py --datasource=sinusoid --pretrain_iterations=70000 --metatrain_iterations=0
    python main.py --datasource=miniimagenet --data_path=DIR              5-way 1-shot; --update_batch_size=5 for 5-shot
    python main.py --datasource=folder --data_path=DIR                    one's own images: a folder of class folders
    python main.py --datasource=glyphs                                    no data, no network needed
    python main.py --datasource=point                                     reinforcement learning: 2-D navigation,
    python main.py --datasource=cheetah_vel                               or cheetah_dir, ant_vel, ant_dir on MuJoCo
    python main.py --datasource=cheetah_vel --baseline=oracle             its comparisons: also pretrained, random
    python main.py --datasource=omniglot --train=False --test_set         test again what is trained
    python main.py --adapt=DIR --run=logs/.../seed_1                      adapt to a few labelled images, classify more
    python main.py --reproduce=list                                       what the paper's tables lack, and how long
    python main.py --reproduce=omniglot                                   it takes; run it
    python main.py --report                                               rebuild results/README.md
    python main.py --benchmark                                            how fast this machine is

A flag that is not given takes the paper's value for the data source, so a command names only what differs. The same
command again resumes a run that was stopped, or tests again one that is finished. `maml` is `python main.py`.
"""


def of_a_run(kind, datasource, given) -> str:
    """The options, and the settings of a method on a data source with the values that a run takes.

    given: {flag: value} of the settings that are asked for, with "method" and "baseline".
    """
    settings = kinds.PRESETS[kind.name](datasource, **given)
    method, values = kinds.method_of(kind, given), settings.to_dict()
    parts = [EXAMPLES, *_options()]
    parts.append(
        f"The settings of --datasource={datasource} --method={method}, with the values that this command gives them.\n"
    )
    for title, record in kinds.groups_of(kind, method).items():
        lines = [
            _line(name, field, f"[{_shown(values[name])}]")
            for name, field in kinds.flags_of(record).items()
            if name not in OPTIONS and _is_meant(kind, datasource, method, record, name, values[name])
        ]
        parts.append(_section(title, lines))
    parts.append("--helpfull lists the settings of all data sources and methods, --methods the methods.")
    return "\n".join(parts)


def of_everything() -> str:
    """The options, and all settings with the presets' values for each data source."""
    parts = [EXAMPLES, *_options()]
    for kind in kinds.KINDS:
        for record, (title, names) in _records(kind).items():
            presets = kinds.presets_of(kind, names[0])
            whose = "" if len(names) == len(kind.methods) else f" (--method={', '.join(names)})"
            lines = [
                _line(name, field, by_datasource(name, presets))
                for name, field in kinds.flags_of(record).items()
                if name not in OPTIONS
            ]
            parts.append(_section(f"{kind.title}: {title}{whose}", lines))
    return "\n".join(parts)


OPTIONS = {name for record in options.RECORDS for name in kinds.flags_of(record)}


def _options():
    """A section for each record of options."""
    for record in options.RECORDS:
        lines = [_line(name, field, _default(field)) for name, field in kinds.flags_of(record).items()]
        yield _section(record.__doc__.rstrip("."), lines)


def _default(field):
    """The default of an option in brackets, where its help doesn't say it."""
    silent = field.default in (None, False, -1) or "[" in field.metadata["help"]
    return "" if silent else f"[{_shown(field.default)}]"


def _section(title, lines):
    return f"{title}:\n" + "\n".join(lines) + "\n"


def _line(name, field, value):
    """'  --update_lr: α: step size of the inner loop [0.4]', and the choices where there are any."""
    shown = f"[no]{name}" if value_type(field) is bool else name
    choices = [str(choice) for choice in field.metadata["choices"] or () if str(choice) not in field.metadata["help"]]
    listed = f" ({', '.join(choices)})" if choices else ""
    text = f"--{shown}: {field.metadata['help']}{listed} {value}".rstrip()
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _shown(value):
    if value is None:
        return "nothing"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_meant(kind, datasource, method, record, name, value):
    """Whether a setting says something about tasks of this data source."""
    if value is None:
        return record is not Task
    try:
        kinds.PRESETS[kind.name](datasource, method=method, **{name: value})
    except UserError:
        return False
    return True


def _records(kind):
    """{Record type: (title, methods that have it)}."""
    found = {}
    for method in kind.methods:
        for title, record in kinds.groups_of(kind, method).items():
            found.setdefault(record, (title, []))[1].append(method)
    return found


def by_datasource(name, presets):
    """'[sinusoid: 70000; else 60000]'."""
    shown = {datasource: _shown(values[name]) for datasource, values in presets.items()}
    ((usual, _), *_) = Counter(shown.values()).most_common(1)
    groups = {}
    for datasource, value in shown.items():
        groups.setdefault(value, []).append(datasource)
    others = [f"{', '.join(names)}: {value}" for value, names in groups.items() if value != usual]
    return f"[{'; '.join([*others, f'else {usual}' if others else usual])}]"


def methods() -> str:
    """The methods as a table: name, title, what it learns, published cells, paper."""
    rows = [("name", "title", "learns", "published", "paper")]
    for name in registry.names():
        card = registry.get(name)
        rows.append((name, card.title, ", ".join(card.learns), _cells(card.published), card.paper))
    widths = [max(map(len, column)) for column in list(zip(*rows))[:-1]]
    lines = ["  ".join([*(text.ljust(width) for text, width in zip(row, widths)), row[-1]]) for row in rows]
    reinforcement = kinds.REINFORCEMENT
    return "\n".join([*lines, "", f"{kinds.named(reinforcement)}: {', '.join(reinforcement.methods)}"])


def _cells(published):
    """'omniglot 5-way 1/5-shot, 20-way 1/5-shot; sinusoid 5-shot' of the results that there is a command for."""
    found = {}
    for cell in published:
        if cell.measured_here:
            shots = found.setdefault(cell.dataset, {}).setdefault(cell.num_classes, {})
            shots[cell.num_shots] = None
    return "; ".join(f"{dataset} {_sizes(ways)}" for dataset, ways in found.items()) or "–"


def _sizes(ways):
    return ", ".join(
        ("" if num_classes is None else f"{num_classes}-way ") + "/".join(map(str, shots)) + "-shot"
        for num_classes, shots in ways.items()
    )
