"""What `pip install .` puts elsewhere is whole: it trains, tests and draws from any folder."""

import configparser
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from documents import ROOT

TINY = "--datasource=sinusoid --metatrain_iterations=2 --eval_tasks=2 --nojit --nolog"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that a wheel of this repository was unpacked in."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("maml", "data_generators", "rl"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(wheel, check=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def run(installed, tmp_path, *words):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_file_of_data_is_in_the_wheel(installed):
    """But for the pictures that only the tests of the TFDS builder read."""
    files = {path.relative_to(ROOT) for name in ("maml", "data_generators", "rl") for path in (ROOT / name).rglob("*")}
    kept = {path for path in files if path.suffix not in ("", ".pyc") and "dummy_data" not in path.parts}
    assert [str(path) for path in sorted(kept) if not (installed / path).exists()] == []


@pytest.mark.slow
def test_the_console_command_is_main(installed):
    (about,) = installed.glob("*.dist-info/entry_points.txt")
    entries = configparser.ConfigParser()
    entries.read(about)
    assert dict(entries["console_scripts"]) == {"maml": "maml.cli.__main__:main"}
    assert "from maml.cli.__main__ import main\n" in (ROOT / "main.py").read_text(encoding="utf-8")


@pytest.mark.slow
def test_it_trains_tests_and_reports_from_any_folder(installed, tmp_path):
    where = run(installed, tmp_path, "-c", "import maml; print(maml.__file__)")
    assert where.startswith(str(installed))
    assert "mean squared error" in run(installed, tmp_path, "-m", "maml.cli", *TINY.split())
    assert run(installed, tmp_path, "-m", "maml.cli", "--report", "--logdir=logs") == "wrote logs/README.md\n"
    assert (tmp_path / "logs" / "index.html").exists()
