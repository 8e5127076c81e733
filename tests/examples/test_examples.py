"""The example scripts run, briefly, and what they compute is of the right kind."""

import importlib.util
import pathlib

import numpy as np
import pytest

from maml.runs import supervised

FOLDER = pathlib.Path(__file__).parents[2] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_images(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(supervised, "VALIDATION_TASKS", 2)
    assert 0.2 < example("images").main(iterations=10, logdir=tmp_path) <= 1
    assert "50 new images" in capsys.readouterr().out


def test_time_series():
    errors = example("time_series").main(iterations=200)
    assert len(errors) == 4 and errors[1] < errors[0]


def test_text_embeddings():
    found = example("text_embeddings").main(iterations=20)
    assert found.keys() == {"maml", "prototypical"} and all(0.3 < accuracy <= 1 for accuracy in found.values())
    assert np.isfinite([*found.values()]).all()


def test_robot(capsys):
    pytest.importorskip("mujoco")
    returns = example("robot").main(iterations=1, tasks=2, horizon=5)
    assert returns.shape == (2,) and (returns < 0).all()
    assert "1: return " in capsys.readouterr().out


def test_every_example_is_tested():
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in FOLDER.glob("*.py")} <= tests
