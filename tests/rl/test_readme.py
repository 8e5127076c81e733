"""What the docs show of reinforcement learning does what it says."""

import pathlib
import re

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "reinforcement_learning.md").read_text(encoding="utf-8")


def test_the_python_example(capsys):
    (code,) = re.findall(r"```python\n(import gymnasium\n.*?)```", PAGE, re.S)
    names = {}
    exec(code.replace("range(3)", "range(1)").replace("rollouts=20", "rollouts=2"), names)
    assert names["info"]["task"] == [1.5] and names["observation"].shape == (20,)
    assert names["returns"].shape == (3, 2) and names["run"].iteration == 1
    assert -110 < float(capsys.readouterr().out) < 0
