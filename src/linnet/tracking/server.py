"""Whether MLflow will take all that a run of the pipeline gives it: asked before anything is spent."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from linnet.tracking.address import display_uri, tracking_uri
from linnet.tracking.client import connect, find_experiment
from linnet.tracking.failures import TrackingError, server_errors

OLDEST_SERVER = 3  # the first version that keeps logged models, which are what gets registered


def check_server(*, outlives_pods: bool) -> None:
    """Ask MLflow for its version, the experiment, logged models and the registry; nothing there is changed.

    Args:
        outlives_pods: whether it must be a server: a file would be gone with the pod.

    Raises:
        TrackingError: with the cause and what to do.
    """
    is_server = tracking_uri().startswith(("http://", "https://"))
    if outlives_pods and not is_server:
        raise TrackingError(
            f"MLFLOW_TRACKING_URI names no server ({display_uri()}): what is logged there would be gone with the pod; "
            "set it in the ConfigMap linnet (deploy/kubernetes/config.yaml)"
        )
    if outlives_pods and display_uri() != tracking_uri():
        raise TrackingError(
            f"MLFLOW_TRACKING_URI ({display_uri()}) holds a user; put user and password into the secret linnet-mlflow"
        )
    with server_errors():
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

    answer = http_request(get_default_host_creds(tracking_uri()), "/version", "GET")
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
    if not os.access(nearest, os.W_OK):
        raise TrackingError(
            f"MLflow at {display_uri()} keeps artifacts in {folder}, a folder that this machine cannot write; start "
            "the server with --artifacts-destination, so that it takes them itself, and set MLFLOW_EXPERIMENT_NAME to a "
            "new name"
        )
