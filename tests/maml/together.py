"""python together.py FOLDER SCENARIO…: small trainings by several workers, or by one.

A scenario is <what>:<number of workers>:<moment>. Every worker is a process of its own, forked before TensorFlow has
done anything, which saves importing it each time. They leave what they have in FOLDER/<scenario>/; prints
<scenario>:<exit codes of the workers>.
"""

import json
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import killed
import numpy as np
import tensorflow as tf
import toys

from data_generators.errors import UserError
from data_generators.sinusoid import SinusoidTasks
from maml import launch
from maml.evaluation import Evaluator
from maml.meta_training import Trainer
from maml.methods import maml
from maml.runs import supervised, workers

TASKS, UPDATES = 5, 20  # 5 tasks: shares differ


def updates(folder):
    """θ after some updates by MAML, and the losses of new tasks, in both types of float."""
    folder.mkdir(parents=True)
    for dtype in (tf.float32, tf.float64):
        problem = toys.problem("dense", "None", "mse", dtype)
        method = maml.build(maml.Settings(0.1, 2), problem)
        trainer = Trainer(method.init(1), 0.001)
        step = trainer.compile(method, jit=False)
        for i in range(UPDATES):
            metrics = step(toys.random_episode("dense", TASKS, "mse", i, dtype))
        tasks = (toys.random_episode("dense", 1, "mse", 100 + i, dtype) for i in range(45))  # 20, 20, and 5
        losses = Evaluator(method, problem, jit=False)(trainer.current_weights(), tasks, 2).loss
        weights = {name: w.numpy() for name, w in trainer.weights.items()}
        np.savez(folder / f"{dtype.name}.npz", **weights, losses=losses, loss=metrics["loss"])
    return 0


def train(folder):
    run = killed.run(folder, killed.sinusoid_settings(), SinusoidTasks())
    return 0 if run.train() else 128 + run.stopped_by


WHAT = {"updates": updates, "run": train}


def at_draw(number, event):
    """Has an event happen where the training draws the tasks of a step."""
    sample = SinusoidTasks.sample

    def watched(self, split, seed, step, *how):
        if (split, step) == ("train", number):
            event()
        return sample(self, split, seed, step, *how)

    SinusoidTasks.sample = watched


# What happens to a worker: {moment: (its number, when, signal)}. There is a checkpoint every 20 iterations.
MOMENTS = {
    "never": None,
    "killed": (1, np.random.default_rng(int.from_bytes(os.urandom(4), "little")).integers(22, 58), signal.SIGKILL),
    "chief killed": (0, 33, signal.SIGKILL),
    "told": (1, 33, signal.SIGTERM),
    "one goes on": (0, 33, signal.SIGTERM),
}


def worker(folder, what, addresses, number, moment):
    """One worker's exit code: that of what it does, or 2 after a UserError."""
    for name, value in killed.INTERVALS.items():
        setattr(supervised, name, value)
    happens = MOMENTS[moment]
    if happens and happens[0] == number:
        at_draw(happens[1], lambda: os.kill(os.getpid(), happens[2]))
    task = {"type": "worker", "index": number}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    try:
        with workers.joined(workers.plan()):
            return WHAT[what](folder if number == 0 else folder.with_name(f"{folder.name} {number}"))
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        return 2


def start(folder, what, count, moment):
    """One start of all workers; their exit statuses, −9 where one was killed."""
    addresses, children = [f"localhost:{port}" for port in launch.free_ports(count)], []
    for number in range(count):
        if (child := os.fork()) == 0:
            os._exit(worker(folder, what, addresses, number, moment))
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


if __name__ == "__main__":
    for scenario in sys.argv[2:]:
        what, count, moment = scenario.split(":")
        folder = pathlib.Path(sys.argv[1]) / scenario
        print(f"{scenario}:{start(folder, what, int(count), moment)}", flush=True)
        if moment != "never":
            start(folder, what, 1 if moment == "one goes on" else int(count), "never")
