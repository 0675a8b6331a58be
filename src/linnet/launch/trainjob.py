"""Training as one Kubeflow TrainJob: create it or adopt a running one, print its log, delete it with its task.

The name of the job comes from the hash of the result, so that a repeated task finds the job of the task before. A task
that is asked to stop deletes its job; a task that is killed leaves it to the repeated one.
"""

import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from linnet.errors import Stopped
from linnet.launch.cluster import Cluster, TrainJobError
from linnet.launch.manifest import KEY, NODE, SPEC_HASH, Toleration, TrainJobSettings, job_name, manifest
from linnet.progress import log

__all__ = ["Toleration", "TrainJobError", "TrainJobSettings", "job_name", "manifest", "run"]

FIRST_NODE = (
    f"jobset.sigs.k8s.io/jobset-name={{name}},jobset.sigs.k8s.io/replicatedjob-name={NODE},"
    "batch.kubernetes.io/job-completion-index=0"
)
DELETE_ON_EXIT_SECONDS = 10.0  # a pod that is asked to stop is killed after 30
CLEANUP_SECONDS = 120.0  # beyond the grace period of the pods
OVERLAP_SECONDS = 10  # between two readings of a log; lines that were printed before are left out


class _JobFailed(TrainJobError):
    """The job itself failed; it stays in the cluster, so that people can look at it."""


def run(
    settings: TrainJobSettings,
    *,
    key: str,
    num_nodes: int,
    arguments: Sequence[str],
    poll_seconds: float = 5.0,
    outage_seconds: float = 300.0,
) -> None:
    """Train the result `key` with `torchrun -m linnet <arguments>` on `num_nodes` nodes; returns when it is complete.

    The log of the first node goes to standard error. Whatever ends this early deletes the job, except a failure of the
    job itself and SIGKILL.

    Raises:
        TrainJobError: the job failed, is not linnet's, or was deleted; or the cluster refused it, or did not answer for
            `outage_seconds`.
        Stopped: SIGINT or SIGTERM.
    """
    body = manifest(settings, key=key, num_nodes=num_nodes, arguments=arguments)
    job = _Job(
        Cluster(settings.namespace, backoff_seconds=poll_seconds, outage_seconds=outage_seconds),
        body,
        poll_seconds=poll_seconds,
        delete_seconds=settings.termination_grace_seconds + CLEANUP_SECONDS,
    )
    with _signals_raise():
        try:
            if job.create_or_adopt():
                job.follow()
        except _JobFailed:
            raise
        except BaseException:
            job.delete_on_exit()
            raise


class _Job:
    """The one TrainJob that makes a result."""

    def __init__(self, cluster: Cluster, body: dict[str, Any], *, poll_seconds: float, delete_seconds: float) -> None:
        self._cluster, self._body = cluster, body
        self._poll_seconds, self._delete_seconds = poll_seconds, delete_seconds
        self.name: str = body["metadata"]["name"]
        self._title = f"TrainJob {cluster.namespace}/{self.name}"
        self._is_ours = False  # it runs for this task, so it must not run on without it

    def create_or_adopt(self) -> bool:
        """Create the job, or adopt that of an earlier task; False if it is complete already."""
        while True:
            existing = self._cluster.get(self.name)
            if existing is None:
                self._is_ours = True  # before the call: a signal may come while the response is on its way
                self._is_ours = self._cluster.create(self._body)
                if self._is_ours:
                    log(f"{self._title}: created")
                    return True
                continue  # another task was faster
            self._refuse_foreign(existing)
            match _state(existing), self._differs(existing):
                case "deleting", _:
                    self._wait_until_gone(existing)
                case _, True:
                    log(f"{self._title}: exists with another image, size or settings; replacing it")
                    self._replace(existing)
                case "Complete", _:
                    log(f"{self._title}: was complete already")
                    return False
                case "Failed", _:
                    log(f"{self._title}: failed earlier ({_failure(existing)}); a new one goes on from its checkpoint")
                    self._replace(existing)
                case _:
                    self._is_ours = True
                    log(f"{self._title}: runs already; following it")
                    return True

    def follow(self) -> None:
        """Print the first node's log until the job ends."""
        node_log = _FirstNodeLog(self._cluster, self.name)
        while True:
            job = self._cluster.get(self.name)
            node_log.print_new()  # after `get`, so that no line is missed when the job has ended
            match _state(job):
                case "Complete":
                    log(f"{self._title}: complete")
                    return
                case "Failed":
                    raise _JobFailed(
                        f"{self._title} failed: {_failure(job)}; its first node said last: {node_log.last_message!r}. "
                        "Repeat the task and it goes on from the newest checkpoint; the whole log: "
                        f"{self._log_command()}"
                    )
                case "gone" | "deleting":
                    raise TrainJobError(f"{self._title} was deleted by somebody else; repeat the task to go on")
                case _:
                    time.sleep(self._poll_seconds)

    def delete_on_exit(self) -> None:
        """Delete the job because this task ends; never raises, because another exception is on its way up already."""
        if not self._is_ours:
            return
        self._cluster.outage_seconds = DELETE_ON_EXIT_SECONDS
        try:
            existing = self._cluster.get(self.name)
            if existing is not None:
                self._refuse_foreign(existing)
                self._cluster.delete(self.name, uid=existing["metadata"]["uid"])
                log(f"{self._title}: deleted, because this task ends")
        except (TrainJobError, Stopped) as reason:
            log(
                f"{self._title}: could not be deleted ({reason}) and may go on without this task; end it with "
                f"kubectl -n {self._cluster.namespace} delete trainjob {self.name}"
            )

    def _refuse_foreign(self, existing: dict[str, Any]) -> None:
        if existing["metadata"].get("labels", {}).get(KEY) != self._body["metadata"]["labels"][KEY]:
            raise TrainJobError(
                f"{self._title} exists and is not linnet's for this result (label {KEY}); rename or delete it"
            )

    def _differs(self, existing: dict[str, Any]) -> bool:
        written = existing["metadata"].get("annotations", {}).get(SPEC_HASH)
        return bool(written != self._body["metadata"]["annotations"][SPEC_HASH])

    def _replace(self, existing: dict[str, Any]) -> None:
        self._cluster.delete(self.name, uid=existing["metadata"]["uid"])
        self._wait_until_gone(existing)

    def _wait_until_gone(self, existing: dict[str, Any]) -> None:
        uid, deadline = existing["metadata"]["uid"], time.monotonic() + self._delete_seconds
        while (found := self._cluster.get(self.name)) is not None and found["metadata"]["uid"] == uid:
            if time.monotonic() > deadline:
                raise TrainJobError(
                    f"{self._title} was deleted {self._delete_seconds:.0f} s ago and is still there; see what "
                    f"holds it: kubectl -n {self._cluster.namespace} describe trainjob {self.name}"
                )
            time.sleep(self._poll_seconds)

    def _log_command(self) -> str:
        selector = f"jobset.sigs.k8s.io/jobset-name={self.name}"
        return f"kubectl -n {self._cluster.namespace} logs -l {selector} --prefix --tail=-1"


class _FirstNodeLog:
    """The logs of the pods of the first node, one after the other, read again at every poll.

    They are not streamed: a stream that broke would need the same care for what was printed before.
    """

    def __init__(self, cluster: Cluster, job: str) -> None:
        self._cluster, self._labels = cluster, FIRST_NODE.format(name=job)
        self._newest_line: dict[str, str] = {}  # by pod, with its time
        self._read_at: dict[str, float] = {}
        self._finished: set[str] = set()
        self._pod_status = self._any_line = self._linnet_line = ""

    @property
    def last_message(self) -> str:
        """The newest message of linnet itself, or else the newest line: torchrun prints a table after both."""
        return self._linnet_line or self._any_line

    def print_new(self) -> None:
        """Print the lines since the last call."""
        pods = self._cluster.pods(self._labels)
        for pod in pods:
            name, phase = pod["metadata"]["name"], pod.get("status", {}).get("phase", "Pending")
            if name not in self._finished and phase != "Pending":
                self._print_new_of(name, ended=phase in ("Succeeded", "Failed"))
        pod_status = _pod_status(pods[-1]) if pods else "waiting for its pod"
        if pod_status != self._pod_status:
            self._pod_status = pod_status
            log(f"first node: {pod_status}")

    def _print_new_of(self, pod: str, *, ended: bool) -> None:
        now, since = time.monotonic(), None
        if pod in self._read_at:
            since = int(now - self._read_at[pod]) + OVERLAP_SECONDS
        text = self._cluster.log(pod, NODE, since_seconds=since)
        if text is None:
            return
        self._read_at[pod] = now
        lines = text.split("\n")
        unfinished = lines.pop()
        if ended:
            self._finished.add(pod)
            lines += [unfinished] if unfinished else []
        if self._newest_line.get(pod) in lines:  # else the whole overlap is new
            lines = lines[len(lines) - lines[::-1].index(self._newest_line[pod]) :]
        if lines:
            self._newest_line[pod] = lines[-1]
        for line in lines:
            self._print(line.partition(" ")[2])

    def _print(self, line: str) -> None:
        sys.stderr.write(line + "\n")  # as it is: rich would change tabs and control characters
        sys.stderr.flush()
        if any(letter.isalpha() for letter in line):
            self._any_line = line.strip()
        if line.startswith("linnet: "):
            self._linnet_line = line.strip()


def _state(job: dict[str, Any] | None) -> str:
    """Complete, Failed, deleting, gone or running; a job that waits in a queue counts as running."""
    if job is None:
        return "gone"
    if "deletionTimestamp" in job["metadata"]:
        return "deleting"
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return "running"


def _failure(job: dict[str, Any] | None) -> str:
    assert job is not None
    failed = next(condition for condition in job["status"]["conditions"] if condition["type"] == "Failed")
    return ": ".join(failed[name] for name in ("reason", "message") if failed.get(name))


def _pod_status(pod: dict[str, Any]) -> str:
    """The phase of a pod, or why it waits."""
    status = pod.get("status", {})
    phase = status.get("phase", "Pending")
    if phase != "Pending":
        return f"{phase.lower()} as pod {pod['metadata']['name']}"
    waiting = [container.get("state", {}).get("waiting", {}) for container in status.get("containerStatuses", ())]
    unplaced = [condition for condition in status.get("conditions", ()) if condition["status"] == "False"]
    for entry in [*waiting, *unplaced]:
        if entry.get("reason"):
            return ": ".join(entry[name] for name in ("reason", "message") if entry.get(name))
    return "pending"


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
