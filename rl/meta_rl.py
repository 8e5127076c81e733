"""A run of algorithm 3: θ, and the meta-iterations that move it; adapting it to new tasks.

M tasks, E environments of a task, T steps of a task, G numbers that make a task.
"""

import time
from collections import Counter
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from maml import inner_loop
from maml.meta_training import MetaTrainer
from rl import envs, trpo
from rl.advantages import advantages
from rl.memory import keep_freed_memory
from rl.meta_policy import MetaBatch, Objective, Samples, compiled_inner_step
from rl.policy import gaussian_mlp
from rl.sampler import Sampler

# Streams of random numbers beside the one of each meta-iteration: what is drawn once, and evaluations.
ONCE, EVALUATION = 2**31, 2**31 + 1


class MetaRL:
    """θ and what moves it, by a Config.

    state: a MetaTrainer, which is θ, Adam's moments and the iteration: all that a checkpoint needs, as an iteration is
    a function of them and the settings. seconds: wall clock of the parts of the last meta-iteration, "sampling",
    "advantages", "inner steps", "outer step". num_threads: of the simulator, None for all cores. From the first one
    on, the process keeps the memory that it frees (`rl.memory`).
    """

    def __init__(self, config, num_threads=None):
        keep_freed_memory()
        self.config = config
        kind = envs.get(config.datasource)
        self.kind = kind
        observation_size = kind.observation_size + config.oracle * kind.goals.size
        self.policy = gaussian_mlp(observation_size, kind.action_size, activation=config.activation)
        self.state = MetaTrainer(self.policy.init(config.seed), config.meta_lr)
        self.seconds = {}
        self._sampler = None
        self._num_threads = num_threads
        self._objective = Objective(
            self.policy, config.update_lr, config.stop_grad, config.tasks_per_chunk, config.jit
        )
        self._inner_step = compiled_inner_step(self.policy, config.tasks_per_chunk, config.jit)
        self._outer_step = tf.function(self._trpo_step if config.outer == "trpo" else self._adam_step)

    @property
    def iteration(self):
        return int(self.state.iteration)

    def sampler(self):
        """The Sampler of training; made at the first call."""
        c = self.config
        if self._sampler is None:
            self._sampler = Sampler(
                self.policy, c.datasource, c.meta_batch_size, c.update_batch_size, c.envs_per_task, c.horizon, c.oracle,
                new_tasks=c.task_draw == "episode", num_threads=self._num_threads,
            )  # fmt: skip
        return self._sampler

    def tasks(self, iteration):
        """The tasks of a meta-iteration, counted from 0: [M, G], or [M, E, G] where each environment has its own."""
        c = self.config
        if c.task_draw == "iteration":
            return self.kind.sample_tasks(np.random.default_rng((c.seed, iteration)), c.meta_batch_size)
        tasks = self.kind.sample_tasks(np.random.default_rng((c.seed, ONCE)), c.meta_batch_size * c.envs_per_task)
        return tasks.reshape(c.meta_batch_size, c.envs_per_task, -1)

    def iterate(self):
        """One meta-iteration (algorithm 3, lines 3 to 10). Returns its metrics, plain numbers.

        "pre_return" and "post_return": mean return of θ and of the adapted policies, over tasks (the same without inner
        steps); "loss_before", "loss": the surrogate before and after the outer step, which "accepted" says was taken,
        else "reason" why not (text), with "kl" and "backtracks"; "steps" of environments that entered, "diverged"
        simulations; "sampling_seconds", "learning_seconds": wall clock.
        """
        c, iteration, seconds = self.config, self.iteration, Counter()
        tasks = self.tasks(iteration)
        weights = inner_loop.per_task(self.state.current_weights(), c.meta_batch_size)
        phases, batches = [], []
        for phase in range(c.num_updates + 1):
            with _timed(seconds, "sampling"):
                phases.append(self.sampler()(weights, tasks, (c.seed, iteration, phase)))
            with _timed(seconds, "advantages"):
                batches.append(samples(phases[-1]))
            if phase < c.num_updates:
                with _timed(seconds, "inner steps"):
                    weights = self._inner_step(weights, batches[-1], c.update_lr)
        with _timed(seconds, "outer step"):
            outcome = self._outer_step(MetaBatch(tuple(batches[:-1]), batches[-1]))
            accepted = bool(outcome.accepted)
        self.seconds = dict(seconds)
        return {
            "pre_return": phases[0].returns.mean(),
            "post_return": phases[-1].returns.mean(),
            "loss_before": float(outcome.loss_before),
            "loss": float(outcome.loss),
            "kl": float(outcome.kl),
            "backtracks": int(outcome.backtracks),
            "accepted": accepted,
            "reason": outcome.reason(c.max_kl),
            "steps": int(sum(t.mask.sum(dtype=np.float64) for t in phases)),
            "diverged": sum(t.diverged for t in phases),
            "sampling_seconds": seconds["sampling"],
            "learning_seconds": seconds.total() - seconds["sampling"],
        }

    def _trpo_step(self, batch):
        c = self.config
        weights, outcome = trpo.step(
            self._objective, self.state.current_weights(), batch, c.max_kl, c.hvp, c.cg_iterations
        )
        for name, weight in weights.items():
            self.state.weights[name].assign(weight)
        self.state.iteration.assign_add(1)
        return outcome

    def _adam_step(self, batch):
        """One Adam step on the surrogate, whose gradient at θ is that of −mean(log π·Â); taken if that is finite."""
        loss_before, gradients = self._objective.loss_gradient(self.state.current_weights(), batch)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(t)) for t in (loss_before, *gradients.values())])
        if finite:
            self.state.adam_step(gradients)
        self.state.iteration.assign_add(1)
        loss, kl = self._objective.value(self.state.current_weights(), batch)
        return trpo.Outcome(loss_before, loss, kl, tf.constant(0), finite)

    def adapt(self, tasks, learning_rates, rollouts, key=(EVALUATION,)):
        """Yields (weights, Trajectories) of θ on each of M tasks, and again after each gradient step.

        weights: {name: tensor [M, ...]}. tasks: [M, G]. learning_rates: of each gradient step. rollouts: K, episodes
        before each step and after the last; each task has K environments that step until its completed episodes have
        K·H steps, as [M] sandbox/rocky/tf/algos/vpg.py samples for one task. key: of the random numbers, see `Sampler`.
        """
        c = self.config
        sampler = Sampler(
            self.policy, c.datasource, len(tasks), rollouts, rollouts, c.horizon, c.oracle, each_task=True,
            num_threads=self._num_threads,
        )  # fmt: skip
        weights = inner_loop.per_task(self.state.current_weights(), len(tasks))
        for step in range(len(learning_rates) + 1):
            trajectories = sampler(weights, tasks, (*key, step))
            yield weights, trajectories
            if step < len(learning_rates):
                weights = self._inner_step(weights, samples(trajectories), learning_rates[step])

    def evaluate(self, *arguments, **named):
        """Mean return of an episode on each of M tasks after 0, 1, … gradient steps, float64 [steps + 1, M].

        Arguments as those of `adapt`.
        """
        return np.stack([trajectories.returns for _, trajectories in self.adapt(*arguments, **named)])


@contextmanager
def _timed(seconds, part):
    start = time.monotonic()
    yield
    seconds[part] += time.monotonic() - start


def samples(trajectories):
    """Trajectories as Samples to learn from, in TensorFlow, with their advantages."""
    fields = trajectories._asdict()
    names = [name for name in Samples._fields if name in fields]
    return Samples(**{name: tf.convert_to_tensor(fields[name]) for name in names}, advantages=advantages(trajectories))
