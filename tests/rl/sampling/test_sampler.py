"""Sampled episodes against single environments; the stopping rule; what depends on what."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

import rl.envs
from data_generators.errors import UserError
from maml import inner_loop
from rl import policy as policies
from rl.sampling.sampler import Among, Sampler, Sampling, Trajectories

KEY = (1, 0, 0)


def per_task_weights(kind, num_tasks, seed=1, oracle=False):
    size = kind.observation_size + oracle * kind.goals.size
    policy = policies.gaussian_mlp(size, kind.action_size, hidden=(8,))
    weights = inner_loop.per_task(policy.init(seed), num_tasks)
    rng = np.random.default_rng(seed)
    return policy, {name: w.numpy() + 0.1 * rng.standard_normal(w.shape, np.float32) for name, w in weights.items()}


def sampled(name="point", num_tasks=3, rollouts=4, key=KEY, tasks=None, horizon=10, weights=None, **settings):
    kind = rl.envs.get(name)
    policy, drawn = per_task_weights(kind, num_tasks, oracle=settings.get("oracle", False))
    sampler = Sampler(policy, Sampling(name, num_tasks, rollouts, horizon=horizon, **settings), num_threads=1)
    tasks = kind.sample_tasks(np.random.default_rng(0), num_tasks) if tasks is None else tasks
    return sampler(drawn if weights is None else weights, tasks, key)


def same(a, b, m=slice(None)):
    for name, one, other in zip(a._fields, a, b):
        np.testing.assert_array_equal(one[m], other[m], err_msg=name)


def by_hand(**fields):
    """Trajectories of which only the rewards and how episodes end count."""
    rest = dict.fromkeys(set(Trajectories._fields) - fields.keys())
    return Trajectories(**{name: np.array(values) for name, values in fields.items()}, **rest)


def test_episodes_that_diverged_are_no_part_of_the_return():
    """Task 0: episodes of −1 − 2 = −3, of −4 that diverged, and of −5, then padding; task 1: two that diverged."""
    t = by_hand(
        rewards=[[-1.0, -2.0, -4.0, 0.0, -5.0, 0.0], [-1.0, 0.0, -2.0, 0.0, 0.0, 0.0]],
        ends=[[False, True, False, True, True, False], [False, True, False, True, False, False]],
        diverged=[[False, False, False, True, False, False], [False, True, False, True, False, False]],
    )
    np.testing.assert_array_equal(t.returns, [(-3.0 - 5.0) / 2, np.nan])
    none = t._replace(diverged=np.zeros_like(t.diverged))
    np.testing.assert_array_equal(none.returns, [(-3.0 - 4.0 - 5.0) / 3, -1.5])


def test_an_episode_that_diverges_is_marked_at_its_last_step():
    kind = rl.envs.get("point")
    _, weights = per_task_weights(kind, 3)
    weights["b1"][1] = np.nan
    t = sampled(weights=weights)
    np.testing.assert_array_equal(t.diverged[1], t.ends[1])
    assert t.ends[1].sum() >= 4 and not t.diverged[[0, 2]].any()
    np.testing.assert_array_equal(np.isnan(t.returns), [False, True, False])


@pytest.mark.parametrize("name, num_envs", [("point", 1), ("cheetah_vel", 2), ("ant_dir", 1)])
def test_episodes_are_what_single_environments_do_with_the_same_actions(name, num_envs):
    kind = rl.envs.get(name)
    tasks = kind.sample_tasks(np.random.default_rng(0), 2)
    t = sampled(name, 2, 4, tasks=tasks, envs_per_task=num_envs)
    env = gymnasium.make(kind.id, max_episode_steps=10)
    for m in range(2):
        steps = int(t.mask[m].sum())
        starts = np.flatnonzero(t.times[m, :steps] == 0)
        assert len(starts) == t.ends[m].sum() >= 4
        np.testing.assert_array_equal(np.append(starts[1:], steps) - 1, np.flatnonzero(t.ends[m]))
        for start in starts:
            observation, _ = env.reset(seed=0, options={"task": tasks[m]})
            if kind.robot is None:  # it starts the same every time, so what follows can be repeated
                for i in range(start, steps):
                    np.testing.assert_allclose(t.observations[m, i], observation, atol=1e-6)
                    observation, reward, terminated, truncated, _ = env.step(t.actions[m, i])
                    np.testing.assert_allclose(t.rewards[m, i], reward, rtol=1e-6)
                    assert (terminated or truncated) == t.ends[m, i]
                    if t.ends[m, i]:
                        break
        np.testing.assert_array_equal(np.diff(t.times[m, :steps])[~t.ends[m, : steps - 1]], 1)


def test_actions_are_drawn_from_the_policy_of_the_task():
    """Means and log-stds are the network's at the observations; (a − μ)/σ is standard normal, and is not cut."""
    kind = rl.envs.get("cheetah_vel")
    policy, weights = per_task_weights(kind, 3)
    weights["log_std"] += np.float32([[0.5], [0.0], [-1.0]])
    t = sampled("cheetah_vel", weights=weights, rollouts=20, horizon=50)
    means, log_stds = policy.forward({n: tf.constant(w) for n, w in weights.items()}, tf.constant(t.observations))
    np.testing.assert_allclose(t.means, means, atol=1e-4)
    np.testing.assert_array_equal(t.log_stds, log_stds)
    z = (t.actions - t.means) / np.exp(t.log_stds)[:, None]
    for task in z:
        # 6000 numbers each: five standard errors.
        assert abs(task.mean()) < 5 / np.sqrt(6000) and abs(task.std() - 1) < 5 / np.sqrt(12000)
    assert (np.abs(t.actions) > 1.5).any()


def test_returns_are_undiscounted_means_over_episodes():
    t = sampled()
    for m in range(3):
        np.testing.assert_allclose(t.returns[m], t.rewards[m].astype(float).sum() / t.ends[m].sum())


def test_the_same_key_gives_the_same_and_another_something_else():
    a, b, c = sampled(), sampled(), sampled(key=(1, 0, 1))
    same(a, b)
    assert (a.actions != c.actions).any()


def test_a_sampler_forgets_what_it_sampled_before():
    kind = rl.envs.get("cheetah_vel")
    policy, weights = per_task_weights(kind, 2)
    sampler = Sampler(policy, Sampling("cheetah_vel", num_tasks=2, rollouts=2, horizon=5), num_threads=1)
    tasks = kind.sample_tasks(np.random.default_rng(0), 2)
    first = sampler(weights, tasks, KEY)
    copies = first._replace(**{n: np.copy(v) for n, v in first._asdict().items()})
    other = sampler(weights, tasks, (1, 0, 1))
    assert (other.observations[:, 0] != first.observations[:, 0]).any()  # other starts too
    same(first, copies)
    same(sampler(weights, tasks, KEY), copies)


def test_starts_and_noise_differ_between_environments():
    t = sampled("cheetah_vel", num_tasks=2, rollouts=4, envs_per_task=2)
    starts = t.observations[t.times == 0][:, 0]
    assert len(starts) == 8 == len(np.unique(starts))
    assert len(np.unique((t.actions - t.means)[:, :, 0])) > 0.99 * t.mask.sum()


def test_other_tasks_change_nothing():
    kind = rl.envs.get("cheetah_vel")
    tasks = kind.sample_tasks(np.random.default_rng(0), 3)
    _, weights = per_task_weights(kind, 3)
    other_weights = {n: w + np.float32([0, 0.3, 0.2]).reshape(-1, *[1] * (w.ndim - 1)) for n, w in weights.items()}
    a = sampled("cheetah_vel", tasks=tasks, weights=weights)
    b = sampled("cheetah_vel", tasks=[tasks[0], [0.1], [0.2]], weights=other_weights)
    same(a, b, m=0)
    assert (a.actions[1] != b.actions[1]).any()
    fewer = sampled("cheetah_vel", 2, tasks=tasks[:2], weights={n: w[:2] for n, w in weights.items()})
    same(fewer, a._replace(**{n: v[:2] for n, v in a._asdict().items()}))


def test_episodes_that_last_to_the_horizon_fill_the_steps_asked_for():
    for envs_per_task in (1, 2, 4):
        t = sampled("cheetah_vel", envs_per_task=envs_per_task)
        assert t.mask.shape == (3, 40) and t.mask.all() and t.ends.sum() == 12


def short_episodes(**settings):
    """Small steps about the start, close to the goals of the second and third task, whose episodes end soon."""
    _, weights = per_task_weights(rl.envs.get("point"), 3)
    weights = {name: np.zeros_like(w) for name, w in weights.items()} | {"log_std": np.full([3, 2], -2, np.float32)}
    return sampled(tasks=[[0.5, 0.5], [0.0, 0.02], [0.02, 0.0]], horizon=30, weights=weights, **settings)


@pytest.mark.parametrize("envs_per_task", [1, 2, 3])
def test_sampling_stops_once_all_tasks_together_have_the_steps_asked_for(envs_per_task):
    """K·H = 120 of each of three; more than that of one, so that padding is to (K + E)·H."""
    t = short_episodes(envs_per_task=envs_per_task)
    total, last = t.mask.sum(), 30 * 3 * envs_per_task
    assert 3 * 4 * 30 <= total < 3 * 4 * 30 + last
    assert t.mask.shape[1] == (4 + envs_per_task) * 30 and t.mask.sum(1).max() > 120
    assert t.ends.sum() > 12 and len(set(t.mask.sum(1))) > 1
    for name, values in t._asdict().items():
        if name in ("observations", "actions", "rewards", "times", "ends", "means"):
            assert not values[t.mask == 0].any(), name


@pytest.mark.parametrize("envs_per_task", [1, 4])
def test_or_once_each_task_has(envs_per_task):
    t = short_episodes(envs_per_task=envs_per_task, until="each")
    steps = t.mask.sum(1)
    assert (steps >= 120).all()
    if envs_per_task == 1:  # without the last episode there were fewer
        for m in range(3):
            ends = np.flatnonzero(t.ends[m])
            assert ends[-2] + 1 < 120 <= ends[-1] + 1


def test_environments_of_a_task_may_differ_in_goal():
    tasks = np.array([[[0.5, 0.0], [0.0, 0.5]]])
    t = sampled(num_tasks=1, rollouts=2, envs_per_task=2, tasks=tasks)
    for episode, goal in enumerate(tasks[0]):
        rows = slice(10 * episode, 10 * episode + 9)
        after = t.observations[0, 10 * episode + 1 : 10 * episode + 10]
        np.testing.assert_allclose(t.rewards[0, rows], -np.linalg.norm(after - goal, axis=1), rtol=1e-5)


def test_every_episode_may_have_a_task_of_its_own():
    """An oracle's observations end with it."""
    t = sampled("cheetah_vel", num_tasks=1, rollouts=6, envs_per_task=2, oracle=True, new_tasks=True)
    goals = t.observations[0, :, -1].reshape(6, 10)
    assert (goals == goals[:, :1]).all() and len(np.unique(goals)) == 6 and goals.min() > 0 and goals.max() < 2


def test_too_many_environments_get_one_line():
    with pytest.raises(UserError, match="envs_per_task is 5, expected 1 to rollouts, which is 4"):
        sampled(envs_per_task=5)


def test_an_unknown_end_of_sampling_gets_one_line():
    with pytest.raises(UserError, match="until is 'any', expected one of all, each"):
        sampled(until="any")


def of_worker(first, stop, total):
    """What a worker samples that has tasks `first` to `stop` of three. total: as of an Among."""
    policy, weights = per_task_weights(rl.envs.get("point"), 3)
    tasks = rl.envs.get("point").sample_tasks(np.random.default_rng(0), 3)[first:stop]
    sampling = Sampling("point", stop - first, 4, horizon=10)
    sampler = Sampler(policy, sampling, num_threads=1, among=Among(first, 3, total))
    return sampler({name: w[first:stop] for name, w in weights.items()}, tasks, KEY)


def test_workers_sample_what_one_would():
    """Tasks 0 and 1, and task 2, of four episodes of 10 steps, none of which ends early."""
    whole, first, second = sampled(), of_worker(0, 2, lambda count: 3 * count // 2), of_worker(2, 3, lambda c: 3 * c)
    for name, *parts, all_of_them in zip(whole._fields, first, second, whole):
        np.testing.assert_array_equal(np.concatenate(parts), all_of_them, err_msg=name)


def test_a_worker_goes_on_until_all_have_steps_enough():
    """The other's two tasks come late: it is asked at every lock-step from the one at which all might have enough."""
    counts = []
    got = of_worker(2, 3, lambda count: counts.append(int(count)) or (120 if len(counts) == 11 else 0))
    assert counts == [40] * 10 + [50] and got.mask.sum() == 50
