"""What a TrainJob says about itself: its state, why it failed, whether it is ours."""

from collections.abc import Mapping
from typing import Any, Literal

from linnet.launch.cluster import TrainJobError
from linnet.launch.leases import annotations
from linnet.launch.manifest import KEY, SPEC_HASH

Job = Mapping[str, Any]
State = Literal["running", "Complete", "Failed", "deleting"]


def state_of(job: Job) -> State:
    """Where the job is in its life; one that waits in a queue counts as running."""
    if "deletionTimestamp" in job["metadata"]:
        return "deleting"
    condition = _end(job)
    return "running" if condition is None else condition["type"]


def ended_at(job: Job) -> str | None:
    """When the job became complete or failed; None if it has not."""
    condition = _end(job)
    return None if condition is None else str(condition["lastTransitionTime"])


def failure(job: Job) -> str:
    """Why the job failed, as its condition says it."""
    condition = _end(job)
    assert condition is not None
    return ": ".join(condition[name] for name in ("reason", "message") if condition.get(name))


def refuse_foreign(job: Job, body: Job, title: str) -> None:
    """Raises TrainJobError if `job` has the name of ours and is not for our result."""
    if job["metadata"].get("labels", {}).get(KEY) != body["metadata"]["labels"][KEY]:
        raise TrainJobError(f"{title} exists and is not linnet's for this result (label {KEY}); rename or delete it")


def spec_differs(job: Job, body: Job) -> bool:
    """Whether `job` was made from another manifest than `body`."""
    return annotations(job).get(SPEC_HASH) != annotations(body)[SPEC_HASH]


def _end(job: Job) -> Mapping[str, Any] | None:
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return dict(condition)
    return None
