"""Episodes of many tasks at once: every step is one policy call for all tasks, each with its own weights, and one
simulator call.

Letters of shapes: M tasks, E environments of a task, B = M·E, K episodes and H horizon, so K·H steps asked of a task,
T steps of a task, padded, O of an observation, A of an action, G numbers that make a task.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_generators.errors import UserError
from rl import policy as policies
from rl.sampling.simulator import Simulator

UNTIL = ("all", "each")  # tasks have the steps asked for


class Trajectories(NamedTuple):
    """The completed episodes of M tasks. A task's rows are whole episodes one after the other, then zeros.

    Steps are padded to T = K·H where that is enough, as it is if no episode ends early, and else to (K + E)·H, which
    always is: two shapes at most, so that what is compiled for them is compiled once or twice.
    """

    observations: np.ndarray  # float32 [M, T, O], that the actions were chosen at
    actions: np.ndarray  # float32 [M, T, A], before the environment cut them
    rewards: np.ndarray  # float32 [M, T]
    times: np.ndarray  # int [M, T], steps since the episode began: 0, 1, …
    ends: np.ndarray  # bool [M, T], True at the last step of each episode, terminated or at the horizon
    mask: np.ndarray  # float32 [M, T], 1 for a step, 0 for padding
    means: np.ndarray  # float32 [M, T, A], of the policy at each step
    log_stds: np.ndarray  # float32 [M, A], of the policy
    diverged: np.ndarray  # bool [M, T], True at the last step of each episode that ended as the simulation failed

    @property
    def returns(self):
        """[M]: undiscounted sum of rewards of an episode, mean over a task's episodes but those that diverged.

        NaN where all of a task's did: what ends at once has a return near 0, which would be better than most.
        """
        if not np.any(self.diverged):
            return self.rewards.sum(1, dtype=np.float64) / self.ends.sum(1)
        counts = np.ones(self.ends.shape, bool)
        diverges = np.zeros(len(counts), bool)
        for t in reversed(range(counts.shape[1])):
            diverges = np.where(self.ends[:, t], self.diverged[:, t], diverges)
            counts[:, t] = ~diverges
        with np.errstate(invalid="ignore"):
            return np.where(counts, self.rewards, 0).sum(1, dtype=np.float64) / (self.ends & counts).sum(1)


@dataclass(frozen=True)
class Sampling:
    """Which episodes to sample, and until when. UserError unless 1 ≤ E ≤ K, and for an unknown `until`.

    Environments run in lock-step, each beginning a new episode where one ends, until the completed episodes are as many
    steps as asked for; what is unfinished then is dropped. Where episodes end early this favours short ones a little,
    the more the larger E is. Where none does, E changes nothing if it divides K, and more of them are faster.
    """

    name: str  # of the environment
    num_tasks: int  # M
    rollouts: int  # K
    envs_per_task: int = 1  # E
    horizon: int | None = None  # H; None: the paper's
    oracle: bool = False  # observations end with the task
    # "all": until all tasks together have K·H·M steps, as [M] sandbox/rocky/tf/samplers/vectorized_sampler.py counts.
    # "each": until each task has K·H; a task's environments end when it has.
    until: str = "all"
    new_tasks: bool = False  # every episode has a task of its own, drawn when it begins, in place of those given

    def __post_init__(self):
        if not 1 <= self.envs_per_task <= self.rollouts:
            expected = f"expected 1 to rollouts, which is {self.rollouts}"
            raise UserError(f"envs_per_task is {self.envs_per_task}, {expected}")
        if self.until not in UNTIL:
            raise UserError(f"until is {self.until!r}, expected one of {', '.join(UNTIL)}")


class Among(NamedTuple):
    """Where the tasks of a sampler stand among those of several workers.

    first: number of its first task. num_tasks: how many there are in all. total: a count -> its sum over the workers.
    """

    first: int
    num_tasks: int
    total: Callable


class Sampler:
    """Samples episodes of an environment with a policy.

    policy: a Policy.
    sampling: a Sampling.
    num_threads: of the simulator, None for all cores; they change nothing but its speed.
    simulator: what makes the environments, by the arguments of Simulator.
    among: an Among, where the tasks are some of those that several workers sample.
    """

    def __init__(self, policy, sampling, num_threads=None, simulator=Simulator, among=None):
        self.policy, self.sampling = policy, sampling
        self.among = among or Among(0, sampling.num_tasks, lambda count: count)
        self._grid = sampling.num_tasks, sampling.envs_per_task
        num_envs = sampling.num_tasks * sampling.envs_per_task
        self.simulator = simulator(sampling.name, num_envs, num_threads, sampling.oracle, sampling.horizon)
        self.kind, self.horizon = self.simulator.kind, self.simulator.horizon
        self._record = None

    @property
    def limit(self):
        """Lock-steps that are always enough: before the last, fewer than K·H steps a task are in completed episodes,
        and at most H − 1 of each environment in an unfinished one."""
        num_envs = self.sampling.envs_per_task
        return (self.sampling.rollouts + num_envs) * self.horizon // num_envs

    def __call__(self, weights, tasks, key):
        """Trajectories of policies on tasks; a pure function of its arguments.

        weights: {name: array [M, ...]}.
        tasks: [M, G], or [M, E, G] where environments of one policy differ in it.
        key: a tuple of integers ≥ 0, e.g. (seed, meta-iteration, phase). Noise and starts of an environment depend on
        the key and its number only: not on other tasks.
        """
        num_tasks, num_envs = self._grid
        weights = {name: np.asarray(value) for name, value in weights.items()}
        size = self.kind.task_size
        tasks = np.broadcast_to(np.reshape(tasks, [num_tasks, -1, size]), [*self._grid, size]).reshape(-1, size)
        lengths, log_stds = self._run(weights, tasks, key)
        longest = lengths.sum(1).max()
        padded = self.sampling.rollouts * self.horizon
        if longest > padded:
            padded += num_envs * self.horizon
        fields = {name: _gather(values, lengths, padded) for name, values in self._record.items()}
        mask = (np.arange(padded) < lengths.sum(1)[:, None]).astype(np.float32)
        return Trajectories(**fields, mask=mask, log_stds=log_stds.copy())

    def _run(self, weights, tasks, key):
        """Fills the record. Returns (lengths [M, E]: how much of each environment's is whole episodes, log-stds)."""
        simulator, (num_tasks, num_envs) = self.simulator, self._grid
        record = self._record = self._record or self._new_record()
        budget = self.sampling.rollouts * self.horizon
        generators, seeds = _generators(key, num_tasks * num_envs, self.among.first * num_envs)
        if self.sampling.new_tasks:
            tasks = self._draw_tasks(generators)
        observations = simulator.reset(tasks, seeds)
        lengths = np.zeros(self._grid, np.int64)
        running = np.ones([num_tasks, 1], bool)  # tasks that are still being sampled
        for t in range(self.limit):
            if t % self.horizon == 0:
                noise = self._noise(generators)
            x = observations.astype(np.float32).reshape(num_tasks, num_envs, -1)
            means, log_stds = self.policy.forward_numpy(weights, x)
            actions = policies.sample(means, log_stds[:, None], noise[:, :, t % self.horizon])
            times = simulator.steps
            record["observations"][:, :, t] = x
            record["means"][:, :, t] = means
            record["actions"][:, :, t] = actions
            record["times"][:, :, t] = times.reshape(self._grid)
            observations, rewards, terminated, truncated = simulator.step(actions.reshape(len(tasks), -1))
            done = terminated | truncated
            record["rewards"][:, :, t] = rewards.reshape(self._grid)
            record["ends"][:, :, t] = done.reshape(self._grid)
            record["diverged"][:, :, t] = simulator.failed.reshape(self._grid)
            if done.any():
                lengths = np.where(done.reshape(self._grid) & running, t + 1, lengths)
                if self.sampling.until == "each":
                    running = lengths.sum(1, keepdims=True) < budget
            # No sooner, as workers meet here: before, not even all steps were enough.
            if self.sampling.until == "all" and (t + 1) * num_envs >= budget:
                if self.among.total(lengths.sum()) >= budget * self.among.num_tasks:
                    break
            if done.any():
                if not running.any():
                    break
                ended = [generators[i] for i in np.flatnonzero(done)]
                new = self._draw_tasks(ended) if self.sampling.new_tasks else None
                observations = simulator.reset(new, where=done)
        return lengths, log_stds

    def _new_record(self):
        """What each environment did at each lock-step, {name: [M, E, steps, ...]}."""
        sizes = {
            "observations": [self.simulator.observations.shape[1]],
            "rewards": [],
            "times": [],
            "ends": [],
            "diverged": [],
        }
        sizes |= {"actions": [self.kind.action_size], "means": [self.kind.action_size]}
        types = {"times": np.int32, "ends": bool, "diverged": bool}
        grid = [*self._grid, self.limit]
        return {name: np.empty([*grid, *size], types.get(name, np.float32)) for name, size in sizes.items()}

    def _noise(self, generators):
        """float32 [M, E, H, A], for so many lock-steps."""
        shape = [self.horizon, self.kind.action_size]
        noise = np.stack([generator.standard_normal(shape, np.float32) for generator in generators])
        return noise.reshape(*self._grid, *shape)

    def _draw_tasks(self, generators):
        return np.concatenate([self.kind.sample_tasks(generator, 1) for generator in generators])


def _generators(key, count, first=0):
    """(a generator of the action noise, and of tasks, of each environment; a seed for its starts)."""
    sequences = [np.random.SeedSequence((*key, number)) for number in range(first, first + count)]
    seeds = [int(sequence.generate_state(1)[0]) for sequence in sequences]
    return [np.random.Generator(np.random.SFC64(sequence.spawn(1)[0])) for sequence in sequences], seeds


def _gather(values, lengths, padded):
    """The first lengths[m, e] of values[m, e] one after the other, [M, padded, ...], zeros behind them."""
    gathered = np.zeros([len(values), padded, *values.shape[3:]], values.dtype)
    for m, task in enumerate(lengths):
        for e, (stop, length) in enumerate(zip(task.cumsum(), task)):
            gathered[m, stop - length : stop] = values[m, e, :length]
    return gathered
