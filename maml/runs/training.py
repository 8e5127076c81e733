"""A whole supervised run from Python: what `python main.py` does, but for its figures.

The command line also chooses whether TensorFlow uses oneDNN, before it is imported; so bits may differ between the two.
"""

import os
from pathlib import Path
from typing import Any

from data_generators import places
from maml.runs import testing
from maml.runs.resolve import settle
from maml.runs.run import make_run
from maml.runs.supervised import KIND


def train(  # noqa: PLR0913  (keyword-only, and the options of the command line)
    datasource: str,
    method: str = "maml",
    *,
    logdir: str | os.PathLike = "logs",
    data_path: str | os.PathLike | None = None,
    eval_tasks: int | None = None,
    resume: bool = True,
    log: bool = True,
    **settings: Any,
) -> Path:
    """The run folder of a method, trained by its published settings and tested; `load_run` makes a classifier of it.

    datasource, method: as on the command line: "omniglot", "prototypical".
    logdir: where run folders lie. data_path: where the data lie. eval_tasks: test tasks; None: 600.
    resume: go on from what the folder holds; False trains anew and sets the old folder aside.
    log: write TensorBoard events too. The process keeps the memory that it frees from then on (`maml.runs.allocation`).
    settings: by their flags, where they are not the published ones: update_batch_size=5, metatrain_iterations=1000.

    UserError for values or data that can't be, TypeError for names of settings that there aren't. KeyboardInterrupt
    after a Ctrl-C, when the run is saved.
    """
    options = {"data_path": data_path and str(data_path), "eval_tasks": eval_tasks, "train": True}
    given = {"method": method, **settings}
    resolved = KIND.resolve(datasource, options, **given)
    resolved, folder = settle(KIND, resolved, given, places.expanded(logdir), train=True, resume=resume)
    protocol = KIND.protocol(resolved, options)
    run = make_run(KIND, resolved, folder, options, log)
    if not run.train(resume):
        raise KeyboardInterrupt(run.stopped_by)
    testing.test(run, protocol, _call(datasource, method, settings))
    return folder


def _call(datasource, method, settings):
    """The call, for the record."""
    words = [repr(datasource), repr(method), *(f"{name}={value!r}" for name, value in settings.items())]
    return f"maml.train({', '.join(words)})"
