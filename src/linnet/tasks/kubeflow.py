"""What Kubeflow Pipelines says of a run, asked over its HTTP API: for MLflow runs that nobody closed."""

import json
import os
from pathlib import Path

import urllib3
from urllib3.exceptions import HTTPError

from linnet.engine import in_pod

HOST_VARIABLE = "KFP_HOST"
IN_CLUSTER_HOST = "http://ml-pipeline.kubeflow:8888"
TOKEN_FILE = Path("/var/run/secrets/kubeflow/pipelines/token")  # of the pod's service account, on multi-user servers
SECONDS = 10.0


def was_ended_by_somebody(run_id: str) -> bool | None:
    """Whether somebody terminated the pipeline run; None where nobody answers, or knows no such run."""
    run = _ask(run_id)
    return None if run is None else "CANCELING" in _history(run)


def run_state(run_id: str) -> str | None:
    """The state of a pipeline run, such as SUCCEEDED or RUNNING; None where nobody answers, or knows no such run.

    A run that somebody ended is FAILED in the end; its history tells the two apart, and it is CANCELED here.
    """
    run = _ask(run_id)
    return None if run is None else state_of(run)


def _ask(run_id: str) -> dict[str, object] | None:
    host = os.environ.get(HOST_VARIABLE) or (IN_CLUSTER_HOST if in_pod() else "")
    if not host:
        return None
    token = os.environ.get("KFP_TOKEN") or (TOKEN_FILE.read_text().strip() if TOKEN_FILE.is_file() else "")
    try:
        answer = urllib3.request(
            "GET",
            f"{host.rstrip('/')}/apis/v2beta1/runs/{run_id}",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=SECONDS,
            retries=False,
        )
        run = json.loads(answer.data) if answer.status == 200 else None
    except (HTTPError, ValueError):
        return None
    return run if isinstance(run, dict) else None


def state_of(run: dict[str, object]) -> str | None:
    """The state in what the API says of a run."""
    if "CANCELING" in _history(run) and run.get("state") == "FAILED":
        return "CANCELED"
    return str(run["state"]) if run.get("state") else None


def _history(run: dict[str, object]) -> set[object]:
    history = run.get("state_history")
    return {each.get("state") for each in history if isinstance(each, dict)} if isinstance(history, list) else set()
