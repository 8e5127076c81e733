"""What is written down beside a result: the code, the packages, the machine."""

import subprocess

import numpy as np

from maml.runs import provenance


def test_commit_says_when_the_code_was_changed(tmp_path, monkeypatch):
    """In a repository of its own, laid out as this one."""

    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    for name in ("maml/code.py", "maml/runs/provenance.py", "results/summary.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "maml" / "runs" / "provenance.py"))
    git("init")
    assert provenance.provenance()["commit"] == "unknown"
    git("add", ".")
    git("commit", "-m", "a")
    (tmp_path / "results/summary.json").write_text("2")
    clean = provenance.provenance()["commit"]
    assert len(clean) == 40
    (tmp_path / "notes.txt").write_text("1")
    assert provenance.provenance()["commit"] == clean
    (tmp_path / "maml/new.py").write_text("1")
    assert provenance.provenance()["commit"] == f"{clean}+changes"
    (tmp_path / "maml/new.py").unlink()
    (tmp_path / "maml/code.py").write_text("2")
    assert provenance.provenance()["commit"] == f"{clean}+changes"
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))  # as in a hook of another project
    assert provenance.provenance()["commit"] == f"{clean}+changes"


def test_the_commit_of_a_project_that_it_is_installed_in_is_not_its_own(tmp_path, monkeypatch):
    """In a virtual environment, in the folder of somebody's own repository."""
    installed = tmp_path / "venv" / "site-packages" / "maml" / "runs" / "provenance.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("")
    (tmp_path / "theirs.py").write_text("")
    monkeypatch.setattr(provenance, "__file__", str(installed))
    for command in (["init"], ["add", "theirs.py"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    assert provenance.provenance()["commit"] == "unknown"


def test_provenance_names_versions_and_cores():
    made = provenance.provenance()
    assert made["versions"]["numpy"] == np.__version__
    assert " cores, " in made["hardware"]
