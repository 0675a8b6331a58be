"""MLflow: where it is, which run belongs to what, and how the runs of a pipeline run end."""

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.errors import LinnetError, first_line, redact_credentials
from linnet.progress import log

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "linnet"
RUN_STATUS = {  # MLflow's status of a run by Kubeflow Pipelines' state of a task, of its backends and of kfp.local
    "SUCCEEDED": "FINISHED",
    "COMPLETE": "FINISHED",
    "CACHED": "FINISHED",
    "CANCELED": "KILLED",
    "CANCELLED": "KILLED",
}
RUN_KEY = "linnet.input_hash"  # the tag that ties a run to what went into its training
PIPELINE_RUN_TAG = "linnet.pipeline_run"  # the tag with the pipeline run that made it; LINNET_PIPELINE_RUN holds it
GIT_COMMIT = "linnet.git_commit"  # the tag with the commit of the code that trained the model


class TrackingError(LinnetError):
    """The MLflow server does not answer, or does not let us in."""


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or the embedded default: a SQLite file in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def display_uri() -> str:
    """The tracking URI as it may be printed: without user and password."""
    return redact_credentials(tracking_uri())


def connect() -> "MlflowClient":
    """A client that gives up soon. Importing MLflow takes seconds, so that it is imported only where it is used."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import mlflow

    mlflow.set_tracking_uri(tracking_uri())
    return mlflow.MlflowClient()


def experiment_id(client: "MlflowClient") -> str:
    """The id of this project's experiment, created on first use (for a SQLite store with a local artifact folder)."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    folder = Path(os.environ.get("LINNET_MLFLOW_ARTIFACTS") or Path.cwd() / "mlartifacts")
    location = folder.as_uri() if tracking_uri().startswith("sqlite:") else None
    return str(client.create_experiment(name, artifact_location=location))


def find_run(client: "MlflowClient", run_key: str) -> str | None:
    """The id of the newest run tagged with `run_key`."""
    runs = client.search_runs([experiment_id(client)], f"tags.`{RUN_KEY}` = '{run_key}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None


def check_server(*, outlives_pods: bool) -> None:
    """Send the server a request that changes nothing.

    Args:
        outlives_pods: whether it must be a server: a file would be gone with the pod.

    Raises:
        TrackingError: with the cause and what to do.
    """
    from mlflow.exceptions import MlflowException

    if outlives_pods and not tracking_uri().startswith(("http://", "https://")):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI names no server ({display_uri()}): what is logged there would be gone with the pod; "
            "set it in the ConfigMap linnet (deploy/kubernetes/config.yaml)"
        )
    if outlives_pods and display_uri() != tracking_uri():
        raise TrackingError(
            f"MLFLOW_TRACKING_URI ({display_uri()}) holds a user; put user and password into the secret linnet-mlflow"
        )
    try:
        connect().search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        raise _unavailable(error) from None


def _unavailable(error: Exception) -> TrackingError:
    message = first_line(error)
    if re.search(r"error code 40[13]\b", message):
        cause = (
            f"refuses us ({message}); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, on a cluster by the "
            "secret linnet-mlflow"
        )
    else:
        cause = f"does not answer ({message}); check MLFLOW_TRACKING_URI and that the server runs, then repeat"
    return TrackingError(f"MLflow at {display_uri()}: {cause}")


def pipeline_run() -> str | None:
    """The id of the pipeline run that this process belongs to, if any."""
    return os.environ.get("LINNET_PIPELINE_RUN")


def close_pipeline_runs(state: str, error_message: str) -> list[str]:
    """Give the MLflow runs of this pipeline run their final status, and return their ids.

    Args:
        state: SUCCEEDED, or how else Kubeflow Pipelines calls the end of a task.
        error_message: what it says went wrong; may be empty.

    Raises:
        TrackingError: the server does not answer.
    """
    from mlflow.exceptions import MlflowException

    tags = {"linnet.pipeline_state": state} | ({"linnet.pipeline_error": error_message} if error_message else {})
    try:
        client = connect()
        query = f"tags.`{PIPELINE_RUN_TAG}` = '{pipeline_run()}'"
        run_ids = [run.info.run_id for run in client.search_runs([experiment_id(client)], query)]
        for run_id in run_ids:
            for key, value in tags.items():
                client.set_tag(run_id, key, value)
            client.set_terminated(run_id, RUN_STATUS.get(state, "FAILED"))
    except (MlflowException, OSError) as error:
        raise _unavailable(error) from None
    return run_ids


def known_run(run_key: str) -> str | None:
    """The id of the run tagged with `run_key`; None too where the server does not answer."""
    from mlflow.exceptions import MlflowException

    try:
        return find_run(connect(), run_key)
    except (MlflowException, OSError):
        return None


def log_text(run_key: str, text: str, path: str) -> bool:
    """Store `text` as the artifact `path` of the run tagged with `run_key`, if there is one.

    Returns:
        False where the server did not take it, which is said.
    """
    from mlflow.exceptions import MlflowException

    try:
        client = connect()
        if run_id := find_run(client, run_key):
            client.log_text(run_id, text, path)
    except (MlflowException, OSError) as reason:
        log(f"MLflow at {display_uri()} did not take {path} ({first_line(reason)}); it is only on this machine")
        return False
    return True
