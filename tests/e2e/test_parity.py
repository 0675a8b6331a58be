"""The same recipe by plain commands, by DVC and by Kubeflow's local runner: every byte of every result is the same."""

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
STAGES = ("preprocess", "train", "sample", "restore", "evaluate", "register")
FOLDERS = ("dataset", "model", "samples", "restored", "report", "registration")
OVERRIDES = ("sample.num_samples=150", "train.precision=bf16", "sample.precision=bf16")  # three batches
BIN = Path(sys.executable).parent


def new_workspace(folder: Path, raw: Path, database: Path) -> Path:
    (folder / "recipes").mkdir(parents=True)
    write_tiny_recipe(folder / "recipes", *OVERRIDES)
    shutil.copy(database, folder / "mlflow.db")
    linnet(folder, "ingest", f"recipes/{NAME}.toml", "--source", str(raw))
    return folder


def run(folder: Path, *command: str) -> str:
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    environment |= {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def by_shell(folder: Path) -> dict[str, Path]:
    for stage in STAGES:
        linnet(folder, stage, f"recipes/{NAME}.toml")
    return {name: folder / "build" / NAME / name for name in FOLDERS}


def by_dvc(folder: Path) -> dict[str, Path]:
    for name in ("dvc.yaml", "versions.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "params.yaml").write_text(yaml.safe_dump({"recipes": [NAME]}))
    run(folder, "dvc", "init", "--no-scm", "--quiet")
    run(folder, "dvc", "repro")
    return {name: folder / "build" / NAME / name for name in FOLDERS}


def by_kubeflow(folder: Path, raw: Path) -> dict[str, Path]:
    recipe = f"recipes/{NAME}.toml"
    command = (sys.executable, "-m", "pipelines.local", recipe, "--runner", "subprocess", "--source", str(raw))
    said = run(folder, *command)
    assert "linnet-birds-tiny version 1 is champion" in said
    assert "1 MLflow run(s) closed" in said
    (run_folder,) = (folder / "build" / "kfp").iterdir()
    artifacts = (
        "preprocess/dataset",
        "train/model",
        "sample/samples",
        "restore/restored",
        "evaluate/report",
        "gate/registration",
    )
    return {Path(artifact).name: run_folder / artifact for artifact in artifacts}


def test_shell_dvc_and_kubeflow_make_the_same_bytes(tmp_path: Path, empty_mlflow_database: Path) -> None:
    raw = tiny_raw_data(tmp_path / "raw")
    one, two, three = (new_workspace(tmp_path / name, raw, empty_mlflow_database) for name in ("shell", "dvc", "kfp"))
    results = [by_shell(one), by_dvc(two), by_kubeflow(three, raw)]
    for name in FOLDERS:
        hashes = [folder_hash(result[name], leave_out=()) for result in results]
        assert hashes[0] == hashes[1] == hashes[2], name
    check_closed_run(three)
    said = run(three, sys.executable, "-m", "pipelines.local", f"recipes/{NAME}.toml", "--runner", "subprocess",
               "--source", str(raw), "--only-if-changed")  # fmt: skip
    assert "source, recipe and code are those of linnet-birds-tiny version 1 (champion): nothing to do" in said
    assert "preprocess" not in said.partition("stopping early")[2]
    outcome = max((three / "build" / "kfp").iterdir()) / "close" / "outcome"
    assert outcome.read_text().startswith("# Nothing changed")


def check_closed_run(folder: Path) -> None:
    code = (
        "import mlflow; mlflow.set_tracking_uri('sqlite:///mlflow.db'); c = mlflow.MlflowClient()\n"
        "v = c.get_model_version_by_alias('linnet-birds-tiny', 'champion'); r = c.get_run(v.run_id)\n"
        "print(r.info.status, r.data.tags['linnet.pipeline_state'], r.data.tags['linnet.pipeline_run'][:6])\n"
        "m = mlflow.pyfunc.load_model('models:/linnet-birds-tiny@champion')\n"
        "import pandas as pd; print(len(m.predict(pd.DataFrame([{'num_samples': 3}]))), 'images')"
    )
    said = run(folder, sys.executable, "-W", "ignore", "-c", code)
    assert "FINISHED SUCCEEDED local-" in said
    assert "3 images" in said
