"""What `import maml` offers."""

import subprocess
import sys
from pathlib import Path

import pytest

import maml

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", maml.__all__)
def test_every_public_name_is_there(name):
    assert getattr(maml, name) is not None


def test_dir_shows_them():
    assert dir(maml) == sorted([*maml.__all__, "__version__"])


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = maml.nonsense


def test_the_version_is_that_of_the_package():
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == maml.__version__
