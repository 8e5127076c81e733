"""What the command line can be asked for. Each command is a function of the CommandLine and returns the exit code."""

import importlib
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

from data_generators.errors import UserError
from maml.benchmarks import meta_step
from maml.cli import before_tensorflow, kinds, options
from maml.cli import help as texts
from maml.cli.flags import TWINS, known
from maml.reports import page, plots, summaries
from maml.runs import authors, testing
from maml.runs.kind import Kind
from maml.runs.resolve import settle
from maml.runs.run import make_run
from maml.trained.classifier import classify_folder
from maml.trained.loading import load_authors, load_run
from rl import page as reinforcement_page
from rl import plots as reinforcement_plots

LOGDIR, RESULTS = "logs", "results"
DRAW = {kinds.SUPERVISED.name: plots.draw, kinds.REINFORCEMENT.name: reinforcement_plots.draw}
FILM, ROLLOUTS = "rl.film.render", "rl.benchmark"  # imported on request: they need MuJoCo

GENERAL, ADAPT, INSTEAD = map(kinds.flags_of, (options.General, options.Adapt, options.Instead))


def command(asked):
    """The function that does what was asked for."""
    for name, function in INSTEAD_OF_A_RUN.items():
        if asked[name]:
            return function
    return adapt if asked["adapt"] is not None else train_and_test


# A run


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


def plan(asked) -> Plan:
    """The Plan of a command line, held against what the run folder holds. UserError for what can't be."""
    kind = kinds.kind_of(asked["datasource"])
    given, options = settings_given(asked, kind), test_options(asked, kind)
    settings = kind.resolve(asked["datasource"], options, **given)
    logdir = asked["logdir"] or LOGDIR
    if options.get("checkpoint"):  # no folder has settings of its own for it: they are the flags'
        imported = authors.prefix_of(options["checkpoint"])
        folder = authors.folder_of(logdir, settings, imported)
    else:
        imported = None
        settings, folder = settle(kind, settings, given, logdir, asked["train"], asked["resume"])
    return Plan(kind, settings, folder, kind.protocol(settings, options), options, imported)


def train_and_test(asked):
    """A run, from training to the headline."""
    kind, settings, folder, protocol, options, imported = plan(asked)
    before_tensorflow.hold_to(settings.to_dict()["jit"], asked.arguments)
    run = make_run(kind, settings, folder, options, asked["log"])
    if asked["train"] and not run.train(asked["resume"]):
        print(f"stopped and saved at iteration {run.iteration:,}; the same command goes on from there")
        return 130
    label = authors.import_into(run, imported) if imported else None
    summary = testing.test(run, protocol, command_line(asked), label)
    DRAW[kind.name](folder)
    if asked["render"]:
        print("filmed:", *importlib.import_module(FILM).film(folder, run.learner.meta, protocol))
    print(f"everything about this run is in {folder}")
    print(testing.headline(summary, run.settings))
    return 0


def settings_given(asked, kind):
    """{flag: value} of the settings of the training, with method and baseline.

    UserError for an option that such a run doesn't understand.
    """
    choice, method = method_asked(asked, kind)
    fields = kinds.settings_of(kind, method)
    understood = {*GENERAL, *INSTEAD, *kind.test_flags, *with_twins(fields)}
    refuse(asked, understood, lambda name: _whose(name, kind, method))
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

    test_update_lr, test_update_batch_size: α and K at test, where --train_… has those of the training, or where there
    is no training that they could be meant for.
    """
    found = {name: asked[name] for name in kind.test_flags if name in known()}
    for name in ("update_lr", "update_batch_size"):
        for_test = asked.is_twice(name) or (name == "update_batch_size" and not asked["train"])
        found[f"test_{name}"] = asked[name] if for_test else None
    return found


def command_line(asked):
    """The command, for the record."""
    program = "maml" if Path(sys.argv[0]).stem == "maml" else "python main.py"
    return " ".join([program, *map(shlex.quote, asked.arguments)])


# What is refused


def refuse(asked, understood, why):
    """UserError if an option is given that is not understood. why: its name -> what is wrong, behind "given"."""
    odd = [name for name in known() if name in asked.given and name not in understood]
    if odd:
        reason = why(odd[0])
        raise UserError(f"{', '.join(name for name in odd if why(name) == reason)} given{reason}")


def _whose(name, kind, method):
    """To what an option belongs that a run of this kind and method doesn't understand."""
    name = {twin: setting for setting, twin in TWINS.items()}.get(name, name)
    if name in ADAPT:
        return " without adapt, expected --adapt=<folder> with it"
    if methods := kinds.methods_with(kind, name):
        return f", which belongs to method {', '.join(methods)}; this is method {method}"
    owners = " and ".join(kinds.named(other) for other in kinds.KINDS if kinds.understands(other, name))
    return f", which belongs to {owners}; expected the command without it"


def _no_use(what):
    """A `why` of `refuse` for a command that understands little."""
    return lambda name: f", which {what} has no use for; expected the command without it"


# A trained run and one's own images


def adapt(asked):
    """Adapts a trained classifier to a folder of images and prints what it takes the others for."""
    kind, fields = kinds.SUPERVISED, kinds.settings_of(kinds.SUPERVISED, kinds.DEFAULT_METHOD)
    settled = {"datasource", *with_twins(fields)}
    understood = {*ADAPT, *INSTEAD, "checkpoint", "transductive", *(() if asked["run"] else settled)}

    def why(name):
        if asked["run"] and name in (*settled, "method", "baseline", "test_iter"):
            return ", but the run has its own settings; expected --run without them"
        if name in GENERAL or kinds.understands(kind, name):
            return _no_use("--adapt")(name)
        return _whose(name, kind, kinds.DEFAULT_METHOD)

    refuse(asked, understood, why)
    if (asked["run"] is None) == (asked["checkpoint"] is None):
        raise UserError(
            "adapt needs a classifier: expected either --run=<run folder> or --checkpoint=<authors' checkpoint>"
        )
    if asked["run"] is not None:
        trained = load_run(asked["run"])
    else:
        trained = load_authors(asked["checkpoint"], asked["datasource"], **asked.settings(fields))
    print(classify_folder(trained, asked["adapt"], asked["adapt_steps"], asked["transductive"], asked["export"]))
    return 0


# Instead of a run


def report(asked):
    """Draws the figures and writes the page of the runs that are there."""
    refuse(asked, {*INSTEAD, "logdir"}, _no_use("--report"))
    results = asked["logdir"] or RESULTS
    runs = summaries.load_all(results)
    if not runs:
        raise UserError(f"no tested run in {results}, expected <experiment>/seed_<seed>/summary.json in it")
    for run in runs:
        DRAW[run.kind](run.folder)
    print(f"wrote {page.rebuild(results, parts=[reinforcement_page])}")
    return 0


def benchmark(asked):
    """Measures the speed of this machine."""
    name = asked["datasource"] if "datasource" in asked.given else "omniglot"
    kind, with_method = kinds.kind_of(name), name in meta_step.DATASOURCES
    understood = {*INSTEAD, "datasource", *(("method",) if with_method else ())}
    refuse(asked, understood, lambda _: ", which the benchmark settles itself; expected the command without it")
    if with_method:
        method = kinds.method_of(kind, {"method": asked["method"]})
        before_tensorflow.hold_to(kinds.PRESETS[kind.name](name, method).to_dict()["jit"], asked.arguments)
        meta_step.main(name, method)
    elif kind is kinds.REINFORCEMENT:
        importlib.import_module(ROLLOUTS).main(name)
    else:
        known = ", ".join((*meta_step.DATASOURCES, *kinds.REINFORCEMENT.datasources))
        raise UserError(f"benchmark measures {known}, got --datasource={name}")
    return 0


def methods(asked):
    """Prints the registry."""
    refuse(asked, INSTEAD, _no_use("--methods"))
    print(texts.methods())
    return 0


def some_help(asked):
    """Prints the options, and the settings of a data source and a method."""
    kind = kinds.kind_of(asked["datasource"])
    choice, method = method_asked(asked, kind)
    given = asked.settings(kinds.settings_of(kind, method))
    print(texts.of_a_run(kind, asked["datasource"], choice | given))
    return 0


def full_help(asked):
    """Prints all flags."""
    print(texts.of_everything())
    return 0


INSTEAD_OF_A_RUN = {
    "helpfull": full_help, "help": some_help, "methods": methods, "report": report, "benchmark": benchmark,
}  # fmt: skip
