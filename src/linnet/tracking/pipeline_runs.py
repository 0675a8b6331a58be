"""Which pipeline runs use an MLflow run: one training serves all that ask for the same weights."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from linnet.engine import pipeline_run
from linnet.errors import Stopped
from linnet.progress import log
from linnet.tracking.client import connect, find_run
from linnet.tracking.failures import TrackingError, server_errors
from linnet.tracking.outages import waiting_at_most
from linnet.tracking.states import IN_USE

if TYPE_CHECKING:
    from mlflow import MlflowClient

NEWEST_TAG = "linnet.pipeline_run"  # the pipeline run that uses it now, or did last
LIST_TAG = "linnet.pipeline_runs"  # all that did, the newest last
STATE_TAG = (
    "linnet.pipeline_state"  # how the newest ended, in the words of Kubeflow Pipelines; RUNNING until it is known
)
ERROR_TAG = "linnet.pipeline_error"  # what it says went wrong
MAX_LISTED = 50  # identifiers of 36 letters; MLflow takes 5000 letters


def listed(tags: Mapping[str, str]) -> list[str]:
    """The pipeline runs that used the MLflow run with these tags, the newest last."""
    return tags[LIST_TAG].split(",") if tags.get(LIST_TAG) else [tags[NEWEST_TAG]] if NEWEST_TAG in tags else []


def begin_use(client: "MlflowClient", run_id: str, *, keeps_order: bool = False) -> None:
    """The run is in use from now on, by this pipeline run if there is one; nothing stays of how it ended before.

    Args:
        keeps_order: a pipeline run that is listed already stays behind one that came later, as long as that one's end
            is not known. For the nodes of a shared job, which begin again in the name of the pipeline run that made it.
            Kubeflow Pipelines' Retry has the same id: it is the newest again when the later one has ended. Where that
            one's end was never told, it is so when it makes its job anew (`join_use`), evaluates or registers.
    """
    ours, tags = pipeline_run(), client.get_run(run_id).data.tags
    if ours is not None and not (keeps_order and _is_behind(tags, ours)):
        _become_newest(client, run_id, tags, ours)
    for tag in (ERROR_TAG,) if ours is not None else (ERROR_TAG, STATE_TAG, NEWEST_TAG):
        if tag in tags:
            delete_tag(client, run_id, tag)
    client.update_run(run_id, status="RUNNING")


def join_use(run_key: str, *, is_first: bool) -> None:
    """Let this pipeline run use the training with this key too, so that another's end is not that of its MLflow run.

    Nothing happens where there is no such run yet: the training makes it, in the name of who made the job. It waits for
    no server that is away, and what fails is said.

    Args:
        is_first: whether nobody else waits for the training now: this pipeline run is the newest in any case. Else one
            that is listed stays behind a later one whose end is not known.
    """
    if (ours := pipeline_run()) is None:
        return
    try:
        with server_errors(), waiting_at_most(0):
            client = connect()
            if run_id := find_run(client, run_key):
                _join(client, run_id, ours, is_first=is_first)
    except (TrackingError, OSError) as reason:
        log(f"MLflow was not told that this pipeline run uses the training: {reason}")


def _join(client: "MlflowClient", run_id: str, ours: str, *, is_first: bool) -> None:
    run = client.get_run(run_id)
    tags = run.data.tags
    is_open = tags.get(STATE_TAG) == IN_USE
    if (tags.get(NEWEST_TAG) == ours and is_open) or (not is_first and _is_behind(tags, ours)):
        return
    _become_newest(client, run_id, tags, ours)
    if ERROR_TAG in tags:
        delete_tag(client, run_id, ERROR_TAG)
    if not is_open and run.info.status != "FINISHED":  # another's end, which is not that of the training
        client.update_run(run_id, status="RUNNING")


def _is_behind(tags: Mapping[str, str], ours: str) -> bool:
    """Whether a pipeline run that came later than ours uses the run still, for all that is known."""
    pipelines = listed(tags)
    return ours in pipelines[:-1] and tags.get(STATE_TAG) == IN_USE


def _become_newest(client: "MlflowClient", run_id: str, tags: Mapping[str, str], ours: str) -> None:
    from mlflow.entities import RunTag

    pipelines = [*(known for known in listed(tags) if known != ours), ours][-MAX_LISTED:]
    texts = {NEWEST_TAG: ours, LIST_TAG: ",".join(pipelines), STATE_TAG: IN_USE}
    client.log_batch(run_id, tags=[RunTag(key, text) for key, text in texts.items()])


def delete_tag(client: "MlflowClient", run_id: str, tag: str) -> None:
    """Delete a tag, if it is there."""
    from mlflow.exceptions import MlflowException

    try:
        client.delete_tag(run_id, tag)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


@contextlib.contextmanager
def in_use(client: "MlflowClient", run_id: str) -> Iterator[None]:
    """The run is RUNNING in the block, and then says how that ended."""
    begin_use(client, run_id)
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(Exception):  # the first error is the one to tell; `close` corrects the status
            client.set_terminated(run_id, end_status(type(error)))
        raise
    client.set_terminated(run_id, end_status(None))


def end_status(error: type[BaseException] | None) -> str:
    """MLflow's status of a run whose work ended so."""
    if error is None:
        return "FINISHED"
    return "KILLED" if issubclass(error, KeyboardInterrupt | Stopped) else "FAILED"
