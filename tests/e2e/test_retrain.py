"""Scheduled retraining without an engine: the script that cron and GitHub Actions run, on a real DVC remote."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.commands import linnet
from support.tiny import ROOT, tiny_audio_data, tiny_audio_recipe, tiny_raw_data, write_recipe, write_tiny_recipe

pytestmark = pytest.mark.e2e
NAME = "birds-tiny"
BIN = Path(sys.executable).parent


def run(folder: Path, *command: str, more: dict[str, str] | None = None, status: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | (more or {})
    environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path, empty_mlflow_database: Path) -> Path:
    """A project whose data lies in a DVC remote only."""
    folder = tmp_path / "project"
    (folder / "recipes").mkdir(parents=True)
    write_tiny_recipe(folder / "recipes")
    for name in ("dvc.yaml", "versions.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    (folder / "params.yaml").write_text(yaml.safe_dump({"recipes": [NAME]}))
    tiny_raw_data(tmp_path / "raw")
    linnet(folder, "ingest", f"recipes/{NAME}.toml", "--source", str(tmp_path / "raw"))
    run(folder, "dvc", "init", "--no-scm", "--quiet")
    run(folder, "dvc", "add", "--quiet", "data")
    run(folder, "dvc", "remote", "add", "--quiet", "--default", "first", str(tmp_path / "remote"))
    run(folder, "dvc", "push", "--quiet")
    (folder / ".dvc/config").write_text("[core]\n    no_scm = True\n")
    for path in ("data", ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(folder / path)
    return folder


def test_retrains_once_and_then_only_after_a_change(repository: Path, tmp_path: Path) -> None:
    where = {
        "DVC_REMOTE_URL": str(tmp_path / "remote"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
    }
    elsewhere = tmp_path / "another-machine"
    shutil.copytree(repository, elsewhere)
    said = run(repository, "deploy/retrain.sh", NAME, more=where)
    assert "linnet-birds-tiny has no champion yet" in said
    assert "linnet-birds-tiny version 1 is champion" in said
    again = run(repository, "deploy/retrain.sh", NAME, more=where)
    assert "version 1 (champion): nothing to do" in again
    assert "train: steps" not in again
    assert "nothing to do" in run(elsewhere, "deploy/retrain.sh", NAME, more=where)

    write_tiny_recipe(elsewhere / "recipes", "sample.seed=9")
    said = run(elsewhere, "linnet", "retrain", f"recipes/{NAME}.toml", "--dry-run", more=where)
    assert "recipe changed since linnet-birds-tiny version 1 (champion)" in said
    shutil.copy(repository / "dvc.lock", elsewhere)
    said = run(elsewhere, "deploy/retrain.sh", NAME, more=where)
    assert "train: steps" not in said, "the model comes from the remote"
    assert "linnet-birds-tiny version 2 is" in said


def test_ci_needs_a_registry_that_outlives_it(repository: Path) -> None:
    said = run(repository, "deploy/retrain.sh", NAME, status=1, more={"CI": "true", "MLFLOW_TRACKING_URI": ""})
    assert "set MLFLOW_TRACKING_URI to a server" in said


def test_retrain_runs_every_stage_by_itself(tmp_path: Path, empty_mlflow_database: Path) -> None:
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    tiny_raw_data(tmp_path / "raw")
    write_tiny_recipe(tmp_path)
    arguments = ("retrain", f"{NAME}.toml", "--source", "raw")
    assert "version 1 is champion" in linnet(tmp_path, *arguments)
    assert "nothing to do" in linnet(tmp_path, *arguments)
    assert "nothing to do" in linnet(tmp_path, *arguments, "--dry-run", status=3)


def test_retrain_checks_the_weights_that_it_measures_with(
    tmp_path: Path, empty_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    tiny_audio_data(tmp_path / "raw", "voices")
    recipe = tiny_audio_recipe('evaluate.features=["scripted"]', "register.gate.metric=frechet_scripted")
    write_recipe(tmp_path, recipe)
    (tmp_path / "embedding.pt").write_text("of somebody else")
    monkeypatch.setenv("LINNET_EMBEDDING_WEIGHTS", "embedding.pt")
    monkeypatch.setenv("LINNET_EMBEDDING_SHA256", "0" * 64)
    said = linnet(tmp_path, "retrain", f"{recipe.name}.toml", "--source", "raw", status=1)
    assert f"expected {'0' * 64}" in said
