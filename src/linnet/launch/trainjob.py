"""Training on several nodes, as one Kubeflow TrainJob: create it or take it up again, follow it, end with it.

The job's name comes from the key of the result, so a task that is repeated finds the job of the one before. A task that
is asked to stop takes its job along; one that is killed leaves it to the repeated task.

The resource travels as it is through CustomObjectsApi, not through the SDK, whose environment is str to str and cannot
say `secretKeyRef`. API: trainer.kubeflow.org/v1alpha1 of Kubeflow Trainer v2.3.
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
SECONDS_TO_TAKE_THE_JOB_ALONG = 10.0  # a pod that is asked to stop is killed after 30
SECONDS_TO_CLEAR_UP = 120.0  # over the pods' own grace period
OVERLAP_SECONDS = 10  # between two readings of a log; what was read before is left out


class _Failed(TrainJobError):
    """The job's own verdict; it stays in the cluster, for people to look at."""


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

    The first node's log goes to standard error. Whatever ends this early deletes the job, except the job's own failure
    and SIGKILL.

    Raises:
        TrainJobError: the job failed, is not ours, or was deleted; the cluster refused it, or did not answer for
            `outage_seconds`.
        Stopped: SIGINT or SIGTERM.
    """
    body = manifest(settings, key=key, num_nodes=num_nodes, arguments=arguments)
    job = _Job(
        Cluster(settings.namespace, pause_seconds=poll_seconds, outage_seconds=outage_seconds),
        body,
        poll_seconds=poll_seconds,
        end_seconds=settings.termination_grace_seconds + SECONDS_TO_CLEAR_UP,
    )
    with _signals_raise():
        try:
            if job.claim():
                job.follow()
        except _Failed:
            raise
        except BaseException:
            job.take_along()
            raise


class _Job:
    """The one TrainJob of a key."""

    def __init__(self, cluster: Cluster, body: dict[str, Any], *, poll_seconds: float, end_seconds: float) -> None:
        self._cluster, self._body = cluster, body
        self._poll_seconds, self._end_seconds = poll_seconds, end_seconds
        self.name: str = body["metadata"]["name"]
        self._title = f"TrainJob {cluster.namespace}/{self.name}"
        self._ours = False  # whether it runs because of us, so that it must not run on without us

    def claim(self) -> bool:
        """Create the job, or find the one of an earlier task; whether there is something to follow."""
        while True:
            existing = self._cluster.get(self.name)
            if existing is None:
                self._ours = True  # before the call: a signal may come while the answer is on its way
                self._ours = self._cluster.create(self._body)
                if self._ours:
                    log(f"{self._title}: created")
                    return True
                continue  # somebody was faster
            self._refuse_foreign(existing)
            match _state(existing), self._differs(existing):
                case "ending", _:
                    self._wait_until_gone(existing)
                case _, True:
                    log(f"{self._title}: exists with another image, size or settings; replacing it")
                    self._replace(existing)
                case "Complete", _:
                    log(f"{self._title}: was complete already")
                    return False
                case "Failed", _:
                    log(f"{self._title}: failed earlier ({_verdict(existing)}); a new one goes on from its checkpoint")
                    self._replace(existing)
                case _:
                    self._ours = True
                    log(f"{self._title}: runs already; following it")
                    return True

    def follow(self) -> None:
        """Print the first node's log until the job ends."""
        node_log = _FirstNodeLog(self._cluster, self.name)
        while True:
            job = self._cluster.get(self.name)
            node_log.print_new()  # after the look at the job, so that nothing is missed when it has ended
            match _state(job):
                case "Complete":
                    log(f"{self._title}: complete")
                    return
                case "Failed":
                    raise _Failed(
                        f"{self._title} failed: {_verdict(job)}; its first node said last: {node_log.telling_line!r}. "
                        "Repeat the task and it goes on from the newest checkpoint; the whole log: "
                        f"{self._log_command()}"
                    )
                case "gone" | "ending":
                    raise TrainJobError(f"{self._title} was deleted by somebody else; repeat the task to go on")
                case _:
                    time.sleep(self._poll_seconds)

    def take_along(self) -> None:
        """Delete the job because this task ends; never raises, for something else is on its way up already."""
        if not self._ours:
            return
        self._cluster.outage_seconds = SECONDS_TO_TAKE_THE_JOB_ALONG
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
        uid, deadline = existing["metadata"]["uid"], time.monotonic() + self._end_seconds
        while (found := self._cluster.get(self.name)) is not None and found["metadata"]["uid"] == uid:
            if time.monotonic() > deadline:
                raise TrainJobError(
                    f"{self._title} was deleted {self._end_seconds:.0f} s ago and is still there; see what holds it: "
                    f"kubectl -n {self._cluster.namespace} describe trainjob {self.name}"
                )
            time.sleep(self._poll_seconds)

    def _log_command(self) -> str:
        selector = f"jobset.sigs.k8s.io/jobset-name={self.name}"
        return f"kubectl -n {self._cluster.namespace} logs -l {selector} --prefix --tail=-1"


class _FirstNodeLog:
    """The log of the first node's pods, one after the other, read anew at every poll.

    Polled, not streamed: a stream that broke would need the same care for what was printed before.
    """

    def __init__(self, cluster: Cluster, job: str) -> None:
        self._cluster, self._labels = cluster, FIRST_NODE.format(name=job)
        self._newest_line: dict[str, str] = {}  # by pod, with its time
        self._read_at: dict[str, float] = {}
        self._finished: set[str] = set()
        self._situation = self._any_line = self._own_line = ""

    @property
    def telling_line(self) -> str:
        """The newest message of the program itself, or else the newest line: torchrun's table comes after both."""
        return self._own_line or self._any_line

    def print_new(self) -> None:
        """Print what was written since the last time."""
        pods = self._cluster.pods(self._labels)
        for pod in pods:
            name, phase = pod["metadata"]["name"], pod.get("status", {}).get("phase", "Pending")
            if name not in self._finished and phase != "Pending":
                self._print_new_of(name, ended=phase in ("Succeeded", "Failed"))
        situation = _situation(pods[-1]) if pods else "waiting for its pod"
        if situation != self._situation:
            self._situation = situation
            log(f"first node: {situation}")

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
        if self._newest_line.get(pod) in lines:  # not there: all that lies in the overlap is new
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
            self._own_line = line.strip()


def _state(job: dict[str, Any] | None) -> str:
    """Complete, Failed, ending, gone or running; a job that waits in a queue is running too."""
    if job is None:
        return "gone"
    if "deletionTimestamp" in job["metadata"]:
        return "ending"
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return "running"


def _verdict(job: dict[str, Any] | None) -> str:
    assert job is not None
    failed = next(condition for condition in job["status"]["conditions"] if condition["type"] == "Failed")
    return ": ".join(failed[name] for name in ("reason", "message") if failed.get(name))


def _situation(pod: dict[str, Any]) -> str:
    """Where a pod stands, with the reason where it waits."""
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
    """SIGINT and SIGTERM become Stopped at once, whatever is being waited for; a second one is not heard."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread only
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
