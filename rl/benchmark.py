"""How fast this machine simulates environments, samples with a policy and learns, and how far from what it could do.

Everything is measured in one run, alternating, so that what else the machine does falls on all alike.
"""

import os
import statistics
import time

import gymnasium
import numpy as np

import rl.envs
from maml.benchmarks import machine
from maml.runs.allocation import keep_freed_memory
from rl.meta_rl import MetaRL
from rl.policy import HIDDEN
from rl.sampling.simulator import Simulator
from rl.settings import resolve

# isort: split
# After rl.envs, which says what is wrong where MuJoCo can't be imported.
import mujoco
from mujoco.batch import Batch

CHEAPER = "trpo_subsampled"  # the outer step that is measured beside the paper's
ROUNDS = 5  # unless they take more than
SECONDS = 100  # in all
HORIZONS = 3  # that environments are stepped for in a round


def main(name):
    """Prints the speeds of environments and of meta-iterations with the paper's settings."""
    keep_freed_memory()  # as a run does
    report(resolve(name), resolve(name, outer=CHEAPER))


def report(settings, other=None):
    """Prints environment steps/s, the time of a meta-iteration by its parts, what TRPO computes, and memory.

    other: settings with another outer step, whose time is printed beside; None: nothing.
    """
    s, measured = settings, rounds(settings, other)
    median = {what: statistics.median(one[what] for one in measured) for what in measured[0]}
    print(
        f"{s.datasource}, {s.num_tasks} tasks, {s.num_updates + 1} times {s.rollouts} episodes of each, "
        f"{os.cpu_count()} cores; medians of {len(measured)}"
    )
    share = ""
    if "raw" in median:
        print(f"{median['raw']:10,.0f} mj_step/s   raw: MuJoCo's own loop, all cores, nothing observed, no policy")
        print(f"{median['lean']:10,.0f} mj_step/s   raw, with the simulator's lean model")
        shares = (f"{100 * median['simulator'] / median[loop]:.0f} %" for loop in ("raw", "lean"))
        share = f", {' and '.join(shares)} of these"
    sampling = median["steps"] / median["sampling"]
    print(f"{median['simulator']:10,.0f} steps/s     simulator, with observations, rewards and resets{share}")
    share = f"{100 * sampling / median['simulator']:.0f} % of the simulator"
    print(f"{sampling:10,.0f} steps/s     sampling with the policy, {share}")
    print(f"{median['single']:10,.0f} steps/s     one gymnasium environment in a Python loop, no policy")

    parts = {part: median[part] for part in ("sampling", "advantages", "inner steps", "outer step")}
    total = sum(parts.values())
    print(f"{total:10.2f} s           one meta-iteration, {median['steps']:,.0f} environment steps")
    for part, seconds in parts.items():
        print(f"{seconds:10.2f} s           {100 * seconds / total:3.0f} % {part}")
    if other:
        theirs, rest = median["other outer step"], total - median["outer step"]
        print(f"{theirs:10.2f} s           outer step by --outer={other.outer}: meta-iteration {rest + theirs:.2f} s")
    speed, matmul = median["flops"] / median["outer step"], median["matmul"]
    print(f"{median['flops'] / 1e9:10,.0f} GFLOP       matrix products of the outer step, TRPO")
    print(f"{speed / 1e9:10,.0f} GFLOP/s     outer step, {100 * speed / matmul:.0f} % of the next")
    print(f"{matmul / 1e9:10,.0f} GFLOP/s     products of {machine.MATRIX} x {machine.MATRIX} matrices")
    print(f"{machine.peak_memory():10,.0f} MiB         peak memory")


def rounds(settings, other=None):
    """What was measured in each round, a list of dicts; everything in turn.

    The first meta-iteration, which compiles, is left out.
    "steps", the seconds of the parts as MetaRL names them, "flops": of a meta-iteration, the last of its TRPO.
    "matmul": matrix products in FLOP/s. "other outer step": its seconds by the `other` settings, if there are any.
    The others: `rates`.
    """
    run, multiply, measured = MetaRL(settings), machine.matrix_product(), []
    sizes = [run.kind.observation_size, *HIDDEN, run.kind.action_size]
    run.iterate()
    beside = MetaRL(other) if other else None
    if beside:
        beside.iterate()
    start = time.perf_counter()
    while not measured or (len(measured) < ROUNDS and time.perf_counter() - start < SECONDS):
        metrics = run.iterate()
        if beside:
            beside.iterate()
        steps, values = metrics["steps"] / (settings.num_updates + 1), metrics["backtracks"] + 1
        measured.append(
            {
                "steps": metrics["steps"],
                **run.seconds,
                **({"other outer step": beside.seconds["outer step"]} if beside else {}),
                "flops": trpo_flops(sizes, settings.num_updates, settings.cg_iterations, steps, values),
                "matmul": machine.calls_a_second(multiply) * machine.MATMUL_FLOPS,
                **rates(settings.datasource, settings.num_tasks * settings.envs_per_task),
            }
        )
    return measured


def trpo_flops(sizes, num_updates, cg_iterations, steps, values):
    """Floating-point operations (2 a multiply-add) of the matrix products in a TRPO step of second order.

    sizes: of the policy's layers, from observation to action.
    num_updates: inner steps.
    cg_iterations: of conjugate gradients.
    steps: of all tasks, in each phase; padding is no work.
    values: how often the line search evaluated loss and KL.

    For a layer, products that cost as much as its forward pass: forward 1, with its gradient 3. For an inner step that
    is differentiated 9: those 3, 2 for each of the gradient's two products, and 2 more from its forward pass. The first
    layer has no gradient for its input: 2 instead of 3, 4 instead of 9.
    Gradients through the inner steps: of the loss, and of the KL, two for each finite difference of conjugate gradients
    and one more pair for the length of the step.
    """
    first, *others = (2 * a * b for a, b in zip(sizes, sizes[1:]))
    forward, gradient = first + sum(others), 2 * first + 3 * sum(others)
    second = 4 * first + 9 * sum(others)
    gradients = 1 + 2 * (cg_iterations + 1)
    return steps * (gradients * (num_updates * second + gradient) + values * (num_updates * gradient + forward))


def rates(name, num_envs, horizons=HORIZONS, num_threads=None):
    """{"simulator", "raw", "lean", "single"}: median steps/s over so many horizons ("raw" and "lean" for robots only).

    Measured alternately; "single" after the others, as one core alone lets the processor cool down.
    """
    kind = rl.envs.get(name)
    rng = np.random.default_rng(0)
    tasks = kind.sample_tasks(rng, num_envs)
    actions = rng.standard_normal([kind.horizon, num_envs, kind.action_size], np.float32)
    on_all_cores = {"simulator": _simulator(name, tasks, actions, num_threads)}
    if kind.robot:
        on_all_cores["raw"] = _raw(kind, actions, num_threads, lean=False)
        on_all_cores["lean"] = _raw(kind, actions, num_threads, lean=True)
    return _by_turns(on_all_cores, horizons) | _by_turns({"single": _single(kind, tasks[0], actions[:, 0])}, horizons)


def _by_turns(contenders, turns):
    """{name: median steps/s} of functions that return how many steps they took."""
    measured = {contender: [] for contender in contenders}
    for i in range(turns + 1):
        for contender, run in contenders.items():
            start = time.perf_counter()
            steps = run()
            if i:  # the first one warms up
                measured[contender].append(steps / (time.perf_counter() - start))
    return {contender: statistics.median(values) for contender, values in measured.items()}


def _raw(kind, actions, num_threads, lean):
    """As many steps of the model with the same controls, without sensors, in MuJoCo's own loop on all cores."""
    horizon, num_envs, _ = actions.shape
    model = kind.robot.load(lean)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
    batch = Batch(model, num_envs, num_threads or 0)
    qpos, qvel = kind.robot.draw_starts(model, np.random.default_rng(0).spawn(num_envs))
    controls = np.ascontiguousarray(rl.envs.kind.cut(actions).transpose(1, 0, 2))

    def run():
        batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
        batch.qpos, batch.qvel = qpos, qvel
        batch.rollout(horizon, controls, mujoco.mjtState.mjSTATE_CTRL.value, record=())
        return horizon * num_envs

    return run


def _simulator(name, tasks, actions, num_threads):
    simulator = Simulator(name, len(tasks), num_threads)
    simulator.reset(tasks, range(len(tasks)))

    def run():  # each goes on where the last one ended
        for action in actions:
            _, _, terminated, truncated = simulator.step(action)
            done = terminated | truncated
            if done.any():
                simulator.reset(where=done)
        return len(actions) * len(tasks)

    return run


def _single(kind, task, actions):
    env = gymnasium.make(kind.id)

    def run():
        env.reset(seed=0, options={"task": task})
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return len(actions)

    return run
