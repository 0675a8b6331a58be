"""A workspace that was moved or copied, with a real store: old artifacts are found, new ones stay at home."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from linnet.tracking.client import connect, experiment_id
from linnet.tracking.relocation import follow_workspace


@pytest.fixture
def here(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace in which a run has an artifact and a version of a model is registered; % and spaces in its path."""
    folder = workspace / "a 100% place"
    folder.mkdir()
    (workspace / "mlflow.db").rename(folder / "mlflow.db")
    enter(folder, monkeypatch)
    fill()
    return folder


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")


def fill() -> None:
    client = connect()
    run_id = client.create_run(experiment_id(client)).info.run_id
    client.log_text(run_id, "a page", "page.html")
    model = client.create_logged_model(experiment_id(client), name="model", source_run_id=run_id)
    Path(model.artifact_location.removeprefix("file://").replace("%20", " ").replace("%25", "%")).mkdir(parents=True)
    if not client.search_registered_models():
        client.create_registered_model("m")
    client.create_model_version("m", f"models:/{model.model_id}", model_id=model.model_id)


def locations(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "mlflow.db") as database:
        columns = (
            *(("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")),
            ("model_versions", "storage_location"),
        )
        found = [row[0] for table, column in columns for row in database.execute(f"SELECT {column} FROM {table}")]  # noqa: S608
    return [location for location in found if "mlartifacts" in location]


def read_page() -> str:
    client = connect()
    run = client.search_runs([experiment_id(client)])[-1]
    return Path(client.download_artifacts(run.info.run_id, "page.html")).read_text()


@pytest.mark.parametrize("is_copy", [False, True])
def test_moved_or_copied(
    here: Path, is_copy: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = here.parent / "another place"
    shutil.copytree(here, there) if is_copy else here.rename(there)
    files = sorted(here.rglob("*")) if is_copy else []
    enter(there, monkeypatch)
    assert read_page() == "a page"
    said = capsys.readouterr().err
    assert f"was moved or copied from {here}: 4 locations in mlflow.db follow it" in said.replace("\n", "")
    assert len(locations(there)) == 4
    assert all(location.startswith(f"file://{there.parent}/another%20place/") for location in locations(there))
    fill()
    assert (sorted(here.rglob("*")) if here.exists() else []) == files, "nothing is written to the old place"
    assert "moved" not in capsys.readouterr().err


def test_moved_before_anything_was_stored(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = workspace / "first", workspace / "second"
    first.mkdir()
    (workspace / "mlflow.db").rename(first / "mlflow.db")
    enter(first, monkeypatch)
    experiment_id(connect())
    first.rename(second)
    enter(second, monkeypatch)
    fill()
    assert not first.exists()
    assert read_page() == "a page"


def test_what_lies_elsewhere_on_purpose_stays(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On another disk, also while it is not mounted, and in an object store; a link from the old place is enough."""
    large = workspace / "disk" / "mlartifacts"
    monkeypatch.setenv("LINNET_MLFLOW_ARTIFACTS", str(large))
    fill()
    connect().create_experiment("s3", artifact_location="s3://bucket/mlartifacts")
    monkeypatch.delenv("LINNET_MLFLOW_ARTIFACTS")
    (workspace / "mlartifacts").mkdir()
    before = locations(workspace)
    connect()
    large.rename(workspace / "unmounted")
    connect()
    large.parent.rmdir()
    connect()
    large.parent.mkdir()
    large.symlink_to(workspace / "mlartifacts")
    connect()
    assert locations(workspace) == before
    assert "moved" not in capsys.readouterr().err


def test_a_relative_setting_is_of_the_working_folder(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_MLFLOW_ARTIFACTS", "results/art")
    client = connect()
    assert client.get_experiment(experiment_id(client)).artifact_location == (workspace / "results/art").as_uri()


def test_a_move_is_followed_whole_or_not_at_all(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = here.parent / "there"
    here.rename(there)
    enter(there, monkeypatch)
    before = locations(there)
    with sqlite3.connect(there / "mlflow.db") as database:
        database.execute("ALTER TABLE trace_tags RENAME TO gone")  # the last table that is changed
    with pytest.raises(ValueError, match="no such table"):
        follow_workspace(there / "mlflow.db")
    assert locations(there) == before
