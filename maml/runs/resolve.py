"""What is asked for, held against what a run folder holds."""

from pathlib import Path

from data_generators.errors import UserError
from maml.runs import files
from maml.runs.checkpoints import newest_settings
from maml.runs.run import check_trainable

DATA_SETTLES = ("train_classes",)  # settings that nobody asks for: read off the data when the run is made
OF_THE_MACHINE = ("tasks_per_chunk", "jit")  # settings of speed, which a test takes from the command line

OTHERWISE = "to test with another update_lr, update_batch_size or num_classes, name the run's too: --train_…"


def settle(kind, settings, given: dict, logdir: str | Path, train: bool, resume: bool) -> tuple:
    """(Settings, folder) of a run: what is asked for, held against what the folder holds. Changes nothing on the disk.

    kind: a `kind.Kind`.
    settings: what is asked for, with the paper's value for everything else.
    given: {flag: value} of what was asked for by name; None where not.
    logdir: where run folders lie.
    train: to train, and not only to test. Testing takes the settings from the folder, and refuses those asked for that
        differ; training refuses a folder that holds another run.
    resume: False trains anew, whatever the folder holds.

    Raises UserError.
    """
    folder = files.run_folder(logdir, settings.name, settings.seed)
    if train and not resume:
        return settings, folder
    if train:
        check_trainable(folder)
    path = _record_in(folder)
    if path is None:
        if not train:
            expected = f"leave out --train=False to train, or give its --logdir; {OTHERWISE}"
            raise UserError(f"no run in {folder}: nothing to test; {expected}")
        return settings, folder
    recorded = kind.from_dict(files.read_json(path), path)
    if in_checkpoint := newest_settings(folder / "checkpoints"):
        trained = kind.from_dict(files.read_json(in_checkpoint), in_checkpoint)
        recorded.check_same(trained, in_checkpoint.parent, f"those of {path}, which were changed since")
    if train:
        there = recorded.to_dict()
        settings = _with(kind, settings, {name: there[name] for name in DATA_SETTLES if name in there})
        settings.check_same(recorded, folder, "its settings, another --logdir, or --resume=False to train anew")
        return settings, folder
    ours = settings.to_dict()
    _check_asked(kind, ours, given, recorded, folder)
    return _with(kind, recorded, {name: ours[name] for name in OF_THE_MACHINE if name in ours}), folder


def _record_in(folder):
    """The file that says with which settings a folder's run is trained; None where there is no run.

    It is config.json, or where that is lost, what the newest checkpoint has.
    """
    path = folder / "config.json"
    return path if path.exists() else newest_settings(folder / "checkpoints")


def _check_asked(kind, ours, given, recorded, folder):
    """UserError if what was asked for by name is not what the folder's run was trained with."""
    asked = {name for name, value in given.items() if value is not None} | {"method", "dataset"}
    asked = {name: ours[name] for name in asked if ours.get(name) is not None}
    _with(kind, recorded, asked).check_same(recorded, folder, f"its settings, or another --logdir; {OTHERWISE}")


def _with(kind, settings, values):
    """The settings with other values, {flag: value}."""
    return kind.from_dict({**settings.to_dict(), **values}, "these settings")
