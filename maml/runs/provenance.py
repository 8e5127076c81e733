"""What a result depends on besides its settings: the code, the packages, the machine."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

CODE = ("maml", "data_generators", "rl")  # where a new file is a change, too


def provenance(packages=()) -> dict:
    """{"commit": text, "versions": {package: text}, "hardware": text}.

    packages: more of those whose versions matter.
    """
    versions = {name: _version(name) for name in ("tensorflow", "numpy", *packages)}
    return {
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **versions},
        "hardware": _hardware(),
    }


def _git(*arguments):
    """What git says about the folder of this code; None outside a repository or without git."""
    folder = Path(__file__).resolve().parents[2]
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_")
    }  # a hook's are its project's
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, env=ours, text=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _commit():
    """'unknown' where git doesn't track this code; '+changes' if files differ or some of the code is new.

    Results are left aside: running changes those.
    """
    ours = _git("ls-files", "--error-unmatch", "--", __file__) is not None  # and no other project's, which it lies in
    commit = _git("rev-parse", "--verify", "HEAD") if ours else None
    if commit is None:
        return "unknown"
    changed = _git("status", "--porcelain", "-uno", "--", ".", ":(exclude)results")
    return commit + ("+changes" if changed or _git("status", "--porcelain", "--", *CODE) else "")


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _hardware():
    """Processor model, cores this process may use, memory in GiB, operating system."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        model = named[1].strip() if named else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        memory = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB, "
    return f"{model}, {cores} cores, {memory}{platform.platform()}"
