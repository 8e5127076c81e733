"""What several workers gain: the meta-step of one process on one core, of two on a core each, and of one on both.

Strong: the M tasks of the preset in all. Weak: M for each worker. Every measurement is of processes of its own, and the
rounds alternate, so that what else the machine does falls on all alike.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError
from maml.benchmarks.meta_step import case_of, headline
from maml.replicas import summed
from maml.runs import workers

ROUNDS = 3
WORKERS = (8, 64, 512)
BANDWIDTHS = (10, 100)  # Gb/s, of a worker
# {what: (workers, cores, whether each worker has all M tasks)}
FORMS = {
    "one process, one core": (1, 1, False),
    "two processes, a core each": (2, 2, False),
    "two processes, a core each, M tasks each": (2, 2, True),
    "one process, two cores": (1, 2, False),
}


def ring_seconds(size, latency, bandwidth, count):
    """Seconds of an all-reduce: 2·(R − 1) rounds, each of a message of size/R.

    size: bytes. latency: seconds of a round without bytes. bandwidth: bytes a second of a worker. count: R.
    """
    return 2 * (count - 1) * (latency + size / count / bandwidth)


def efficiency(step, *ring):
    """Of R workers with M tasks each: the part of R times one worker's rate. step: seconds of one worker alone.

    ring: arguments of `ring_seconds`.
    """
    return step / (step + ring_seconds(*ring))


def main(datasource, method="maml"):
    """Prints milliseconds of a meta-update in each of FORMS, the all-reduce, and what more workers would give."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        raise UserError("this benchmark gives processes cores of their own; expected Linux, and two cores or more")
    case = case_of(datasource, method)
    if case.objective:
        raise UserError(f"{method} trains on batches of examples, which are not shared; expected a method of tasks")
    print(headline(case))
    measured = {form: [] for form in FORMS}
    for _ in range(ROUNDS):
        for form in FORMS:
            measured[form].append(_in_processes(form, datasource, method))
    ms = {form: 1000 * statistics.median(one["seconds"] for one in found) for form, found in measured.items()}
    for form, value in ms.items():
        print(f"{value:9.1f} ms a meta-update  {form}")
    one, two, weak, both = ms.values()
    print(
        f"to one process on one core: two on a core each {one / two:.2f}, with M tasks each {2 * one / weak:.2f}; "
        f"one on two cores {one / both:.2f}"
    )
    shared = [found for form in FORMS for found in measured[form] if FORMS[form][0] == 2]
    size, reduce = shared[0]["bytes"], statistics.median(found["all_reduce"] for found in shared)
    print(f"all-reduce of {size:,} bytes between two processes of this machine: {1000 * reduce:.2f} ms")
    _print_expected(one / 1000, size, reduce / 2)


def _print_expected(step, size, latency):
    print(
        "expected of R workers with M tasks each: T / (T + 2(R − 1)(L + S / (R B))), of B bytes/s and S bytes,\n"
        f"T = {1000 * step:.1f} ms alone, L = {1000 * latency:.2f} ms a round: half of the all-reduce, all latency"
    )
    print("workers " + "".join(f"{bandwidth:>7} Gb/s" for bandwidth in BANDWIDTHS))
    for count in WORKERS:
        values = (efficiency(step, size, latency, 1e9 / 8 * bandwidth, count) for bandwidth in BANDWIDTHS)
        print(f"{count:7d} " + "".join(f"{100 * value:10.0f} %" for value in values))


def _in_processes(form, datasource, method):
    """What the chief of so many processes measured."""
    count, cores, each_has_all = FORMS[form]
    ours = sorted(os.sched_getaffinity(0))[:cores]
    command = ["-m", "maml.benchmarks.sharing", datasource, method, str(count if each_has_all else 1)]
    done = subprocess.run(
        [sys.executable, "-m", "maml.launch", f"--workers={count}", "--", *command],
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, ours),
    )
    if done.returncode:
        raise UserError(f"{form}: {(done.stderr.splitlines() or ['no word'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _measure(datasource, method, times):
    """{"seconds" of a meta-update of `times` the preset's tasks, "bytes" of its sum, seconds of that "all_reduce"}."""
    with workers.joined(workers.plan()) as replicas:
        case = case_of(datasource, method)
        own, num_tasks = case.method(), times * case.settings.training.num_tasks
        step, whole = case.step(own), case.draw()(num_tasks)
        batch = replicas.draw(lambda part: tf.nest.map_structure(lambda t: t[part or slice(None)], whole), num_tasks)
        count = sum(int(np.prod(weight.shape)) for weight in own.init(0).values())
        seconds = _seconds(lambda: step(batch))
        return {"seconds": seconds, "bytes": 4 * count, "all_reduce": _all_reduce_seconds(count)}


def _all_reduce_seconds(count):
    """Seconds of the sum of so many float32 numbers over the workers; 0 where there is one."""
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return 0.0
    values = strategy.experimental_distribute_values_from_function(lambda _: tf.zeros([count]))
    reduce = tf.function(lambda values: strategy.run(summed, (values,)))
    return _seconds(lambda: reduce(values))


def _seconds(call, calls=10):
    """Median over ROUNDS of the mean of so many calls, in each process the same number."""
    rounds = []
    tf.nest.map_structure(np.asarray, call())  # compiles it
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            tf.nest.map_structure(np.asarray, call())
        rounds.append((time.perf_counter() - start) / calls)
    return statistics.median(rounds)


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
