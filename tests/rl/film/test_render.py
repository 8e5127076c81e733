"""Films of adapted policies: whose, on which tasks, and the pictures they are put into."""

import dataclasses
import io

import gymnasium
import numpy as np
import pytest
from PIL import Image

from maml.runs.checkpoints import Latest
from rl import envs
from rl.envs import point
from rl.film import paths, render
from rl.meta_rl import MetaRL
from rl.protocol import Protocol
from rl.settings import resolve


def small(name="point", method="maml", **given):
    few = dict(meta_batch_size=1, update_batch_size=2, horizon=6, jit=False)
    return MetaRL(resolve(name, method, **{**few, **given}))


def protocol(steps=2):
    return Protocol(steps, first_lr=0.5, later_lr=0.25, rollouts=2, tasks=40)


def theta(run):
    return {name: w.numpy()[None] for name, w in run.trainer.current_weights().items()}


# Goals of the tenth and the last tenth of the 40 test tasks.
@pytest.mark.parametrize(
    "name, low, high",
    [("cheetah_vel", 0.2, 1.8), ("ant_vel", 0.3, 2.7), ("cheetah_dir", -1, 1), ("ant_dir", -1, 1)],
)
def test_tasks_that_differ(name, low, high):
    kind = envs.get(name)
    shown = render.shown_tasks(kind)
    assert all(task in kind.published_tasks() for task in shown)
    np.testing.assert_allclose(shown[:, 0], [low, high], atol=0.15 * high if name.endswith("vel") else 0)


def test_in_the_plane_the_published_figures_task():
    kind = envs.get("point")
    np.testing.assert_array_equal(render.shown_tasks(kind), [kind.published_tasks()[6]])


def test_rows_are_the_policies_of_the_adaptation(monkeypatch, tmp_path):
    """On both tasks, after 0, 1 and 2 steps."""
    run, played, play = small("cheetah_dir"), [], render.play
    monkeypatch.setattr(render, "play", lambda run, w, task: played.append((w, task)) or play(run, w, task))
    monkeypatch.setattr(render, "_animation", lambda *_: b"")
    rows = []
    monkeypatch.setattr(render, "_strip", lambda run, title, tasks, shown: rows.extend(shown) or b"")
    render.film(tmp_path, run, protocol())
    expected = [w for w, _ in run.adapt([[-1.0], [1.0]], [0.5, 0.25], 2)]
    assert [float(task[0]) for _, task in played] == [-1, 1] * 3
    for i, (weights, _) in enumerate(played):
        for name, w in weights.items():
            np.testing.assert_array_equal(w, expected[i // 2][name][i % 2][None])
    assert [len(row) for row in rows] == [3, 3]
    np.testing.assert_array_equal(rows[1][2].actions, play(run, *played[5]).actions)


@pytest.mark.parametrize("name", ["point", "cheetah_vel"])
def test_an_episode_is_what_its_actions_do(name):
    run = small(name)
    task = run.kind.published_tasks()[0]
    episode = render.play(run, theta(run), task)
    env = gymnasium.make(run.kind.id)
    env.reset(seed=render.SEED, options={"task": task})
    np.testing.assert_allclose(episode.total, sum(env.step(action)[1] for action in episode.actions), rtol=1e-12)
    assert episode.actions.shape == (6, run.kind.action_size)
    if run.kind.robot:
        assert len(episode.positions) == 7 and episode.positions[-1] == env.unwrapped.data.qpos[0]


def test_policies_meet_the_same_start_and_noise():
    """With weights 0 the mean is 0: σ = 1 and σ = 2 take actions z and 2z."""
    run = small("cheetah_vel")
    zero = {name: np.zeros_like(w) for name, w in theta(run).items()}
    wide = {**zero, "log_std": zero["log_std"] + np.float32(np.log(2))}
    one, other = (render.play(run, weights, np.array([1.0])) for weights in (zero, wide))
    np.testing.assert_allclose(other.actions, 2 * one.actions, rtol=1e-6)
    assert one.positions[0] == other.positions[0] and len(np.unique(one.actions)) == one.actions.size


def test_an_oracle_is_filmed_as_it_is_and_sees_the_task(tmp_path):
    run = small("point", "oracle", envs_per_task=2)
    strip, animation = render.film(tmp_path, run, protocol(steps=0))
    assert strip.exists() and animation.exists()
    one, other = (render.play(run, theta(run), np.array(goal)) for goal in ([0.1, 0.2], [-0.3, 0.2]))
    assert (one.actions[0] != other.actions[0]).all()


def test_the_files_of_a_film(tmp_path):
    """One frame for each of 6 steps and the start, 60 ms each; rows for 0 to 2 gradient steps."""
    films = render.film(tmp_path, small(), protocol())
    assert [path.name for path in films] == ["filmstrip_iteration_0.png", "adapted_iteration_0.gif"]
    assert sorted(tmp_path.iterdir()) == sorted(films)
    with Image.open(films[0]) as strip, Image.open(films[1]) as animation:
        pixels = np.asarray(strip.convert("RGB"))
        assert animation.n_frames == 7 and animation.info["duration"] == 60 and animation.info["loop"] == 0
    goals = (pixels == point.GOAL).all(2)  # three rows of eight
    starts = np.diff(np.pad(goals.any(1), 1).astype(int))
    assert (starts == 1).sum() == 3
    starts = np.diff(np.pad(goals.any(0), 1).astype(int))
    assert (starts == 1).sum() == 8


def test_words_above_every_frame_say_what_is_shown(monkeypatch, tmp_path):
    words, said, play, played = render._words, [], render.play, []
    monkeypatch.setattr(render, "_words", lambda *what: said.append(what) or words(*what))
    monkeypatch.setattr(render, "play", lambda *what: played.append(play(*what)) or played[-1])
    _, path = render.film(tmp_path, small(), protocol())
    ((title, columns),) = said
    *_, last = played
    assert title.startswith("2-D navigation: MAML") and title.endswith(", iteration 0")
    assert columns == [["goal (-0.30, 0.38)", f"after 2 gradient steps, return {last.total:.1f}"]]
    above = words(title, columns)
    with Image.open(path) as animation:
        for i in range(animation.n_frames):
            animation.seek(i)
            shown = np.asarray(animation.convert("L"))[: len(above)]
            assert ((shown < 128) == (above.mean(2) < 128)).mean() > 0.99  # but for the palette's greys


def test_a_title_that_is_too_long_is_wrapped():
    short, long = (render._words(title, [["goal"]]) for title in ("a policy", "a policy of many words " * 3))
    assert long.shape[0] == short.shape[0] + render.LINE and (long[: short.shape[0], -3:] == 255).all()


def test_films_of_other_policies_have_other_names():
    """Of another iteration, and of another step size at test."""
    names = [[path.name for path in paths("run", *of)] for of in ((4,), (7,), (7, "_lr_0.1"))]
    assert names == [
        ["filmstrip_iteration_4.png", "adapted_iteration_4.gif"],
        ["filmstrip_iteration_7.png", "adapted_iteration_7.gif"],
        ["filmstrip_iteration_7_lr_0.1.png", "adapted_iteration_7_lr_0.1.gif"],
    ]


def test_a_film_is_named_by_the_iteration_and_the_protocol(tmp_path):
    run = small()
    run.trainer.iteration.assign(3)
    other = dataclasses.replace(protocol(steps=0), changes="_rollouts_2", checkpoint=Latest())
    names = [path.name for path in render.film(tmp_path, run, other)]
    assert names == ["filmstrip_iteration_3_rollouts_2.png", "adapted_iteration_3_rollouts_2.gif"]


def test_an_episode_that_ended_stands_still_beside_the_other():
    kind = envs.get("point")
    walk = np.tile(np.float32([0.5, 0.0]), [6, 1])
    episodes = [render.Played(walk[:2], [], 0.0), render.Played(walk, [], 0.0)]
    goals = np.array([[0.5, 0.5], [-0.5, 0.5]])
    with Image.open(io.BytesIO(render._animation(kind, "two walks", goals, episodes, 1))) as animation:
        shown = []
        for i in range(animation.n_frames):
            animation.seek(i)
            shown.append(np.asarray(animation.convert("RGB")))
    left, right = (np.array(shown)[:, :, half] for half in (slice(0, 320), slice(320, 640)))
    assert [(a != b).any() for a, b in zip(left, left[1:])] == [True, True, False, False, False, False]
    assert all((a != b).any() for a, b in zip(right, right[1:]))
