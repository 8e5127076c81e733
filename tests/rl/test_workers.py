"""Two workers' meta-iterations are those of one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_generators.errors import UserError
from maml.runs import files
from rl import meta_rl
from rl.settings import resolve

ROOT = Path(__file__).parents[2]
SMALL = "--datasource=point --metatrain_iterations=2 --meta_batch_size=5 --outer=adam --nolog"


@pytest.mark.slow
def test_two_workers_iterate_as_one_does(tmp_path):
    """5 tasks, so that shares differ. TRPO's conjugate gradients amplify rounding, Adam's step does
    not."""
    rows, tests = [], []
    for workers in (1, 2):
        launch = [sys.executable, "-m", "maml.launch", f"--workers={workers}", "main.py", *SMALL.split()]
        done = subprocess.run(
            [*launch, f"--logdir={tmp_path / str(workers)}"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        (table,) = (tmp_path / str(workers)).glob("*/seed_1/metrics.csv")
        rows.append(files.read_table(table))
        names = ("adaptation_test.csv", "returns_test.csv", "trajectories_test.csv")
        tests.append([files.read_table(table.with_name(name)) for name in names])
    for one, two in zip(*rows, strict=True):
        assert two["replicas"] == 2 and two["steps"] == one["steps"] and two["diverged"] == one["diverged"]
        for name in ("pre_return", "post_return", "loss", "kl"):
            assert two[name] == pytest.approx(one[name], rel=1e-4), name
    for of_one, of_two in zip(*tests):
        assert [list(row) for row in of_one] == [list(row) for row in of_two]
        for one, two in zip(of_one, of_two, strict=True):
            np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-3, atol=1e-4)


def several(monkeypatch, count):
    class Several(meta_rl.Trainer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.replicas.count = count

    monkeypatch.setattr(meta_rl, "Trainer", Several)


def test_some_of_the_tasks_have_no_share(monkeypatch):
    several(monkeypatch, 2)
    with pytest.raises(UserError, match="hvp_tasks, of trpo_subsampled, goes with one worker"):
        meta_rl.MetaRL(resolve("point", hvp_tasks=2))
