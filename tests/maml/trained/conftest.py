"""One small classifier, and what it becomes on six labelled images, for all tests of this folder."""

import own_images
import pytest


@pytest.fixture(scope="package")
def trained():
    return own_images.make()


@pytest.fixture(scope="package")
def adapted(trained):
    return trained.adapt(own_images.images(6), own_images.LABELS, num_steps=2)
