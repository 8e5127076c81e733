"""What the settings of every kind of run can do: be checked, written down, and held against those of a run folder."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, get_args

from data_generators.errors import UserError
from maml import records


@dataclass(frozen=True)
class Settings:
    """Base of a dataclass of settings, which also has `experiment`, the name of its run folder, and `seed`."""

    # Settings that change how fast a run is, or how long, but not what it computes: they may differ when it is resumed.
    FREE_TO_CHANGE: ClassVar = ()

    def check_types(self):
        """A function expect(ok, name, expected), for further checks of the fields: UserError unless `ok`.

        Raises the same for a field whose value is not of the type declared; a whole number may stand for a float.
        """

        def expect(ok, name, expected):
            if not ok:
                raise UserError(f"{name} is {getattr(self, name)!r}, expected {expected}")

        for field in dataclasses.fields(self):
            value, kinds = getattr(self, field.name), get_args(field.type) or (field.type,)
            whole_for_float = float in kinds and type(value) is int
            expect(type(value) in kinds or whole_for_float, field.name, " or ".join(kind.__name__ for kind in kinds))
        return expect

    def to_dict(self):
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record, origin):
        """The settings written by `to_dict`. Raises UserError, naming `origin`, on unknown or missing names or wrong values.

        Names in FREE_TO_CHANGE and those that are None by default may be missing.
        """
        fields = {f.name: f.default for f in dataclasses.fields(cls)}
        needed = {name for name, default in fields.items() if name not in cls.FREE_TO_CHANGE and default is not None}
        if odd := sorted(set(record) - set(fields) | needed - set(record)):
            raise UserError(f"{origin}: these settings are unknown or missing: {', '.join(odd)}")
        try:
            return cls(**record)
        except UserError as error:
            raise UserError(f"{origin}: {error}") from error

    def check_same(self, recorded, folder, expected):
        """Raises UserError if these would compute something else than those recorded in `folder`."""
        ours, theirs = self.to_dict(), recorded.to_dict()
        differing = [n for n in ours if n not in self.FREE_TO_CHANGE and ours[n] != theirs[n]]
        if differing:
            details = ", ".join(f"{n}={theirs[n]} there and {ours[n]} here" for n in differing)
            raise UserError(f"{folder} holds a run with other settings: {details}; expected {expected}")


def settle(config, given, logdir, train, resume):
    """(Settings, folder) of a run: what the flags ask for, held against what the folder holds.

    given: {name: value} of the settings asked for by name, None where not. Testing takes the settings from the folder,
    and refuses those asked for that differ; training refuses a folder that holds another run, unless `resume` is
    False. Changes nothing on the disk. Raises UserError.
    """
    folder = records.run_folder(logdir, config.experiment, config.seed)
    if not (folder / "config.json").exists():
        if not train:
            raise UserError(f"no run in {folder}: nothing to test; leave out --train=False to train, or give its --logdir")
        return config, folder
    if train and not resume:
        return config, folder
    recorded = config.from_dict(records.read_json(folder / "config.json"), folder / "config.json")
    if train:
        config.check_same(recorded, folder, "its settings, another --logdir, or --resume=False to train anew")
        return config, folder
    asked = {name: value for name, value in given.items() if value is not None}
    expected = "its settings, or another --logdir; to test with another update_lr or update_batch_size, name the run's too: --train_…"
    dataclasses.replace(recorded, **asked).check_same(recorded, folder, expected)
    return dataclasses.replace(recorded, tasks_per_chunk=config.tasks_per_chunk, jit=config.jit), folder
