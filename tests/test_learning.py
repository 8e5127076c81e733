"""It learns: real Omniglot, the paper's settings, 500 iterations."""

import os
import pathlib

import pytest

from data_generators import sources
from maml.runs.run import Run
from maml.runs.settings import resolve
from maml.runs.supervised import SupervisedLearner

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = [p for p in (os.environ.get("MAML_DATA"), ROOT / "../shared/data") if p]
DATA = next((pathlib.Path(p) / "omniglot" for p in FOLDERS if (pathlib.Path(p) / "omniglot").is_dir()), None)


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="no Omniglot: set MAML_DATA to the folder that holds omniglot/")
def test_omniglot_5way_1shot_is_above_55_percent_on_validation_characters_after_500_iterations(tmp_path):
    settings = resolve("omniglot", metatrain_iterations=500)
    learner = SupervisedLearner(settings, sources.load("omniglot", 5, data_path=str(DATA)))
    run = Run(learner, tmp_path, log=False)
    assert run.train()
    result = learner.curves.learn(learner.state.current_weights(), learner.curves.tasks_of("val", 1, 1, 600), 3)
    assert result.metric[:, -1].mean() > 0.55
    assert result.metric[:, 0].mean() < 0.30  # before adaptation: chance, so it is adaptation that was learnt
