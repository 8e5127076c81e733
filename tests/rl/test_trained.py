"""Trained policies read from run folders, adapted to goals and environments of one's own."""

import gymnasium
import numpy as np
import pytest

import rl
import rl.envs
from data_generators.errors import UserError
from maml.runs import files
from maml.runs.run import Run
from rl.learner import PolicyLearner
from rl.settings import resolve

FEW = dict(meta_batch_size=2, update_batch_size=2, horizon=6, jit=False, tasks_per_chunk=2)


def write_run(folder, method="maml", **given):
    """An untrained run, and what its test would leave of it."""
    given = dict(metatrain_iterations=0, **FEW) | given
    run = Run(PolicyLearner(resolve("point", method, **given)), folder, log=False)
    run.train()
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder)
    return folder


def test_a_policy_is_adapted_as_a_test_adapts_it(folder):
    """α = 0.5, then 0.25; K of the training, 2."""
    policy = rl.load_run(folder)
    assert policy.origin == f"{folder}, iteration 0" and policy.settings.horizon == 6
    meta = PolicyLearner(policy.settings).meta
    expected = [(weights, t.returns) for weights, t in meta.adapt([[0.3, 0.1]], [0.5, 0.25], 2, (2**31 + 1, 0))]
    adapted = policy.adapt([0.3, 0.1], num_steps=2)
    np.testing.assert_array_equal(adapted.returns, np.concatenate([returns for _, returns in expected]))
    for name, weight in expected[-1][0].items():
        np.testing.assert_array_equal(adapted.weights[name], weight[0], err_msg=name)
    assert (policy.weights["w1"] != adapted.weights["w1"]).any()
    np.testing.assert_array_equal(policy.weights["w1"], meta.trainer.weights["w1"])


def test_step_size_episodes_and_seed_are_those_asked_for(folder):
    policy = rl.load_run(folder)
    usual = policy.adapt([0.3, 0.1])
    np.testing.assert_array_equal(policy.adapt([0.3, 0.1], inner_lr=0.5, rollouts=2, seed=0).returns, usual.returns)
    assert policy.adapt([0.3, 0.1], num_steps=0).returns == usual.returns[:1]
    other = policy.adapt([0.3, 0.1], inner_lr=0.1).returns
    assert other[0] == usual.returns[0] and other[1] != usual.returns[1]
    assert policy.adapt([0.3, 0.1], seed=1).returns[0] != usual.returns[0]
    assert policy.adapt([0.3, 0.1], rollouts=3).returns[0] != usual.returns[0]


def test_acting_is_the_mean_or_a_sample_cut_to_the_action_space(folder):
    adapted = rl.load_run(folder).adapt([0.3, 0.1])
    w, x = adapted.weights, np.array([0.2, -0.1])
    for layer in ("1", "2"):
        x = np.maximum(x @ w["w" + layer] + w["b" + layer], 0)
    mean = x @ w["w3"] + w["b3"]
    np.testing.assert_allclose(adapted.act([0.2, -0.1]), np.clip(mean, -1, 1), rtol=1e-5, atol=1e-6)
    sampled = adapted.act([0.2, -0.1], np.random.default_rng(3))
    noise = np.random.default_rng(3).standard_normal(2, np.float32)
    np.testing.assert_allclose(sampled, np.clip(mean + np.exp(w["log_std"]) * noise, -1, 1), rtol=1e-5, atol=1e-6)
    env = gymnasium.make("maml/Point-v0")
    env.reset(seed=1, options={"task": [0.3, 0.1]})
    assert env.action_space.contains(sampled)


class Shifted(gymnasium.ActionWrapper):
    """2-D navigation with a goal, whose actions go from 0 to 2."""

    def __init__(self):
        super().__init__(gymnasium.make("maml/Point-v0"))
        self.action_space = gymnasium.spaces.Box(0.0, 2.0, [2], np.float32)

    def action(self, action):
        return action - 1

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=seed, options={"task": [0.3, 0.1]})


def test_an_environment_of_ones_own_in_place_of_a_goal(folder):
    """Its actions are in its own space; the returns are those of the same environment with ±1."""
    policy = rl.load_run(folder)
    adapted = policy.adapt(Shifted(), num_steps=1, rollouts=4)
    assert adapted.returns.shape == (2,) and adapted.action_space == Shifted().action_space
    assert adapted.action_space.contains(adapted.act([0.2, -0.1]))
    inner = gymnasium.make("maml/Point-v0")
    inner.reset(seed=1, options={"task": [0.3, 0.1]})  # it keeps the task
    same = policy.adapt(inner, num_steps=1, rollouts=4)
    np.testing.assert_allclose(adapted.returns, same.returns, rtol=1e-5)
    for name, weight in same.weights.items():
        np.testing.assert_allclose(adapted.weights[name], weight, atol=1e-5, err_msg=name)
    assert (policy.weights["w1"] != adapted.weights["w1"]).any()


def test_the_weights_of_a_test_do_where_there_are_no_checkpoints(tmp_path):
    run = write_run(tmp_path / "run")
    run.write_weights("best")
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("config.json", files.WEIGHTS):
        (kept / name).write_bytes((tmp_path / "run" / name).read_bytes())
    np.testing.assert_array_equal(rl.load_run(kept).weights["w1"], run.weights()["w1"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(goal=[0.3]), "task is .0.3., expected 2 finite number"),
        (dict(goal=[0.3, np.nan]), "expected 2 finite number"),
        (dict(goal="left"), "task is 'left', expected 2 finite number"),
        (dict(goal=[[0.3], [0.1, 0.2]]), r"task is \[\[0.3\], \[0.1, 0.2\]\], expected 2 finite number"),
        (dict(goal=[0.3, 0.1], num_steps=-1), "num_steps is -1, expected a whole number of at least 0"),
        (dict(goal=[0.3, 0.1], num_steps=1.5), "num_steps is 1.5, expected a whole number of at least 0"),
        (dict(goal=[0.3, 0.1], num_steps="1"), "num_steps is '1', expected a whole number of at least 0"),
        (dict(goal=[0.3, 0.1], seed=-1), "seed is -1, expected a whole number of at least 0"),
        (dict(goal=[0.3, 0.1], seed=0.5), "seed is 0.5, expected a whole number of at least 0"),
        (dict(goal=[0.3, 0.1], inner_lr=-1.0), "update_lr is -1.0, expected a positive number"),
        (dict(goal=[0.3, 0.1], rollouts=0), "update_batch_size is 0, expected at least 1"),
        (
            dict(goal=gymnasium.make("maml/CheetahDir-v0")),
            "an observation of the environment has 20 numbers, expected 2",
        ),
        (dict(goal=gymnasium.make("CartPole-v1")), "actions are Discrete.2., expected a Box"),
    ],
)
def test_what_cannot_be_adapted_to_gets_one_line(folder, arguments, message):
    with pytest.raises(UserError, match=message):
        rl.load_run(folder).adapt(**arguments)


@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
@pytest.mark.parametrize("inner_lr, what", [(1e30, "the return of an episode is"), (1e39, "w1, .* of the policy are")])
def test_a_step_too_long_to_end_in_finite_numbers(folder, inner_lr, what):
    with pytest.raises(UserError, match=f"^{what} not finite after 1 gradient steps, expected a smaller inner_lr than"):
        rl.load_run(folder).adapt([0.3, 0.1], num_steps=2, inner_lr=inner_lr)


def test_a_policy_that_is_not_finite_itself(folder):
    policy = rl.load_run(folder)
    policy._meta.trainer.weights["b1"].assign(np.nan * policy.weights["b1"])
    with pytest.raises(UserError, match="^b1 of the policy are not finite after 0 gradient steps, expected another"):
        policy.adapt([0.3, 0.1])


def test_a_policy_that_is_told_its_task_takes_no_steps(tmp_path):
    write_run(tmp_path, "oracle", meta_batch_size=1)
    policy = rl.load_run(tmp_path)
    with pytest.raises(UserError, match="num_steps is 1, expected 0, as this policy is told its task"):
        policy.adapt([0.3, 0.1])
    assert policy.adapt([0.3, 0.1], num_steps=0).returns.shape == (1,)


def test_a_policy_that_is_told_its_task_acts_by_the_goal_it_was_given(tmp_path):
    """The goal's two numbers stand behind the observation's."""
    write_run(tmp_path, "oracle", meta_batch_size=1)
    adapted = rl.load_run(tmp_path).adapt([0.3, 0.1], num_steps=0)
    w, x = adapted.weights, np.array([0.2, -0.1, 0.3, 0.1])
    for layer in ("1", "2"):
        x = np.maximum(x @ w["w" + layer] + w["b" + layer], 0)
    np.testing.assert_allclose(adapted.act([0.2, -0.1]), np.clip(x @ w["w3"] + w["b3"], -1, 1), rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="^the observation has 4 numbers, expected 2, without the goal$"):
        adapted.act([0.2, -0.1, 0.3, 0.1])


def test_an_observation_of_another_length_gets_one_line(folder):
    with pytest.raises(UserError, match="^the observation has 3 numbers, expected 2$"):
        rl.load_run(folder).adapt([0.3, 0.1], num_steps=0).act([0.2, -0.1, 0.0])


@pytest.mark.parametrize(
    "record, message",
    [
        (None, "no run in .*, expected a run folder"),
        ({"datasource": "omniglot"}, "is a run of 'omniglot', expected one"),
    ],
)
def test_what_is_no_run_of_a_policy_is_named(tmp_path, record, message):
    if record:
        files.write_json(tmp_path / "config.json", record)
    with pytest.raises(UserError, match=message):
        rl.load_run(tmp_path)


def test_a_checkpoint_that_is_none(folder):
    with pytest.raises(UserError, match="checkpoint is 'first', expected best, latest or an iteration"):
        rl.load_run(folder, "first")
    with pytest.raises(UserError, match="iteration 7|7"):
        rl.load_run(folder, 7)
