"""How a pipeline run ends, and what its MLflow run says then: one table, for everything that closes a run."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class End:
    """One way to end.

    Attributes:
        happened: in words for people.
        told: what Kubeflow Pipelines tells its exit handler then: its states of a run, of a task, and those of its
            metadata store.
        asked: what its API says of the run, later.
        status: MLflow's status of the run.
        tag: the tag `linnet.pipeline_state`.
        has_error: whether the message that comes with it is kept, as the tag `linnet.pipeline_error`.
    """

    happened: str
    told: frozenset[str]
    asked: frozenset[str]
    status: Literal["FINISHED", "FAILED", "KILLED"]
    tag: str
    has_error: bool


SUCCEEDED = End(
    "every task succeeded, or had its result in the cache",
    told=frozenset({"SUCCEEDED", "COMPLETE", "CACHED", "SKIPPED"}),
    asked=frozenset({"SUCCEEDED", "SKIPPED"}),
    status="FINISHED",
    tag="SUCCEEDED",
    has_error=False,
)
FAILED = End(
    "a task failed, whichever: a model that could not be registered is not finished",
    told=frozenset({"FAILED", "ERROR"}),
    asked=frozenset({"FAILED", "ERROR"}),
    status="FAILED",
    tag="FAILED",
    has_error=True,
)
CANCELED = End(
    "somebody ended it; the exit handler runs before the run has its last state",
    told=frozenset({"CANCELED", "CANCELLED", "CANCELING", "RUNNING", "PENDING"}),
    asked=frozenset({"CANCELED", "CANCELLED"}),
    status="KILLED",
    tag="CANCELED",
    has_error=True,
)
ENDS = (SUCCEEDED, FAILED, CANCELED)
IN_USE = "RUNNING"  # the tag's value until one of these is written


def end_told(state: str) -> End:
    """The end that an exit handler is told; a state that nobody knows is no success."""
    return next((end for end in ENDS if state in end.told), FAILED)


def end_asked(state: str | None) -> End | None:
    """The end that the API says; None while the run goes on, and for a state that nobody knows."""
    return next((end for end in ENDS if state in end.asked), None)
