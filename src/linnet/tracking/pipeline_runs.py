"""Which pipeline runs use an MLflow run: one training serves all that ask for the same weights."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from linnet.errors import Stopped
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


def pipeline_run() -> str | None:
    """The id of the pipeline run that this process belongs to, if any."""
    return os.environ.get("LINNET_PIPELINE_RUN")


def listed(tags: Mapping[str, str]) -> list[str]:
    """The pipeline runs that used the MLflow run with these tags, the newest last."""
    return tags[LIST_TAG].split(",") if tags.get(LIST_TAG) else [tags[NEWEST_TAG]] if NEWEST_TAG in tags else []


def begin_use(client: "MlflowClient", run_id: str) -> None:
    """The run is in use from now on, by this pipeline run if there is one; nothing stays of how it ended before."""
    from mlflow.entities import RunTag

    ours, tags = pipeline_run(), client.get_run(run_id).data.tags
    if ours is not None:
        pipelines = [*(known for known in listed(tags) if known != ours), ours][-MAX_LISTED:]
        texts = {NEWEST_TAG: ours, LIST_TAG: ",".join(pipelines), STATE_TAG: IN_USE}
        client.log_batch(run_id, tags=[RunTag(key, text) for key, text in texts.items()])
    for tag in (ERROR_TAG,) if ours is not None else (ERROR_TAG, STATE_TAG, NEWEST_TAG):
        if tag in tags:
            delete_tag(client, run_id, tag)
    client.update_run(run_id, status="RUNNING")


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
