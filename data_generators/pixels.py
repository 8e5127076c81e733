"""The one rule for what a pixel's number means: uint8 from 0 to 255, or float from 0 to 1. Anything else is refused."""

import numpy as np

from data_generators.errors import UserError

EXPECTED = "uint8 (0 to 255) or float (0 to 1)"
# A file of wider grey says that its white is 65535. Where nothing in it is brighter than this, white is more likely
# what a camera of 12 bits, or a file of 8, wrote there.
WIDE_RANGE, DARK = 65535, 4095


def check(images, what="the images"):
    """UserError unless the array holds uint8 that aren't all 0 or 1, or floats from 0 to 1. what: it is called so."""
    if np.issubdtype(images.dtype, np.floating):
        if images.size and not (images.min() >= 0 and images.max() <= 1):
            raise UserError(f"{what} have values from {images.min():g} to {images.max():g}, expected {EXPECTED}")
    elif images.dtype != np.uint8:
        raise UserError(f"{what} are {images.dtype}, expected {EXPECTED}")
    elif _largest(images) == 1:
        raise UserError(f"{what} are uint8 of 0 and 1 alone, which is black; expected {EXPECTED}")


def _largest(images):
    """The largest value, or one above 1: as a rule the first image has it, and the others needn't be read."""
    largest = 0
    for image in images:
        largest = max(largest, image.max(initial=0))
        if largest > 1:
            break
    return largest


def scaled(images):
    """float32 from 0 to 1 of an array that `check` let through."""
    x = images.astype(np.float32, order="C")
    if images.dtype == np.uint8:
        x /= np.float32(255)  # times 1 / 255 would round otherwise
    return x


def narrowed(wide):
    """uint8 of grey values from 0 to 65535. ValueError for others, and where they may mean 8 or 12 bits instead."""
    low, high = int(wide.min()), int(wide.max())
    if low < 0 or high > WIDE_RANGE:
        raise ValueError(f"grey values from {low} to {high}, outside 0 to {WIDE_RANGE}")
    if 0 < high <= DARK:
        dark_or_not = "dark, or of fewer bits, can't be told"
        raise ValueError(f"grey values up to {high} where white is {WIDE_RANGE}: whether that is {dark_or_not}")
    return ((wide.astype(np.int64) + 128) // 257).astype(np.uint8)
