"""DVC runs again what a change concerns, and nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from linnet.hashes import folder_hash
from support.commands import linnet
from support.tiny import ROOT, tiny_raw_data, write_tiny_recipe

pytestmark = pytest.mark.e2e
NAME = "birds-tiny"
BIN = Path(sys.executable).parent


class Project:
    """A workspace with linnet's source in it, which its own commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.build = folder, folder / "build" / NAME

    def dvc(self, *arguments: str) -> str:
        environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
        environment |= {"PYTHONPATH": str(self.folder / "src")}
        done = subprocess.run(
            [BIN / "dvc", *arguments],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def change(self, file: str, old: str, new: str) -> None:
        path = self.folder / "src" / "linnet" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    def hashes(self) -> dict[str, str]:
        return {path.name: folder_hash(path, leave_out=()) for path in self.build.iterdir()}


@pytest.fixture
def project(tmp_path: Path, empty_mlflow_database: Path) -> Project:
    (tmp_path / "recipes").mkdir()
    write_tiny_recipe(tmp_path / "recipes")
    for name in ("dvc.yaml", "versions.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"recipes": [NAME]}))
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    linnet(tmp_path, "ingest", f"recipes/{NAME}.toml", "--source", str(tiny_raw_data(tmp_path / "raw")))
    project = Project(tmp_path)
    project.dvc("init", "--no-scm", "--quiet")
    return project


def run_by(said: str) -> set[str]:
    """The stages whose commands DVC ran."""
    return {line.split("'")[1].partition("@")[0] for line in said.splitlines() if line.startswith("Running stage")}


def test_only_what_a_change_concerns_is_made_again(project: Project) -> None:
    every = {"preprocess", "train", "sample", "restore", "evaluate", "register", "report"}
    assert run_by(project.dvc("repro")) == every
    assert "up to date" in project.dvc("status")
    made = project.hashes()

    project.change("reports/templates/base.html", "</body>", "<!-- nicer --></body>")
    said = project.dvc("repro")
    assert run_by(said) == {"report"}
    assert {name for name, value in project.hashes().items() if value != made[name]} == {"pages"}

    project.change("models/compact_unet.py", "class CompactUNet", "# What a comment says\nclass CompactUNet")
    said = project.dvc("repro")
    assert "already trained" in said
    assert "train: steps" not in said
    assert project.hashes()["model"] == made["model"]
    assert "up to date" in project.dvc("status")

    project.change("diffusion/samplers.py", "import torch\n", "import torch\n\nADDED = 1\n")
    said = project.dvc("repro")
    assert not run_by(said) & {"preprocess", "train"}
    assert "sample: examples" in said
    assert {name for name, value in project.hashes().items() if value != made[name]} >= {
        "samples",
        "restored",
        "report",
    }
    assert "up to date" in project.dvc("status")
