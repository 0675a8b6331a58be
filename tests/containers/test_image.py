"""The image as it is built and used: `make image`, plain commands in it, and the DAG with a container a task.

Needs a container engine (DOCKER_HOST); ENGINE names its command line if that is not docker.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from linnet.hashes import folder_hash
from support.commands import linnet
from support.tiny import ROOT, tiny_raw_data, write_tiny_recipe

pytestmark = pytest.mark.containers
ENGINE = os.environ.get("ENGINE", "docker")
NAME = "birds-tiny"
COMPARED = {
    "preprocess/dataset": "dataset",
    "train/model": "model",
    "sample/samples": "samples",
    "restore/restored": "restored",
}  # what the DAG calls it, what plain commands call it


def run(*command: str, folder: Path = ROOT, status: int = 0, **more: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | more
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def image() -> str:
    """Built from the project's Dockerfile; named by its id, which is a digest."""
    run("make", "image", f"ENGINE={ENGINE}")
    name = (ROOT / "build" / "image.id").read_text().strip()
    assert name.startswith("sha256:")
    return name


@pytest.fixture
def shell(tmp_path: Path, image: str) -> list[str]:
    """A command in the image, as its own user, in a folder that this user may write."""
    os.chown(tmp_path, 1000, 1000) if os.getuid() == 0 else tmp_path.chmod(0o777)
    return [ENGINE, "run", "--rm", "--volume", f"{tmp_path}:{tmp_path}", "--workdir", str(tmp_path), image]


def test_it_is_not_root_and_holds_only_the_product(shell: list[str]) -> None:
    assert run(*shell, "id", "-u").strip() == "1000"
    assert "Train diffusion models" in run(*shell, "linnet", "--help")
    held = run(*shell, "find", "/opt/linnet", "/home/linnet", "-type", "f").splitlines()
    assert any(name.endswith("/recipes/birds.toml") for name in held)
    strange = (".git/", "/CUB_200_2011/", "/tests/", ".env", "secret", "mlflow.db", "/build/")
    assert [name for name in held if any(word in name for word in strange)] == []
    variables = run(*shell, "env").splitlines()
    settings = [name for name in variables if name.startswith(("AWS_", "MLFLOW_", "KFP_"))]
    assert settings == ["MLFLOW_DISABLE_TELEMETRY=true"]
    assert run(*shell, "python", "-c", "import os; print(os.environ['LINNET_GIT_COMMIT'])").strip() != "unknown"
    assert "bad" not in run(*shell, "python", "-c", "import linnet.cli, kfp, kubernetes, boto3, psycopg, mlflow, dvc")


def test_a_plain_command_works_without_root(shell: list[str], tmp_path: Path) -> None:
    write_tiny_recipe(tmp_path)
    said = run(*shell, "linnet", "ingest", f"{NAME}.toml")
    assert "images of" in said
    assert (tmp_path / "data" / "birds").stat().st_uid == 1000


def test_the_dag_makes_in_containers_what_plain_commands_make(
    image: str, tmp_path: Path, empty_mlflow_database: Path
) -> None:
    """Same Python packages, same code: the same bits, in another Python patch release or not (provenance aside)."""
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    write_tiny_recipe(tmp_path)
    raw = tiny_raw_data(tmp_path / "raw")
    command = [sys.executable, "-m", "pipelines.local", f"{NAME}.toml", "--runner", "containers"]
    said = run(*command, "--image", image, "--source", str(raw), folder=tmp_path)
    assert "linnet-birds-tiny version 1 is champion" in said
    (made,) = (tmp_path / "build" / "kfp").iterdir()
    plain = tmp_path / "plain"
    plain.mkdir()
    write_tiny_recipe(plain)
    linnet(plain, "ingest", f"{NAME}.toml", "--source", str(raw))
    linnet(plain, "preprocess", f"{NAME}.toml")
    linnet(plain, "train", f"{NAME}.toml", "--no-track")
    linnet(plain, "sample", f"{NAME}.toml")
    linnet(plain, "restore", f"{NAME}.toml")
    for place, name in COMPARED.items():
        assert folder_hash(made / place) == folder_hash(plain / "build" / NAME / name), name


@pytest.mark.parametrize("_attempt", range(5))
def test_a_task_that_fails_is_never_taken_for_a_success(image: str, tmp_path: Path, _attempt: int) -> None:
    """kfp 2.17's own runner takes a container that is gone already for a success, some of the time."""
    recipe = write_tiny_recipe(tmp_path)
    command = [sys.executable, "-m", "pipelines.local", recipe.name, "--runner", "containers", "--image", image]
    said = run(*command, folder=tmp_path, status=1, MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    assert "linnet look: MLflow at http://127.0.0.1:1: does not answer" in said
    assert "'ingest'" not in said


def test_no_engine_is_one_sentence(tmp_path: Path) -> None:
    recipe = write_tiny_recipe(tmp_path)
    command = [sys.executable, "-m", "pipelines.local", recipe.name, "--runner", "containers"]
    said = run(*command, folder=tmp_path, status=1, DOCKER_HOST=f"unix://{tmp_path}/no.sock")
    assert "no container engine answers" in said
    assert "Traceback" not in said
