"""2-D navigation: a point walks in the plane to a goal that it can't see. [M] maml_examples/point_env_randgoal.py.

Every function takes a leading axis of B points.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

STEP = 0.1  # how far an action of 1 moves the point in a coordinate: the bounds of [M]'s actions
REACHED = 0.01  # half the side of the square around the goal in which an episode ends
START = (0.0, 0.0)
# Of pictures: Okabe and Ito's orange and blue, as in the figures, and how many times finer they are drawn than shown.
GOAL, POINT, TRAIL, GREY, GRID = (213, 94, 0), (0, 114, 178), (140, 190, 220), (138, 138, 138), (230, 230, 230)
FINE = 3


class State(NamedTuple):
    position: np.ndarray  # [B, 2]


def advance(state, actions):
    """Positions [B, 2] after actions [B, 2] in ±1."""
    return state.position + STEP * actions


def observe(state):
    """[B, 2]: the position."""
    return state.position.copy()


def reward(state, tasks, actions):
    """[B]: minus the distance to the goal, tasks [B, 2] ([P] says squared, not so [M] and its trajectories)."""
    return -np.sqrt(np.square(state.position - tasks).sum(axis=1))


def terminated(state, tasks):
    """bool [B]: in the square around the goal, not in a circle."""
    return (np.abs(state.position - tasks) < REACHED).all(axis=1)


def draw(path, goal, size):
    """uint8 [size, size, 3]: the square [−1, 1]², an orange goal, a grey start, and a blue point on its way so far.

    path: [T + 1, 2], where it was; the point is at its end.
    """
    image = Image.new("RGB", [FINE * size] * 2, "white")
    pen = ImageDraw.Draw(image)

    def pixel(x, y):
        return tuple(FINE * (size - 1) * np.array([1 + x, 1 - y]) / 2)

    for at in (-0.5, 0.0, 0.5):
        for ends in ((pixel(at, -1), pixel(at, 1)), (pixel(-1, at), pixel(1, at))):
            pen.line(ends, GRID, FINE)
    pen.circle(pixel(*goal), 0.1 * FINE * size / 2, GOAL)
    pen.line([pixel(*place) for place in path], TRAIL, 3 * FINE, "curve")
    pen.circle(pixel(*START), 0.04 * FINE * size / 2, GREY)
    pen.circle(pixel(*path[-1]), 0.06 * FINE * size / 2, POINT, "white", FINE)
    return np.asarray(image.reduce(FINE))
