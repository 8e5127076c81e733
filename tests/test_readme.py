"""What the README shows does what it says."""

import pathlib
import re

import numpy as np

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_trains_and_adapts():
    code = re.search(r"```python\n(.*?)```", README, re.S)[1]
    assert "range(1000)" in code
    names = {}
    exec(code.replace("range(1000)", "range(30)"), names)
    assert all(np.isfinite(value.numpy()).all() for value in names["metrics"].values())
    assert int(names["trainer"].iteration) == 30
    assert names["predictions"].shape == (1, 10, 1)
    losses = [
        float(names["learner"].loss(names["learner"].forward(w, names["task"].support_x), names["task"].support_y)[0])
        for w in names["adapted"]
    ]
    assert losses[-1] < losses[0]


def test_every_flag_in_a_command_exists():
    import main

    named = set(re.findall(r"--([a-z_]+)", " ".join(re.findall(r"^python main.py.*$", README, re.M))))
    assert named and named <= set(main.FLAGS)


def test_every_file_it_links_to_is_there():
    root = pathlib.Path(__file__).parents[1]
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (root / link).exists()] == []
