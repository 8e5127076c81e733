"""What the docs show of reinforcement learning does what it says."""

import pathlib
import re

from documents import shorter

from maml.runs.run import Run
from rl.learner import PolicyLearner
from rl.settings import resolve

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "reinforcement_learning.md").read_text(encoding="utf-8")


def test_the_python_example(capsys):
    (code,) = re.findall(r"```python\n(import gymnasium\n.*?)```", PAGE, re.S)
    names = shorter(1)
    exec(code, names)
    assert names["info"]["task"] == [1.5] and names["observation"].shape == (20,)
    assert names["returns"].shape == (3, 2) and names["run"].iteration == 1
    assert -110 < float(capsys.readouterr().out) < 0


def test_the_examples_of_ones_own_goal_and_environment(tmp_path, monkeypatch, capsys):
    """With a run in logs/point/seed_1, untrained."""
    monkeypatch.chdir(tmp_path)
    settings = resolve("point", metatrain_iterations=0)
    Run(PolicyLearner(settings), tmp_path / "logs/point/seed_1", log=False).train()
    (goal,) = re.findall(r"```python\n(import rl\n.*?)```", PAGE, re.S)
    (own,) = re.findall(r"```python\n(import numpy as np\nimport gymnasium\n.*?)```", PAGE, re.S)
    names = shorter(1)
    exec(goal, names)
    assert names["adapted"].returns.shape == (2,) and names["action"].shape == (2,)
    exec(own, names)
    assert names["blown"].returns.shape == (3,) and names["returns"].shape == (2, 2)
    assert names["run"].iteration == 1 and len(capsys.readouterr().out.splitlines()) == 2
