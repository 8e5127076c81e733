"""Model-agnostic meta-learning (Finn, Abbeel, Levine 2017): exact, compiled, and usable on any network.

A whole run: `folder = maml.train("omniglot", method="prototypical")` trains, tests, and returns the run folder.
A trained classifier on images of one's own: `maml.load_run(folder).adapt(images, labels).predict(others)`.
What was adapted and saved: `maml.load_adapted(file)`. A checkpoint of the authors' code: `maml.load_authors`.
A network of one's own: `Network`, `Problem`, `Trainer` and a method's `build`; docs/own_network.md shows how.
Which methods there are: `maml.methods.names()`.
"""

import importlib
from typing import Any

# Looked up on first use, so that what needs no TensorFlow (reports, figures, error messages) doesn't wait for it.
_HOME = {
    "adapt": "inner_loop",
    "inner_update": "inner_loop",
    "per_task": "inner_loop",
    "single_task": "inner_loop",
    "Method": "method",
    "Problem": "method",
    "query_loss": "method",
    "accuracy": "losses",
    "cross_entropy": "losses",
    "mse": "losses",
    "Network": "networks",
    "Norm": "networks",
    "conv_net": "networks",
    "dense_net": "networks",
    "Trainer": "meta_training",
    "Evaluator": "evaluation",
    "curve": "evaluation",
    "AdaptedClassifier": "trained.classifier",
    "Classifier": "trained.classifier",
    "load_adapted": "trained.loading",
    "load_authors": "trained.loading",
    "load_run": "trained.loading",
    "train": "runs.training",
}
__all__ = sorted([*_HOME, "methods"])
__version__ = "1.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"maml.{_HOME[name]}"), name)
    if name == "methods":
        return importlib.import_module("maml.methods")
    raise AttributeError(f"module 'maml' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
