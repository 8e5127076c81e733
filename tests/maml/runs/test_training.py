"""A run from Python is the command line's."""

import numpy as np
import pytest
from commands import call

import maml
from data_generators.errors import UserError
from maml.runs import files, supervised

SMALL = {"num_classes": 2, "num_filters": 3, "metatrain_iterations": 2, "meta_batch_size": 2}


@pytest.fixture(autouse=True)
def few_validation_tasks(monkeypatch):
    monkeypatch.setattr(supervised, "VALIDATION_TASKS", 2)


def test_the_folder_is_that_of_the_command(tmp_path):
    """The same weights, bit for bit, and a headline."""
    small = {"metatrain_iterations": 2, "meta_batch_size": 2}
    folder = maml.train("sinusoid", logdir=tmp_path / "python", eval_tasks=2, log=False, **small)
    flags = " ".join(f"--{name}={value}" for name, value in small.items())
    assert call(f"--datasource=sinusoid {flags} --eval_tasks=2 --log=False --logdir={tmp_path / 'command'}") == 0
    twin = tmp_path / "command" / folder.parent.name / folder.name
    ours, theirs = (np.load(path / "weights.npz") for path in (folder, twin))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs.files if theirs[name].dtype == np.float32)
    summaries = [files.read_json(path / "summary.json") for path in (folder, twin)]
    assert summaries[0]["evaluations"] == summaries[1]["evaluations"]
    assert summaries[0]["command"].startswith("maml.train('sinusoid', 'maml', metatrain_iterations=2, ")


def test_what_it_returns_is_what_load_run_takes(tmp_path):
    folder = maml.train("glyphs", "prototypical", logdir=tmp_path, eval_tasks=2, log=False, train_ways=2, **SMALL)
    classifier = maml.load_run(folder)
    images = np.random.default_rng(1).integers(256, size=(4, 28, 28, 1), dtype=np.uint8)
    names, probabilities = classifier.adapt(images[:2], ["a", "b"]).predict(images[2:])
    assert set(names) <= {"a", "b"} and probabilities.shape == (2, 2)


def test_called_again_it_goes_on(tmp_path, capsys):
    maml.train("sinusoid", logdir=tmp_path, eval_tasks=2, log=False, metatrain_iterations=2)
    maml.train("sinusoid", logdir=tmp_path, eval_tasks=2, log=False, metatrain_iterations=4)
    assert "iterations 2 to 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    "datasource, given, message",
    [("omniglut", {}, "omniglut"), ("sinusoid", {"num_updats": 2}, "num_updats"), ("sinusoid", {"method": "x"}, "x")],
)
def test_what_cannot_be_asked_for(datasource, given, message, tmp_path):
    with pytest.raises((UserError, TypeError), match=message):
        maml.train(datasource, logdir=tmp_path, **given)
    assert not list(tmp_path.iterdir())
