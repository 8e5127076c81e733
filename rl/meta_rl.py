"""Algorithm 3: θ, and the meta-iterations that move it; adapting it to new tasks.

M tasks, E environments of a task, T steps of a task, G numbers that make a task.
"""

import time
from collections import Counter
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError
from maml import inner_loop
from maml.meta_training import Trainer
from rl import envs, trpo
from rl.advantages import advantages
from rl.meta_policy import MetaBatch, Objective, Samples, compiled_inner_step, some_tasks
from rl.policy import gaussian_mlp
from rl.sampling.sampler import Among, Sampler, Sampling
from rl.sampling.simulator import Simulator
from rl.settings import BY_ADAM, largest_divisor

# Streams of random numbers beside the one of each meta-iteration: what is drawn once, evaluations, and which tasks the
# Hessian-vector products are of.
ONCE, EVALUATION, HVP_TASKS = 2**31, 2**31 + 1, 2**31 + 2
NOT_FINITE_IN_A_ROW = 10  # outer steps rejected for that, after which there is no use in going on


class MetaRL:
    """θ and what moves it.

    trainer: a Trainer, which is θ, Adam's moments and the iteration: all that a checkpoint needs, as an iteration is a
        function of them and the settings.
    seconds: wall clock of the parts of the last meta-iteration, "sampling", "advantages", "inner steps", "outer step".
    """

    def __init__(self, settings, num_threads=None, kind=None):
        """settings: a Settings.

        num_threads: of the simulator, None for all cores.
        kind: an `rl.sampling.own.OwnKind`, environments of one's own in place of those of the settings' experiment.
        """
        s = self.settings = settings
        self._simulator = Simulator if kind is None else kind.simulator
        kind = self.kind = envs.get(s.datasource) if kind is None else kind
        observation_size = kind.observation_size + s.oracle * kind.task_size
        shape = dict(activation=s.activation, context_size=s.context_size, adapted=s.adapted)
        self.policy = gaussian_mlp(observation_size, kind.action_size, **shape)
        self.trainer = Trainer(self.policy.init(s.seed), s.meta_lr)
        self.replicas = self.trainer.replicas
        self._part = self.replicas.own_part(s.num_tasks)
        if self.replicas.count > 1 and s.hvp_tasks is not None:
            raise UserError("hvp_tasks, of trpo_subsampled, goes with one worker; expected --strategy=none")
        self.seconds = {}
        self._not_finite_in_a_row = 0  # outer steps, up to the last
        self._sampler = self._outer_sampler = None
        self._num_threads = num_threads
        loss = dict(inner_loss=s.inner_loss, ratio_clip=s.ratio_clip, kl_penalty=s.inner_kl_penalty)
        self._objective = Objective(self.policy, s.inner_lr, s.first_order, s.tasks_per_chunk, s.jit, **loss)
        self._inner_step = compiled_inner_step(self.policy, s.tasks_per_chunk, s.jit)
        self._outer_step = tf.function(self._adam_steps if s.outer in BY_ADAM else self._trpo_step)

    @property
    def iteration(self):
        return int(self.trainer.iteration.numpy())

    def sampler(self):
        """The Sampler of training; made at the first call."""
        if self._sampler is None:
            self._sampler = self._new_sampler(self.settings.rollouts, self.settings.envs_per_task)
        return self._sampler

    def outer_sampler(self):
        """That of the episodes after adaptation: the same, unless these are to be as many as `outer_rollouts`."""
        s = self.settings
        if s.outer_rollouts is None:
            return self.sampler()
        if self._outer_sampler is None:
            envs_per_task = largest_divisor(s.outer_rollouts, s.envs_per_task)
            self._outer_sampler = self._new_sampler(s.outer_rollouts, envs_per_task)
        return self._outer_sampler

    def _new_sampler(self, rollouts, envs_per_task):
        s = self.settings
        sampling = Sampling(
            s.datasource,
            num_tasks=self._part.stop - self._part.start,
            rollouts=rollouts,
            envs_per_task=envs_per_task,
            horizon=s.horizon,
            oracle=s.oracle,
            new_tasks=s.task_draw == "episode",
        )
        among = Among(self._part.start, s.num_tasks, self.replicas.total)
        return Sampler(self.policy, sampling, self._num_threads, self._simulator, among)

    def tasks(self, iteration):
        """The tasks of a meta-iteration, counted from 0: [M, G], or [M, E, G] where each environment has its own."""
        s = self.settings
        if s.task_draw == "iteration":
            return self.kind.sample_tasks(np.random.default_rng((s.seed, iteration)), s.num_tasks)
        tasks = self.kind.sample_tasks(np.random.default_rng((s.seed, ONCE)), s.num_tasks * s.envs_per_task)
        return tasks.reshape(s.num_tasks, s.envs_per_task, -1)

    def hvp_tasks(self, iteration):
        """Numbers of the tasks that the Hessian-vector products of a meta-iteration are of, ascending; None: all."""
        s = self.settings
        if s.hvp_tasks is None:
            return None
        drawn = np.random.default_rng((s.seed, iteration, HVP_TASKS)).choice(s.num_tasks, s.hvp_tasks, replace=False)
        return tf.constant(np.sort(drawn), tf.int32)

    def iterate(self):
        """The metrics of one meta-iteration (algorithm 3, lines 3 to 10), plain numbers but for a text.

        "pre_return", "post_return": mean return of θ and of the adapted policies, over the tasks but those all of whose
            episodes diverged; NaN where there is no other.
        "loss_before", "loss": the surrogate before and after the outer step.
        "kl", "backtracks": of the outer step, and how often it was shortened.
        "accepted", "reason": whether the step was taken, of several steps of Adam any, and why not, a text.
        "failure", "spoilt": why the training can't go on, a text or "", and whether θ was at fault before this step.
        "steps", "diverged": of environments that entered, and episodes whose simulation failed.
        "sampling_seconds", "learning_seconds": wall clock.
        "episode_steps": mean length of an episode after adaptation.
        "policy_std": mean standard deviation of θ's actions.
        """
        s, iteration, seconds = self.settings, self.iteration, Counter()
        tasks = self.tasks(iteration)[self._part]
        weights = inner_loop.per_task(self.trainer.current_weights(), len(tasks))
        phases, batches = [], []
        for phase in range(s.num_updates + 1):
            with _timed(seconds, "sampling"):
                sampler = self.sampler() if phase < s.num_updates else self.outer_sampler()
                phases.append(sampler(weights, tasks, (s.seed, iteration, phase)))
            with _timed(seconds, "advantages"):
                batches.append(samples(phases[-1]))
            if phase < s.num_updates:
                with _timed(seconds, "inner steps"):
                    weights = self._inner_step(weights, batches[-1], s.inner_lr)
        with _timed(seconds, "outer step"):
            outcome = self._outer_step(MetaBatch(tuple(batches[:-1]), batches[-1]), self.hvp_tasks(iteration))
            accepted = bool(outcome.accepted)
        self.seconds = dict(seconds)
        before, after, steps, diverged, episode_steps = self._of_all_workers(phases)
        spoilt = bool(np.isnan(before).all())
        self._not_finite_in_a_row = 0 if outcome.finite or accepted else self._not_finite_in_a_row + 1
        return {
            "failure": _failure(spoilt, after, outcome, self._not_finite_in_a_row),
            "spoilt": spoilt,
            "pre_return": _mean(before),
            "post_return": _mean(after),
            "loss_before": float(outcome.loss_before),
            "loss": float(outcome.loss),
            "kl": float(outcome.kl),
            "backtracks": int(outcome.backtracks),
            "accepted": accepted,
            "reason": outcome.reason(s.max_kl),
            "steps": steps,
            "diverged": diverged,
            "sampling_seconds": seconds["sampling"],
            "learning_seconds": seconds.total() - seconds["sampling"],
            "episode_steps": episode_steps,
            "policy_std": np.exp(phases[0].log_stds.astype(np.float64)).mean(),
        }

    def _of_all_workers(self, phases):
        """Of the phases of all workers: returns [M] before and after adaptation, steps, diverged episodes, and the mean
        length of an episode after adaptation."""
        self.replicas.settle_stop()
        steps = [int(t.mask.sum(dtype=np.float64)) for t in phases]
        own = [
            phases[0].returns.tolist(),
            phases[-1].returns.tolist(),
            sum(steps),
            int(sum(t.diverged.sum() for t in phases)),
            steps[-1],
            int(phases[-1].ends.sum()),
        ]
        before, after, *counts = zip(*self.replicas.exchange(own))
        steps, diverged, last, episodes = map(sum, counts)
        return np.concatenate(before), np.concatenate(after), steps, diverged, last / episodes

    def _trpo_step(self, batch, hvp_tasks):
        s = self.settings
        theta = self.trainer.current_weights()
        curvature = None if hvp_tasks is None else some_tasks(batch, hvp_tasks)
        weights, outcome = trpo.step(self._objective, theta, batch, s.max_kl, s.hvp, s.cg_iterations, curvature)
        for name, weight in weights.items():
            self.trainer.weights[name].assign(weight)
        self.trainer.iteration.assign_add(1)
        return outcome

    def _adam_steps(self, batch, hvp_tasks):
        """Adam steps on the surrogate, whose gradient at θ is that of −mean(log π·Â); taken while that is finite.

        Accepted is what moved θ: a step that fails after others is no reason to say that there was none.
        """
        losses, finite, moved = [], tf.constant(True), tf.constant(False)
        for _ in range(self.settings.outer_steps):
            loss, gradients = self._objective.loss_gradient(self.trainer.current_weights(), batch)
            losses.append(loss)
            finite &= tf.math.is_finite(tf.linalg.global_norm([loss, *gradients.values()]))  # Adam squares them
            if finite:
                self.replicas.step_all(self.trainer.optimizer_step, gradients)
            moved |= finite
        self.trainer.iteration.assign_add(1)
        loss, kl = self._objective.value(self.trainer.current_weights(), batch)
        return trpo.Outcome(losses[0], loss, kl, tf.constant(0), moved, finite)

    def adapt(self, tasks, learning_rates, rollouts, key=(EVALUATION,), first=0):
        """Yields (weights, Trajectories) of θ on each of M tasks, and again after each gradient step.

        weights: {name: tensor [M, ...]}.
        tasks: [M, G].
        learning_rates: of each gradient step.
        rollouts: K, episodes before each step and after the last. Each task has K environments, or one of one's own,
            that step until its completed episodes have K·H steps, as [M] sandbox/rocky/tf/algos/vpg.py samples for one
            task.
        key: of the random numbers, see `Sampler`.
        first: number of the first task, where these are some of those that several workers test.
        """
        s = self.settings
        sampling = Sampling(
            s.datasource,
            num_tasks=len(tasks),
            rollouts=rollouts,
            envs_per_task=self.kind.envs_per_task(rollouts),
            horizon=s.horizon,
            oracle=s.oracle,
            until="each",
        )
        among = Among(first, len(tasks), lambda count: count)  # each task is sampled until it has its episodes
        sampler = Sampler(self.policy, sampling, self._num_threads, self._simulator, among)
        weights = inner_loop.per_task(self.trainer.current_weights(), len(tasks))
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


def _mean(returns):
    """Over the tasks that have a return, NaN where none has."""
    there = returns[~np.isnan(returns)]
    return there.mean() if len(there) else np.nan


def _failure(spoilt, returns, outcome, not_finite_in_a_row):
    """Why the training can't go on, or "".

    spoilt: θ's simulations all diverged.
    returns: after adaptation.
    not_finite_in_a_row: outer steps rejected for that.
    """
    if spoilt or np.isnan(returns).all():
        return f"every simulation diverged {'before' if spoilt else 'after'} adaptation"
    if outcome.accepted and not np.isfinite([outcome.loss, outcome.kl]).all():
        return "loss or KL is not finite after the outer step"
    if not_finite_in_a_row >= NOT_FINITE_IN_A_ROW:
        return f"the outer step was rejected {not_finite_in_a_row} times in a row ({outcome.reason(np.inf)})"
    return ""


def samples(trajectories):
    """Trajectories as Samples to learn from, in TensorFlow, with their advantages."""
    fields = trajectories._asdict()
    names = [name for name in Samples._fields if name in fields]
    return Samples(**{name: tf.convert_to_tensor(fields[name]) for name in names}, advantages=advantages(trajectories))
