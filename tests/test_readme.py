"""What README and docs show does what it says."""

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from documents import PAGES, ROOT, blocks, commands, is_shell, shorter
from PIL import Image

import maml
from data_generators.sinusoid import SinusoidTasks
from maml import layers
from maml.cli import flags
from maml.methods import maml as algorithm
from maml.runs import supervised
from maml.runs.run import Run
from maml.runs.settings import resolve

COMMANDS = [" ".join(words) for page in PAGES for words in commands(page) if "main.py" in words]
SNIPPETS = ("forward = ", "mean = ", "with tf.distribute")  # of code, which tests below put something around


def python_of(page):
    """The Python example of a page."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGES[page], re.S)
    return code


def printed_errors(code, names, capsys):
    """Mean squared errors that the example prints, after 0, 1, … steps."""
    exec(code, names)
    return [float(number) for number in re.findall(r"mean squared error ([\d.]+)", capsys.readouterr().out)]


def test_the_network_of_the_readme_trains(capsys):
    exec(python_of("README.md"), shorter(100))
    before, after = re.findall(r"[\d.]+\d", capsys.readouterr().out)
    assert 0 < float(after) < float(before)


def test_the_own_network_trains_and_adapts(capsys):
    before, *after = printed_errors(python_of("own_network.md"), shorter(100), capsys)
    assert len(after) == 3 and after[-1] < before


@pytest.mark.slow
def test_the_own_network_learns_to_adapt_as_its_page_says(capsys):
    said = re.search(r"prints ([\d., and]+\d)", PAGES["own_network.md"])[1]
    errors = printed_errors(python_of("own_network.md"), {}, capsys)
    assert [float(number) for number in re.findall(r"\d+\.\d+", said)] == pytest.approx(errors, rel=0.05)
    assert errors[3] < errors[0] / 3


def test_a_keras_model_trains_as_the_page_says():
    """All its weights move, in the first step."""
    (code,) = re.findall(r"```\n(forward = .*?)```", PAGES["own_network.md"], re.S)
    layers = [keras.layers.Input((1,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    names = {"model": keras.Sequential(layers), "tf": tf}
    exec(code, names)
    network = maml.Network(names["init"], maml.single_task(names["forward"]))
    problem = maml.Problem((1,), 1, network=lambda outputs: network, embedding=None, loss=maml.mse, metric=None)
    trainer = maml.Trainer(network.init(1), learning_rate=0.01)
    step = trainer.compile(algorithm.build(algorithm.Settings(inner_lr=0.01), problem), jit=False)
    before = trainer.current_weights()
    step(SinusoidTasks().sample("train", seed=1, step=0, num_tasks=2, num_shots=5, num_queries=5))
    assert len(before) == 4
    assert all(np.any(before[name] != w) for name, w in trainer.current_weights().items())


def untrained_run(folder):
    """A run folder of `--datasource=folder` with the checkpoint of its initial weights."""
    settings = resolve("folder", num_classes=2, num_filters=3, image_size=16, metatrain_iterations=0)
    run = Run(supervised.SupervisedLearner(settings), folder, log=False)
    run.folder.mkdir(parents=True)
    (run.folder / "config.json").write_text(json.dumps(settings.to_dict()))
    run.checkpoints.save(0)


def test_the_example_of_an_adapted_classifier(tmp_path, monkeypatch):
    untrained_run(tmp_path / "logs/miniimagenet_5way_1shot/seed_1")
    for place in ("ants/1.jpg", "bees/1.jpg", "bees/2.jpg", "x.jpg", "y.jpg"):
        path = tmp_path / "my_photos" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(place)).integers(256, size=(20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(python_of("own_images.md"), names)
    assert set(names["names"]) <= {"ants", "bees"} and names["probabilities"].shape == (2, 2)
    assert (tmp_path / "my_model" / "saved_model.pb").exists()


def snippet(page, beginning):
    """The block of a page that begins like this."""
    (code,) = [text for language, text in blocks(page) if not language and text.startswith(beginning)]
    return code


def test_the_batch_norm_of_the_page_is_the_houses():
    x = tf.constant(np.random.default_rng(0).normal(size=[1, 6, 3, 3, 2]), tf.float64)
    offset = tf.constant([0.5, -1.0], tf.float64)
    names = {"tf": tf, "x": x[0], "axes": [0, 1, 2], "offset": offset}
    exec(snippet("own_network.md", "mean = "), names)
    np.testing.assert_allclose(names["x"], layers.batch_norm(x, offset[None])[0], rtol=1e-12)


def test_a_step_is_compiled_in_the_scope_of_a_strategy_as_the_page_says():
    """Of one device, which is what there is: tests/maml/test_replicas.py has two."""
    network = maml.Network(lambda seed: {"w": tf.ones([1, 1])}, lambda weights, x: x @ weights["w"])
    problem = maml.Problem((1,), 1, network=lambda outputs: network, embedding=None, loss=maml.mse, metric=None)
    names = {"tf": tf, "maml": maml, "method": algorithm.build(algorithm.Settings(inner_lr=0.01), problem)}
    exec(snippet("several_machines.md", "with tf.distribute"), names)
    tasks = SinusoidTasks().sample("train", seed=1, step=0, num_tasks=2, num_shots=5, num_queries=5)
    assert np.isfinite(names["step"](tasks)["loss"]) and names["trainer"].iteration == 1


def test_no_block_is_shown_that_nothing_runs():
    """Python has tests of its own, here and in tests/rl; commands those of test_documented_commands.py."""
    rest = [
        text for page in PAGES for block in blocks(page) for text in block[1:] if not (block[0] or is_shell(*block))
    ]
    layout = snippet("how_it_works.md", "main.py  ")
    assert [text for text in rest if text != layout and not text.startswith(SNIPPETS)] == []
    scripts = {page: sum(language == "python" for language, _ in blocks(page)) for page in PAGES}
    assert {page: count for page, count in scripts.items() if count} == {
        "README.md": 1, "own_network.md": 1, "own_images.md": 1, "reinforcement_learning.md": 3,
    }  # fmt: skip


def test_there_are_commands():
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_every_flag_in_a_command_exists(command):
    _, given = command.split("main.py")
    assert set(re.findall(r"--([a-z_]+)", given)) <= {*flags.known(), "help", "flagfile"}


@pytest.mark.parametrize("page", PAGES)
def test_every_file_it_links_to_is_there(page):
    folder = ROOT if page == "README.md" else ROOT / "docs"
    links = re.findall(r"\]\((?!http)([^)#]+)\)", PAGES[page])
    assert [link for link in links if not (folder / link).exists()] == []


def test_the_readme_links_to_every_page():
    assert all(f"(docs/{page})" in PAGES["README.md"] for page in PAGES if page != "README.md")


def test_the_readme_is_two_screens():
    """Of 60 lines; the table's rows are one each."""
    assert PAGES["README.md"].count("\n") <= 120
