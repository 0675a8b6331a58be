"""MLflow: a client of it that waits out outages, and which run belongs to what."""

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from linnet.progress import log
from linnet.tracking.address import artifacts_folder, display_uri, local_database, tracking_uri
from linnet.tracking.database import check_database
from linnet.tracking.failures import TrackingError, server_errors
from linnet.tracking.local_store import ensure_store
from linnet.tracking.outages import create_once, make_calls_wait, make_requests_wait, waited, waiting_at_most
from linnet.tracking.relocation import follow_workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

EXPERIMENT = "linnet"
RUN_KEY = "linnet.input_hash"  # the tag that ties a run to what went into its training
CHECK_SECONDS = 60.0
OLDEST_SERVER = 3  # the first version that keeps logged models, which are what gets registered
GIT_COMMIT = "linnet.git_commit"  # the tag with the commit of the code that trained the model


def connect() -> "MlflowClient":
    """A client of a store that is whole; each of its requests waits for a server that is away (LINNET_PATIENCE).

    MLflow takes seconds to import: only where it is used.

    Raises:
        TrackingError: the local store is of no use, or the database does not let us in; a server is not asked yet.
        OSError: the folder of the local store cannot be written.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints tracebacks of what it also raises
    _refuse_unreadable_folder()
    with server_errors():
        return waited(_connect)


def _connect() -> "MlflowClient":
    import mlflow

    for uri in dict.fromkeys((tracking_uri(), os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri())):
        check_database(uri)
        if (path := local_database(uri)) is not None:
            ensure_store(path)
            follow_workspace(path)
    mlflow.set_tracking_uri(tracking_uri())
    client = mlflow.MlflowClient()
    make_requests_wait()
    registry = client._get_registry_client()  # type: ignore[no-untyped-call]
    for store in (client._tracking_client.store, registry.store):  # which MLflow keeps for all its clients
        if hasattr(store, "engine"):  # a database's
            make_calls_wait(store)
    return client


def _refuse_unreadable_folder() -> None:
    """Raise TrackingError where MLflow would take the path of the embedded default for another one."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and (found := re.search(r"[?]|%[0-9A-Fa-f]{2}", str(Path.cwd()))):
        raise TrackingError(
            f"MLflow reads {found[0]!r} in the address of a file as something else, so no mlflow.db can be kept in "
            f"{Path.cwd()}; rename the folder, or set MLFLOW_TRACKING_URI to a server or to a file elsewhere "
            "(sqlite:////path/mlflow.db)"
        )


def find_experiment(client: "MlflowClient") -> "Experiment | None":
    """The experiment of this project, if it is there.

    Raises:
        TrackingError: somebody has deleted it; MLflow keeps the name, and takes no runs for it.
    """
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"MLflow at {display_uri()}: the experiment '{name}' was deleted; bring it back with `MLFLOW_TRACKING_URI="
            f"{display_uri()} mlflow experiments restore --experiment-id {found.experiment_id}`, or set "
            "MLFLOW_EXPERIMENT_NAME to another name"
        )
    return found


def experiment_id(client: "MlflowClient") -> str:
    """The id of this project's experiment, created on first use (for a SQLite store with a local artifact folder).

    Raises:
        TrackingError: somebody has deleted it.
    """
    from mlflow.exceptions import MlflowException

    if found := find_experiment(client):
        return str(found.experiment_id)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    location = artifacts_folder().as_uri() if local_database(tracking_uri()) is not None else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException as reason:
        found = find_experiment(client) if reason.error_code == "RESOURCE_ALREADY_EXISTS" else None
        if found is None:
            raise
        return str(found.experiment_id)  # another command was faster


def find_run(client: "MlflowClient", run_key: str) -> str | None:
    """The id of the newest run tagged with `run_key`."""
    runs = client.search_runs([experiment_id(client)], f"tags.`{RUN_KEY}` = '{run_key}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None


def find_or_create_run(client: "MlflowClient", run_key: str, *, run_name: str) -> str:
    """The id of the newest run tagged with `run_key`, which is made if there is none."""

    def create() -> str:
        return str(client.create_run(experiment_id(client), run_name=run_name, tags={RUN_KEY: run_key}).info.run_id)

    return create_once(lambda: find_run(client, run_key), create)


def check_server(*, outlives_pods: bool) -> None:
    """Ask MLflow for its version, the experiment, logged models and the registry; nothing there is changed.

    It waits a minute at most: a server that is never there should be known soon.

    Args:
        outlives_pods: whether it must be a server: a file would be gone with the pod.

    Raises:
        TrackingError: with the cause and what to do.
    """
    is_server = tracking_uri().startswith(("http://", "https://"))
    if outlives_pods and not is_server:
        raise TrackingError(
            f"MLFLOW_TRACKING_URI names no server ({display_uri()}): what is logged there would be gone with the pod; "
            "set it in the ConfigMap linnet (deploy/kubernetes/base/config.yaml)"
        )
    if outlives_pods and display_uri() != tracking_uri():
        raise TrackingError(
            f"MLFLOW_TRACKING_URI ({display_uri()}) holds a user; put user and password into the secret linnet-mlflow"
        )
    with server_errors(), waiting_at_most(CHECK_SECONDS):
        client = connect()
        found = find_experiment(client)
        if is_server:
            _check_version()
        client.search_logged_models(["0" if found is None else str(found.experiment_id)], max_results=1)
        client.search_registered_models(max_results=1)
        if is_server and found is not None:
            _check_artifacts(str(found.artifact_location))


def _check_version() -> None:
    import mlflow
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    login = get_default_host_creds(tracking_uri())  # type: ignore[no-untyped-call]
    answer = http_request(login, "/version", "GET")  # type: ignore[no-untyped-call]
    found = re.fullmatch(r"(\d+)\.\d+\S*", answer.text.strip()) if answer.status_code == 200 else None
    if found is not None and int(found[1]) < OLDEST_SERVER:
        raise TrackingError(
            f"MLflow at {display_uri()}: the server is version {found[0]}, the client here {mlflow.__version__}; a "
            f"server before {OLDEST_SERVER} keeps no logged models, so nothing could be registered at the end. Install "
            f"'mlflow>={OLDEST_SERVER}' there (then `mlflow db upgrade` for its database), or set MLFLOW_TRACKING_URI "
            "to a server that has it"
        )


def _check_artifacts(location: str) -> None:
    """A server that takes no artifacts itself names a folder, which must be one that both machines see."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        return
    folder = Path(unquote(parts.path))
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise TrackingError(
            f"MLflow at {display_uri()} keeps artifacts in {folder}, a folder that this machine cannot write; start "
            "the server with --artifacts-destination, so that it takes them itself, and set MLFLOW_EXPERIMENT_NAME "
            "to a new name"
        )


def known_run(run_key: str) -> str | None:
    """The id of the run tagged with `run_key`; None too where the server does not answer."""
    try:
        with server_errors():
            return find_run(connect(), run_key)
    except (TrackingError, OSError):
        return None


def log_text(run_key: str, text: str, path: str) -> bool:
    """Store `text` as the artifact `path` of the run tagged with `run_key`, if there is one.

    Returns:
        False where the server did not take it, which is said.
    """
    try:
        with server_errors():
            client = connect()
            if run_id := find_run(client, run_key):
                waited(lambda: client.log_text(run_id, text, path))  # as a whole too: S3 may be what is away
    except (TrackingError, OSError) as reason:
        log(f"MLflow did not take {path}, it is only on this machine: {reason}")
        return False
    return True
