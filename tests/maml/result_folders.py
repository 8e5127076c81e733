"""Made-up run folders that were tested: summary.json in the form that a test writes it."""

from maml.runs import files

OVER_TASKS = "95 % interval over tasks"
# Settings of Omniglot's headline, and of the sinusoid's.
ACCURACY = [0.2, 0.8, 0.9, 0.9125]
FILE = "adaptation_test_{shots}shot_{queries}query{suffix}.csv"


def evaluation(shots=1, queries=1, values=(0.2, 0.8, 0.9, 0.9125), error=0.0041, step=3, suffix="", **changes):
    """An evaluation on test tasks; `changes` are other fields of it."""
    record = {
        "file": FILE.format(shots=shots, queries=queries, suffix=suffix), "split": "test", "tasks": 600,
        "checkpoint": "best", "iteration": 59_000, "transductive": True, "step": step, "values": list(values),
        "errors": [error] * len(values), "error_is": OVER_TASKS, "published": None, "shots": shots, "queries": queries,
        "inner_lr": 0.4,
    }  # fmt: skip
    return record | changes


def published(values, errors=None, source="[P] table 1, Omniglot"):
    """{inner step: value} as an evaluation holds it."""
    errors = errors or dict.fromkeys(values)
    texts = [{str(step): value for step, value in numbers.items()} for numbers in (values, errors)]
    return {"values": texts[0], "errors": texts[1], "error_is": OVER_TASKS, "source": source}


def summary(experiment="omniglot_5way_1shot", seed=0, evaluations=None, trained=60_000, paper=60_000, **changes):
    """The record of summary.json: MAML's 5-way 1-shot Omniglot; the headline is the first of the evaluations."""
    evaluations = [evaluation()] if evaluations is None else evaluations
    record = {
        "experiment": experiment, "title": "Omniglot, 5-way 1-shot", "kind": "supervised", "method": "maml",
        "method_title": "MAML", "datasource": "omniglot", "dataset": "omniglot", "num_classes": 5, "num_shots": 1,
        "variant": {}, "unit": "accuracy", "seed": seed, "command": f"python main.py --seed={seed}",
        "iterations": {"trained": trained, "paper": paper}, "wall_time_seconds": 3720.4, "commit": "abc",
        "versions": {"python": "3.11"}, "hardware": "a machine", "headline": evaluations[0]["file"],
        "evaluations": evaluations,
    }  # fmt: skip
    return record | changes


def write_run(base, experiment="omniglot_5way_1shot", seed=0, **changes):
    """A run folder with a `summary`; returns its path."""
    folder = files.run_folder(base, experiment, seed)
    files.write_json(folder / "summary.json", summary(experiment, seed, **changes))
    return folder


def write_sinusoid(base, errors=(3.0, 0.5, 0.25, 0.125), method="maml", seed=0, shots=(5, 10, 20), **changes):
    """A run on the sinusoid trained with K = 10; errors: after 0, 1, 5 and 10 steps, the same for each K at test.

    One error alone: the method has no inner steps.
    """
    before, *rest = errors
    one, five, ten = rest or [None] * 3
    values = [before, one, *[five] * 8, ten] if rest else [before]
    beside = {"maml": {1: 0.67, 5: 0.38, 10: 0.35}, "pretrained": {1: 2.41, 5: 2.23, 10: 2.19}}.get(method)
    common = {"values": values, "error": 0.01, "step": min(1, len(rest)), "checkpoint": "latest", "iteration": 70_000}
    tests = [evaluation(k, k, transductive=None, published=None, **common) for k in shots]
    for test in tests:
        if test["shots"] == 5 and beside:
            test["published"] = published(beside, source="[P] table 2")
    titles = {"maml": "MAML", "pretrained": "pretrained", "oracle": "oracle", "gru": "GRU"}
    about = {
        "title": "Sinusoid, 10-shot" + f", {method}" * (method != "maml"), "method": method,
        "method_title": titles[method], "datasource": "sinusoid", "dataset": "sinusoid", "num_classes": None,
        "num_shots": 10, "unit": "mse", "trained": 70_000, "paper": 70_000, "evaluations": tests,
    }  # fmt: skip
    name = "sinusoid_10shot" + f"_{method}" * (method != "maml")
    return write_run(base, name, seed, **{**about, **changes})
