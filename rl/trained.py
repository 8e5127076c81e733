"""A trained policy in use: adapted to a goal, or to an environment, of one's own."""

import numbers
import os
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np

from data_generators import places
from data_generators.errors import UserError
from maml.runs import checkpoints, files
from maml.runs.run import Run
from rl import envs, protocol
from rl import policy as policies
from rl.learner import PolicyLearner
from rl.meta_rl import EVALUATION, MetaRL
from rl.sampling.own import OwnKind, in_space
from rl.settings import Settings
from rl.tasks import DATASOURCES


def load_run(folder: str | os.PathLike, checkpoint: str | int = "best") -> "TrainedPolicy":
    """The TrainedPolicy of a run folder.

    checkpoint: "best" by return after adaptation in training, "latest", or an iteration. Where there are no
    checkpoints, the weights that the run's test left, weights.npz, are both the best and the latest.
    UserError for a folder without a run, a run that is not of reinforcement learning, and checkpoints that are missing
    or damaged.
    """
    folder = places.expanded(folder)
    if not (folder / "config.json").exists():
        raise UserError(f"no run in {folder}, expected a run folder: one with config.json and checkpoints/ in it")
    record = files.read_json(folder / "config.json")
    if record.get("datasource") not in DATASOURCES:
        raise UserError(f"{folder} is a run of {record.get('datasource')!r}, expected one of {', '.join(DATASOURCES)}")
    run = Run(PolicyLearner(Settings.from_dict(record, folder / "config.json")), folder, log=False)
    run.restore(checkpoints.chosen(checkpoint))
    return TrainedPolicy(run.learner.meta, f"{folder}, iteration {run.iteration:,}")


class TrainedPolicy:
    """θ of a trained policy.

    settings: of its training. origin: where it comes from, for readers. weights: {name: array}.
    """

    def __init__(self, meta, origin):
        self.settings, self.origin, self._meta = meta.settings, origin, meta

    @property
    def weights(self):
        return {name: weight.numpy() for name, weight in self._meta.trainer.weights.items()}

    def adapt(self, goal, num_steps=1, inner_lr=None, rollouts=None, seed=0):  # noqa: PLR0913 (how to adapt)
        """The AdaptedPolicy after gradient steps on episodes of a goal, each step on fresh ones.

        goal: the numbers of a task, [G]: a position, a velocity in m/s, or a direction, ±1. Or a gymnasium.Env of one's
            own with observations and actions of the same sizes (see `rl.sampling.own.OwnKind`).
        num_steps: gradient steps, a whole number.
        inner_lr: the size of the first. None: that of the run's test. Those after it are half as long; MAML's in ant
            direction a hundredth, as at its test, so that they hardly change anything.
        rollouts: K, episodes of full length before each step and after the last; None: those of the test.
        seed: of the episodes, a whole number of at least 0.

        UserError for a goal that is none, an environment that doesn't fit, and steps of a policy that is told its task;
        and where returns or weights are not finite after a step, as too long a one makes them.
        """
        usual = protocol.protocol_of(self.settings, rollouts=rollouts, first_lr=inner_lr)
        _check_whole("num_steps", num_steps)
        _check_whole("seed", seed)
        if self.settings.oracle and num_steps:
            raise UserError(f"num_steps is {num_steps}, expected 0, as this policy is told its task")
        if isinstance(goal, gymnasium.Env):
            meta, tasks, space = self._beside(goal), np.zeros([1, 1]), goal.action_space
        else:
            meta, tasks = self._meta, envs.get(self.settings.datasource).goals.check(goal, 1)
            space = gymnasium.spaces.Box(-1.0, 1.0, [meta.kind.action_size], np.float32)
        rates = [usual.first_lr, *[usual.later_lr] * (num_steps - 1)][:num_steps]
        returns = []
        for step, (adapted, trajectories) in enumerate(meta.adapt(tasks, rates, usual.rollouts, (EVALUATION, seed))):
            weights = {name: np.asarray(weight)[0] for name, weight in adapted.items()}
            returns.append(trajectories.returns[0])
            _check_finite(step, returns[-1], weights, usual.first_lr)
        told = tasks[0] if self.settings.oracle else ()
        return AdaptedPolicy(
            weights, np.array(returns), space, meta.policy.forward_numpy, meta.kind.observation_size, told
        )

    def _beside(self, env):
        """A MetaRL with this θ on an environment of one's own."""
        kind, needed = OwnKind(lambda: env), self._meta.kind
        for what in ("observation_size", "action_size"):
            if getattr(kind, what) != getattr(needed, what):
                name = what.removesuffix("_size")
                expected = f"{getattr(needed, what)}, as the policy was trained with"
                raise UserError(f"an {name} of the environment has {getattr(kind, what)} numbers, expected {expected}")
        if self.settings.oracle:
            raise UserError("this policy is told its task, expected one that isn't to adapt to an environment")
        meta = MetaRL(self.settings, kind=kind)
        for name, weight in self._meta.trainer.weights.items():
            meta.trainer.weights[name].assign(weight)
        return meta


def _check_whole(name, value):
    """UserError unless a value is a whole number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
        raise UserError(f"{name} is {reprlib.repr(value)}, expected a whole number of at least 0")


def _check_finite(step, episode_return, weights, first_lr):
    """UserError unless a return and weights are finite after so many gradient steps."""
    bad = [name for name, weight in weights.items() if not np.isfinite(weight).all()]
    if np.isfinite(episode_return) and not bad:
        return
    what = f"{', '.join(bad)} of the policy are" if bad else "the return of an episode is"
    other = f"a smaller inner_lr than {first_lr:g}" if step else "another checkpoint or environment"
    raise UserError(f"{what} not finite after {step} gradient steps, expected {other}")


@dataclass(frozen=True)
class AdaptedPolicy:
    """A policy after adaptation.

    weights: {name: array}, its own.
    returns: float64 [steps + 1], undiscounted return of an episode before each gradient step and after the last, means
        over the episodes.
    action_space: of the environment.
    observation_size: O.
    told: the goal of a policy that is told its task, [G]; else nothing.
    """

    weights: dict
    returns: np.ndarray
    action_space: gymnasium.spaces.Box
    forward_numpy: Callable
    observation_size: int
    told: Sequence = ()

    def act(self, observation, rng=None):
        """The action for an observation [O], in the environment's action space.

        rng: a NumPy generator, to sample from the policy as in training; None: the mean.
        UserError for an observation of another length.
        """
        flat = np.asarray(observation, np.float32).ravel()
        if len(flat) != self.observation_size:
            expected = f"{self.observation_size}" + (", without the goal" if len(self.told) else "")
            raise UserError(f"the observation has {len(flat)} numbers, expected {expected}")
        seen = np.concatenate([flat, np.asarray(self.told, np.float32)])[None, None]
        means, log_stds = self.forward_numpy({name: weight[None] for name, weight in self.weights.items()}, seen)
        action = means[0, 0]
        if rng is not None:
            action = policies.sample(action, log_stds[0], rng.standard_normal(len(action), np.float32))
        return in_space(self.action_space, action)
