"""What the README shows does what it says."""

import pathlib
import re

import numpy as np
from PIL import Image

from maml import config, experiment, records, runs
from maml.checkpoints import Checkpoints

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


def test_the_example_of_an_adapted_classifier(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", README, re.S)[1]
    settings = config.resolve("folder", num_classes=2, num_filters=3, image_size=16)
    net, _ = experiment.build_learner(settings, (16, 16, 3))
    run = tmp_path / "run"
    records.write_json(run / "config.json", settings.to_dict())
    state = runs.State(experiment.MetaTrainer(net.init(0), settings.meta_lr))
    Checkpoints(run / "checkpoints", state, settings.to_dict()).save(0)
    for place in ("ants/1.jpg", "bees/1.jpg", "bees/2.jpg", "x.jpg", "y.jpg"):
        path = tmp_path / "my_photos" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(len(place)).integers(256, size=(20, 30, 3), dtype=np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code.replace("results/miniimagenet_5way_1shot/seed_1", str(run)), names)
    assert set(names["names"]) <= {"ants", "bees"} and names["probabilities"].shape == (2, 2)
    assert (tmp_path / "my_model" / "saved_model.pb").exists()


def test_every_flag_in_a_command_exists():
    import main

    named = set(re.findall(r"--([a-z_]+)", " ".join(re.findall(r"^python main.py.*$", README, re.M))))
    assert named and named <= set(main.FLAGS)


def test_every_file_it_links_to_is_there():
    root = pathlib.Path(__file__).parents[1]
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (root / link).exists()] == []
