"""What a policy does before and after adaptation, to look at: a strip of frames and an animation.

Letters of shapes: M filmed tasks, G numbers that make a task, T steps of an episode, A of an action.
"""

import io
import textwrap
from typing import NamedTuple

import gymnasium
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from maml.runs import files
from rl import policy as policies
from rl.film import frames, paths

FIGURE_TASK = 6  # the test task of the published trajectories in the plane
COLUMNS = 8  # frames of a row of the strip
FRAME_SECONDS = 0.04  # of the animation, a multiple of the robots' time steps: they move as fast as they are
POINT_STEP_SECONDS = 0.06  # the point has no time of its own
SKY = 90  # rows of pixels at the top of a robot's frame that are left away
GIF_WIDTH = 320  # pixels of a task's frame
FONT, LINE, MARGIN = 14, 20, 6  # pixels: of the words above the frames
LETTERS = 44  # of them beside each other above a frame
SEED = 0  # of starts and noise


class Played(NamedTuple):
    """An episode that a policy played; `frames.draw` plays it again."""

    actions: np.ndarray  # float32 [T, A]
    positions: list  # after 0, 1, …, T steps: a robot's x in m; empty for the point
    total: float  # sum of rewards


def film(run_folder, meta_rl, protocol):
    """Paths of a strip and an animation, written to the run folder: an episode on each of a few test tasks.

    The strip has a row for each task and number of gradient steps; the animation shows the tasks side by side after
    the last step. The policies are adapted as in a test, on episodes of their own. UserError where there is no renderer
    (`frames.check_renderer`), with nothing written.
    run_folder: where to.
    meta_rl: a MetaRL with the weights to film.
    protocol: a Protocol.
    """
    kind = meta_rl.kind
    tasks = shown_tasks(kind)
    episodes = []  # for each number of gradient steps, one a task
    for weights, _ in meta_rl.adapt(tasks, protocol.learning_rates, protocol.rollouts):
        single = [{name: np.asarray(w)[m : m + 1] for name, w in weights.items()} for m in range(len(tasks))]
        episodes.append([play(meta_rl, w, task) for w, task in zip(single, tasks)])
    rows = list(zip(*episodes))
    title = f"{meta_rl.settings.title}, iteration {meta_rl.iteration}"
    strip = _strip(meta_rl, title, tasks, rows)
    animation = _animation(kind, title, tasks, episodes[-1], len(episodes) - 1)
    written = paths(run_folder, meta_rl.iteration, protocol.changes)
    for path, content in zip(written, (strip, animation)):
        files.write_bytes(path, content)
    return written


def shown_tasks(kind):
    """float64 [M, G], test tasks: a small and a large goal (backward and forward), in the plane the figure's."""
    tasks = kind.published_tasks()
    if kind.goals.size > 1:
        return tasks[[FIGURE_TASK]]
    tenth = len(tasks) // 10
    return tasks[np.argsort(tasks[:, 0])[[tenth, -1 - tenth]]]


def play(meta_rl, weights, task):
    """The episode Played, its actions drawn as in sampling; start and noise are the same at every call.

    weights: of one policy, {name: array [1, ...]}. task: [G].
    """
    s, kind = meta_rl.settings, meta_rl.kind
    env = gymnasium.make(kind.id, oracle=s.oracle, max_episode_steps=s.horizon)
    rng = np.random.default_rng(SEED)
    observation, _ = env.reset(seed=SEED, options={"task": task})
    actions, positions, total, done = [], [], 0.0, False
    while True:
        if kind.robot:
            positions.append(float(env.unwrapped.data.qpos[0]))
        if done:
            return Played(np.stack(actions), positions, total)
        means, log_stds = meta_rl.policy.forward_numpy(weights, np.float32(observation)[None, None])
        noise = rng.standard_normal(means.shape, np.float32)
        actions.append(policies.sample(means, log_stds[:, None], noise)[0, 0])
        observation, reward, terminated, truncated, _ = env.step(actions[-1])
        total, done = total + reward, terminated or truncated


def _draw(kind, tasks, episodes, times):
    """For each task's Played {t: frame}, after those of `times` that it reached, and its end."""
    reached = [sorted({t for t in times if t < len(e.actions)} | {len(e.actions)}) for e in episodes]
    scripts = [frames.Script(task, SEED, e.actions, ts) for task, e, ts in zip(tasks, episodes, reached)]
    top = SKY if kind.robot else 0
    return [dict(zip(ts, drawn[:, top:])) for ts, drawn in zip(reached, frames.draw(kind.name, scripts))]


def _strip(meta_rl, title, tasks, rows):
    """PNG. rows: for each task the Played after 0, 1, … gradient steps."""
    kind, horizon = meta_rl.kind, meta_rl.settings.horizon
    columns = [round(t) for t in np.linspace(0, horizon, COLUMNS)]
    shown = [(task, step, episode) for task, row in zip(tasks, rows) for step, episode in enumerate(row)]
    drawn = _draw(kind, [task for task, _, _ in shown], [episode for _, _, episode in shown], columns)
    height, width, _ = drawn[0][0].shape
    figure = Figure(figsize=(1.6 + 1.5 * COLUMNS, 0.6 + (1.5 * height / width + 0.04) * len(shown)))
    FigureCanvasAgg(figure)
    words, top = f"{title}: an episode after each number of gradient steps", 1 - 0.08 / figure.get_figheight()
    figure.text(0.005, top, words, va="top", fontsize=11)
    edges = {"left": 1.58 / figure.get_figwidth(), "right": 0.999, "bottom": 0.002}
    edges["top"] = 1 - 0.58 / figure.get_figheight()
    axes = figure.subplots(len(shown), 1, squeeze=False, gridspec_kw={**edges, "hspace": 0.03})[:, 0]
    blank = np.full([height, width, 3], 255, np.uint8)
    for axis, (task, step, episode), pictures in zip(axes, shown, drawn):
        axis.imshow(np.concatenate([pictures.get(t, blank) for t in columns], axis=1), aspect="auto")
        for i, t in enumerate(columns):
            axis.axvline(i * width, color="silver", linewidth=1)
            if t < len(episode.positions):
                axis.text((i + 0.05) * width, 0.05 * height, f"x = {episode.positions[t]:z.2f} m", fontsize=7, va="top")
        if (end := len(episode.actions)) < horizon:
            first_blank = next(i for i, t in enumerate(columns) if t > end)
            axis.text((first_blank + 0.5) * width, height / 2, f"ended at {_time(kind, end)}", fontsize=8, ha="center")
        label = f"{_goal(kind, task)}\n{step} gradient step{'s' * (step != 1)}\nreturn {episode.total:.1f}"
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    axes[0].xaxis.tick_top()
    axes[0].tick_params(length=0)
    axes[0].set_xticks([(i + 0.5) * width for i in range(COLUMNS)], [_time(kind, t) for t in columns])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _animation(kind, title, tasks, episodes, step):
    """GIF of the tasks' episodes side by side, repeating; one that ended before another stands still.

    Words above say what it shows: title, and of each episode the task, after how many gradient steps, and its return.
    """
    longest = max(len(episode.actions) for episode in episodes)
    stride = round(FRAME_SECONDS / kind.dt) if kind.dt else 1
    times = [*range(0, longest, stride), longest]
    drawn = _draw(kind, tasks, episodes, times)
    after = f"after {step} gradient step{'s' * (step != 1)}"
    columns = [[_goal(kind, task), f"{after}, return {one.total:.1f}"] for task, one in zip(tasks, episodes)]
    words, images = _words(title, columns), []
    for t in times:
        pictures = [_resized(own.get(t, own[max(own)])) for own in drawn]
        images.append(Image.fromarray(np.concatenate([words, np.concatenate(pictures, axis=1)])))
    # One palette, without dithering: what stands still then costs nothing.
    palette = images[-1].quantize(64)  # where the point has left its trail
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    milliseconds = round(1000 * (stride * kind.dt if kind.dt else POINT_STEP_SECONDS))
    buffer = io.BytesIO()
    images[0].save(buffer, "gif", save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    return buffer.getvalue()


def _resized(frame):
    height, width, _ = frame.shape
    size = [GIF_WIDTH, round(GIF_WIDTH * height / width)]
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))


def _words(title, columns):
    """uint8 [height, width, 3]: the title, and below it the lines of each column, all columns as many."""
    above = textwrap.wrap(title, LETTERS * len(columns))
    image = Image.new("RGB", (GIF_WIDTH * len(columns), MARGIN + LINE * (len(above) + len(columns[0]))), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(FONT)
    for number, column in enumerate(columns):
        for line, text in enumerate([*(above if number == 0 else [""] * len(above)), *column]):
            pen.text((MARGIN + GIF_WIDTH * number, MARGIN + LINE * line), text, "black", font)
    return np.asarray(image)


def _goal(kind, task):
    if kind.goals.threshold is not None:
        return "forward" if task[0] > 0 else "backward"
    if kind.goals.size == 1:
        return f"goal {task[0]:.2f} m/s"
    return "goal (" + ", ".join(f"{x:.2f}" for x in task) + ")"


def _time(kind, steps):
    return f"{steps * kind.dt:.2f} s" if kind.dt else f"step {steps}"
