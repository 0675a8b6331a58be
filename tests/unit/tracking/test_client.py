"""What is asked of MLflow outside of a training, from a real store (SQLite)."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from linnet.tracking.address import display_uri, tracking_uri
from linnet.tracking.client import (
    PIPELINE_RUN_TAG,
    RUN_KEY,
    check_server,
    close_pipeline_runs,
    connect,
    experiment_id,
    known_run,
    log_text,
)
from linnet.tracking.failures import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")


@pytest.fixture
def client(workspace: Path) -> "MlflowClient":
    return connect()


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one sentence where somebody waits for the server, and no error where only a file is lost."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(TrackingError, match=r"does not answer .*check MLFLOW_TRACKING_URI"):
        check_server(outlives_pods=False)
    with pytest.raises(TrackingError):
        close_pipeline_runs("FAILED", "")
    assert known_run("key") is None
    log_text("key", "a page", "report/evaluation.html")
    assert "did not take report/evaluation.html" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("SUCCEEDED", "FINISHED"),  # kfp.local
        ("COMPLETE", "FINISHED"),  # a cluster's backend, in the words of its metadata store
        ("CACHED", "FINISHED"),
        ("FAILED", "FAILED"),
        ("CANCELED", "KILLED"),
        ("CANCELLED", "KILLED"),
        ("ERROR", "FAILED"),
    ],
)
def test_the_exit_handler_closes_the_runs_of_its_pipeline_run_and_no_others(
    client: "MlflowClient", monkeypatch: pytest.MonkeyPatch, state: str, status: str
) -> None:
    experiment = experiment_id(client)
    own = client.create_run(experiment, tags={PIPELINE_RUN_TAG: "mine", RUN_KEY: "k"}).info.run_id
    other = client.create_run(experiment, tags={PIPELINE_RUN_TAG: "another"}).info.run_id
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "mine")
    assert close_pipeline_runs(state, "the disk is full") == [own]
    run = client.get_run(own)
    assert run.info.status == status
    assert run.data.tags["linnet.pipeline_state"] == state
    assert run.data.tags["linnet.pipeline_error"] == "the disk is full"
    assert client.get_run(other).info.status == "RUNNING"
    assert known_run("k") == own


def test_a_page_goes_to_the_run_of_its_model(client: "MlflowClient", tmp_path: Path) -> None:
    run_id = client.create_run(experiment_id(client), tags={RUN_KEY: "k"}).info.run_id
    log_text("k", "a page", "report/evaluation.html")
    log_text("another", "a page", "report/another.html")  # there is no such run
    assert [file.path for file in client.list_artifacts(run_id, "report")] == ["report/evaluation.html"]
    assert Path(client.download_artifacts(run_id, "report/evaluation.html", str(tmp_path))).read_text() == "a page"


def test_the_default_is_a_store_in_the_working_folder(workspace: Path) -> None:
    assert tracking_uri() == f"sqlite:///{workspace / 'mlflow.db'}"
    check_server(outlives_pods=False)
    with pytest.raises(TrackingError, match=r"names no server \(sqlite:.*\): what is logged there would be gone with"):
        check_server(outlives_pods=True)


def test_a_password_is_used_and_never_printed(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:1")
    assert tracking_uri() == "http://user:secret@127.0.0.1:1"
    assert display_uri() == "http://127.0.0.1:1"
    with pytest.raises(TrackingError, match=r"\(http://127\.0\.0\.1:1\) holds a user; put user and password into"):
        check_server(outlives_pods=True)
