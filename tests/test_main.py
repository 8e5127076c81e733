"""The command line: the authors' commands, the way from training to the headline, and one clear line for bad input."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import authors
import numpy as np
import pytest
from commands import call, plan, refused
from PIL import Image

from data_generators import image_folder, omniglot, sources
from data_generators.errors import UserError
from data_generators.image_classes import ImageClasses, ImageTasks
from data_generators.sinusoid import SinusoidTasks
from maml import networks
from maml.cli import plans
from maml.runs import files, supervised
from maml.runs.checkpoints import Best, Latest
from maml.runs.settings import resolve, task_fractions
from maml.trained.classifier import classify_folder

ROOT = Path(__file__).parents[1]
INTERVALS = {"METRICS_EVERY": 10, "CHECKPOINT_EVERY": 20, "VALIDATION_TASKS": 4}
SINE = "--datasource=sinusoid --metatrain_iterations=40 --iterations_per_call=5 --nojit --eval_tasks=4 --nolog"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """What is written by default goes to an empty folder, and there are no data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAML_DATA", raising=False)
    for name, value in INTERVALS.items():
        monkeypatch.setattr(supervised, name, value)


# The authors' command lines: the usage in their main.py, and how its settings were published.

AUTHORS = {
    "--datasource=sinusoid --logdir=logs/sine/ --metatrain_iterations=70000 --norm=None --update_batch_size=10": (
        "logs/sine/sinusoid_10shot/seed_1",
        {"metatrain_iterations": 70000, "pretrain_iterations": 0, "norm": "None", "update_batch_size": 10,
         "update_lr": 0.001, "num_updates": 1, "meta_batch_size": 25, "method": "maml"},
    ),
    "--datasource=sinusoid --logdir=logs/sine/ --pretrain_iterations=70000 --metatrain_iterations=0 --norm=None "
    "--update_batch_size=10 --baseline=oracle": (
        "logs/sine/sinusoid_10shot_oracle/seed_1",
        {"metatrain_iterations": 70000, "pretrain_iterations": 0, "method": "oracle"},
    ),
    "--datasource=sinusoid --logdir=logs/sine/ --pretrain_iterations=70000 --metatrain_iterations=0 --norm=None "
    "--update_batch_size=10": (
        "logs/sine/sinusoid_10shot_pretrained/seed_1",
        {"metatrain_iterations": 70000, "pretrain_iterations": 0, "method": "pretrained"},
    ),
    "--datasource=omniglot --metatrain_iterations=40000 --meta_batch_size=32 --update_batch_size=1 --update_lr=0.4 "
    "--num_updates=1 --logdir=logs/omniglot5way/": (
        "logs/omniglot5way/omniglot_5way_1shot/seed_1",
        {"num_classes": 5, "metatrain_iterations": 40000, "meta_batch_size": 32, "update_batch_size": 1,
         "update_lr": 0.4, "num_updates": 1, "norm": "batch_norm", "num_filters": 64},
    ),
    "--datasource=omniglot --metatrain_iterations=40000 --meta_batch_size=16 --update_batch_size=1 --num_classes=20 "
    "--update_lr=0.1 --num_updates=5 --logdir=logs/omniglot20way/": (
        "logs/omniglot20way/omniglot_20way_1shot/seed_1",
        {"num_classes": 20, "metatrain_iterations": 40000, "meta_batch_size": 16, "update_batch_size": 1,
         "update_lr": 0.1, "num_updates": 5},
    ),
    "--datasource=miniimagenet --metatrain_iterations=60000 --meta_batch_size=4 --update_batch_size=1 --update_lr=0.01 "
    "--num_updates=5 --num_classes=5 --logdir=logs/miniimagenet1shot/ --num_filters=32 --max_pool=True": (
        "logs/miniimagenet1shot/miniimagenet_5way_1shot/seed_1",
        {"meta_batch_size": 4, "query_batch_size": 15, "clip": 10.0, "max_pool": True},
    ),
    "--datasource=miniimagenet --metatrain_iterations=60000 --meta_batch_size=4 --update_batch_size=5 --update_lr=0.01 "
    "--num_updates=5 --num_classes=5 --logdir=logs/miniimagenet5shot/ --num_filters=32 --max_pool=True": (
        "logs/miniimagenet5shot/miniimagenet_5way_5shot_meta_batch_size_4/seed_1",
        {"meta_batch_size": 4, "query_batch_size": 15, "update_batch_size": 5},
    ),
}  # fmt: skip


@pytest.fixture
def miniimagenet(monkeypatch):
    """As if its data were there."""
    monkeypatch.setattr(sources, "dataset_name", lambda datasource, _: datasource)


@pytest.mark.parametrize("command", AUTHORS)
def test_the_authors_command_has_the_authors_settings(command, miniimagenet):
    resolved, expected = plan(command).settings.to_dict(), AUTHORS[command][1]
    assert {name: resolved[name] for name in expected} == expected


@pytest.mark.parametrize("command", AUTHORS)
def test_the_authors_command_has_a_run_folder(command, miniimagenet):
    assert plan(command).folder == Path(AUTHORS[command][0])


@pytest.mark.parametrize("command", [command for command in AUTHORS if "image" in command or "omniglot" in command])
def test_the_authors_images_stand_beside_what_they_published(command, miniimagenet):
    assert plan(command).settings.cells()


def test_no_baseline_in_the_authors_words():
    assert plan("--baseline=None").settings.method == "maml"


@pytest.mark.parametrize("flag", ["--baseline=oracle", "--method=oracle", "--method=oracle --baseline=oracle"])
def test_a_baseline_is_a_method(flag):
    assert plan(flag).settings.method == "oracle"


@pytest.mark.parametrize(
    "command, split",
    [
        ("--datasource=omniglot", "test"),
        ("--datasource=omniglot --test_set=False", "val"),
        ("--datasource=omniglot --train=False --test_set=True", "test"),
        ("--datasource=omniglot --train=False", "val"),
    ],
)
def test_the_split_that_is_tested(command, split, monkeypatch):
    monkeypatch.setattr(plans, "settle", lambda _, settings, *__: (settings, None))
    assert plan(command).protocol.split == split


@pytest.mark.parametrize(
    "command, shots",
    [
        ("--datasource=omniglot --update_batch_size=5", (5,)),
        ("--datasource=omniglot --update_batch_size=10 --train_update_batch_size=5", (10,)),
        ("--datasource=sinusoid", (5, 10, 20)),
        ("--datasource=sinusoid --update_batch_size=7", (5, 10, 20, 7)),
        ("--datasource=sinusoid --update_batch_size=5 --train_update_batch_size=10", (5,)),
    ],
)
def test_the_shots_that_are_tested(command, shots):
    assert plan(command).protocol.shots == shots


TWICE = (
    "--datasource=omniglot --update_batch_size=10 --train_update_batch_size=5 --update_lr=0.01 --train_update_lr=0.3 "
    "--num_classes=20 --train_num_classes=6"
)


def test_in_training_the_flags_for_training_count():
    settings = plan(TWICE).settings
    assert (settings.task.num_classes, settings.task.num_shots, settings.own.inner_lr) == (6, 5, 0.3)


def test_at_test_the_others_do():
    protocol = plan(TWICE).protocol
    assert (protocol.ways, protocol.shots, protocol.inner_lr) == (20, (10,), 0.01)


@pytest.mark.parametrize("flag, checkpoint", [("", Best()), ("--test_iter=-1", Latest()), ("--test_iter=500", 500)])
def test_the_checkpoint_that_is_tested(flag, checkpoint):
    assert plan(f"--datasource=omniglot {flag}").protocol.checkpoint == checkpoint


def test_a_first_tweak_gets_a_folder_of_its_own():
    assert plan("--datasource=omniglot --update_lr=0.01").folder == Path(
        "logs/omniglot_5way_1shot_update_lr_0.01/seed_1"
    )


# From training to the headline


def patched():
    """A context in which INTERVALS hold, for what a module's fixtures train."""
    context = pytest.MonkeyPatch()
    for name, value in INTERVALS.items():
        context.setattr(supervised, name, value)
    return context


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """With a finished run of SINE in it."""
    folder, intervals = tmp_path_factory.mktemp("results"), patched()
    assert call(f"{SINE} --logdir={folder}") == 0
    intervals.undo()
    return folder


def run_folder(logdir):
    return logdir / "sinusoid_10shot" / "seed_1"


def contents(folder):
    """{path: (size, time of change)} of everything in a folder."""
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


def test_a_run_leaves_its_folder(logdir):
    expected = {"config.json", "metrics.csv", "summary.json", "checkpoints", "weights.npz"}
    expected |= {"learning_curve.png", "adaptation_curve.png"}
    expected |= {f"adaptation_test_{k}shot_{k}query.csv" for k in (5, 10, 20)}
    expected |= {"figure_2.png", "figure_3.png"}
    assert expected <= set(os.listdir(run_folder(logdir)))


def test_the_same_command_again_tests_and_trains_no_more(logdir, monkeypatch, capsys):
    checkpoints = contents(run_folder(logdir) / "checkpoints")
    (run_folder(logdir) / "summary.json").unlink()
    assert call(f"{SINE} --logdir={logdir}") == 0
    assert (run_folder(logdir) / "summary.json").exists()
    assert contents(run_folder(logdir) / "checkpoints") == checkpoints


def test_the_last_line_is_the_headline(logdir, capsys):
    call(f"{SINE} --logdir={logdir} --train=False --test_set --update_batch_size=10")
    last = capsys.readouterr().out.splitlines()[-1]
    assert "mean squared error" in last and "4 test tasks with 10 support and 10 query" in last


def test_another_number_of_shots_and_step_size_at_test(logdir, capsys):
    at_test = "--update_batch_size=3 --train_update_batch_size=10 --update_lr=0.01 --train_update_lr=0.001"
    assert call(f"{SINE} --logdir={logdir} --train=False {at_test}") == 0
    assert (run_folder(logdir) / "adaptation_val_3shot_3query_lr_0.01.csv").exists()


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    sample = SinusoidTasks.sample

    def interrupted(self, split, seed, step, *sizes):
        if (split, step) == ("train", 12):
            os.kill(os.getpid(), signal.SIGINT)
        return sample(self, split, seed, step, *sizes)

    monkeypatch.setattr(SinusoidTasks, "sample", interrupted)
    assert call(f"{SINE} --logdir={tmp_path}") == 130
    assert "stopped and saved at iteration 15; the same command goes on from there" in capsys.readouterr().out


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_outside_training(monkeypatch, capsys, number, code):
    """As where the images are prepared: what is being made there is cleared up on the way out."""
    before, left = signal.getsignal(number), []

    def interrupted(*_, **__):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            left.append(number)

    monkeypatch.setattr(sources, "load", interrupted)
    assert call(SINE) == code
    assert left == [number] and signal.getsignal(number) == before
    expected = "stopping …\nstopped; the same command goes on from the last checkpoint\n"
    assert capsys.readouterr().err == expected


def test_what_trains_nothing_speaks_of_no_checkpoint_when_it_is_stopped(logdir, monkeypatch, capsys):
    monkeypatch.setattr(sources, "load", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    assert call(f"{SINE} --train=False --logdir={logdir}") == 130
    assert capsys.readouterr().err == "stopping …\nstopped\n"


def test_a_report_of_runs(logdir):
    (run_folder(logdir) / "adaptation_curve.png").unlink()
    assert call(f"--report --logdir={logdir}") == 0
    assert "sinusoid_10shot" in (logdir / "README.md").read_text(encoding="utf-8")
    assert (run_folder(logdir) / "adaptation_curve.png").exists()


def test_a_report_keeps_a_page_that_is_not_ours_and_draws_nothing(logdir, tmp_path, capsys):
    shutil.copytree(run_folder(logdir), tmp_path / "sinusoid" / "seed_1")
    (tmp_path / "sinusoid" / "seed_1" / "adaptation_curve.png").unlink()
    (tmp_path / "README.md").write_text("# My project\n")
    assert "README.md is no page of results" in refused(capsys, f"--report --logdir={tmp_path}")
    assert (tmp_path / "README.md").read_text() == "# My project\n"
    assert not (tmp_path / "sinusoid" / "seed_1" / "adaptation_curve.png").exists()


def test_the_command_is_on_record(logdir):
    assert files.read_json(run_folder(logdir) / "summary.json")["command"].startswith(
        "python main.py --datasource=sinusoid "
    )


# One's own images


FOLDER = (
    "--datasource=folder --data_path=photos --image_size=16 --channels=1 --num_classes=2 --split=0.4,0.3,0.3 "
    "--num_filters=3 --metatrain_iterations=20 --meta_batch_size=2 --query_batch_size=1 --num_updates=1 "
    "--eval_tasks=3 --nolog --cache_dir=cache"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder to work in: photos/ of seven classes of three images, and a run trained on it in logs/."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    for name in "abcdefg":
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(256, size=(20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
    context = patched()
    context.chdir(folder)
    assert call(FOLDER) == 0
    context.undo()
    return folder


def trained_in(folder):
    """The one run folder there is."""
    (found,) = folder.glob("logs/*/seed_1")
    return found


def test_a_folder_of_images_is_trained_and_tested_on(photos):
    run = trained_in(photos)
    assert run.parent.name.startswith("folder_photos_2way_1shot_query_batch_size_1_image_size_16_")
    assert (run / "adaptation_test_1shot_1query.csv").exists() and (run / "adaptation_curve.png").exists()


def test_a_folder_of_splits_needs_no_flags():
    """What the settings are unasked is what the folder is divided by unasked."""
    task = resolve("folder").task
    assert (task_fractions(task), task.split_seed) == (image_folder.SPLIT, image_folder.SPLIT_SEED)


def test_one_query_at_a_time_stands_beside_the_headline(photos, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    assert call(f"{FOLDER} --train=False --test_set --transductive=False") == 0
    assert "one query at a time" in capsys.readouterr().out.splitlines()[-1]
    evaluations = files.read_json(trained_in(photos) / "summary.json")["evaluations"]
    assert [(e["transductive"], e["file"]) for e in evaluations] == [
        (True, "adaptation_test_1shot_1query.csv"), (False, "adaptation_test_1shot_1query_one_at_a_time.csv"),
    ]  # fmt: skip


def test_a_run_is_adapted_to_a_folder_from_the_shell(photos, monkeypatch, capsys, tmp_path):
    for place in ("ants/1.png", "bees/1.png", "x.png", "y.png"):
        (tmp_path / "task" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "task" / place).write_bytes((photos / "photos" / "a" / "0.png").read_bytes())
    assert call(f"--adapt=task --run={trained_in(photos)} --export=model") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("%")] == ["x.png", "y.png"]
    assert (tmp_path / "model" / "saved_model.pb").exists()


@pytest.fixture
def changed(photos, monkeypatch, tmp_path):
    """(folder, classes of each split in the training): copies of photos/ and logs/, to be changed."""
    for name in ("photos", "logs"):
        shutil.copytree(photos / name, tmp_path / name)
    recorded = files.read_json(trained_in(tmp_path) / "classes.json")
    splits = {split: list(classes) for split, classes in recorded.items()}
    assert sorted(name for names in splits.values() for name in names) == list("abcdefg")
    return tmp_path, splits


@pytest.mark.parametrize("change", ["a class more", "an image less"])
def test_a_run_on_data_that_have_changed_since_is_not_resumed(changed, capsys, change):
    folder, splits = changed
    if change == "a class more":
        shutil.copytree(folder / "photos" / "a", folder / "photos" / "h")
    else:
        (folder / "photos" / splits["val"][0] / "2.png").unlink()
    before = contents(folder / "logs")
    line = refused(capsys, f"{FOLDER} --metatrain_iterations=21")
    assert "seed_1 was trained on other data: the " in line and "expected the same images of the same classes" in line
    assert change == "a class more" or f"the val split differs by '{splits['val'][0]}'" in line
    assert contents(folder / "logs") == before


def as_split_folders(folder, **classes):
    """Makes photos/ anew, of train/, val/ and test/ with these classes."""
    for split, names in classes.items():
        for name in names:
            shutil.copytree(folder / "photos" / "a", folder / "new" / split / name)
    shutil.rmtree(folder / "photos")
    (folder / "new").rename(folder / "photos")


@pytest.mark.parametrize("tested", ["test", "val"])
@pytest.mark.parametrize("what", ["classes that it has seen", "other classes"])
def test_the_result_of_a_run_is_not_replaced_by_that_of_other_data(changed, capsys, monkeypatch, tested, what):
    """Another folder of the same name."""
    monkeypatch.setattr(image_folder, "SPLIT", (0.4, 0.3, 0.3))  # beside train/ … the flag is refused
    folder, splits = changed
    there = ["x", "y"] if what == "other classes" else [min(splits["train"]), "x"]
    others = [split for split in ("train", "val", "test") if split != tested]
    as_split_folders(folder, **{tested: there, others[0]: ["s", "t"], others[1]: ["u", "v"]})
    before = contents(folder / "logs")
    line = refused(capsys, f"{FOLDER} --train=False --test_set={tested == 'test'}")
    assert f"seed_1 was trained on other data: the {tested} split differs by " in line
    assert contents(folder / "logs") == before


def test_an_authors_checkpoint_is_tested_with_the_settings_of_the_flags(photos, monkeypatch, capsys, tmp_path):
    net = networks.conv_net((16, 16, 1), 3, 2, max_pool=True, flatten=True)
    authors.save(tmp_path / "model59000", net.init(0))
    monkeypatch.chdir(photos)
    test = f"--train=False --test_set --checkpoint={tmp_path / 'model59000'} --logdir={tmp_path / 'logs'}"
    assert call(f"{FOLDER} {test}") == 0
    assert "model59000 checkpoint (iteration 59,000)" in capsys.readouterr().out.splitlines()[-1]
    (summary,) = (tmp_path / "logs").glob("folder_photos_2way_1shot_*imported_model59000/seed_1/summary.json")
    line = refused(capsys, f"{FOLDER} --num_filters=4 {test}")
    assert "model/conv1 is [3, 3, 1, 3] in the checkpoint" in line and "expected [3, 3, 1, 4]" in line


# Bad input: one line, exit code 2, nothing written


@pytest.mark.parametrize(
    "command, message",
    [
        ("--num_clases=5", "there is no flag --num_clases; did you mean --num_classes?"),
        ("--nomax_poool", "there is no flag --nomax_poool; did you mean --max_pool?"),
        ("--num_classes=five", "flag --num_classes=five: expected an integer"),
        ("--update_lr=big", "flag --update_lr=big: expected a number"),
        ("--conv=maybe", "flag --conv=maybe: expected true or false"),
        ("--eval_tasks", "Missing value for flag --eval_tasks"),
        ("--test_set True", "unexpected 'True', expected only flags"),
        (
            "--datasource=mnist",
            "datasource is 'mnist', expected one of sinusoid, omniglot, miniimagenet, folder, glyphs",
        ),
        ("--datasource=omniglott", "datasource is 'omniglott'; did you mean omniglot?"),
        ("--method=protoypical --datasource=glyphs", "method is 'protoypical'; did you mean prototypical?"),
        ("--method=random", "method is 'random', which belongs to reinforcement learning (point, "),
        ("--method=prototypical", "method prototypical learns classification, got datasource sinusoid"),
        ("--max_kl=1 --hvp=exact", "max_kl, hvp given, which belongs to reinforcement learning (point, cheetah_vel, "),
        (
            "--method=prototypical --datasource=glyphs --num_updates=3",
            "num_updates given, which belongs to method maml, ",
        ),
        ("--method=prototypical --datasource=glyphs --train_update_lr=3", "; this is method prototypical"),
        (
            "--datasource=omniglot --train_ways=30",
            "train_ways given, which belongs to method prototypical, siamese; this is method maml",
        ),
        ("--norm=foo", "norm is 'foo', expected one of batch_norm, layer_norm, None"),
        ("--baseline=foo", "baseline is 'foo', expected oracle"),
        ("--datasource=omniglot --num_classes=-5", "num_classes is -5, expected at least 2"),
        ("--meta_batch_size=0", "meta_batch_size is 0, expected at least 1"),
        ("--update_lr=-0.1", "update_lr is -0.1, expected a positive number"),
        ("--update_lr=nan", "update_lr is nan, expected a positive number"),
        ("--num_updates=0", "num_updates is 0, expected at least 1"),
        ("--eval_tasks=0", "eval_tasks is 0, expected at least 1"),
        ("--eval_queries=0", "eval_queries is 0, expected at least 1"),
        ("--train_update_batch_size=0", "update_batch_size is 0, expected at least 1"),
        ("--train_update_batch_size=5 --update_batch_size=-3", "update_batch_size is -3, expected at least 1"),
        ("--datasource=omniglot --train_num_classes=0", "num_classes is 0, expected at least 2"),
        ("--datasource=omniglot --train_num_classes=5 --num_classes=1", "num_classes is 1, expected at least 2"),
        ("--train_num_classes=5", "num_classes"),
        ("--train_update_lr=-2", "update_lr is -2.0, expected a positive number"),
        ("--train_update_lr=0.1 --update_lr=0", "update_lr is 0.0, expected a positive number"),
        ("--test_iter=-2", "test_iter is -2, expected an iteration, or -1"),
        ("--datasource=omniglot --baseline=oracle", "method oracle learns regression, got datasource omniglot"),
        ("--max_pool", "max_pool given, but sinusoid tasks have no classes or images"),
        ("--num_classes=5", "num_classes given, but sinusoid tasks have no classes or images"),
        ("--data_path=.", "data_path given, but sinusoid reads no files"),
        ("--datasource=glyphs --data_path=.", "data_path given, but glyphs reads no files"),
        ("--datasource=omniglot --conv=False --max_pool", "max_pool goes with conv"),
        ("--datasource=miniimagenet", "no miniImagenet in $MAML_DATA (not set)"),
        ("--datasource=miniimagenet --data_path=nowhere", "--data_path nowhere is not there; expected train.csv"),
        ("--datasource=miniimagenet --image_size=64", "image_size given, but miniimagenet settles that itself"),
        ("--datasource=folder", "the folder source needs --data_path; expected a folder of class folders"),
        (
            "--datasource=folder --data_path=nowhere",
            "--data_path nowhere is not there; expected a folder of class folders",
        ),
        ("--datasource=folder --data_path=. --split=half", "split is 'half', expected three fractions that sum to 1"),
        ("--checkpoint=model59000", "checkpoint given, which is for testing; expected --train=False with it"),
        ("--train=False --checkpoint=a --test_iter=1", "checkpoint and test_iter given, expected one of them"),
        ("--transductive=False", "transductive=False goes with batch_norm, got None"),
        ("--transductive=False --norm=batch_norm", "transductive=False goes with images, got sinusoid"),
        ("--adapt=photos", "adapt needs a classifier: expected either --run=<run folder> or --checkpoint="),
        ("--adapt=photos --run=a --checkpoint=b", "adapt needs a classifier: expected either"),
        ("--adapt=photos --run=nowhere", "no run in nowhere, expected a run folder"),
        (
            "--adapt=photos --run=a --num_classes=3 --update_lr=9",
            "num_classes, update_lr given, but the run has its own",
        ),
        ("--adapt=photos --run=a --eval_tasks=3", "eval_tasks given, which --adapt has no use for"),
        ("--adapt=photos --run=a --test_iter=20", "test_iter given, but the run has its own settings"),
        (
            "--adapt=photos --checkpoint=a --datasource=miniimagenet --update_lr=-1",
            "update_lr is -1.0, expected a positive",
        ),
        ("--run=results/run", "run given without adapt, expected --adapt=<folder> with it"),
        ("--export=model --adapt_steps=3", "adapt_steps, export given without adapt, expected --adapt"),
        ("--benchmark --datasource=omniglot --num_filters=3", "num_filters given, which the benchmark settles itself"),
        ("--report --datasource=omniglot", "datasource given, which --report has no use for"),
        ("--help --datasource=mnist", "datasource is 'mnist', expected one of "),
        ("--benchmark --datasource=glyphs", "ant_vel, ant_dir, got --datasource=glyphs"),
        ("--train=False --resume=False", "resume=False given with train=False, which trains nothing to begin anew"),
        ("--report --benchmark", "--report and --benchmark given, expected one of them"),
        ("--report --adapt=photos --run=a", "--report and --adapt given, expected one of them"),
        ("--reproduce=list --methods", "given, expected one of them"),
        ("--cache_dir=cache", "cache_dir given, but sinusoid has no images to keep"),
        ("--train=False --checkpoint=", "--checkpoint= has nothing behind it, expected a value"),
        ("--adapt=photos --run=a --export=", "--export= has nothing behind it, expected a value"),
        ("--adapt= --run=a", "--adapt= has nothing behind it, expected a value"),
        ("--test_iter=1 --metatrain_iterations=9000000000000", "expected one of 8999999999820, 8999999999840"),
        ("--test_iter=1", "test_iter is 1, which the training leaves no checkpoint of; expected one of 69820, 69840"),
        ("--train=False", "no run in logs/sinusoid_10shot/seed_1: nothing to test"),
        ("--report", "no tested run in results, expected <experiment>/seed_<seed>/summary.json in it"),
        (
            "--datasource=omniglot --data_path=nowhere",
            "--data_path nowhere is not there; expected images_background.zip",
        ),
    ],
)
def test_bad_input_gets_one_line(command, message, capsys):
    assert message in refused(capsys, command)
    assert os.listdir() == []


def test_an_iteration_that_is_left_by_the_training_may_be_tested(logdir):
    assert call(f"{SINE} --logdir={logdir} --test_iter=20") == 0


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_where_the_terminal_has_no_greek_a_letter_is_replaced(monkeypatch, encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert call("--helpfull") == 0
    out.flush()
    assert b"--update_lr: ?: step size of the inner loop" in out.buffer.getvalue()


def test_a_run_of_reinforcement_learning_is_no_classifier(capsys, tmp_path):
    (tmp_path / "run").mkdir()
    files.write_json(tmp_path / "run" / "config.json", {"datasource": "cheetah_vel"})
    assert "run is a run of cheetah_vel, which has no images and no classes, expected" in refused(
        capsys, "--adapt=photos --run=run"
    )


def test_where_to_export_is_judged_first(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "file").write_text("")
    with pytest.raises(UserError, match="model is there already, expected a new folder"):
        classify_folder(None, "photos", export="model")


def test_a_data_path_that_is_empty(capsys, tmp_path):
    (tmp_path / "data").mkdir()
    assert "--data_path data is empty; expected images_background.zip" in refused(
        capsys, "--datasource=omniglot --data_path=data --cache_dir=cache"
    )
    assert os.listdir() == ["data"]


def test_a_data_path_of_another_layout(capsys, tmp_path):
    (tmp_path / "data" / "cats").mkdir(parents=True)
    assert "--data_path data holds no Omniglot" in refused(capsys, "--datasource=omniglot --data_path=data")


def test_a_data_path_with_characters_missing(capsys, tmp_path):
    character = tmp_path / "data" / omniglot.CHARACTERS[0]
    character.mkdir(parents=True)
    Image.new("1", (105, 105)).save(character / "0001_01.png")
    line = refused(capsys, "--datasource=omniglot --data_path=data --cache_dir=cache")
    assert "has 1 characters; expected Omniglot's 1623" in line
    assert not (tmp_path / "logs").exists()


def test_a_logdir_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in refused(capsys, f"{SINE} --logdir=file/results")


@pytest.fixture
def few_images(monkeypatch):
    """Eight classes a split, of six images each but one of two."""
    sizes = [6, 6, 6, 2, 6, 6, 6, 6]
    images = np.zeros((sum(sizes), 28, 28, 1), np.uint8)
    classes = ImageClasses(images, np.cumsum([0, *sizes]), tuple(f"letter {i}" for i in range(8)))
    splits = {split: classes for split in ("train", "val", "test")}
    monkeypatch.setattr(sources, "load", lambda _, num_classes, **__: ImageTasks(splits, num_classes, rotate=True))


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--update_batch_size=3", "class 'letter 3' of the test split has 2 images; 3 support + 3 query"),
        ("--eval_queries=5", "class 'letter 3' of the test split has 2 images; 1 support + 5 query"),
        ("--num_classes=9", "the test split has 8 classes; 9-way tasks need at least 9"),
    ],
)
def test_data_that_do_not_suffice_are_named(flags, message, few_images, capsys):
    assert message in refused(capsys, f"--datasource=omniglot {flags}")
    assert os.listdir() == []


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--train=False --update_lr=0.5", "no run in "),
        ("--metatrain_iterations=30", "trained to iteration 40 already, expected no more than the 30 asked for"),
        ("--train=False --test_iter=30", "no checkpoint of iteration 30 in "),
        ("--train=False --test_iter=30", "; there: 20, 40"),
        ("--train=False --seed=2", "seed_2: nothing to test"),
    ],
)
def test_flags_that_contradict_the_run_folder(flags, message, logdir, capsys):
    before = contents(logdir)
    assert message in refused(capsys, f"{SINE} --logdir={logdir} {flags}")
    assert contents(logdir) == before


def test_a_folder_without_checkpoints(logdir, tmp_path, capsys):
    copy = tmp_path / "sinusoid_10shot" / "seed_1"
    copy.mkdir(parents=True)
    (copy / "config.json").write_bytes((run_folder(logdir) / "config.json").read_bytes())
    assert "nothing is trained there yet" in refused(capsys, f"{SINE} --logdir={tmp_path} --train=False")


# As a command of its own


def command(*flags):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAML_DATA", "TF_"))}
    return subprocess.run(
        [sys.executable, ROOT / "main.py", *flags], capture_output=True, text=True, timeout=300, env=environment
    )


def test_bad_input_ends_the_command_with_2_and_one_line():
    done = command("--num_classes=five")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: flag --num_classes=five: expected an integer (--help lists the flags)\n"


def test_without_arguments_it_says_what_to_begin_with(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("") == 0
    text = capsys.readouterr().out
    assert text.count("python main.py --datasource=") == 5 and text.count("\n") <= 22
    assert not list(tmp_path.iterdir())


def test_a_run_says_first_what_it_will_do(tmp_path, capsys):
    assert call(f"--datasource=sinusoid --metatrain_iterations=1 --logdir={tmp_path} --eval_tasks=2") == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith(
        f"training Sinusoid, 10-shot, MAML: iterations 0 to 1, in {tmp_path / 'sinusoid_10shot' / 'seed_1'}; "
    )


def test_what_has_nothing_to_train_says_first_what_it_will_do(tmp_path, capsys):
    assert call(f"--datasource=glyphs --method=pixels --logdir={tmp_path} --eval_tasks=2 --nolog") == 0
    folder = tmp_path / "glyphs_5way_1shot_pixels" / "seed_1"
    assert f"testing Glyphs, 5-way 1-shot, pixels: 2 tasks, in {folder}\n" in capsys.readouterr().err


def test_help_explains_the_flags():
    text = command("--help").stdout
    assert (
        "python main.py --datasource=omniglot" in text and "--update_lr: α: step size of the inner loop [0.001]" in text
    )


@pytest.mark.parametrize("name, module", [("miniimagenet", "maml.benchmarks.meta_step"), ("ant_dir", "rl.benchmark")])
def test_the_benchmark_that_goes_with_the_data_source(name, module, monkeypatch):
    if module.startswith("rl"):
        pytest.importorskip("mujoco")
    measured = []
    monkeypatch.setattr(f"{module}.main", lambda *asked: measured.append(asked))
    assert call(f"--benchmark --datasource={name}") == 0
    assert [asked[0] for asked in measured] == [name]


def test_the_benchmark_of_a_method(monkeypatch):
    measured = []
    monkeypatch.setattr("maml.benchmarks.meta_step.main", lambda *asked: measured.append(asked))
    assert call("--benchmark --method=reptile") == 0
    assert measured == [("omniglot", "reptile")]


def test_the_benchmark_of_larger_tasks(monkeypatch):
    measured = []
    monkeypatch.setattr("maml.benchmarks.meta_step.main", lambda *asked, **sizes: measured.append(sizes))
    assert call("--benchmark --num_classes=20 --update_batch_size=5") == 0
    assert measured == [{"num_classes": 20, "update_batch_size": 5}]
