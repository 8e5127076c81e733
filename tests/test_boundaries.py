"""Who may know whom: each package imports only those beneath it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALGORITHM = ("inner_loop", "method", "networks", "layers", "kernels", "losses", "chunks", "meta_training", "optimizers",
             "ensemble", "evaluation", "replicas")  # fmt: skip
FLAT = tuple(f"maml.{name}" for name in ALGORITHM)
METHODS = (*FLAT, "maml.methods")
RUNS = (*METHODS, "maml.runs", "data_generators")
REPORTS = ("maml.runs.files", "maml.runs.progress", "maml.methods", "data_generators", "maml.reports")
RL = (*FLAT, "maml.methods.card", "maml.runs", "maml.reports", "maml.benchmarks.machine", "data_generators", "rl")
MAY_IMPORT = {
    "data_generators": ("data_generators",),
    **{f"maml/{name}.py": (*FLAT, "data_generators.episode", "data_generators.errors") for name in ALGORITHM},
    "maml/launch.py": (),
    "maml/methods": (*METHODS, "data_generators.errors", "data_generators.episode"),
    "maml/runs": RUNS,
    "maml/reports": REPORTS,
    "maml/trained": (*RUNS, "maml.trained"),
    "maml/benchmarks": (*RUNS, "maml.benchmarks"),
    "rl": RL,
}
OURS = ("maml", "data_generators", "rl", "main")


def imports(file):
    """Names of this project's modules that a file imports, each as far as it is a module."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if is_module(name) else node.module for name in whole)


def is_module(name):
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def files(place):
    path = ROOT / place
    return [path] if path.suffix else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_a_package_imports_only_what_lies_beneath_it(place):
    allowed = MAY_IMPORT[place]
    for file in files(place):
        for name in imports(file):
            ours = name.split(".")[0] in OURS
            beneath = any(name == module or name.startswith(f"{module}.") for module in allowed)
            assert not ours or beneath, f"{file.relative_to(ROOT)} imports {name}"


def test_every_file_has_its_place():
    """All of the code but the command line, which may import everything, is held by the rule above."""
    held = {file for place in MAY_IMPORT for file in files(place)}
    free = {file for file in files("maml") if file not in held}
    assert {str(file.relative_to(ROOT)) for file in free if file.parent.name != "cli"} == {"maml/__init__.py"}


def test_nobody_imports_the_command_line():
    for place in MAY_IMPORT:
        for file in files(place):
            assert not [name for name in imports(file) if name.startswith(("main", "maml.cli"))], file
