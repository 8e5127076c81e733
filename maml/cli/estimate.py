"""How long a training takes on this machine, from some iterations of it: `python -m maml.cli.estimate FLAGS`.

Validation and tests aren't counted.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data_generators import cache, places
from data_generators.errors import UserError
from maml.cli import before_tensorflow, errors, flags
from maml.cli.plans import plan
from maml.runs import files
from maml.runs.provenance import provenance
from maml.runs.run import make_run

LEAST_SECONDS = 5.0  # to measure over, after the first call, which compiles
KEPT = "estimates.json"  # in the folder of what is kept: {flags, code and machine: hours}


def once(words) -> float:
    """The hours that a training of these flags takes, as this code measured them on this machine before, or now.

    UserError where it can't begin.
    """
    about = provenance(("maml-tf2",))
    if about["commit"].endswith("+changes"):  # which it was measured with, nobody knows
        return in_a_process(words)
    key = json.dumps([*words, about])
    if key in (kept := _kept()):
        return kept[key]
    hours = in_a_process(words)
    with contextlib.suppress(OSError, UserError):  # it is measured again where it can't be kept
        path = _path()
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, {**_kept(), key: hours})
    return hours


def _kept():
    """What was measured before; nothing where that can't be read."""
    with contextlib.suppress(UserError):
        return {key: hours for key, hours in files.read_json(_path()).items() if isinstance(hours, float)}
    return {}


def _path():
    return places.expanded(cache.place_of()) / KEPT


def in_a_process(words) -> float:
    """The hours that a training of these flags takes. UserError where it can't begin."""
    done = subprocess.run([sys.executable, "-m", "maml.cli.estimate", *words], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(lines[-1].removeprefix("error: "))
    return float(done.stdout.split()[-1])


def hours(arguments) -> float:
    """The hours that a training takes, by the iterations of a few seconds. Nothing is left of them."""
    kind, settings, _, _, options, _ = plan(flags.parse([*arguments, "--resume=False"]))
    before_tensorflow.hold_to(settings.to_dict()["jit"], arguments)
    total = settings.total_iterations
    if not total:
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        learner = make_run(kind, settings, folder, options, log=False).learner
        learner.check(Path(folder))
        learner.begin(Path(folder))
        _advance(learner)
        first, begun = _iteration(learner), time.perf_counter()
        while (elapsed := time.perf_counter() - begun) < LEAST_SECONDS and _iteration(learner) < total:
            _advance(learner)
    done = _iteration(learner) - first
    return elapsed / done * total / 3600 if done else 0.0


def _advance(learner):
    if failure := learner.advance().failure:
        raise UserError(failure)


def _iteration(learner):
    return int(learner.state.iteration)


def main():
    """Prints the hours. The exit code: 2 after a line that says what is wrong."""
    try:
        print(hours(sys.argv[1:]))
    except errors.FORESEEN as error:
        print(f"error: {errors.line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
