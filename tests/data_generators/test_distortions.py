"""Affine distortions: maps by hand, and that each image of a task has a random one of its own."""

import numpy as np
import pytest

from data_generators import distortions
from data_generators.image_classes import ImageClasses, ImageTasks

IMAGE = np.random.default_rng(0).integers(1, 256, (1, 5, 5, 2), np.uint8)
IDENTITY, NO_SHIFT = np.eye(2)[None], np.zeros((1, 2))


def test_the_identity_leaves_an_image_as_it_is():
    got = distortions.warped(IMAGE, IDENTITY, NO_SHIFT)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, IMAGE)


def test_a_shift_by_a_column_right_and_a_row_down_leaves_zeros_behind():
    got = distortions.warped(IMAGE, IDENTITY, np.array([[1.0, 1.0]]))
    np.testing.assert_array_equal(got[:, 1:, 1:], IMAGE[:, :-1, :-1])
    assert not got[:, 0].any() and not got[:, :, 0].any()


def test_a_shift_by_half_a_column_is_the_mean_of_two():
    got = distortions.warped(IMAGE, IDENTITY, np.array([[0.5, 0.0]]))
    pixels = IMAGE.astype(float)
    np.testing.assert_allclose(got[:, :, 1:], (pixels[:, :, 1:] + pixels[:, :, :-1]) / 2)
    np.testing.assert_allclose(got[:, :, 0], pixels[:, :, 0] / 2)  # the other half is outside


def test_a_quarter_turn():
    """(1, 0), one column right, goes to (0, 1), one row down."""
    got = distortions.warped(IMAGE, np.array([[[0.0, -1.0], [1.0, 0.0]]]), NO_SHIFT)
    np.testing.assert_allclose(got, np.rot90(IMAGE, -1, (1, 2)), atol=1e-4)


def test_twice_as_large():
    """What was one pixel from the centre is two from it, and the centre stays."""
    got = distortions.warped(IMAGE, 2 * IDENTITY, NO_SHIFT)
    np.testing.assert_allclose(got[:, 2, 4], IMAGE[:, 2, 3])
    np.testing.assert_allclose(got[:, 2, 2], IMAGE[:, 2, 2])


def test_far_outside_there_is_nothing():
    assert not distortions.warped(IMAGE, IDENTITY, np.array([[100.0, -100.0]])).any()


def test_the_map_of_seven_components():
    """Scales 1.2 and 0.8, then shear along x by 0.3, then 10°: R(10°)·[[1, 0.3], [0, 1]]·diag(1.2, 0.8)."""
    matrices, shifts = distortions.affine_maps(np.array([[10, 0.3, 0, 1.2, 0.8, 0.01, -0.02]]))
    cos, sin = np.cos(np.pi / 18), np.sin(np.pi / 18)
    expected = [[1.2 * cos, 0.24 * cos - 0.8 * sin], [1.2 * sin, 0.24 * sin + 0.8 * cos]]
    np.testing.assert_allclose(matrices[0], expected)
    np.testing.assert_array_equal(shifts, [[0.01, -0.02]])


def test_koch_has_each_component_half_of_the_time_and_uniform_between_its_limits():
    components = distortions.components("affine", (40, 100), np.random.default_rng(0)).reshape(4000, 7)
    limits = [(-10, 10), (-0.3, 0.3), (-0.3, 0.3), (0.8, 1.2), (0.8, 1.2), (-2 / 105, 2 / 105), (-2 / 105, 2 / 105)]
    for column, (low, high), neutral in zip(components.T, limits, distortions.NEUTRAL, strict=True):
        moved = column[column != neutral]
        assert len(moved) / 4000 == pytest.approx(0.5, abs=0.03)
        assert low <= moved.min() < low + 0.01 * (high - low) and high >= moved.max() > high - 0.01 * (high - low)
        assert moved.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))


def test_santoro_turns_and_shifts_every_image():
    components = distortions.components("turned_and_shifted", (4000,), np.random.default_rng(0))
    np.testing.assert_array_equal(components[:, 1:5], np.tile([0, 0, 1, 1], (4000, 1)))
    moved = components[:, [0, 5, 6]]
    assert (moved != 0).all()
    np.testing.assert_allclose(np.abs(moved).max(0), [11.25, 10 / 105, 10 / 105], rtol=0.01)
    np.testing.assert_allclose(moved.mean(0), 0, atol=0.3)


def tasks():
    images = np.full((12, 9, 9, 1), 200, np.uint8)
    classes = ImageClasses(images, np.arange(0, 13, 4), ("a", "b", "c"))
    return ImageTasks({"train": classes}, 2, rotate=True)


def draw(step, distorted):
    return tasks().sample("train", 1, step, 2, 2, 2, None, False, distorted)


def test_every_image_of_a_task_is_distorted_in_its_own_way_and_the_same_again():
    first, again, other = draw(0, "affine"), draw(0, "affine"), draw(1, "affine")
    np.testing.assert_array_equal(first.support_x, again.support_x)
    assert np.abs(first.support_x - other.support_x).max() > 0.1
    every = np.concatenate([first.support_x, first.query_x], 1).reshape(16, -1)
    assert len(np.unique(every, axis=0)) > 12  # one in 128 is left as it is
    assert every.dtype == np.float32 and every.min() >= 0 and every.max() <= 200 / 255 + 1e-6


def test_distorted_or_not_the_same_images_are_drawn(monkeypatch):
    still = distortions.Distortion(np.stack([distortions.NEUTRAL, distortions.NEUTRAL], 1), 1)
    monkeypatch.setitem(distortions.DISTORTIONS, "affine", still)
    for got, expected in zip(draw(0, "affine"), draw(0, None)):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
