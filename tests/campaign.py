"""python campaign.py FOLDER SEED sinusoid|point [SHARE]: kills, damages and odd flags at random, of a small training.

SHARE of the files are damaged, and so many times fewer runs and flags are tried; 1, if not given, tries everything.

Every start is a process of its own, forked before TensorFlow has done anything, which saves importing it each time.
Prints a line for each start, and one that begins with WRONG for whatever must not be: something lost, a traceback, a
result that changed without a word.
"""

import math
import os
import pathlib
import random
import shutil
import signal
import sys
import time
from typing import NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_generators.sinusoid import SinusoidTasks
from maml.cli import commands, flags, kinds
from maml.cli.__main__ import main
from maml.runs import files, supervised
from maml.runs.kind import Kind


class Training(NamedTuple):
    """A small training.

    kind: of learning. flags: its command. folder: where it goes. sources: to try odd flags with.
    results: tables that must come out the same, but for how long it took.
    """

    kind: Kind
    flags: list
    folder: pathlib.Path
    results: tuple
    sources: tuple


TRAININGS = {
    "sinusoid": Training(
        kinds.SUPERVISED,
        "--datasource=sinusoid --metatrain_iterations=60 --iterations_per_call=5 --nojit --meta_batch_size=4 --nolog "
        "--eval_tasks=4 --logdir=logs".split(),
        pathlib.Path("logs/sinusoid_10shot_meta_batch_size_4/seed_1"),
        ("metrics.csv", *(f"adaptation_test_{k}shot_{k}query.csv" for k in (5, 10, 20))),
        ("sinusoid", "glyphs"),
    ),
    "point": Training(
        kinds.REINFORCEMENT,
        "--datasource=point --metatrain_iterations=2 --horizon=5 --nojit --meta_batch_size=2 --update_batch_size=2 "
        "--outer=adam --nolog --logdir=logs".split(),
        pathlib.Path("logs/point_meta_batch_size_2_update_batch_size_2_adam_horizon_5/seed_1"),
        ("metrics.csv", "adaptation_test.csv", "returns_test.csv"),
        ("point",),
    ),
}
INTERVALS = {"METRICS_EVERY": 10, "CHECKPOINT_EVERY": 20}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STARTS = 6  # of a run, of which all but the last are stopped
KILLED_RUNS = 2
ODD_COMMANDS = 12
PATIENCE = 60.0  # seconds of a start that nobody stops
NEVER = {"reproduce", "benchmark", "report", "logdir", "flagfile", "undefok"}  # they write elsewhere, or take long
VALUES = ("", "-1", "0", "1", "2.5", "1e30", "nan", "inf", "x", "1000000000000", "None", "True", "~", "β", "\udcff")


def start(arguments, stop=None, after=PATIENCE):
    """(exit status, stderr) of a command in a child; stopped by a signal after so many seconds, if it runs as long."""
    if (child := os.fork()) == 0:
        _become(arguments)
    begun = time.monotonic()
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        time.sleep(0.01)
        if time.monotonic() - begun > after:
            os.kill(child, stop or signal.SIGTERM)
            after = PATIENCE
            stop = signal.SIGKILL
    status = os.waitstatus_to_exitcode(ended[1])
    said = pathlib.Path("stderr").read_text(errors="replace")
    print(status, *arguments[-2:], flush=True)
    if "Traceback" in said or status not in (0, 2, 130, 143, -signal.SIGKILL):
        wrong(f"status {status} of {arguments}: {said[-2000:]}")
    if status == 2 and not said.rstrip().splitlines()[-1].startswith("error: "):
        wrong(f"status 2 of {arguments} without a line: {said[-500:]}")
    return status, said


def _become(arguments):
    """The command, instead of this process."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for name, value in INTERVALS.items():
        setattr(supervised, name, value)
    for kind in commands.DRAW:
        commands.DRAW[kind] = lambda folder: None
    sample = SinusoidTasks.sample

    def slowly(*given, **named):
        time.sleep(0.01)  # or all of the time would be before the training
        return sample(*given, **named)

    SinusoidTasks.sample = slowly
    status = 70
    try:
        status = main(arguments)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wrong(what):
    print("WRONG", what.encode("ascii", "backslashreplace").decode(), flush=True)


def outcome(training):
    """What must come out the same: θ and tables by their bits, the number that is quoted."""
    folder = training.folder
    if not (folder / files.WEIGHTS).exists():
        return None
    weights, about = files.read_weights(folder / files.WEIGHTS)
    summary = files.read_json(folder / "summary.json")
    quoted = next(entry for entry in summary["evaluations"] if entry["file"] == summary["headline"])
    return (
        {name: w.tobytes() for name, w in weights.items()},
        about["iteration"],
        {name: _untimed(files.read_table(folder / name)) for name in training.results},
        quoted["values"],
    )


def _untimed(rows):
    return [{name: value for name, value in row.items() if not name.endswith("_seconds")} for row in rows]


def kills(rng, training, share):
    """Runs that are stopped at random until they are through; returns the outcome of one that never was."""
    begun = time.monotonic()
    if start(training.flags)[0]:
        wrong("a run that nobody stopped has failed")
    usual, whole = outcome(training), time.monotonic() - begun
    shutil.copytree("logs", "whole")
    for _ in range(math.ceil(share * KILLED_RUNS)):
        shutil.rmtree("logs")
        for _ in range(STARTS - 1):
            if start(training.flags, rng.choice(SIGNALS), rng.uniform(0, whole))[0] == 0:
                break
        start(training.flags)
        if outcome(training) != usual:
            wrong("a run that was stopped came out otherwise")
        left = [str(path) for path in pathlib.Path("logs").rglob(".*")]
        if left:
            wrong(f"a run that was stopped left {left}")
    return usual


def damages(rng, training, usual, share):
    """A share of the files of a run folder damaged, then the same command again: an error, a word, or the usual end."""
    names = [path.relative_to("whole") for path in sorted(pathlib.Path("whole").rglob("*")) if path.is_file()]
    for name in rng.sample(names, math.ceil(share * len(names))):
        shutil.rmtree("logs")
        shutil.copytree("whole", "logs")
        how = rng.choice((cut, flip, empty, replace, remove))
        how(rng, pathlib.Path("logs") / name)
        print(how.__name__, name)
        status, said = start(training.flags)
        spoken = [
            line for line in said.replace("\r", "\n").splitlines() if "it/s]" not in line and "task/s]" not in line
        ]
        if status == 0 and not any(line.strip() for line in spoken) and outcome(training) != usual:
            wrong(f"{how.__name__} of {name}: another outcome, and not a word")


def cut(rng, path):
    os.truncate(path, rng.randrange(path.stat().st_size))


def flip(rng, path):
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def empty(rng, path):
    path.write_bytes(b"")


def replace(rng, path):
    path.write_bytes(rng.choice((rng.randbytes(500), b"[" * 100_000, b"{}", b"\n")))


def remove(rng, path):
    path.unlink()


def odd_flags(rng, training, share):
    """One or two flags of any kind with odd values."""
    kind = training.kind
    for _ in range(math.ceil(share * ODD_COMMANDS)):
        shutil.rmtree("logs", ignore_errors=True)
        source, method = rng.choice(training.sources), rng.choice(kind.methods)
        own = {*kinds.settings_of(kind, method), *(set(kind.test_flags) & set(flags.known())), "adapt", "run", "export"}
        names = rng.sample(sorted(own - NEVER), rng.choice((1, 2)))
        odd = [f"--{name}={rng.choice(_values(*flags.known()[name][:1]))}" for name in names]
        start(["--nolog", "--logdir=logs", f"--datasource={source}", f"--method={method}", *odd], after=6.0)


def _values(kind):
    """Odd ones of that type."""
    return [value for value in VALUES if _is_of(value, kind)] + ["x"]


def _is_of(value, kind):
    try:
        return kind is str or (value in ("True", "0", "1") if kind is bool else kind(value) is not None)
    except ValueError:
        return False


if __name__ == "__main__":
    folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    os.environ["MAML_CACHE"] = "cache"
    random_numbers = random.Random(seed)
    training = TRAININGS[sys.argv[3]]
    share = float(sys.argv[4]) if len(sys.argv) > 4 else 1.0
    damages(random_numbers, training, kills(random_numbers, training, share), share)
    odd_flags(random_numbers, training, share)
