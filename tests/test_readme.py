"""What the README shows does what it says."""

import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from maml.cli import flags
from maml.runs import supervised
from maml.runs.run import Run
from maml.runs.settings import resolve

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def printed_errors(code, capsys):
    """Mean squared errors that the Python example prints, after 0, 1, … steps."""
    exec(code, {})
    return [float(number) for number in re.findall(r"mean squared error ([\d.]+)", capsys.readouterr().out)]


def example():
    """The first Python example."""
    return re.search(r"```python\n(.*?)```", README, re.S)[1]


def test_the_python_example_trains_and_adapts(capsys):
    assert "range(1000)" in example()
    before, *after = printed_errors(example().replace("range(1000)", "range(100)"), capsys)
    assert len(after) == 3 and after[-1] < before


@pytest.mark.slow
def test_the_python_example_learns_to_adapt_as_the_readme_says(capsys):
    said = re.search(r"prints ([\d., and]+\d)", README)[1]
    errors = printed_errors(example(), capsys)
    assert [float(number) for number in re.findall(r"\d+\.\d+", said)] == pytest.approx(errors, rel=0.05)
    assert errors[3] < errors[0] / 3


def untrained_run(folder):
    """A run folder of `--datasource=folder` with the checkpoint of its initial weights."""
    settings = resolve("folder", num_classes=2, num_filters=3, image_size=16, metatrain_iterations=0)
    run = Run(supervised.SupervisedLearner(settings), folder, log=False)
    run.folder.mkdir()
    (run.folder / "config.json").write_text(json.dumps(settings.to_dict()))
    run.checkpoints.save(0)


def test_the_example_of_an_adapted_classifier(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", README, re.S)[1]
    untrained_run(tmp_path / "run")
    for place in ("ants/1.jpg", "bees/1.jpg", "bees/2.jpg", "x.jpg", "y.jpg"):
        path = tmp_path / "my_photos" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(place)).integers(256, size=(20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code.replace("logs/miniimagenet_5way_1shot/seed_1", str(tmp_path / "run")), names)
    assert set(names["names"]) <= {"ants", "bees"} and names["probabilities"].shape == (2, 2)
    assert (tmp_path / "my_model" / "saved_model.pb").exists()


def test_every_flag_in_a_command_exists():
    named = set(re.findall(r"--([a-z_]+)", " ".join(re.findall(r"^python main.py.*$", README, re.M))))
    assert named and named <= set(flags.known())


def test_every_file_it_links_to_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
