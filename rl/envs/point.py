"""2-D navigation: a point walks in the plane to a goal that it can't see. [M] maml_examples/point_env_randgoal.py.

Every function takes a leading axis of B points.
"""

from typing import NamedTuple

import numpy as np

STEP = 0.1  # how far an action of 1 moves the point in a coordinate: the bounds of [M]'s actions
REACHED = 0.01  # half the side of the square around the goal in which an episode ends
START = (0.0, 0.0)


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


def draw(position, goal, size):
    """uint8 [size, size, 3]: the square [−1, 1]², a grey start, a green goal and a blue point."""
    image = np.full([size, size, 3], 255, np.uint8)
    axis = np.linspace(-1, 1, size)
    for (x, y), radius, colour in ((START, 0.02, 160), (goal, 0.05, (60, 160, 60)), (position, 0.03, (40, 80, 200))):
        image[(axis[None] - x) ** 2 + (axis[::-1, None] - y) ** 2 < radius**2] = colour
    return image
