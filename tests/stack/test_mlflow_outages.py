"""A real MLflow server that goes and comes back while somebody needs it: nothing is lost, nothing is there twice."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linnet.tracking.client import connect, find_experiment
from linnet.tracking.pipeline_runs import ERROR_TAG, LIST_TAG, STATE_TAG
from support.commands import linnet
from support.mlflow_server import MlflowServer
from support.registrations import check_versions, register_at_once
from support.registry import NAME
from support.tiny import tiny_raw_data, write_tiny_recipe

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")]
RECIPE = "birds-tiny.toml"
SCORES = "frechet_thumbnail"
AWAY_SECONDS = float(os.environ.get("LINNET_TEST_AWAY_SECONDS") or 5)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    monkeypatch.setenv("LINNET_PATIENCE", str(60 + 2 * AWAY_SECONDS))
    monkeypatch.chdir(tmp_path)
    made = MlflowServer(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.address)
    made.start()
    yield made
    made.stop()


def close(folder: Path, state: str, error: str) -> str:
    code = f"from linnet import tasks; tasks.close({state!r}, {error!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return done.stderr


def test_mlflow_is_gone_in_every_stage_that_needs_it(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_raw_data(tmp_path / "raw")
    write_tiny_recipe(tmp_path)
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "pipeline-a")
    linnet(tmp_path, "ingest", RECIPE, "--source", "raw")
    linnet(tmp_path, "preprocess", RECIPE)

    with server.away(AWAY_SECONDS):
        said = linnet(tmp_path, "train", RECIPE)
    assert "did not take" not in said
    client = connect()
    experiment = find_experiment(client)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
    rows = (tmp_path / "build/birds-tiny/model/history.csv").read_text().splitlines()[1:]
    assert steps == [int(row.partition(",")[0]) for row in rows]

    linnet(tmp_path, "sample", RECIPE)
    linnet(tmp_path, "restore", RECIPE)
    with server.away(AWAY_SECONDS):
        said = linnet(tmp_path, "evaluate", RECIPE)
    assert "did not take" not in said
    assert SCORES in client.get_run(run.info.run_id).data.metrics

    def uploading() -> bool:
        return bool(list((tmp_path / "artifacts").glob("**/models/*/artifacts/*")))

    with server.away(AWAY_SECONDS, when=uploading):
        said = linnet(tmp_path, "register", RECIPE)
    assert "trying again in" in said
    assert "version 1 is champion" in said
    (version,) = client.search_model_versions(f"name = '{NAME}'")
    assert version.run_id == run.info.run_id
    (logged,) = client.search_logged_models([experiment.experiment_id])
    assert (logged.status, f"models:/{logged.model_id}") == ("READY", version.source)
    assert client.get_run(run.info.run_id).info.status == "FINISHED"

    with server.away(AWAY_SECONDS):
        said = close(tmp_path, "FAILED", "sample: the disk is full")
    assert "1 MLflow run(s) closed" in said
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    tags = run.data.tags
    assert (tags[STATE_TAG], tags[ERROR_TAG], tags[LIST_TAG]) == ("FAILED", "sample: the disk is full", "pipeline-a")

    monkeypatch.setenv("LINNET_PATIENCE", "2")  # it does not come back
    server.stop()
    report = tmp_path / "build/birds-tiny/report"
    report.rename(tmp_path / "before")
    said = linnet(tmp_path, "evaluate", RECIPE, status=1)
    assert "which belong to its result" in said
    assert not report.exists()
    server.start()
    linnet(tmp_path, "evaluate", RECIPE)
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, ERROR_TAG in run.data.tags) == ("FINISHED", False)


def test_many_processes_at_once_make_one_version(server: MlflowServer, tmp_path: Path) -> None:
    connect().create_registered_model(NAME)
    check_versions(register_at_once(["a"] * 12, tmp_path))


def test_a_server_that_is_gone_while_many_register(server: MlflowServer, tmp_path: Path) -> None:
    client = connect()
    client.create_registered_model(NAME)

    def first_is_made() -> bool:
        return bool(client.search_model_versions(f"name = '{NAME}'"))

    with server.away(AWAY_SECONDS, when=first_is_made):
        told = register_at_once([f"{number}" for number in range(8)], tmp_path)
    check_versions(told)
