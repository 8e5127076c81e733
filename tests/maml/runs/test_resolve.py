"""What is asked for, held against what the folder holds."""

import os

import pytest

from data_generators.errors import UserError
from maml.runs import files
from maml.runs import resolve as resolving
from maml.runs.settings import resolve
from maml.runs.supervised import KIND


def settle(logdir, train=True, resume=True, **given):
    return resolving.settle(KIND, resolve("omniglot", **given), given, logdir, train, resume)


def folder_of(settings, logdir):
    """The run folder, with config.json in it."""
    folder = files.run_folder(logdir, settings.name, settings.seed)
    files.write_json(folder / "config.json", settings.to_dict())
    return folder


@pytest.fixture
def logdir(tmp_path):
    """With a folder of a run of 500 iterations, whose α was 0.2 when folders were named by less."""
    there = resolve("omniglot", update_lr=0.2, metatrain_iterations=500)
    files.write_json(tmp_path / "omniglot_5way_1shot" / "seed_1" / "config.json", there.to_dict())
    return tmp_path


def test_a_new_run_has_a_folder_by_its_name_and_seed(tmp_path):
    assert settle(tmp_path, seed=3)[1] == tmp_path / "omniglot_5way_1shot" / "seed_3"


def test_a_first_tweak_has_a_folder_of_its_own(logdir):
    settings, folder = settle(logdir, update_lr=0.01)
    assert settings.own.inner_lr == 0.01 and folder.parent.name == "omniglot_5way_1shot_update_lr_0.01"


def test_settling_writes_nothing(tmp_path):
    settle(tmp_path)
    assert os.listdir(tmp_path) == []


def test_testing_what_was_never_trained(tmp_path):
    with pytest.raises(UserError, match="no run in .*seed_1: nothing to test"):
        settle(tmp_path, train=False)


def test_training_on_with_other_settings_is_refused(logdir):
    with pytest.raises(UserError, match="update_lr=0.2 there and 0.4 here"):
        settle(logdir)


def test_training_on_for_longer_is_not(tmp_path):
    folder_of(resolve("omniglot", metatrain_iterations=500), tmp_path)
    assert settle(tmp_path, metatrain_iterations=900)[0].total_iterations == 900


def test_not_resuming_may_differ(logdir):
    assert settle(logdir, resume=False)[0].own.inner_lr == 0.4


def test_testing_takes_the_settings_from_the_folder(logdir):
    assert settle(logdir, train=False)[0].own.inner_lr == 0.2


def test_testing_with_a_flag_that_differs_is_refused(tmp_path):
    folder_of(resolve("omniglot"), tmp_path)
    os.rename(tmp_path / "omniglot_5way_1shot", tmp_path / "omniglot_5way_1shot_meta_batch_size_9")
    with pytest.raises(UserError, match="meta_batch_size=32 there and 9 here"):
        settle(tmp_path, train=False, meta_batch_size=9)


def test_testing_takes_what_is_of_this_machine_from_the_command_line(logdir):
    engine = settle(logdir, train=False, tasks_per_chunk=7, jit=False)[0].engine
    assert (engine.tasks_per_chunk, engine.jit) == (7, False)


def with_checkpoint(logdir, *, config=True, **given):
    """The folder of a run of other settings, with a checkpoint that says so; config: and config.json too."""
    settings = resolve("omniglot", update_lr=0.2, **given)
    folder = files.run_folder(logdir, resolve("omniglot").name, 1)
    for iteration, record in ((900, {}), (1000, settings.to_dict())):
        files.write_json(folder / f"checkpoints/iteration_{iteration:08d}/settings.json", record)
    if config:
        files.write_json(folder / "config.json", settings.to_dict())
    return folder


def test_where_config_json_is_lost_the_newest_checkpoint_says_the_settings(tmp_path):
    with_checkpoint(tmp_path, config=False)
    with pytest.raises(UserError, match="update_lr=0.2 there and 0.4 here"):
        settle(tmp_path)
    assert settle(tmp_path, train=False)[0].own.inner_lr == 0.2


def test_a_config_json_of_another_run_than_the_checkpoint_is_refused(tmp_path):
    folder = with_checkpoint(tmp_path)
    files.write_json(folder / "config.json", resolve("omniglot").to_dict())
    for train in (True, False):
        with pytest.raises(UserError, match="iteration_00001000 holds .* update_lr=0.2 there and 0.4 here; expected"):
            settle(tmp_path, train)


def test_a_checkpoint_of_a_shorter_training_is_no_other_run(tmp_path):
    folder = with_checkpoint(tmp_path, metatrain_iterations=1000)
    files.write_json(folder / "config.json", resolve("omniglot", update_lr=0.2, metatrain_iterations=2000).to_dict())
    assert settle(tmp_path, train=False)[0].total_iterations == 2000


def test_a_damaged_settings_file_is_named(logdir):
    path = logdir / "omniglot_5way_1shot" / "seed_1" / "config.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(UserError, match="config.json: damaged"):
        settle(logdir)


def test_pretraining_alone_as_the_authors_spell_it_is_tested_by_the_same_flags(tmp_path):
    given = {"pretrain_iterations": 900, "metatrain_iterations": 0}
    settings = resolve("sinusoid", **given)
    folder = folder_of(settings, tmp_path)
    assert resolving.settle(KIND, settings, given, tmp_path, False, True) == (settings, folder)


@pytest.mark.parametrize("left", ["summary.json", "metrics.csv", "weights.npz"])
@pytest.mark.parametrize("given", [{}, {"metatrain_iterations": 70000}])
def test_results_without_checkpoints_are_never_trained_into(tmp_path, left, given):
    """Also where they are of the very same settings."""
    (folder_of(resolve("omniglot"), tmp_path) / left).write_text("")
    with pytest.raises(UserError, match="seed_1 holds the results of a finished run .* and no checkpoints; expected"):
        settle(tmp_path, **given)


def test_results_without_checkpoints_may_be_tested(tmp_path):
    folder = folder_of(resolve("omniglot"), tmp_path)
    (folder / "summary.json").write_text("")
    assert settle(tmp_path, train=False) == (resolve("omniglot"), folder)


def test_results_with_checkpoints_may_be_trained_on(tmp_path):
    folder = folder_of(resolve("omniglot"), tmp_path)
    (folder / "summary.json").write_text("")
    (folder / "checkpoints" / "iteration_00000500").mkdir(parents=True)
    assert settle(tmp_path) == (resolve("omniglot"), folder)


def test_what_the_data_settled_is_taken_from_the_folder(tmp_path):
    """Nobody asks for it, and the data are not read yet."""
    given = {"method": "fine_tuning"}
    folder_of(resolve("omniglot", **given, train_classes=4400), tmp_path)
    assert settle(tmp_path, **given)[0].task.train_classes == 4400
