"""What an MLflow run says of itself."""

from typing import TYPE_CHECKING

from linnet.tracking.pipeline_runs import ERROR_TAG, STATE_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

OURS = "pipeline-a"  # the pipeline run of tests/unit/tracking


def seen(client: "MlflowClient", run_id: str) -> tuple[str, str | None, str | None]:
    """(status, tag of the state, tag of the error)"""
    run = client.get_run(run_id)
    return run.info.status, run.data.tags.get(STATE_TAG), run.data.tags.get(ERROR_TAG)
