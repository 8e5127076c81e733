"""The robots' models, starts, observations and rewards against numbers and formulas that don't come from rl.envs."""

import importlib.resources
import types

import gymnasium
import mujoco
import numpy as np
import pytest

from rl import envs
from rl.envs import ant, half_cheetah, point

ASSETS = importlib.resources.files("gymnasium") / "envs/mujoco/assets"
ROBOTS = {"cheetah_vel": half_cheetah, "ant_vel": ant}
pytestmark = pytest.mark.filterwarnings("ignore:compiler attribute 'settotalmass'")


def make(name, **kwargs):
    return gymnasium.make(envs.get(name).id, **kwargs)


def after_steps(name, task, seed=0):
    """(environment, last action cut to ±1, (observation, reward, ...)) after random steps, feet on the ground."""
    env = make(name).unwrapped
    env.reset(seed=seed, options={"task": task})
    rng = np.random.default_rng(seed)
    for t in range(100):
        action = 2 * rng.standard_normal(env.action_space.shape)
        step = env.step(action)
        touches = env.data.ncon if name.startswith("cheetah") else np.abs(env.data.cfrc_ext).max() > 1
        if t >= 5 and touches and (np.abs(action) > 1).any():
            return env, np.clip(action, -1, 1), step
    raise AssertionError("no foot touched the ground")


def plain(name):
    """MuJoCo's model of gymnasium's XML file, with the authors' numbers where theirs differ."""
    model = mujoco.MjModel.from_xml_path(str(ASSETS / envs.get(name).robot.xml))
    if name.startswith("ant"):
        model.opt.timestep, model.geom_solimp[:] = 0.02, (0.8, 0.8, 0.01, 0.5, 2)
    return model


def bare(name, env):
    """The `plain` model and its data in the environment's state, all computed by explicit calls."""
    model = plain(name)
    data = mujoco.MjData(model)
    data.qpos, data.qvel, data.ctrl = env.data.qpos, env.data.qvel, env.data.ctrl
    mujoco.mj_forward(model, data)
    mujoco.mj_subtreeVel(model, data)
    mujoco.mj_rnePostConstraint(model, data)
    return model, data


def com_velocity(model, data):
    """Mass-weighted mean of the bodies' velocities at their own centres of mass, along the world's axes."""
    total, velocity = np.zeros(3), np.zeros(6)
    for body in range(1, model.nbody):
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, body, velocity, 0)
        total += model.body_mass[body] * velocity[3:]
    return total / model.body_mass.sum()


def com_position(model, data):
    return (model.body_mass[:, None] * data.xipos).sum(0) / model.body_mass.sum()


@pytest.mark.parametrize("name", ROBOTS)
def test_velocity_is_that_of_the_whole_robots_centre_of_mass(name):
    env, _, _ = after_steps(name, 1.0)
    torso = env.data.subtree_linvel[1, 0]
    model, data = bare(name, env)
    assert torso == pytest.approx(com_velocity(model, data)[0], abs=1e-12)
    assert abs(torso - data.qvel[0]) > 1e-3  # not the torso's own


@pytest.mark.parametrize("name", ROBOTS)
def test_velocity_is_the_derivative_of_the_centre_of_mass(name):
    env, _, _ = after_steps(name, 1.0)
    velocity, (model, data) = env.data.subtree_linvel[1, 0], bare(name, env)
    ends, h = [], 1e-6
    for sign in (-1, 1):
        moved = mujoco.MjData(model)
        qpos = data.qpos.copy()
        mujoco.mj_integratePos(model, qpos, data.qvel, sign * h)
        moved.qpos = qpos
        mujoco.mj_forward(model, moved)
        ends.append(com_position(model, moved)[0])
    assert velocity == pytest.approx((ends[1] - ends[0]) / (2 * h), abs=1e-6)


@pytest.mark.parametrize("name", ROBOTS)
def test_what_is_settled_beforehand_changes_no_bit(name):
    """Contact pairs and no constraint islands, against MuJoCo's own search for both in gymnasium's model."""
    ends, contacts = [], []
    for model in (envs.get(name).robot.load(), plain(name)):
        data, rng, touches = mujoco.MjData(model), np.random.default_rng(0), 0
        (data.qpos,), (data.qvel,) = envs.get(name).robot.draw_starts(model, [rng])
        for _ in range(500):
            data.ctrl = 2 * rng.uniform(-1, 1, model.nu)
            mujoco.mj_step(model, data)
            touches += data.ncon
        contacts.append(touches)
        ends.append(np.concatenate([data.qpos, data.qvel]))
    assert contacts[0] == contacts[1] > 200
    np.testing.assert_array_equal(*ends)


def test_cheetah_observation():
    env, _, (observation, *_) = after_steps("cheetah_vel", 1.0)
    model, data = bare("cheetah_vel", env)
    expected = [*data.qpos[1:], *data.qvel, *com_position(model, data)]
    assert len(expected) == 20
    np.testing.assert_allclose(observation, expected, atol=1e-12)


def test_ant_observation():
    env, _, (observation, *_) = after_steps("ant_vel", 1.0)
    assert observation.shape == (125,)
    model, data = bare("ant_vel", env)
    np.testing.assert_array_equal(observation[:15], data.qpos)
    np.testing.assert_array_equal(observation[15:29], data.qvel)
    contacts = observation[29:113].reshape(14, 6)
    np.testing.assert_array_equal(contacts[0], 0)  # the world
    # The solver stops at a tolerance and started elsewhere, so forces agree to some digits only.
    np.testing.assert_allclose(contacts, np.clip(data.cfrc_ext, -1, 1), atol=1e-4)
    assert (np.abs(contacts) == 1).any() and (np.abs(data.cfrc_ext) > 1).any()
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, data.qpos[3:7] / np.linalg.norm(data.qpos[3:7]))
    np.testing.assert_allclose(observation[113:122], matrix, atol=1e-12)
    np.testing.assert_allclose(observation[122:], com_position(model, data), atol=1e-12)


@pytest.mark.parametrize("name, task", [("cheetah_vel", 1.3), ("cheetah_dir", -1), ("cheetah_dir", 1)])
def test_cheetah_reward(name, task):
    env, action, (_, reward, *_) = after_steps(name, task)
    velocity = com_velocity(*bare(name, env))[0]
    forward = -abs(velocity - task) if name == "cheetah_vel" else task * velocity
    assert reward == pytest.approx(forward - 0.05 * sum(action**2), abs=1e-12)


@pytest.mark.parametrize("name, task", [("ant_vel", 1.3), ("ant_dir", -1), ("ant_dir", 1)])
def test_ant_reward(name, task):
    env, action, (_, reward, *_) = after_steps(name, task)
    velocity = com_velocity(*bare(name, env))[0]
    forward = 1.0 - abs(velocity - task) if name == "ant_vel" else task * velocity
    contact = 0.0005 * sum(np.clip(env.data.cfrc_ext, -1, 1).ravel() ** 2)
    controls = 150 * action  # the authors' units
    assert contact > 0
    assert reward == pytest.approx(forward + 0.05 - 0.005 * sum((controls / 150) ** 2) - contact, abs=1e-12)


def state(**fields):
    return types.SimpleNamespace(**{name: np.array(values) for name, values in fields.items()})


def test_cheetah_rewards_by_hand():
    linvel = np.zeros([2, 8, 3])
    linvel[:, 1, 0] = (1.5, -0.5)
    after, actions = state(subtree_linvel=linvel), np.array([[1.0, 0, 0, 0, 0, 0], [0.5, -0.5, 0, 0, 0, 1]])
    # −|1.5 − 1| − 0.05·1; −|−0.5 − 2| − 0.05·1.5
    np.testing.assert_allclose(half_cheetah.velocity_reward(after, np.array([[1.0], [2.0]]), actions), [-0.55, -2.575])
    # −1·1.5 − 0.05; 1·−0.5 − 0.075
    np.testing.assert_allclose(
        half_cheetah.direction_reward(after, np.array([[-1.0], [1.0]]), actions), [-1.55, -0.575]
    )


def test_ant_rewards_by_hand():
    linvel, forces = np.zeros([1, 14, 3]), np.zeros([1, 14, 6])
    linvel[0, 1, 0] = 0.7
    forces[0, 3] = (0.5, 0, 0, -8.0, 2.0, 0)  # cut: 0.25 + 1 + 1
    after, actions = state(subtree_linvel=linvel, cfrc_ext=forces), np.array([[1.0, -1.0, 0, 0, 0, 0, 0, 0.5]])
    costs = 0.005 * 2.25 + 0.0005 * 2.25
    np.testing.assert_allclose(ant.velocity_reward(after, np.array([[2.0]]), actions), [1 - 1.3 + 0.05 - costs])
    np.testing.assert_allclose(ant.direction_reward(after, np.array([[-1.0]]), actions), [-0.7 + 0.05 - costs])


def test_ant_ends_outside_a_height_of_0_2_to_1():
    qpos = np.zeros([6, 15])
    qpos[:, 2] = (0.19, 0.2, 0.55, 1.0, 1.01, np.nan)
    np.testing.assert_array_equal(ant.terminated(state(qpos=qpos), None), [True, False, False, False, True, True])


def test_an_ant_that_falls_ends_its_episode_and_still_gets_the_bonuses():
    env = make("ant_vel").unwrapped
    env.reset(seed=0, options={"task": 0.0})
    env.data.qpos[2] = 1.5
    _, reward, terminated, truncated, _ = env.step(np.zeros(8))
    assert terminated and not truncated
    assert reward == pytest.approx(1.05 - abs(env.data.subtree_linvel[1, 0]), abs=1e-12)  # in the air nothing touches


def test_the_cheetah_never_ends():
    np.testing.assert_array_equal(half_cheetah.terminated(None, np.zeros([3, 1])), [False] * 3)


def test_point_rewards_by_hand():
    after, goals = point.State(np.array([[0.3, 0.4], [0.0, -0.1]])), np.array([[0.0, 0.0], [0.3, 0.3]])
    np.testing.assert_allclose(point.reward(after, goals, None), [-0.5, -0.5])


def test_the_point_ends_in_a_square_around_the_goal():
    offsets = np.array([[0.009, 0.009], [-0.009, 0.0], [0.011, 0.0], [0.0, -0.011]])  # the first: outside a circle
    goals = np.full([4, 2], 0.25)
    np.testing.assert_array_equal(point.terminated(point.State(goals + offsets), goals), [True, True, False, False])


def test_the_point_moves_a_tenth_of_the_action_cut_to_one():
    env = make("point")
    observation, _ = env.reset(options={"task": [0.3, 0.3]})
    np.testing.assert_array_equal(observation, [0, 0])
    np.testing.assert_allclose(env.step(np.array([0.5, -7.0], np.float32))[0], [0.05, -0.1], rtol=1e-12)


# Means and standard deviations of normal numbers, five standard errors of n draws.
@pytest.mark.parametrize("name", ROBOTS)
def test_episodes_start_around_the_pose_with_noise_in_every_coordinate(name):
    robot, n = envs.get(name).robot, 2000
    model, rng = robot.load(), np.random.default_rng(0)
    qpos, qvel = robot.draw_starts(model, [rng] * n)
    pose = np.zeros(9) if name == "cheetah_vel" else [0, 0, 0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1]
    for drawn, mean, deviation in ((qpos, pose, 0.01), (qvel, np.zeros(model.nv), 0.1)):
        assert drawn.shape == (n, len(mean))
        assert (np.abs(drawn.mean(0) - mean) < 5 * deviation / np.sqrt(n)).all()
        assert (np.abs(drawn.std(0) / deviation - 1) < 5 / np.sqrt(2 * n)).all()


@pytest.mark.parametrize("name", ROBOTS)
def test_an_environment_starts_where_its_generator_says(name):
    env = make(name).unwrapped
    env.reset(seed=7, options={"task": 1.0})
    (qpos,), (qvel,) = env.kind.robot.draw_starts(env.model, [gymnasium.utils.seeding.np_random(7)[0]])
    np.testing.assert_array_equal(env.data.qpos, qpos)
    np.testing.assert_array_equal(env.data.qvel, qvel)


def trajectory(model, controls):
    data = mujoco.MjData(model)
    data.qpos[: len(ant.ROBOT.start)] = ant.ROBOT.start
    for control in controls:
        data.ctrl = control
        mujoco.mj_step(model, data)
    return data.qpos.copy(), data.qvel.copy()


def test_the_ant_is_the_authors():
    """Their XML's settings written into the text of gymnasium's: timestep, solimp, gear 1 and controls in ±150."""
    text = (ASSETS / "ant.xml").read_text()
    for old, new in (
        ('timestep="0.01"', 'timestep="0.02"'),
        ('density="5.0"', 'density="5.0" solimp=".8 .8 .01"'),
        ('ctrlrange="-1.0 1.0"', 'ctrlrange="-150.0 150.0"'),
        ('gear="150"', 'gear="1"'),
    ):
        assert old in text
        text = text.replace(old, new)
    theirs, ours = mujoco.MjModel.from_xml_string(text), ant.ROBOT.load()
    controls = np.random.default_rng(0).uniform(-1, 1, [150, 8])
    for a, b in zip(trajectory(theirs, 150 * controls), trajectory(ours, controls)):
        np.testing.assert_array_equal(a, b)
    assert (theirs.nq, theirs.nv, theirs.nu, theirs.nbody) == (15, 14, 8, 14)
    # What MuJoCo makes of that file today. Before 2.1.1 it took capsules as cylinders longer by half a radius at each
    # end, so that the authors' ant was 3.5 % lighter: 0.879 kg.
    assert theirs.body_mass.sum() == pytest.approx(0.911, abs=5e-4)


@pytest.mark.parametrize(
    "name, gymnasiums, dt, size, their_dt, their_size",
    [("cheetah_vel", "HalfCheetah-v5", 0.01, 20, 0.05, 17), ("ant_vel", "Ant-v5", 0.02, 125, 0.05, 105)],
)
def test_differences_from_gymnasiums_environments(name, gymnasiums, dt, size, their_dt, their_size):
    ours, theirs = make(name), gymnasium.make(gymnasiums)
    assert theirs.unwrapped.dt == their_dt and theirs.observation_space.shape == (their_size,)
    assert ours.unwrapped.model.opt.timestep == dt and ours.observation_space.shape == (size,)
    assert (ours.spec.max_episode_steps, theirs.spec.max_episode_steps) == (200, 1000)
    ours.reset(seed=0)
    before = ours.unwrapped.data.time
    ours.step(ours.action_space.sample())
    assert ours.unwrapped.data.time - before == pytest.approx(dt)  # one step of MuJoCo
    their_start, our_start = theirs.unwrapped.init_qpos, ours.unwrapped.kind.robot.start
    if name == "cheetah_vel":  # the same model, starts and masses
        np.testing.assert_array_equal(their_start, our_start)
        np.testing.assert_array_equal(theirs.unwrapped.model.geom_solimp, ours.unwrapped.model.geom_solimp)
        assert ours.unwrapped.model.body_mass.sum() == pytest.approx(14.0)
    else:
        assert (their_start[2], our_start[2]) == (0.75, 0.55)
        np.testing.assert_array_equal(np.array(our_start[7:]) - their_start[7:], [0, 1, 0, -1, 0, -1, 0, 1])
        np.testing.assert_allclose(theirs.unwrapped.model.geom_solimp[0, :3], [0.9, 0.95, 0.001])
        np.testing.assert_allclose(ours.unwrapped.model.geom_solimp[:, :3], [[0.8, 0.8, 0.01]] * 14)
