"""python logical.py [again] METHOD-KIND…: what two replicas, logical CPUs of one process, differ in from one.

Of each method, on the tiny problem of the conformance tests and in float64: prints a line of json, {what: the largest
difference, in units of the largest entry}, of the metrics and θ after an update by each of its objectives, and of a
curve; with "again" as a first argument also in what a second start of the two differs from the first.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
sys.path.insert(0, str(pathlib.Path(__file__).parent / "methods"))

import numpy as np
import tensorflow as tf
from test_conformance import make

from maml.evaluation import Evaluator
from maml.meta_training import Trainer


def results(case):
    """{what: array}."""
    found = {}
    for what, (objective, batch) in case.objectives.items():
        trainer = Trainer(case.theta, 1.0, "sgd")
        objective = None if what == "tasks" else objective
        metrics = trainer.compile(case.method, tasks_per_chunk=1, jit=False, objective=objective)(batch)
        found |= {f"{what} {name}": value.numpy() for name, value in metrics.items()}
        found |= {f"{what} {name}": weight.numpy() for name, weight in trainer.weights.items()}
    tasks = [tf.nest.map_structure(lambda t, i=i: t[i : i + 1].numpy(), case.episode) for i in range(3)]
    curve = Evaluator(case.method, case.problem, tasks_per_chunk=2, jit=False)(case.theta, tasks * 15, 2)
    return found | {"curve": curve.loss}


def difference(got, expected):
    return float(np.abs(np.subtract(got, expected, dtype=np.float64)).max() / max(np.abs(expected).max(), 1e-3))


if __name__ == "__main__":
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    again, *names = sys.argv[1:] if sys.argv[1] == "again" else (None, *sys.argv[1:])
    for name in names:
        case = make(*name.split("-"))
        alone, both = results(case), []
        for _ in range(2 if again else 1):
            with strategy.scope():
                both.append(results(case))
        line = {what: difference(both[0][what], value) for what, value in alone.items()}
        if again:
            line["again"] = max(difference(both[1][what], value) for what, value in both[0].items())
        print(json.dumps({name: line}), flush=True)
