"""TensorFlow as main.py sets it up, before anything imports it: bits depend on oneDNN being on or off; shared fixtures."""

import pytest
from matplotlib.figure import Figure

import main

main.set_up_tensorflow(jit=True)


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
