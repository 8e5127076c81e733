"""Algorithm 3 of the paper: meta-reinforcement learning on the paper's five navigation and MuJoCo experiments.

What simulates needs MuJoCo and says so (`rl.envs`); settings, published curves, figures and the page don't.

    meta_rl, meta_policy, policy, trpo, advantages   the algorithm
    envs, tasks, sampling, film                      what is learnt, episodes of it, and pictures of them
    settings, protocol, learner, kind                how a run is set, trained and tested, for `maml.runs`
    trained                                          a trained policy, adapted to a goal or environment of one's own
    published, plots, page, benchmark                what is compared, drawn, reported and measured
"""

from typing import Any

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # on first use: it needs TensorFlow and MuJoCo
        from rl import trained  # noqa: PLC0415

        return getattr(trained, name)
    raise AttributeError(f"module 'rl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
