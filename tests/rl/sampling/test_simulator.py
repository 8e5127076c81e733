"""The batched simulator against single gymnasium environments, and against itself saved and restored."""

import gymnasium
import numpy as np
import pytest
from mujoco.batch import Batch, SimulationError

from data_generators.errors import UserError
from rl import benchmark, envs
from rl.sampling.simulator import Simulator

KINDS = list(envs.KINDS.values())
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
B = 5


def actions_of(kind, steps, seed=0):
    """float32, often beyond ±1."""
    return 1.5 * np.random.default_rng(seed).standard_normal([steps, B, kind.action_size], np.float32)


def started(kind, oracle=False, num_threads=2, horizon=None):
    simulator = Simulator(kind.name, B, num_threads, oracle, horizon)
    tasks = kind.sample_tasks(np.random.default_rng(1), B)
    simulator.reset(tasks, range(10, 10 + B))
    return simulator, tasks


def run(simulator, actions):
    """Everything that comes out, with resets where episodes end and new tasks there every third time."""
    out, tasks = [], np.random.default_rng(2)
    for t, action in enumerate(actions):
        out.extend(simulator.step(action))
        done = out[-2] | out[-1]
        if done.any():
            new = simulator.kind.sample_tasks(tasks, done.sum()) if t % 3 == 0 else None
            out.append(simulator.reset(new, where=done))
    return out


@each_kind
@pytest.mark.parametrize("oracle", [False, True])
def test_bit_for_bit_the_single_environments(kind, oracle):
    """A few hundred random steps: rewards, observations, ends of both kinds, resets with kept and with new tasks."""
    simulator, tasks = started(kind, oracle, horizon=60)
    if kind.name == "point":  # a goal that random steps reach
        tasks[0] = (0.1, 0.1)
        simulator.reset(tasks, range(10, 10 + B))
    singles = [gymnasium.make(kind.id, oracle=oracle, max_episode_steps=60) for _ in range(B)]
    now = [env.reset(seed=10 + i, options={"task": tasks[i]})[0] for i, env in enumerate(singles)]
    np.testing.assert_array_equal(simulator.observations, now)
    resets, terminations = 0, 0
    actions = actions_of(kind, 150)
    actions[0, 0] = (1, 1) if kind.name == "point" else actions[0, 0]
    for t, action in enumerate(actions):
        got = simulator.step(action)
        expected = [env.step(a)[:4] for env, a in zip(singles, action)]
        for one, column in zip(got, zip(*expected)):
            np.testing.assert_array_equal(one, column, strict=True)
        done = got[2] | got[3]
        resets, terminations = resets + done.sum(), terminations + got[2].sum()
        if done.any():
            new = kind.sample_tasks(np.random.default_rng(t), done.sum()) if resets % 2 else None
            observations = simulator.reset(new, where=done)
            for k, i in enumerate(np.flatnonzero(done)):
                observation, info = singles[i].reset(options={} if new is None else {"task": new[k]})
                np.testing.assert_array_equal(observations[i], observation)
                np.testing.assert_array_equal(simulator.tasks[i], info["task"])
            np.testing.assert_array_equal(observations[~done], got[0][~done])
    assert resets >= 2 * B and simulator.diverged == 0
    assert (terminations > 0) == (kind.name in ("point", "ant_vel", "ant_dir"))


@pytest.mark.parametrize("name", ["cheetah_vel", "ant_vel"])
def test_threads_and_company_change_nothing(name):
    kind = envs.get(name)
    actions = actions_of(kind, 70)
    outputs = [run(started(kind, num_threads=threads, horizon=40)[0], actions) for threads in (1, 2, 3)]
    for other in outputs[1:]:
        assert len(other) == len(outputs[0])
        for a, b in zip(outputs[0], other):
            np.testing.assert_array_equal(a, b)


@each_kind
def test_restored_goes_on_as_if_nothing_had_happened(kind):
    actions = actions_of(kind, 90)
    whole, _ = started(kind, horizon=40)
    run(whole, actions[:50])  # in the middle of second episodes
    saved = whole.save()
    expected = run(whole, actions[50:])
    for other in (Simulator(kind.name, B, 1, horizon=40), whole):  # a new one, and one that has gone on
        other.restore(saved)
        np.testing.assert_array_equal(other.observations, saved["observations"])
        got = run(other, actions[50:])
        assert len(got) == len(expected)
        for a, b in zip(got, expected):
            np.testing.assert_array_equal(a, b)


def test_what_is_saved_are_plain_arrays():
    simulator, _ = started(envs.get("cheetah_vel"))
    saved = simulator.save()
    assert all(isinstance(value, np.ndarray) and value.dtype != object for value in saved.values())
    before = {name: value.copy() for name, value in saved.items()}
    simulator.step(actions_of(simulator.kind, 1)[0])
    for name, value in saved.items():
        np.testing.assert_array_equal(value, before[name])


def test_saved_of_another_kind_is_refused():
    with pytest.raises(UserError, match="saved simulator has observations"):
        started(envs.get("ant_vel"))[0].restore(started(envs.get("cheetah_vel"))[0].save())


def test_starts_are_a_function_of_the_seed_alone():
    simulator, _ = started(envs.get("cheetah_vel"))
    first = simulator.observations
    run(simulator, actions_of(simulator.kind, 10))
    again = simulator.reset(seeds=[14, 11], where=[0, 1])
    np.testing.assert_array_equal(again[:2], first[[4, 1]])
    assert (simulator.reset(where=[1])[1] != first[1]).any()  # the generator went on
    assert len(np.unique(first[:, 0])) == B


@each_kind
def test_resetting_none_changes_nothing(kind):
    simulator, _ = started(kind)
    before = simulator.observations.copy()
    np.testing.assert_array_equal(simulator.reset(where=np.zeros(B, bool)), before)


@each_kind
def test_a_diverged_simulation_ends_alone(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings to a file
    (sick, _), (healthy, _) = started(kind), started(kind)
    actions = actions_of(kind, 8)
    for t, action in enumerate(actions):
        broken = action.copy()
        if t in (3, 5):
            broken[2, 0] = np.nan
        before = sick.observations
        got, expected = sick.step(broken), healthy.step(action)
        others = [0, 1, 3, 4]
        for a, b in zip(got, expected):
            np.testing.assert_array_equal(a[others], b[others])
        assert all(np.isfinite(a).all() for a in got)
        if t in (3, 5):
            np.testing.assert_array_equal(got[0][2], before[2])
            assert got[1][2] == 0 and got[2][2]
            sick.reset(where=got[2])
        else:
            assert not got[2][2]
    assert (sick.diverged, healthy.diverged) == (2, 0)


@pytest.mark.parametrize("name", ["cheetah_vel", "ant_vel"])
@pytest.mark.parametrize("velocity", [np.nan, 1e11])  # MuJoCo's bound is 1e10
def test_divergence_is_the_same_in_a_single_environment(name, velocity, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind = envs.get(name)
    simulator, tasks = started(kind)
    env = gymnasium.make(kind.id).unwrapped
    env.reset(seed=10, options={"task": tasks[0]})
    for t, action in enumerate(actions_of(kind, 6)):
        if t == 3:
            simulator._physics.state.qvel[0, 4] = env.data.qvel[4] = velocity
        got, (*expected, _, info) = simulator.step(action), env.step(action[0])
        for a, b in zip(got, expected):
            np.testing.assert_array_equal(a[0], b)
        assert info["diverged"] == (t == 3) == got[2][0]
    assert simulator.diverged == 1


def test_an_error_in_one_simulation_ends_only_that_one(monkeypatch):
    simulator, _ = started(envs.get("cheetah_vel"))
    step = Batch.step

    def failing(self, *args, **kwargs):
        step(self, *args, **kwargs)
        raise SimulationError(np.array([3]), "out of memory")

    monkeypatch.setattr(Batch, "step", failing)
    terminated = simulator.step(actions_of(simulator.kind, 1)[0])[2]
    np.testing.assert_array_equal(terminated, [False, False, False, True, False])
    assert simulator.diverged == 1


def test_what_was_returned_is_not_written_to_again():
    simulator, _ = started(envs.get("ant_vel"))
    returned = [simulator.observations, *simulator.step(actions_of(simulator.kind, 1)[0])]
    copies = [array.copy() for array in returned]
    simulator.reset(where=[1])
    run(simulator, actions_of(simulator.kind, 3))
    for array, copy in zip(returned, copies):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Simulator("cheetah", 2), "environment is 'cheetah'"),
        (lambda: Simulator("point", 0), "environments is 0, expected at least 1"),
        (lambda: Simulator("point", 2, horizon=0), "horizon is 0, expected at least 1"),
        (lambda: Simulator("point", 2, num_threads=-1), "threads is -1, expected at least 1"),
        (lambda: Simulator("point", 2).reset(seeds=[1, 2]), "reset without tasks or seeds"),
        (lambda: Simulator("cheetah_vel", 2).reset([1, 1.5]), "reset without tasks or seeds"),
        (lambda: Simulator("cheetah_vel", 2).reset([1.0], [1, 2]), "task is .*expected 2 finite"),
        (lambda: Simulator("cheetah_vel", 2).reset([1, 1.5], [1]), "1 seeds for 2 environments"),
        (
            lambda: started(envs.get("point"))[0].step(np.zeros([B, 3])),
            r"actions have shape \(5, 3\), expected \(5, 2\)",
        ),
    ],
)
def test_bad_input_gets_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["point", "cheetah_vel", "ant_dir"])
def test_the_benchmark_measures_all_of_it(name):
    rates = benchmark.rates(name, num_envs=2, horizons=1)
    assert rates.keys() == {"simulator", "single"} | ({"raw", "lean"} if name != "point" else set())
    assert min(rates.values()) > 0
