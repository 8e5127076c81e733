"""Checkpoints: whole or not there, the damaged ones passed over, the old ones dropped."""

import json
import os
import resource

import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml.runs import checkpoints
from maml.runs.checkpoints import Checkpoints, newest_settings


def state(value=0.0):
    module = tf.Module()
    module.weight = tf.Variable(tf.fill([100], value))
    return module


def saved(folder, iterations, keep=None, scores=None):
    """Checkpoints of a state whose weight is the iteration; scores: {iteration: score}."""
    module = state()
    kept = Checkpoints(folder, module, {"seed": 3})
    for iteration in iterations:
        module.weight.assign(tf.fill([100], float(iteration)))
        kept.save(iteration, keep, score=(scores or {}).get(iteration))
    return kept


def read_latest(folder):
    """(iteration, weight) by a state that knows nothing of the one that was saved."""
    module = state(-1.0)
    iteration = Checkpoints(folder, module, {}).restore_latest()
    return iteration, float(module.weight[0])


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    """One bit of the byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "truncated data": ("state.data-00000-of-00001", truncate),
    "flipped data": ("state.data-00000-of-00001", flip),
    "missing data": ("state.data-00000-of-00001", os.remove),
    "truncated index": ("state.index", truncate),
    "flipped index": ("state.index", flip),
    "missing index": ("state.index", os.remove),
}


def damage(folder, iteration, how="truncated data"):
    name, action = DAMAGES[how]
    action(folder / f"iteration_{iteration:08d}" / name)


def test_the_newest_is_restored(tmp_path):
    saved(tmp_path, [1, 3, 2])
    assert read_latest(tmp_path) == (3, 3.0)


def test_an_iteration_is_restored(tmp_path):
    saved(tmp_path, [1, 2, 3])
    module = state()
    Checkpoints(tmp_path, module, {}).restore(2)
    assert float(module.weight[0]) == 2.0


def test_there_is_none_at_first(tmp_path):
    assert read_latest(tmp_path / "nothing") == (None, -1.0)


def test_settings_lie_beside_the_state(tmp_path):
    saved(tmp_path, [1])
    assert json.loads((tmp_path / "iteration_00000001" / "settings.json").read_text()) == {"seed": 3}


def test_a_hundred_million_iterations_and_more_are_counted(tmp_path):
    saved(tmp_path, [99_999_999, 100_000_000])
    assert read_latest(tmp_path)[0] == 100_000_000
    assert newest_settings(tmp_path) == tmp_path / "iteration_100000000" / "settings.json"


def test_a_missing_one_names_those_there_are(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint of iteration 5 in .*; there: 1, 2$"):
        saved(tmp_path, [1, 2]).restore(5)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, how):
    saved(tmp_path, [1, 2])
    damage(tmp_path, 2, how)
    assert read_latest(tmp_path) == (1, 1.0)


def test_falling_back_is_said_on_stderr(tmp_path, capsys):
    saved(tmp_path, [1, 2])
    damage(tmp_path, 2)
    read_latest(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert "iteration_00000002 is damaged" in line and line.endswith("falling back to the one before")


def test_a_damaged_one_is_no_longer_counted(tmp_path):
    kept = saved(tmp_path, [1, 2])
    damage(tmp_path, 2)
    read_latest(tmp_path)
    assert kept.iterations() == [1]


def test_the_same_one_may_be_damaged_twice(tmp_path):
    for _ in range(2):
        saved(tmp_path, [1, 2])
        damage(tmp_path, 2)
        assert read_latest(tmp_path) == (1, 1.0)


def test_a_damaged_one_raises_when_asked_for(tmp_path):
    kept = saved(tmp_path, [1])
    damage(tmp_path, 1)
    with pytest.raises(UserError, match="iteration_00000001 is damaged"):
        kept.restore(1)


def test_all_damaged_raises_again_and_again(tmp_path):
    """The second start must not take the folder for an empty one and begin anew."""
    saved(tmp_path, [1, 2])
    damage(tmp_path, 1)
    damage(tmp_path, 2)
    for _ in range(2):
        with pytest.raises(UserError, match="none of the 2 checkpoints .* can be read"):
            read_latest(tmp_path)


def test_a_state_of_another_shape_is_refused(tmp_path):
    kept = saved(tmp_path, [1])
    other = tf.Module()
    other.weight = tf.Variable(tf.zeros([7]))
    with pytest.raises(UserError):
        Checkpoints(tmp_path, other, {}).restore(1)
    assert kept.iterations() == [1]


def test_a_state_with_more_in_it_is_refused(tmp_path):
    saved(tmp_path, [1])
    other = state()
    other.moment = tf.Variable(0.0)
    with pytest.raises(UserError):
        Checkpoints(tmp_path, other, {}).restore(1)


def test_the_newest_ten_are_kept(tmp_path):
    assert saved(tmp_path, range(1, 14)).iterations() == list(range(4, 14))


def test_the_best_is_kept_besides(tmp_path):
    assert saved(tmp_path, range(1, 14), keep=2).iterations() == [2, *range(4, 14)]


def test_the_best_among_the_newest_is_not_counted_twice(tmp_path):
    assert saved(tmp_path, range(1, 14), keep=5).iterations() == list(range(4, 14))


def test_the_best_are_known_best_first_and_the_earlier_of_two_that_are_equal(tmp_path):
    kept = saved(tmp_path, range(1, 6), scores={1: 0.5, 2: 0.9, 4: 0.9, 5: 0.7})
    assert kept.best(3) == [2, 4, 5]
    assert kept.best(9) == [2, 4, 5, 1]


def test_the_five_best_are_kept_beside_the_newest(tmp_path):
    scores = {iteration: -abs(iteration - 4) / 10 for iteration in range(1, 30)}  # from the best: 4, 3, 5, 2, 6, 1
    assert saved(tmp_path, range(1, 30), scores=scores).iterations() == [*range(2, 7), *range(20, 30)]


def test_a_score_that_is_no_number_is_as_good_as_none(tmp_path):
    scores = {1000: 0.9, 2000: float("nan"), 3000: 0.95, 4000: 0.93}
    assert saved(tmp_path, scores, scores=scores).best(4) == [3000, 4000, 1000]


def test_a_damaged_score_is_as_good_as_none(tmp_path):
    kept = saved(tmp_path, [1, 2], scores={1: 0.5, 2: 0.9})
    (tmp_path / "iteration_00000002" / checkpoints.SCORE).write_text("0.")
    assert kept.best(2) == [1]


def test_one_that_was_never_finished_is_not_there(tmp_path, monkeypatch):
    kept = saved(tmp_path, [1])

    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_sync", fail)
        with pytest.raises(OSError):
            kept.save(2)
    assert kept.iterations() == [1]


def test_a_disk_without_room_is_an_os_error_and_loses_nothing(tmp_path):
    kept, (soft, hard) = saved(tmp_path, [1]), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # bytes that a file may have
    try:
        with pytest.raises(OSError, match="iteration_00000002 can't be written: File too large$"):
            kept.save(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_latest(tmp_path) == (1, 1.0)


def test_what_was_never_finished_is_in_nobodys_way(tmp_path):
    (tmp_path / ".unfinished_iteration_00000001").mkdir()
    (tmp_path / ".unfinished_iteration_00000001" / "state.index").write_text("half")
    saved(tmp_path, [1])
    assert sorted(os.listdir(tmp_path)) == ["iteration_00000001"]
    assert read_latest(tmp_path) == (1, 1.0)


def test_where_folders_cannot_be_opened_and_only_what_may_be_written_is_synced(tmp_path, monkeypatch):
    """As on Windows."""
    opened, fsync = os.open, os.fsync

    def open_file(path, flags, *more, **named):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, *more, **named)

    def sync_writable(descriptor):
        os.write(descriptor, b"")  # fails where it may only be read
        fsync(descriptor)

    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "fsync", sync_writable)
    saved(tmp_path, [1, 2])
    assert read_latest(tmp_path) == (2, 2.0)
