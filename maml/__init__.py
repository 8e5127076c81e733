"""Model-agnostic meta-learning (Finn, Abbeel, Levine 2017): exact, compiled, and usable on any network."""

import importlib

# Looked up on first use, so that what needs no TensorFlow (reports, figures, error messages) doesn't wait for it.
_HOME = {
    "adapt": "inner_loop",
    "inner_update": "inner_loop",
    "meta_loss": "inner_loop",
    "per_task": "inner_loop",
    "single_task": "inner_loop",
    "accuracy": "losses",
    "cross_entropy": "losses",
    "mse": "losses",
    "Network": "networks",
    "conv_net": "networks",
    "dense_net": "networks",
    "Learner": "meta_training",
    "MetaTrainer": "meta_training",
    "Evaluator": "evaluation",
    "curve": "evaluation",
    "AdaptedClassifier": "classifier",
    "Classifier": "classifier",
    "load_adapted": "classifier",
    "load_authors": "classifier",
    "load_run": "classifier",
}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'maml' has no attribute {name!r}")
    return getattr(importlib.import_module(f"maml.{_HOME[name]}"), name)
