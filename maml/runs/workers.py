"""Processes that train together: which there are, how they meet, and what they must agree on.

They are told by TF_CONFIG, as TensorFlow's users know it, or by Slurm; `python -m maml.launch` sets TF_CONFIG for some
on one machine. Worker 0, the chief, reads and writes the run folder; the others have its state from it, and a folder
that is gone afterwards. What can't be is a `UserError` in every process.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from data_generators.errors import UserError
from maml.replicas import STRATEGIES, Alone, here
from maml.runs.provenance import provenance
from maml.runs.run import STOPS

EXPECTED = (
    "expected what TensorFlow reads, as in "
    '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'
)
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
CODE = ("maml", "data_generators", "rl")  # folders


class Cluster(NamedTuple):
    """The workers' addresses, host:port, the chief's first, and which of them this process is."""

    addresses: tuple
    number: int

    @property
    def name(self):
        return f"worker {self.number} of {len(self.addresses)}"


class Plan(NamedTuple):
    """How a computation is shared. strategy: one of STRATEGIES. cluster: a Cluster; None: there is one process."""

    strategy: str
    cluster: Cluster | None

    @property
    def is_chief(self):
        return self.cluster is None or self.cluster.number == 0


def plan(asked=None, allowed=STRATEGIES) -> Plan:
    """The Plan that is asked for; by default several workers where the surroundings name them, else several GPUs.

    asked: one of STRATEGIES, None for the default. allowed: those that the computation knows. UserError.
    """
    if asked not in (None, *allowed):
        raise UserError(f"strategy is {asked!r}, expected one of {', '.join(allowed)}")
    cluster = _cluster() if asked in (None, "multi_worker") and "multi_worker" in allowed else None
    if cluster:
        return Plan("multi_worker", cluster)
    if asked == "multi_worker":
        raise UserError(
            "strategy is 'multi_worker', but neither TF_CONFIG nor a Slurm step names several workers; for some on "
            "this machine: python -m maml.launch --workers=2 main.py …"
        )
    gpus = len(tf.config.list_physical_devices("GPU")) if asked != "none" and "mirrored" in allowed else 0
    if asked == "mirrored" and gpus < 2:
        raise UserError(f"strategy is 'mirrored', which is for several GPUs; TensorFlow sees {gpus} here")
    return Plan("mirrored" if gpus > 1 else "none", None)


# Which workers there are


def _cluster():
    """The Cluster that TF_CONFIG or Slurm names; None where that is one process."""
    if os.environ.get("TF_CONFIG"):
        cluster = _read(os.environ["TF_CONFIG"])
    elif os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":  # of srun; a batch script alone is no step of several
        cluster = _of_slurm()
    else:
        return None
    return cluster if len(cluster.addresses) > 1 else None


def _read(text):
    """The Cluster of a TF_CONFIG."""
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        jobs = {name: list(cluster.get(name, [])) for name in ("chief", "worker")}
        kind, index = task["type"], int(task["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"TF_CONFIG can't be read ({type(error).__name__}: {error}); {EXPECTED}") from None
    if odd := sorted({*cluster, kind} - set(jobs)):
        raise UserError(f"TF_CONFIG has {', '.join(odd)}; expected tasks of type worker, and at most one chief")
    addresses = (*jobs["chief"], *jobs["worker"])
    if wrong := [a for a in addresses if not (isinstance(a, str) and re.fullmatch(r"[^:/\s]+:\d{1,5}", a))]:
        raise UserError(f"TF_CONFIG has the address {wrong[0]!r}; expected host:port")
    if len(set(addresses)) < len(addresses):
        raise UserError(f"TF_CONFIG has an address twice: {', '.join(addresses)}; expected one for each task")
    if len(jobs["chief"]) > 1 or not 0 <= index < len(jobs[kind]):
        there = ", ".join(f"{len(tasks)} of type {name}" for name, tasks in jobs.items() if tasks) or "none"
        raise UserError(f"TF_CONFIG says that this is {kind} {index}, and has {there}; {EXPECTED}")
    return Cluster(addresses, index + (len(jobs["chief"]) if kind == "worker" else 0))


def _of_slurm():
    """The Cluster of a Slurm step, left in TF_CONFIG too."""
    try:
        # By its own defaults it asks nvidia-smi, and divides the GPUs of a node as Slurm has done already.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=2**16, gpus_per_task=1, auto_set_gpu=False
        )
        # Not its cluster_spec(), which has n10 before n2, where Slurm's ranks follow the list of nodes.
        tasks = [(node, i) for node, count in resolver._task_configuration.items() for i in range(count)]
        port, number = 12000 + int(os.environ.get("SLURM_JOB_ID", 0)) % 20000, int(os.environ["SLURM_PROCID"])
        here = os.environ.get("SLURMD_NODENAME", tasks[number][0])
    except (RuntimeError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"the Slurm step can't be read ({error}); expected srun's variables, or a TF_CONFIG") from None
    if tasks[number][0] != here:
        raise UserError(f"task {number} runs on {here}, not on {tasks[number][0]}; expected srun --distribution=block")
    addresses = [f"{node}:{port + i}" for node, i in tasks]
    task = {"type": "worker", "index": number}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    return Cluster(tuple(addresses), number)


# How they meet


@contextlib.contextmanager
def joined(plan):
    """Within, the strategy of a Plan is in scope. Yields its `Replicas`, once all workers are there.

    To be entered before TensorFlow does anything. Workers but the chief print nothing within. UserError where a worker
    is lost meanwhile.
    """
    if plan.strategy == "none":
        yield Alone()
        return
    strategy = tf.distribute.MirroredStrategy() if plan.cluster is None else _meet(plan.cluster)
    with strategy.scope(), contextlib.ExitStack() as stack:
        replicas = here() if strategy.num_replicas_in_sync > 1 else Alone()
        if plan.is_chief:
            many = f"{replicas.count} replicas in {replicas.processes} process{'es' * (replicas.processes > 1)}"
            print(f"strategy {plan.strategy}: {many}", file=sys.stderr)
        else:
            nothing = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nothing))
            stack.enter_context(contextlib.redirect_stderr(nothing))
        try:
            yield replicas
        except tf.errors.OpError as error:
            if not isinstance(error, LOST) and "Collective ops is aborted" not in str(error):
                raise
            which = re.search(r"replica:\d+/task:(\d+)", str(error))
            raise UserError(
                f"{f'worker {which[1]}' if which else 'another worker'} was lost; the same command everywhere goes on "
                "from the last checkpoint"
            ) from error


def _meet(cluster):
    """The strategy of a Cluster."""
    address = cluster.addresses[cluster.number]
    with socket.socket() as probe:  # TensorFlow's own server would share the port with another process's, and wait
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(address.rpartition(":")[2])))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{cluster.name} can't have the port of {address}: {reason}; expected a free one") from None
    others = ", ".join(other for other in cluster.addresses if other != address)
    print(f"{cluster.name}, {address}, waits for {others}", file=sys.stderr)
    # While it waits no handler of Python's runs, so that signals must end the process themselves; afterwards TensorFlow
    # keeps SIGTERM for itself.
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in STOPS}
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise UserError(f"{cluster.name} can't meet the others: {error.message.splitlines()[0][:200]}") from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


# What they must agree on


def check_same(replicas, given: dict) -> None:
    """UserError, in every process, unless all have the same code, packages and command.

    given: {flag: value} of the command line, of what isn't the machine's own.
    """
    if replicas.processes == 1:
        return
    about = provenance()["versions"] | {"code": _code()} | {f"--{name}": value for name, value in given.items()}
    check_equal(replicas, about, "the same command and the same code everywhere")


def check_equal(replicas, record: dict, expected: str) -> None:
    """UserError, in every process, unless all call this with the same values by name."""
    chiefs, *others = replicas.exchange(record)
    for number, theirs in enumerate(others, start=1):
        for name in sorted({*chiefs, *theirs}):
            if chiefs.get(name) != theirs.get(name):
                pair = f"{name} {theirs.get(name)!r}, worker 0 has {chiefs.get(name)!r}"
                raise UserError(f"worker {number} has {pair}; expected {expected}")


def check_same_data(contents: dict) -> None:
    """UserError, in every process, unless all hold the same classes. contents: {split: {class: how many images}}."""
    digests = {f"data of the {split} split": zlib.crc32(json.dumps(of).encode()) for split, of in contents.items()}
    check_equal(here(), digests, "the same data everywhere")


def _code():
    """A short digest of this package's files."""
    digest, root = hashlib.sha256(), Path(__file__).parents[2]
    for file in sorted(file for folder in CODE for file in (root / folder).rglob("*.py")):
        digest.update(f"{file.relative_to(root)} ".encode() + file.read_bytes())
    return digest.hexdigest()[:12]
