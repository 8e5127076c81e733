"""How fast environments are simulated on this machine, and how far from what it could do without observing them."""

import os
import statistics
import time

import gymnasium
import numpy as np

import rl.envs
from rl.simulator import Simulator

# isort: split
# After rl.envs, which says what is wrong where MuJoCo can't be imported.
import mujoco
from mujoco.batch import Batch

NUM_ENVS = 80  # two for each task of the paper's meta-batch
ROUNDS = 9


def main(name):
    """Prints environment steps/s: raw physics, the simulator, and one gymnasium environment in a loop."""
    measured = rates(name)
    print(f"{name}, {NUM_ENVS} environments, random actions, {os.cpu_count()} cores; medians of {ROUNDS} rounds")
    if "raw" in measured:
        print(f"{measured['raw']:10,.0f} mj_step/s   raw: MuJoCo's own loop, all cores, nothing observed")
    share = f", {100 * measured['simulator'] / measured['raw']:.0f} % of raw" if "raw" in measured else ""
    print(f"{measured['simulator']:10,.0f} steps/s     simulator, with observations, rewards and resets{share}")
    print(f"{measured['single']:10,.0f} steps/s     one gymnasium environment in a Python loop")


def rates(name, num_envs=NUM_ENVS, rounds=ROUNDS, num_threads=None):
    """{"raw", "simulator", "single"}: median steps/s over rounds of a horizon each ("raw" for robots only)."""
    kind = rl.envs.get(name)
    rng = np.random.default_rng(0)
    tasks = kind.sample_tasks(rng, num_envs)
    actions = rng.standard_normal([kind.horizon, num_envs, kind.action_size], np.float32)
    contenders = {
        "simulator": _simulator(name, tasks, actions, num_threads),
        "single": _single(kind, tasks[0], actions[:, 0]),
    }
    if kind.robot:
        contenders["raw"] = _raw(kind, actions, num_threads)
    measured = {contender: [] for contender in contenders}
    for round_ in range(rounds + 1):
        for contender, run in contenders.items():
            start = time.perf_counter()
            steps = run()
            if round_:  # the first one warms up
                measured[contender].append(steps / (time.perf_counter() - start))
    return {contender: statistics.median(values) for contender, values in measured.items()}


def _raw(kind, actions, num_threads):
    """As many steps of the same model with the same controls, without sensors, in MuJoCo's own loop on all cores."""
    horizon, num_envs, _ = actions.shape
    model = kind.robot.load()
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

    def run():
        simulator.reset(tasks, range(len(tasks)))
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
