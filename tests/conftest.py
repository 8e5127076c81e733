"""TensorFlow as the command line sets it up, before anything imports it: bits depend on oneDNN; shared fixtures."""

import os

import pytest
from matplotlib.figure import Figure

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture
def drawn(monkeypatch):
    """The figures saved during a test."""
    figures = []
    save = Figure.savefig

    def keep(figure, *arguments, **settings):
        figures.append(figure)
        save(figure, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures
