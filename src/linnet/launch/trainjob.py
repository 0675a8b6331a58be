"""Training as one Kubeflow TrainJob: create it or follow a running one, print its log, and leave nothing behind.

The name of the job comes from the hash of the result, so that a repeated task finds the job of the task before, and
pipeline runs that need the same result share one job. Each of them writes a lease onto it (`linnet.launch.leases`): a
task that is asked to stop gives its lease back, and the last one deletes the job; a task that is killed leaves the job
to the repeated one.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from linnet.errors import Stopped
from linnet.launch.cluster import Cluster, TrainJobError
from linnet.launch.job import Job, JobFailedError, SharedFiles
from linnet.launch.manifest import JOB_PREFIX, Toleration, TrainJobSettings, job_name, manifest
from linnet.patience import FIRST_WAIT_SECONDS

__all__ = [
    "JOB_PREFIX", "SharedFiles", "Toleration", "TrainJobError", "TrainJobSettings", "job_name", "manifest", "run",
]  # fmt: skip

POLL_SECONDS = 5.0
CLEANUP_SECONDS = 120.0  # beyond the grace period of the pods


def run(
    settings: TrainJobSettings,
    *,
    key: str,
    num_nodes: int,
    processes_per_node: int,
    arguments: Sequence[str],
    files: SharedFiles,
    tell_use: Callable[[bool], None] = lambda _is_first: None,
    poll_seconds: float | None = None,
    outage_seconds: float | None = None,
) -> None:
    """Train the result `key` with `linnet <arguments>` on `num_nodes` nodes; returns when it is complete and fetched.

    The log of the first node and the states of all go to standard error. Whatever ends this early deletes the job if no
    other pipeline run needs it, except a failure of the job itself and SIGKILL.

    Args:
        tell_use: tells others that this pipeline run uses the job: with True before it is created, with False when one
            that exists is followed, and again when it is complete. It must not raise, and is not waited for for long.
        poll_seconds: between two looks at the job; None: POLL_SECONDS.
        outage_seconds: how long to wait for a Kubernetes API that does not answer; None: `patience_seconds()`.

    Raises:
        TrainJobError: the job failed, is not linnet's, or was deleted again and again; its image cannot be pulled; or
            the cluster refused it, or did not answer for `outage_seconds`.
        LinnetError: of `files.publish` and `files.fetch`.
        Stopped: SIGINT or SIGTERM.
    """
    poll_seconds = POLL_SECONDS if poll_seconds is None else poll_seconds
    job = Job(
        Cluster(
            settings.namespace,
            outage_seconds=outage_seconds,
            first_wait_seconds=min(poll_seconds, FIRST_WAIT_SECONDS),
        ),
        manifest(settings, key=key, num_nodes=num_nodes, processes_per_node=processes_per_node, arguments=arguments),
        files,
        tell_use,
        poll_seconds=poll_seconds,
        delete_seconds=settings.termination_grace_seconds + CLEANUP_SECONDS,
    )
    with _signals_raise():
        try:
            job.run_to_completion()
        except JobFailedError:
            raise
        except BaseException:
            job.give_up()
            raise
        job.clean_up()


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Raise Stopped at once on SIGINT and SIGTERM, whatever is being waited for; further signals are ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(f"{signal.Signals(number).name}: training on the cluster was stopped", number)

    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
