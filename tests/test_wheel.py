"""What `pip install .` puts elsewhere is whole: it trains, tests and draws from any folder, by `maml` as by main.py.

The environment it is installed in is its own. The packages that it needs are those of the environment of the tests.
"""

import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest
from documents import ROOT

TINY = "--datasource=sinusoid --metatrain_iterations=2 --eval_tasks=2 --nojit --nolog"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The folder of a virtual environment in which a wheel of this repository was installed."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("environment")
    for name in ("maml", "data_generators", "rl"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", source, source]
    subprocess.run(wheel, check=True)
    (path,) = source.glob("*.whl")
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", "--no-deps", "--no-index", path], check=True)
    return folder


@pytest.fixture(scope="module")
def installed(environment):
    """The folder of its packages."""
    (folder,) = environment.glob("lib/python*/site-packages")
    return folder


def run(environment, tmp_path, program, *words):
    # Not where this repository is installed for editing: of the tests' packages that is a line in a .pth file.
    variables = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    command = [environment / "bin" / program, *words]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300)
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
    (about,) = installed.glob("maml_tf2*.dist-info/entry_points.txt")
    entries = configparser.ConfigParser()
    entries.read(about)
    assert dict(entries["console_scripts"]) == {"maml": "maml.cli.__main__:main"}
    assert "from maml.cli.__main__ import main\n" in (ROOT / "main.py").read_text(encoding="utf-8")


@pytest.mark.slow
def test_it_trains_tests_and_reports_from_any_folder(environment, installed, tmp_path):
    where = run(environment, tmp_path, "python", "-c", "import maml; print(maml.__file__)")
    assert where.startswith(str(installed))
    assert "mean squared error" in run(environment, tmp_path, "maml", *TINY.split())
    assert run(environment, tmp_path, "maml", "--report", "--logdir=logs") == "wrote logs/README.md\n"
    assert (tmp_path / "logs" / "index.html").exists()
