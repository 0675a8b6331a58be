"""Who needs a TrainJob: one annotation for each pipeline run, with the time at which that run was last seen waiting.

A run that ends takes its own away, and only the last one deletes the job. A run that was killed takes nothing away;
what it left is out of date after some minutes.
"""

import re
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from linnet.engine import pipeline_run

LEASE = "lease.linnet/"  # before the pipeline run
REMOVING = "linnet/removing-since"  # the last run is removing the shared folder, and then the job
FRESH_SECONDS = 300.0  # a lease that is older belongs to a run that was killed
REFRESH_SECONDS = 60.0
MAX_NAME_LENGTH = 63  # of an annotation, after the slash


def holder() -> str:
    """The pipeline run that this process works for, the same in a repeated task; without one, this machine."""
    name = pipeline_run() or socket.gethostname()
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:MAX_NAME_LENGTH].strip("_.-")


def now_text() -> str:
    """The moment as leases give it, such as 2026-11-05T12:00:00+00:00."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")


def age_seconds(text: str) -> float:
    """How long ago a moment was that a lease, a mark or Kubernetes itself gives."""
    return time.time() - datetime.fromisoformat(text).timestamp()


def fresh_holders(job: Mapping[str, Any]) -> set[str]:
    """The pipeline runs that need the job now."""
    return {
        name.removeprefix(LEASE)
        for name, since in annotations(job).items()
        if name.startswith(LEASE) and age_seconds(since) < FRESH_SECONDS
    }


def annotations(job: Mapping[str, Any]) -> Mapping[str, str]:
    """The annotations of a job; none is the same as no key."""
    return job["metadata"].get("annotations") or {}
