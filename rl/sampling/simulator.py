"""Many environments of one kind, stepped together: a physics call on all cores, and formulas over the whole batch.

Bit for bit what as many gymnasium environments give (`rl.envs`). Letters of shapes: B environments, G numbers of a
task, O of an observation, A of an action.
"""

import gymnasium
import numpy as np

from data_generators.errors import UserError
from rl.envs import kind as kinds
from rl.envs import point

# isort: split
# After rl.envs, which says what is wrong where MuJoCo can't be imported.
import mujoco
from mujoco.batch import Batch, SimulationError


class Simulator:
    """B environments of one kind; each goes on until it is reset, whatever the others do.

    simulator = Simulator("cheetah_vel", 40)
    observations = simulator.reset(tasks, seeds)
    while ...:
        observations, rewards, terminated, truncated = simulator.step(actions)
        if (done := terminated | truncated).any():
            observations = simulator.reset(where=done)

    An environment that is done and not reset just goes on, `truncated` at every step from the horizon on.

    kind: the Kind.
    tasks, observations: the current ones, [B, G] and [B, O].
    steps: int [B], since each one's reset.
    failed: bool [B], where the simulation failed at the last step.
    diverged: how many episodes ended since construction because the simulation failed (`rl.envs.kind.outcome`).
    """

    def __init__(self, name, num_envs, num_threads=None, oracle=False, horizon=None):
        """name: of the kind. num_envs: B.

        num_threads: None for all cores; they change nothing but the speed.
        oracle: observations end with the task.
        horizon: steps after which an episode is truncated; None for the paper's.
        """
        self.kind = kinds.get(name)
        self.horizon = self.kind.horizon if horizon is None else horizon
        for what, number in (("environments", num_envs), ("threads", num_threads or 1), ("horizon", self.horizon)):
            if number < 1:
                raise UserError(f"{what} is {number}, expected at least 1")
        self.num_envs, self.oracle, self.diverged = num_envs, oracle, 0
        self.tasks = np.full([num_envs, self.kind.goals.size], np.nan)
        self.observations = np.full([num_envs, self.kind.observation_size + oracle * self.kind.goals.size], np.nan)
        self.steps = np.zeros(num_envs, np.int64)
        self.failed = np.zeros(num_envs, bool)
        self._generators = [None] * num_envs
        robot = self.kind.robot
        self._physics = _Robots(robot, num_envs, num_threads or 0) if robot else _Points(num_envs)

    def reset(self, tasks=None, seeds=None, where=None):
        """Observations [B, O] after new episodes began in the n environments of `where`.

        The observations of the other environments stay as they are. How an episode starts is a pure function of its
        environment's last seed and how many episodes began since. The first reset needs tasks and seeds. Bad ones raise
        UserError.
        where: bool [B] or indices [n]; None for all.
        tasks: [n, G], or None to keep each one's.
        seeds: n integers ≥ 0, each of a generator as gymnasium's `reset(seed=...)` makes it, or None to go on drawing
            from the one that each has.
        """
        ids = np.arange(self.num_envs) if where is None else np.arange(self.num_envs)[where]
        tasks = self.tasks[ids] if tasks is None else self.kind.goals.check(tasks, len(ids))
        if seeds is not None and len(seeds) != len(ids):
            raise UserError(f"{len(seeds)} seeds for {len(ids)} environments, expected one each")
        if np.isnan(tasks).any() or (seeds is None and any(self._generators[i] is None for i in ids)):
            raise UserError("reset without tasks or seeds, expected both at the first reset of an environment")
        for i, seed in zip(ids, () if seeds is None else seeds):
            self._generators[i] = gymnasium.utils.seeding.np_random(int(seed))[0]
        self.tasks[ids] = tasks
        if not len(ids):
            return self.observations
        state = self._physics.start(ids, [self._generators[i] for i in ids])
        self.observations = self.observations.copy()
        self.observations[ids] = kinds.observe(self.kind, state, tasks, self.oracle)
        self.steps[ids] = 0
        return self.observations

    def step(self, actions):
        """(observations [B, O], rewards [B], terminated bool [B], truncated bool [B]) after actions [B, A] in ±1.

        The arrays are new ones at every call, and float64 where not bool. Actions beyond ±1 are cut; of another shape
        they raise UserError.
        """
        actions = kinds.cut(actions)
        if actions.shape != (self.num_envs, self.kind.action_size):
            raise UserError(f"actions have shape {actions.shape}, expected {(self.num_envs, self.kind.action_size)}")
        failed = self._physics.advance(actions)
        self.observations, rewards, terminated, diverged = kinds.outcome(
            self.kind, self._physics.state, self.tasks, actions, self.observations, failed, self.oracle
        )
        self.failed = np.zeros(self.num_envs, bool)
        if len(diverged):
            self.failed[diverged] = True
        self.diverged += len(diverged)
        self.steps += 1
        return self.observations, rewards, terminated, self.steps >= self.horizon

    def save(self):
        """Everything that decides what comes next, as a dict of arrays: physics, tasks, counters, generators."""
        return {
            "physics": self._physics.rows.copy(),
            "observations": self.observations.copy(),
            "tasks": self.tasks.copy(),
            "steps": self.steps.copy(),
            "generators": np.array([_words(generator) for generator in self._generators]),
            "diverged": np.array(self.diverged),
        }

    def restore(self, saved):
        """Goes on as the simulator that `saved` came from, bit for bit: same kind, B, horizon, oracle; any threads."""
        if saved["physics"].shape != self._physics.rows.shape or saved["observations"].shape != self.observations.shape:
            raise UserError(
                f"saved simulator has observations {saved['observations'].shape}, expected {self.observations.shape}"
            )
        self._physics.rows[:] = saved["physics"]
        self.observations, self.tasks = saved["observations"].copy(), saved["tasks"].copy()
        self.steps, self.diverged = saved["steps"].copy(), int(saved["diverged"])
        self._generators = [_generator(words) for words in saved["generators"]]


class _Robots:
    """B robots in a MuJoCo batch. `state`: the fields that the formulas read, live views of the batch."""

    def __init__(self, robot, num_envs, num_threads):
        self._robot, self._model = robot, robot.load()
        # A persistent batch goes on from the positions and velocities derived at the end of the last step. It would
        # after accelerations too, but the ant's Runge-Kutta steps have less from that than the larger memory costs.
        at_velocity = robot.stage == mujoco.mjtStage.mjSTAGE_VEL
        self._batch = Batch(self._model, num_envs, num_threads, persistent=at_velocity)
        self.state = robot.state(*(self._batch.bind(field) for field in robot.state._fields))
        self._controls, self._warnings = self._batch.bind("ctrl"), self._batch.warning[:, :, 1]
        self.rows = self._batch.state

    def start(self, ids, generators):
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.state.qpos[ids], self.state.qvel[ids] = self._robot.draw_starts(self._model, generators)
        self._batch.forward(ids, stage=self._robot.stage)
        return self.state._make(field[ids] for field in self.state)

    def advance(self, actions):
        """Indices of simulations in which MuJoCo warned or failed. (It has reset those, or left them as they were.)"""
        self._controls[:] = actions
        failed = ()
        try:
            self._batch.step(stage=self._robot.stage)
        except SimulationError as error:
            failed = error.ids
        if np.count_nonzero(self._warnings):
            failed = np.union1d(failed, np.flatnonzero(self._warnings.any(axis=1))).astype(int)
            self._warnings[:] = 0
        return failed


class _Points:
    """B points in the plane."""

    def __init__(self, num_envs):
        self.rows = np.zeros([num_envs, 2])
        self.state = point.State(self.rows)

    def start(self, ids, generators):
        self.rows[ids] = point.START
        return point.State(self.rows[ids])

    def advance(self, actions):
        self.rows[:] = point.advance(self.state, actions)
        return ()


def _words(generator):
    """uint64 [4]: state and increment of a PCG64; zeros for none. (Normal numbers leave no half-used word behind.)"""
    if generator is None:
        return np.zeros(4, np.uint64)
    pcg = generator.bit_generator.state["state"]
    return np.array([part for x in (pcg["state"], pcg["inc"]) for part in (x >> 64, x & (2**64 - 1))], np.uint64)


def _generator(words):
    """The generator of `_words`."""
    high, low, inc_high, inc_low = (int(word) for word in words)
    if not inc_low:  # an increment is odd: this was none
        return None
    generator = np.random.Generator(np.random.PCG64(0))
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
        "has_uint32": 0,
        "uinteger": 0,
    }
    return generator
