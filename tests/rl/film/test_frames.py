"""Episodes played again to be drawn: in which process, and what is said where nothing can be drawn."""

import gymnasium
import numpy as np
import pytest

from data_generators.errors import UserError
from rl import envs
from rl.film import frames


def script(name, task, times, steps=6):
    kind = envs.get(name)
    actions = np.random.default_rng(0).standard_normal([steps, kind.action_size], np.float32)
    return frames.Script(np.array(task), 3, actions, times)


def test_frames_are_what_the_environment_shows_after_so_many_steps():
    scripts = [script("point", [0.3, 0.1], [0, 2, 5]), script("point", [-0.4, 0.2], [6])]
    env = gymnasium.make("maml/Point-v0", render_mode="rgb_array")
    for one, drawn in zip(scripts, frames.draw("point", scripts), strict=True):
        env.reset(seed=3, options={"task": one.task})
        shown = [env.render()]
        for action in one.actions:
            env.step(action)
            shown.append(env.render())
        np.testing.assert_array_equal(drawn, [shown[t] for t in one.times])
        assert len(np.unique(shown, axis=0)) == 7


def test_an_episode_that_fails_closes_the_environment(monkeypatch):
    """Or the process that draws outlives it."""
    closed = []
    monkeypatch.setattr("rl.envs.single.PointEnv.close", lambda env: closed.append(env), raising=False)
    with pytest.raises(ZeroDivisionError):
        frames.draw("point", [script("point", [0.3, 0.1], [0])._replace(actions=(1 / 0 for _ in "1"))])
    assert len(closed) == 1


@pytest.mark.parametrize("name, task", [("cheetah_vel", [1.0]), ("ant_dir", [-1.0])])
def test_robots_are_drawn_beside_tensorflow(name, task):
    """Which the tests have imported: in this process the renderer may crash."""
    try:
        frames.check_renderer(name)
    except UserError as error:
        pytest.skip(str(error))
    one, other = frames.draw(name, [script(name, task, [0, 3, 6]), script(name, task, [6])])
    assert one.shape == (3, 360, 480, 3) and one.dtype == np.uint8
    assert (one[0] != one[1]).any() and (one[1] != one[2]).any()
    np.testing.assert_array_equal(other, one[2:])


@pytest.mark.parametrize("renderer", ["glfw", "nonsense"])  # a window without a display; no renderer at all
def test_without_a_renderer_robots_get_one_line_and_the_point_is_drawn(renderer, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("MUJOCO_GL", renderer)
    frames.check_renderer("point")
    with pytest.raises(UserError, match=f"^[^\n]*MUJOCO_GL='{renderer}'[^\n]*expected[^\n]*$"):
        frames.check_renderer("ant_vel")


def test_a_renderer_that_crashes_gets_one_line(monkeypatch, tmp_path):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\necho some words >&2\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(crashing))
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(UserError, match="renderer of MUJOCO_GL='osmesa' crashed, exit status -11, expected"):
        frames.check_renderer("cheetah_dir")
