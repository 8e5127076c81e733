"""The commands of README and docs, page by page in their order, on made-up data: shortened by flags, not edited.

What installs or runs these tests is left to .ci/run.
"""

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import authors
import numpy as np
import own_images
import pytest
import tensorflow as tf
from documents import PAGES, ROOT, commands
from PIL import Image

from data_generators import omniglot
from maml import networks
from maml.benchmarks import meta_step, sharing
from maml.cli import estimate
from maml.cli.__main__ import main
from maml.runs import supervised
from maml.runs.settings import resolve
from rl import benchmark

SHORT = ("--metatrain_iterations=2", "--eval_tasks=4", "--nojit", "--nolog")
SMALL = ("--num_updates=1", "--num_filters=4", "--query_batch_size=1")
SHORTER = {  # than that, for a command with these words in it
    "--datasource=omniglot": ("--meta_batch_size=2", "--num_filters=4"),
    "--datasource=miniimagenet": SMALL,
    "--datasource=folder": SMALL,
    "--datasource=cheetah_vel": ("--meta_batch_size=2", "--update_batch_size=2", "--horizon=5"),
    "--pretrain_iterations=70000": ("--pretrain_iterations=2",),
    "--pretrain_iterations=30000": ("--pretrain_iterations=2",),
    "--budget=8": ("--budget=1e-9",),
}
NOT_WITH = {  # flags above that some commands don't understand, or that would undo what they are about
    "--conv=False": ("--num_filters=4",),
    "--method=prototypical": ("--meta_batch_size=2",),
    "--checkpoint=model59000": SMALL,
    "--metatrain_iterations=0": ("--metatrain_iterations=2",),
}
NOT_SHORTENED = ("--adapt", "--benchmark")  # seconds as they are, or measured by tests of their own
MY_RUN = "logs/folder_my_images_5way_1shot"
ELSEWHERE = {  # commands that another program runs, or other machines
    "pip": ".ci/run",
    "python -m pytest": ".ci/run",
    "srun": "tests/maml/runs/test_workers.py, by two processes",
}


def shortened(words):
    """The words, and behind them flags that make a matter of seconds of them; of two that disagree the last counts."""
    is_run = any(word.startswith(("--datasource", "--flagfile")) for word in words)
    added = [*(SHORT if is_run else ()), *(flag for word in words for flag in SHORTER.get(word, ()))]
    unwanted = {flag for word in words for flag in NOT_WITH.get(word, ())}
    return [*words, *(flag for flag in added if flag not in unwanted)]


# Made-up data


def write_images(folder, labels, count, size=(12, 10)):
    """`count` random images of each class."""
    rng = np.random.default_rng(0)
    for label in labels:
        (folder / label).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(256, size=(*size, 3), dtype=np.uint8)).save(folder / label / f"{i}.png")


def write_omniglot(folder):
    """Zips of all characters, with the same 20 drawings of 28×28 pixels each."""
    drawings = []
    for pixels in np.random.default_rng(0).random((20, 28, 28)) < 0.5:
        drawings.append(io.BytesIO())
        Image.fromarray(pixels).save(drawings[-1], "PNG")
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "images_background.zip", "w") as archive:
        for character in omniglot.CHARACTERS:
            for i, drawing in enumerate(drawings):
                archive.writestr(f"images_background/{character}/{i:02d}.png", drawing.getvalue())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """$MAML_DATA: what looks like Omniglot and miniImagenet."""
    folder = tmp_path_factory.mktemp("data")
    write_omniglot(folder / "omniglot")
    for split in ("train", "val", "test"):
        write_images(folder / "miniImagenet" / split, [f"{split}{i}" for i in range(5)], 20)
    return folder


@pytest.fixture
def work(tmp_path, data, monkeypatch):
    """The folder of someone who has cloned this repository, with the files that the pages take for granted."""
    for name, value in {"MAML_DATA": data, "MAML_CACHE": data / "cache", "PYTHONPATH": ROOT}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    for name, value in {"METRICS_EVERY": 2, "VALIDATION_TASKS": 2}.items():
        monkeypatch.setattr(supervised, name, value)
    shutil.copy(ROOT / "main.py", tmp_path)
    for name in ("omniglot_5way_1shot_prototypical", "sinusoid_10shot"):
        shutil.copytree(ROOT / "results" / name, tmp_path / "results" / name)
    (tmp_path / "DIR").symlink_to(data / "miniImagenet")
    write_images(tmp_path / "my_images", [f"class {i}" for i in range(30)], 16)
    for name in ("my_drawings", "my_photos"):
        write_images(tmp_path / name, [f"class {i}" for i in range(5)], 1)
        shutil.copy(tmp_path / name / "class 0" / "0.png", tmp_path / name / "which.png")
    own_images.write_run(tmp_path / "logs" / "miniimagenet_5way_1shot" / "seed_1", resolve("miniimagenet"))
    net = networks.conv_net((84, 84, 3), 32, 5, max_pool=True, flatten=True)
    authors.save(tmp_path / "model59000", net.init(0))
    (tmp_path / "mine.txt").write_text("--datasource=sinusoid\n--meta_batch_size=5\n")
    return tmp_path


@pytest.fixture
def measured(monkeypatch):
    """What took minutes is only noted: the benchmarks, and the estimates of how long a training takes."""
    asked = []
    for module in (meta_step, sharing, benchmark):
        monkeypatch.setattr(module, "main", lambda *of, **sizes: asked.append(of))
    monkeypatch.setattr(estimate, "in_a_process", lambda flags: 1.0)
    return asked


# Running them


def follow(words):
    """Runs a command, and returns its exit code."""
    program, *flags = words[1:]
    if not any(flag.startswith(NOT_SHORTENED) for flag in flags):
        flags = shortened(flags)
    if program == "-m":
        assert flags[0] == "maml.launch"
        return subprocess.run([sys.executable, "-m", *flags], timeout=300).returncode
    assert program == "main.py"
    code = main(flags)
    if "--data_path=my_images" in flags and not Path(MY_RUN).exists():
        (folder,) = Path("logs").glob("folder_my_images_5way_1shot_*")
        folder.rename(MY_RUN)  # where it is when nothing is shortened
    return code


def expected_code(words):
    """0; 2 for a strategy of several GPUs, which no test has; 130 of a budget that is used up."""
    if "--strategy=mirrored" in words and len(tf.config.list_physical_devices("GPU")) < 2:
        return 2
    return 130 if any(word.startswith("--budget") for word in words) else 0


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_the_commands_of_a_page_run_in_their_order(page, work, measured, capsys):
    for words in commands(page):
        command = " ".join(words)
        if command.startswith(tuple(ELSEWHERE)):
            continue
        assert follow(words) == expected_code(words), f"{command}: {capsys.readouterr().err}"
    assert len(measured) == sum("--benchmark" in words for words in commands(page))
