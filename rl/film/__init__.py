"""Films of a policy before and after adaptation: episodes played, and drawn in a process of their own."""

from pathlib import Path


def paths(run_folder, iteration, changes=""):
    """[path of the strip, path of the animation] of the policy of an iteration.

    The same names are of the same policies, whatever the run does later.
    changes: the Protocol's.
    """
    name = f"iteration_{iteration}{changes}"
    return [Path(run_folder) / f"filmstrip_{name}.png", Path(run_folder) / f"adapted_{name}.gif"]
