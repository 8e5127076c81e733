"""Random affine distortions of images, by which papers made more drawings of those there are.

Letters: R images, H × W pixels, C channels.
"""

from typing import NamedTuple

import numpy as np


class Distortion(NamedTuple):
    """Seven components, each of which is there with a probability, and then uniform between its limits [7, 2].

    Angle in degrees; shear and scale along the columns and rows; shift along both in sides of the image.
    """

    limits: np.ndarray
    probability: float


def _distortion(angle, shear, scale, pixels, probability):
    shift = pixels / 105  # sides of the drawings of Omniglot as they come
    limits = [angle, *[shear] * 2, *[scale] * 2, *[shift] * 2]
    size = np.array([0, 0, 0, 1, 1, 0, 0]) + np.outer([-1, 1], limits)
    return Distortion(size.T, probability)


NEUTRAL = np.array([0, 0, 0, 1, 1, 0, 0])
DISTORTIONS = {
    # Koch, Zemel, Salakhutdinov 2015, section 3.3
    "affine": _distortion(angle=10, shear=0.3, scale=0.2, pixels=2, probability=0.5),
    # Santoro et al. 2016 turn and shift every image; how much is snowkylin/ntm's
    "turned_and_shifted": _distortion(angle=180 / 16, shear=0, scale=0, pixels=10, probability=1),
}


def components(name, shape, rng):
    """Of random affine maps: [*shape, 7]. name: of DISTORTIONS."""
    limits, probability = DISTORTIONS[name]
    present = rng.random((*shape, 7)) < probability
    return np.where(present, rng.uniform(*limits.T, present.shape), NEUTRAL)


def distorted(images, components):
    """The images [..., H, W, C], each by the affine map of its components [..., 7]: float32, values as in `images`,
    outside 0."""
    flat = images.reshape(-1, *images.shape[-3:])
    matrices, shifts = affine_maps(components.reshape(-1, 7))
    return warped(flat, matrices, shifts * images.shape[-3]).reshape(images.shape)


def affine_maps(components):
    """(matrices [R, 2, 2], shifts [R, 2]) of components [R, 7]: first scaled, then sheared, then turned, then shifted.

    Of (column, row) from the centre.
    """
    angle, shear_x, shear_y, scale_x, scale_y, shift_x, shift_y = components.T
    cos, sin, one = np.cos(np.radians(angle)), np.sin(np.radians(angle)), np.ones_like(angle)
    turn, shear = _matrices(cos, -sin, sin, cos), _matrices(one, shear_x, shear_y, one)
    return turn @ shear @ _matrices(scale_x, 0 * one, 0 * one, scale_y), np.stack([shift_x, shift_y], 1)


def _matrices(a, b, c, d):
    return np.stack([np.stack([a, b], 1), np.stack([c, d], 1)], 1)


def warped(images, matrices, shifts):
    """Images [R, H, W, C] in which what was at p is at A·p + t: float32, between pixels bilinear, 0 from outside.

    matrices, shifts: A [R, 2, 2] and t [R, 2] of (column, row), in pixels from the centre.
    """
    count, height, width, _ = images.shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1) - centre  # [H, W, 2]
    back = np.linalg.inv(matrices)
    source = np.einsum("rij,rhwj->rhwi", back, grid - shifts[:, None, None]) + centre
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(np.float32)
    source = np.clip(source + 1, 0, [width + 1, height + 1])  # the border of zeros is all that is outside
    corner = np.minimum(np.floor(source).astype(int), [width, height])
    right, down = np.moveaxis((source - corner)[..., None], -2, 0).astype(np.float32)  # weights [R, H, W, 1]
    column, row = np.moveaxis(corner, -1, 0)
    number = np.arange(count)[:, None, None]
    upper = (1 - right) * padded[number, row, column] + right * padded[number, row, column + 1]
    lower = (1 - right) * padded[number, row + 1, column] + right * padded[number, row + 1, column + 1]
    return (1 - down) * upper + down * lower
