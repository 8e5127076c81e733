"""What the command line can be asked for. Each command is a function of the CommandLine and returns the exit code."""

import contextlib
import importlib
import shlex
import sys
import tempfile
from pathlib import Path

from data_generators.errors import UserError
from maml.benchmarks import meta_step, sharing
from maml.cli import before_tensorflow, kinds
from maml.cli import help as texts
from maml.cli.plans import (
    ADAPT,
    GENERAL,
    INSTEAD,
    method_asked,
    no_use,
    plan,
    refuse,
    whose,
    with_twins,
)
from maml.cli.reproduce import RESULTS, reproduce
from maml.reports import page, plots, summaries
from maml.runs import authors, testing, workers
from maml.runs.progress import Bar
from maml.runs.run import make_run
from maml.trained.classifier import classify_folder
from maml.trained.loading import load_authors, load_run
from rl import page as reinforcement_page
from rl import plots as reinforcement_plots

HELP = {"help", "helpfull"}  # whatever stands beside it
DRAW = {kinds.SUPERVISED.name: plots.draw, kinds.REINFORCEMENT.name: reinforcement_plots.draw}
MAY_DIFFER = ("data_path", "cache_dir", "logdir")  # among workers
FILM, ROLLOUTS = "rl.film.render", "rl.benchmark"  # imported on request: they need MuJoCo


def command(asked):
    """The function that does what was asked for."""
    if not asked.arguments:
        return welcome
    wanted = [name for name in (*INSTEAD_OF_A_RUN, "adapt") if asked[name]]
    if len(wanted) > 1 and not HELP & set(wanted):
        raise UserError(f"{' and '.join(f'--{name}' for name in wanted)} given, expected one of them")
    return {**INSTEAD_OF_A_RUN, "adapt": adapt}[wanted[0]] if wanted else train_and_test


# A run


def train_and_test(asked):
    """A run, from training to the headline."""
    sharing = workers.plan(asked["strategy"], kinds.kind_of(asked["datasource"]).strategies)
    with contextlib.ExitStack() as stack:
        scratch = None if sharing.is_chief else stack.enter_context(tempfile.TemporaryDirectory(prefix="maml-"))
        planned = plan(asked, scratch)
        before_tensorflow.hold_to(planned.settings.to_dict()["jit"], asked.arguments)
        replicas = stack.enter_context(workers.joined(sharing))
        return _train_and_test(asked, _agreed(replicas, asked, planned), replicas)


def _agreed(replicas, asked, planned):
    """The Plan as the chief has it, whose settings may be those of its run folder."""
    given = {name: value for name, value in asked.values.items() if name not in MAY_DIFFER}
    workers.check_same(replicas, given)
    if replicas.processes == 1:
        return planned
    settings = planned.kind.from_dict(replicas.exchange(planned.settings.to_dict())[0], "the chief's settings")
    return planned._replace(settings=settings, protocol=planned.kind.protocol(settings, planned.options))


def _train_and_test(asked, planned, replicas):
    kind, settings, folder, protocol, options, imported = planned
    run = make_run(kind, settings, folder, options, asked["log"] and replicas.is_chief)
    if asked["train"] and replicas.is_chief:
        run.check_kept(protocol.checkpoint, asked["resume"])
    if asked["train"] and not run.train(asked["resume"]):
        print(f"stopped and saved at iteration {run.iteration:,}; the same command goes on from there")
        return 128 + run.stopped_by
    label = authors.import_into(run, imported) if imported and replicas.is_chief else imported
    if asked["train"] and not settings.total_iterations and replicas.is_chief:
        print(f"testing {settings.full_title}: {protocol.tasks} tasks, in {folder}", file=sys.stderr, flush=True)
    summary = testing.test(run, protocol, command_line(asked), label)
    if not replicas.is_chief:
        return 0
    DRAW[kind.name](folder)
    run.show_figures()
    if asked["render"]:
        print("filmed:", *importlib.import_module(FILM).film(folder, run.learner.meta, protocol))
    print(f"everything about this run is in {folder}")
    print(testing.headline(summary, run.settings))
    return 0


def command_line(asked):
    """The command, for the record."""
    program = "maml" if Path(sys.argv[0]).stem == "maml" else "python main.py"
    return " ".join([program, *map(shlex.quote, asked.arguments)])


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
            return no_use("--adapt")(name)
        return whose(name, kind, kinds.DEFAULT_METHOD)

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


def welcome(asked):
    """Prints what there is to begin with."""
    print(texts.WELCOME, end="")
    return 0


def report(asked):
    """Draws the figures and writes the page of the runs that are there."""
    refuse(asked, {*INSTEAD, "logdir"}, no_use("--report"))
    results = asked["logdir"] or RESULTS
    runs = summaries.load_all(results)
    if not runs:
        raise UserError(f"no tested run in {results}, expected <experiment>/seed_<seed>/summary.json in it")
    page.check_place(results)  # before the figures are drawn
    for run in Bar(runs, "figures", leave=False, disable=None, unit="run"):
        DRAW[run.kind](run.folder)
    print(f"wrote {page.rebuild(results, parts=[reinforcement_page])}")
    return 0


def benchmark(asked):
    """Measures the speed of this machine."""
    name = asked["datasource"] if "datasource" in asked.given else "omniglot"
    kind, with_method = kinds.kind_of(name), name in meta_step.DATASOURCES
    alone = with_method and asked["strategy"] != "multi_worker"
    understood = {*INSTEAD, "datasource", *(("method", "strategy") if with_method else ())}
    understood |= {*meta_step.SIZES} if alone else set()
    refuse(asked, understood, lambda _: ", which the benchmark settles itself; expected the command without it")
    if asked["strategy"] not in (None, "none", "multi_worker"):
        raise UserError(f"benchmark measures strategy none or multi_worker, got {asked['strategy']}")
    if with_method and asked["strategy"] == "multi_worker":
        sharing.main(name, kinds.method_of(kind, {"method": asked["method"]}))
    elif with_method:
        method = kinds.method_of(kind, {"method": asked["method"]})
        before_tensorflow.hold_to(kinds.PRESETS[kind.name](name, method).to_dict()["jit"], asked.arguments)
        meta_step.main(name, method, **asked.settings(meta_step.SIZES))
    elif kind is kinds.REINFORCEMENT:
        importlib.import_module(ROLLOUTS).main(name)
    else:
        known = ", ".join((*meta_step.DATASOURCES, *kinds.REINFORCEMENT.datasources))
        raise UserError(f"benchmark measures {known}, got --datasource={name}")
    return 0


def methods(asked):
    """Prints the registry."""
    refuse(asked, INSTEAD, no_use("--methods"))
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
    "reproduce": reproduce,
}  # fmt: skip
TRAIN = (train_and_test, reproduce)
