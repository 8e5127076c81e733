"""python -m maml.launch --workers=2 main.py …: the same command as several workers of one machine.

Each has its share of the cores. The chief's output is shown; of the others, what they said last where they fail.
Ctrl-C, SIGTERM and SIGHUP are passed on, and once a worker has failed the others are ended.
"""

import argparse
import ctypes
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

USAGE = "python -m maml.launch --workers=2 main.py --datasource=omniglot …"
GRACE = (
    20  # seconds that the others have to end by themselves once one has failed; as long again before they are killed
)
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def main(arguments=None):
    """The exit code: that of the first worker that failed, else 0. 128 + n for one that signal n ended."""
    parser = argparse.ArgumentParser("python -m maml.launch", USAGE, __doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="how many [2]")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="main.py and its flags")
    asked = parser.parse_args(arguments)
    if asked.command[:1] == ["--"]:  # as in: -- -m package.module
        del asked.command[0]
    if asked.workers < 1 or not asked.command:
        parser.error("expected at least one worker, and a command")
    with tempfile.TemporaryDirectory(prefix="maml-launch-") as folder:
        logs = [os.path.join(folder, f"worker_{number}") for number in range(asked.workers)]
        return wait(start(asked.command, logs), logs)


def start(command, logs):
    """The processes: the chief first, with the output of this process; the others write to their logs."""
    addresses = [f"localhost:{port}" for port in free_ports(len(logs))]
    processes = []
    for number, log in enumerate(logs):
        task = {"type": "worker", "index": number}
        environment = {**os.environ, "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})}
        output = {} if number == 0 else {"stdout": open(log, "wb"), "stderr": subprocess.STDOUT}
        process = child([sys.executable, *command], env=environment, **output)
        share_cores(process.pid, number, len(logs))
        processes.append(process)
    return processes


def child(command, **given):
    """A Popen in a session of its own, so that the terminal's signals come through this process alone, once.

    Where this process is killed, it ends by itself: by SIGTERM, on Linux.
    """
    ends = {"preexec_fn": end_with_parent} if sys.platform == "linux" else {}  # which Windows hasn't
    return subprocess.Popen(command, start_new_session=True, **ends, **given)


def end_with_parent():
    """Has this process end by SIGTERM where the one that started it does. Linux alone has that."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_ports(count):
    """Ports that nobody has now."""
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def share_cores(process, number, count):
    """Has a process run on its share of this one's cores, where there is one for each, and the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if count <= len(cores):
            os.sched_setaffinity(process, cores[number::count])


def wait(processes, logs):
    """Until all have ended; the exit code."""

    def pass_on(number, _):
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    for number in STOPS:
        signal.signal(number, pass_on)
    failed, until, told = None, math.inf, False
    while any(process.poll() is None for process in processes):
        failed = first_failed(processes) if failed is None else failed
        until = time.monotonic() + GRACE if failed is not None and until == math.inf else until
        if time.monotonic() > until:
            for process in processes:
                process.kill() if told else process.terminate()
            told, until = True, until + GRACE
        time.sleep(0.1)
    failed = first_failed(processes) if failed is None else failed
    codes = [process.wait() for process in processes]
    if failed is None or {128 + stop for stop in STOPS}.issuperset(codes):  # all were stopped, and have saved
        return codes[0]
    tell(failed, codes[failed], logs[failed])
    return codes[failed] if codes[failed] > 0 else 128 - codes[failed]


def first_failed(processes):
    """The number of a process that has ended, and not well; None where there is none."""
    return next((number for number, process in enumerate(processes) if process.poll()), None)


def tell(number, code, log):
    """A line about a worker that failed: the last that it said, where nobody saw it."""
    said = ""
    if number and code > 0:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
        said = f": {lines[-1]}" if lines else ""
    ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    print(f"worker {number} {ended}{said}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
