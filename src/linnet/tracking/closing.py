"""How the MLflow runs of a pipeline run end: told by its exit handler, or found out by a later one."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from linnet.engine import pipeline_run
from linnet.progress import log
from linnet.tracking.client import connect, find_experiment
from linnet.tracking.failures import server_errors
from linnet.tracking.pipeline_runs import ERROR_TAG, LIST_TAG, NEWEST_TAG, STATE_TAG, delete_tag, listed
from linnet.tracking.states import IN_USE, End, end_asked, end_told

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MAX_ERROR_LETTERS = 5000  # MLflow refuses a longer tag


def close_pipeline_runs(state: str, error_message: str) -> list[str]:
    """Give the MLflow runs of this pipeline run their final status, and return their ids.

    One that a newer pipeline run has taken over is left to that.

    Args:
        state: SUCCEEDED, or how else Kubeflow Pipelines calls the end of a task.
        error_message: what it says went wrong; may be empty.

    Raises:
        TrackingError: the server does not answer.
    """
    ours = pipeline_run()
    assert ours is not None
    with server_errors():
        client = connect()
        runs = _search(client, f"tags.`{NEWEST_TAG}` = '{ours}'", f"tags.`{LIST_TAG}` LIKE '%{ours}%'")
        closed = []
        for run in runs:
            newest = run.data.tags.get(NEWEST_TAG)
            if newest == ours:
                _end(client, run, end_told(state), error_message)
                closed.append(str(run.info.run_id))
            elif newest is not None and ours in listed(run.data.tags):
                log(f"MLflow run {run.info.run_id} is left to the pipeline run {newest}, which uses it since")
    return closed


def close_leftovers(ask: Callable[[str], str | None]) -> list[str]:
    """Close the MLflow runs that other pipeline runs have left open, and return their ids.

    A pipeline run that was terminated while its exit handler waited for a node, or that found no MLflow at its end,
    leaves them so. One that still runs, or of which nothing is known, is left alone; so is a run without a pipeline,
    since nothing says whether its process lives.

    Args:
        ask: the state of a pipeline run by its id, as Kubeflow Pipelines' API names it: CANCELED also for one whose
            history holds CANCELING, because one that was terminated ends as FAILED there; None where it is not known.

    Raises:
        TrackingError: MLflow does not answer.
    """
    closed, ends = [], dict[str, End | None]()
    with server_errors():
        client = connect()
        for run in _search(client, "attributes.status = 'RUNNING'", f"tags.`{STATE_TAG}` = '{IN_USE}'"):
            owner = run.data.tags.get(NEWEST_TAG)
            if owner is None or owner == pipeline_run():
                continue
            if owner not in ends:
                ends[owner] = end_asked(ask(owner))
            end = ends[owner]
            if end is not None and _is_still(client, run, owner):
                _end(client, run, end, "")
                closed.append(str(run.info.run_id))
                log(f"MLflow run {run.info.run_id} of the pipeline run {owner} was left open: {end.status} now")
    return closed


def _search(client: "MlflowClient", *queries: str) -> "list[Run]":
    """The runs of this project that fit one of the queries."""
    found = find_experiment(client)
    if found is None:
        return []
    runs = {run.info.run_id: run for query in queries for run in client.search_runs([found.experiment_id], query)}
    return list(runs.values())


def _is_still(client: "MlflowClient", run: "Run", owner: str) -> bool:
    """Whether no other has begun to use the run since it was found."""
    return bool(client.get_run(run.info.run_id).data.tags.get(NEWEST_TAG) == owner)


def _end(client: "MlflowClient", run: "Run", end: End, error_message: str) -> None:
    run_id = run.info.run_id
    client.set_terminated(run_id, end.status)
    if end.has_error and error_message:
        client.set_tag(run_id, ERROR_TAG, error_message[:MAX_ERROR_LETTERS])
    elif ERROR_TAG in run.data.tags:
        delete_tag(client, run_id, ERROR_TAG)
    client.set_tag(run_id, STATE_TAG, end.tag)  # last: until it is there, the run counts as left open
