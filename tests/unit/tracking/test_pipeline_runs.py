"""One training that two pipeline runs use: its MLflow run ends as the one that came last does (SQLite)."""

from typing import TYPE_CHECKING

import pytest

from linnet.tracking.client import experiment_id
from linnet.tracking.closing import close_pipeline_runs
from linnet.tracking.pipeline_runs import LIST_TAG, NEWEST_TAG, begin_use, join_use
from linnet.tracking.run import RunTracker
from support.pipeline_runs import OURS, seen

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")


def test_one_training_of_two_pipeline_runs_ends_with_the_one_that_follows(
    client: "MlflowClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    def train() -> None:  # in the name of who made the job
        with RunTracker("k", run_name="t", params={}, tags={}, system_metrics=False):
            pass

    def newest_of(run_id: str) -> str:
        return client.get_run(run_id).data.tags[NEWEST_TAG]

    join_use("k", is_first=True)  # there is no run yet
    train()
    (run_id,) = (run.info.run_id for run in client.search_runs([experiment_id(client)]))
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "pipeline-b")
    join_use("k", is_first=False)
    assert seen(client, run_id) == ("FINISHED", "RUNNING", None)  # as the training left it
    monkeypatch.setenv("LINNET_PIPELINE_RUN", OURS)
    train()  # all nodes begin again
    join_use("k", is_first=False)
    assert client.get_run(run_id).data.tags[LIST_TAG] == "pipeline-a,pipeline-b"
    assert newest_of(run_id) == "pipeline-b"
    assert close_pipeline_runs("RUNNING", "terminated") == []
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "pipeline-b")
    assert close_pipeline_runs("FAILED", "no room") == [run_id]
    monkeypatch.setenv("LINNET_PIPELINE_RUN", OURS)
    train()  # Retry, when the later one has ended
    assert newest_of(run_id) == OURS
    assert seen(client, run_id) == ("FINISHED", "RUNNING", None)


def test_a_run_that_another_has_closed_goes_on_for_who_joins(
    client: "MlflowClient", run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_use(client, run_id)
    close_pipeline_runs("RUNNING", "terminated")
    assert seen(client, run_id) == ("KILLED", "CANCELED", "terminated")
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "pipeline-b")
    join_use("k", is_first=False)
    assert seen(client, run_id) == ("RUNNING", "RUNNING", None)


def test_who_makes_the_job_anew_is_the_newest_in_any_case(
    client: "MlflowClient", run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one's end was never told, and nobody holds a job."""
    begin_use(client, run_id)
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "pipeline-b")
    join_use("k", is_first=False)
    monkeypatch.setenv("LINNET_PIPELINE_RUN", OURS)
    join_use("k", is_first=True)
    assert client.get_run(run_id).data.tags[LIST_TAG] == "pipeline-b,pipeline-a"
    assert close_pipeline_runs("SUCCEEDED", "") == [run_id]


def test_joining_waits_for_no_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LINNET_PIPELINE_RUN", OURS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("LINNET_PATIENCE", "600")
    join_use("k", is_first=False)
    said = capsys.readouterr().err
    assert "MLflow was not told that this pipeline run uses the training: MLflow at http://127.0.0.1:1" in said
    assert "trying again" not in said
