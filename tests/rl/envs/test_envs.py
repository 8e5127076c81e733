"""The gymnasium environments: their interface, tasks, horizon, divergence and rendering."""

import copy
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from data_generators.errors import UserError
from rl import envs
from rl.envs import point

ROOT = str(Path(envs.__file__).parents[2])
KINDS = list(envs.KINDS.values())
OTHER_TASK = {"point": [0.2, 0.3], "cheetah_vel": 1.5, "cheetah_dir": -1, "ant_vel": 2.5, "ant_dir": -1}
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@each_kind
@pytest.mark.parametrize("oracle", [False, True])
def test_gymnasiums_checker_is_content(kind, oracle):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(kind.id, oracle=oracle).unwrapped, skip_render_check=True)


@each_kind
def test_actions_are_in_the_policys_units(kind):
    space = gymnasium.make(kind.id).action_space
    np.testing.assert_array_equal([space.low, space.high], [[-1] * kind.action_size, [1] * kind.action_size])


@each_kind
def test_the_given_task_stays_through_resets(kind):
    env = gymnasium.make(kind.id)
    task = np.atleast_1d(OTHER_TASK[kind.name])
    for kwargs in ({"options": {"task": task}}, {}, {"seed": 3}, {"options": {}}):
        np.testing.assert_array_equal(env.reset(**kwargs)[1]["task"], task)
    np.testing.assert_array_equal(env.step(env.action_space.sample())[-1]["task"], task)


@each_kind
def test_without_a_task_one_is_drawn_and_stays_until_a_seed_draws_another(kind):
    env = gymnasium.make(kind.id)
    drawn = env.reset(seed=1)[1]["task"]
    kind.goals.check(drawn, 1)
    np.testing.assert_array_equal(env.reset()[1]["task"], drawn)
    others = [env.reset(seed=seed)[1]["task"] for seed in range(2, 12)]
    assert any((other != drawn).any() for other in others)
    np.testing.assert_array_equal(env.reset(seed=1)[1]["task"], drawn)


@each_kind
def test_the_oracle_sees_the_task_last(kind):
    task = np.atleast_1d(OTHER_TASK[kind.name])
    plain, oracle = (gymnasium.make(kind.id, oracle=oracle) for oracle in (False, True))
    pair = [env.reset(seed=0, options={"task": task})[0] for env in (plain, oracle)]
    np.testing.assert_array_equal(pair[1], [*pair[0], *task])
    action = plain.action_space.sample()
    pair = [env.step(action)[0] for env in (plain, oracle)]
    np.testing.assert_array_equal(pair[1], [*pair[0], *task])


# [P] A.2: 100 steps in the plane, 200 of the robots.
@pytest.mark.parametrize("name, horizon", [("point", 100), ("cheetah_vel", 200), ("cheetah_dir", 200)])
def test_horizon(name, horizon):
    env = gymnasium.make(envs.get(name).id)
    env.reset(seed=0, options={"task": np.atleast_1d(OTHER_TASK[name])})
    ends = [env.step(np.zeros(env.action_space.shape))[2:4] for _ in range(horizon)]
    assert ends == [(False, False)] * (horizon - 1) + [(False, True)]


def test_horizon_of_the_ants():
    assert [gymnasium.spec(envs.get(name).id).max_episode_steps for name in ("ant_vel", "ant_dir")] == [200, 200]


@each_kind
def test_a_diverged_simulation_ends_the_episode_with_nothing_but_numbers(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings to a file
    env = gymnasium.make(kind.id).unwrapped
    before, info = env.reset(seed=0)
    assert not info["diverged"]
    action = np.zeros(kind.action_size)
    action[0] = np.nan
    observation, reward, terminated, _, info = env.step(action)
    assert terminated and info["diverged"] and reward == 0
    np.testing.assert_array_equal(observation, before)
    env.reset()
    *_, terminated, _, info = env.step(np.zeros(kind.action_size))
    assert not terminated and not info["diverged"]


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env))}


@each_kind
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_copy_goes_on_as_the_original_and_by_itself(kind, how, wrapped):
    env = gymnasium.make(kind.id, oracle=True)
    env = env if wrapped else env.unwrapped
    env.reset(seed=1)
    actions = np.random.default_rng(0).uniform(-1, 1, (30, kind.action_size)).astype(np.float32)
    for action in actions[:10]:
        env.step(action)
    copied = COPIES[how](env)

    def rest(one):
        steps = [one.step(action)[:2] for action in actions[10:]]
        again, info = one.reset()
        return [x for step in steps for x in step] + [again, info["task"], one.step(actions[0])[0]]

    for got, expected in zip(rest(copied), rest(env), strict=True):
        np.testing.assert_array_equal(got, expected)
    observations = rest(copied)[:-3:2]
    assert (observations[0] != observations[-1]).any()


@pytest.mark.parametrize("options", [{"goal": 1.0}, {"task": [1.0, 2.0]}])
def test_bad_reset_options_get_one_line(options):
    with pytest.raises(UserError, match="^[^\n]*expected[^\n]*$"):
        gymnasium.make("maml/CheetahVel-v0").reset(options=options)


def in_a_process(code, folder, **environment):
    """(exit code, stdout, last line of stderr): MuJoCo reads MUJOCO_GL at its import, and writes errors to `folder`."""
    variables = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")}
    variables |= {"PYTHONPATH": ROOT, **environment}
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=variables, cwd=folder
    )
    return result.returncode, result.stdout, (result.stderr.strip().splitlines() or [""])[-1]


RENDER = """
import copy, gymnasium, warnings, rl.envs
from gymnasium.utils.env_checker import check_env
warnings.simplefilter("error")
for id in ("maml/Point-v0", "maml/CheetahVel-v0", "maml/AntDir-v0"):
    env = gymnasium.make(id, render_mode="rgb_array")
    check_env(env.unwrapped)
    env.reset(seed=0)
    first = env.render()
    for _ in range(20):
        env.step(env.action_space.sample())
    assert first.std() > 1 and (first != env.render()).any(), id
    assert (copy.deepcopy(env.unwrapped).render() == env.render()).all(), id
    env.close()
print("rendered")
"""
TENSORFLOW = "import tensorflow as tf; tf.function(lambda x: 2 * x, jit_compile=True)(1.0)\n"


@pytest.mark.parametrize("program", [RENDER, TENSORFLOW + RENDER, RENDER + TENSORFLOW], ids=["", "after", "before"])
def test_rendering_off_screen_also_beside_tensorflow(program, tmp_path):
    code, output, error = in_a_process(program, tmp_path, **{k: v for k, v in os.environ.items() if k == "MUJOCO_GL"})
    if "UserError: no off-screen renderer" in error or "can't load the renderer" in error:
        pytest.skip(error)
    assert (code, output) == (0, "rendered\n"), error


@pytest.mark.parametrize("renderer", ["glfw", "nonsense"])  # a window without a display; no renderer at all
def test_a_missing_renderer_gets_one_line(renderer, tmp_path):
    program = "import gymnasium, rl.envs; gymnasium.make('maml/CheetahVel-v0', render_mode='rgb_array')"
    code, _, error = in_a_process(program, tmp_path, MUJOCO_GL=renderer)
    assert code == 1
    assert error.startswith("data_generators.errors.UserError: ")
    assert f"MUJOCO_GL='{renderer}'" in error and "expected" in error


@pytest.mark.parametrize("module", ["rl.envs", "rl.sampling.simulator", "rl.sampling.sampler", "rl.benchmark"])
def test_without_mujoco_there_is_one_line(module, tmp_path):
    code, _, error = in_a_process(f"import sys; sys.modules['mujoco'] = None; import {module}", tmp_path)
    assert code == 1 and error.startswith("data_generators.errors.UserError: MuJoCo can't be imported")


def test_the_point_is_drawn_where_it_is():
    env = gymnasium.make("maml/Point-v0", render_mode="rgb_array")
    env.reset(options={"task": [0.5, 0.5]})
    for _ in range(2):
        env.step(np.array([-1.0, 0.0]))
    image = env.render()
    size = len(image)

    def pixel(x, y):
        return tuple(image[round((1 - y) / 2 * (size - 1)), round((x + 1) / 2 * (size - 1))])

    assert pixel(0.5, 0.5) == point.GOAL and pixel(0.0, 0.0) == point.GREY
    assert pixel(-0.2, 0.0) == point.POINT and pixel(-0.1, 0.0) == point.TRAIL
    assert pixel(0.9, -0.9) == (255, 255, 255)
