"""The one TrainJob that makes a result, from its creation to its removal, shared by all that need the result."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linnet.errors import LinnetError, Stopped
from linnet.launch.background import attempt, repeated
from linnet.launch.cluster import Cluster, TrainJobError
from linnet.launch.job_state import State, failure, refuse_foreign, spec_differs, state_of
from linnet.launch.leases import (
    FRESH_SECONDS,
    LEASE,
    REFRESH_SECONDS,
    REMOVING,
    age_seconds,
    annotations,
    fresh_holders,
    holder,
    now_text,
)
from linnet.launch.nodes import Nodes
from linnet.progress import log

DELETE_ON_EXIT_SECONDS = 10.0  # a pod that is asked to stop is killed after 30
USE_SECONDS = 30.0  # how long telling that the job is used may take
MAX_CLAIMS = 4  # how often a job is made again that somebody deleted while it was needed


@dataclass(frozen=True)
class SharedFiles:
    """What happens to the files that the nodes share; each may be called again after it was interrupted."""

    publish: Callable[[], None]  # before a job is created
    fetch: Callable[[], None]  # when it is complete
    remove: Callable[[], None]  # when nobody needs it any more


class JobFailedError(TrainJobError):
    """The job itself failed; it stays in the cluster, so that people can look at it."""


class Job:
    """The one TrainJob that makes a result, and the lease of this pipeline run on it."""

    def __init__(
        self,
        cluster: Cluster,
        body: dict[str, Any],
        files: SharedFiles,
        tell_use: Callable[[bool], None],
        *,
        poll_seconds: float,
        delete_seconds: float,
    ) -> None:
        self._cluster, self._body, self._files, self._use = cluster, body, files, tell_use
        self._poll_seconds, self._delete_seconds = poll_seconds, delete_seconds
        self.name: str = body["metadata"]["name"]
        self._title = f"TrainJob {cluster.namespace}/{self.name}"
        self._holder = holder()
        self._lease = LEASE + self._holder
        self._is_needed = False  # whether our lease is on the job, or on its way there
        self._job: dict[str, Any] | None = None  # as it was last seen

    def run_to_completion(self) -> None:
        """Claim the job, follow it and fetch what it made; claim it anew where somebody deletes it meanwhile."""
        for _ in range(MAX_CLAIMS):
            if (self._claim() == "Complete" or self._follow()) and self._fetch():
                return
            self._is_needed, self._job = False, None
            log(f"{self._title}: was deleted by somebody else, and this task needs it; claiming it anew")
        raise TrainJobError(
            f"{self._title} was deleted {MAX_CLAIMS} times while this task needed it; find out who deletes it "
            f"(kubectl -n {self._cluster.namespace} get events), and repeat the task: it goes on from the newest "
            "checkpoint"
        )

    def give_up(self) -> None:
        """Give our lease back because this task ends, and delete the job if nobody else needs it; at once.

        It never raises, because another exception is on its way up already.
        """
        if not self._is_needed:
            return
        self._cluster.outage_seconds = DELETE_ON_EXIT_SECONDS
        try:
            job = self._job or self._cluster.get(self.name)
            while job is not None:
                refuse_foreign(job, self._body, self._title)
                others = fresh_holders(job) - {self._holder}
                if others or state_of(job) == "Complete":  # the repeated task only has to fetch the model
                    if self._cluster.annotate(job, {self._lease: None}, if_unchanged=True):
                        log(f"{self._title}: stays" + (f" for {_runs(others)}" if others else ", complete"))
                        return
                elif self._cluster.delete(job, if_unchanged=True):
                    log(f"{self._title}: deleted, because this task ends")
                    return
                job = self._cluster.get(self.name)  # it was changed: perhaps somebody else needs it now, or nobody
        except (TrainJobError, Stopped) as reason:
            log(
                f"{self._title}: could not be deleted ({reason}) and may go on without this task; end it with "
                f"kubectl -n {self._cluster.namespace} delete trainjob {self.name}"
            )

    def clean_up(self) -> None:
        """Remove the shared files and the job, if nobody else needs them; what cannot be removed is said and left."""
        try:
            while (job := self._cluster.get(self.name)) is not None and state_of(job) == "Complete":
                others = fresh_holders(job) - {self._holder}
                change = {self._lease: None} if others else {REMOVING: now_text()}
                if changed := self._cluster.annotate(job, change, if_unchanged=True):
                    if others:
                        log(f"{self._title}: stays for {_runs(others)}")
                    else:
                        self._remove(changed)
                    return
        except LinnetError as reason:
            log(f"{self._title}: its files could not be removed ({reason}); a later training removes them by their age")

    def _claim(self) -> State:
        """Create the job, or write our lease onto the one that exists; its state."""
        while True:
            existing = self._cluster.get(self.name)
            if existing is None:
                self._files.publish()
                self._tell_use(is_first=True)  # before: who follows it is to come later
                if self._create():
                    return "running"
                continue  # another task was faster
            refuse_foreign(existing, self._body, self._title)
            state, differs = state_of(existing), spec_differs(existing, self._body)
            others = fresh_holders(existing) - {self._holder}
            if state == "deleting":
                self._wait_until_gone(existing)
            elif REMOVING in annotations(existing):
                self._wait_for_removal(existing)
            elif state == "Failed":
                log(f"{self._title}: failed earlier ({failure(existing)}); a new one goes on from its checkpoint")
                self._replace(existing)
            elif state == "running" and differs and not others:
                log(f"{self._title}: exists with another image, size or settings; replacing it")
                self._replace(existing)
            elif self._adopt(existing):
                if state == "Complete":
                    log(f"{self._title}: was complete already")
                else:
                    whose = f" for {_runs(others)}" if others else ""
                    settings = ", with another image, size or settings" if differs else ""
                    log(f"{self._title}: runs already{whose}{settings}; following it")
                    self._tell_use(is_first=False)
                return state

    def _create(self) -> bool:
        leased = {**self._body["metadata"]["annotations"], self._lease: now_text()}
        body = {**self._body, "metadata": {**self._body["metadata"], "annotations": leased}}
        self._is_needed = True  # before the call: a signal may come while the response is on its way
        self._job = self._cluster.create(body)
        self._is_needed = self._job is not None
        if self._is_needed:
            log(f"{self._title}: created")
        return self._is_needed

    def _adopt(self, existing: dict[str, Any]) -> bool:
        """Write our lease onto a job that has not changed since it was read."""
        self._is_needed = True
        self._job = self._cluster.annotate(existing, {self._lease: now_text()}, if_unchanged=True)
        self._is_needed = self._job is not None
        return self._is_needed

    def _follow(self) -> bool:
        """Tell about the job until it is complete; False if somebody deleted it."""
        assert self._job is not None
        uid, nodes, leased = self._job["metadata"]["uid"], Nodes(self._cluster, self.name), time.monotonic()
        while True:
            job = self._cluster.get(self.name)
            if job is None or job["metadata"]["uid"] != uid or state_of(job) == "deleting":
                return False
            self._job = job
            nodes.look(job["spec"]["trainer"]["numNodes"])  # after `get`, so that no line of a job that ended is missed
            match state_of(job):
                case "Complete":
                    log(f"{self._title}: complete")
                    return True
                case "Failed":
                    raise JobFailedError(self._explain_failure(job, nodes))
            if time.monotonic() - leased > REFRESH_SECONDS:
                leased = time.monotonic()
                self._job = self._cluster.annotate(job, {self._lease: now_text()}, if_unchanged=False) or job
            time.sleep(self._poll_seconds)

    def _fetch(self) -> bool:
        """Fetch what the job made, holding the lease however long it takes; False if it is removed with the job."""
        self._refresh()
        self._tell_use(is_first=False)  # again: when it began there may have been nothing to tell it to
        try:
            with repeated(self._refresh, every_seconds=REFRESH_SECONDS):
                self._files.fetch()
        except (LinnetError, OSError):
            if self._is_kept():
                raise
            return False
        return True

    def _tell_use(self, *, is_first: bool) -> None:
        attempt(lambda: self._use(is_first), seconds=USE_SECONDS)

    def _refresh(self) -> None:
        """Write our lease anew; what hinders that is said, and the next call may succeed."""
        assert self._job is not None
        cluster = copy.copy(self._cluster)
        cluster.outage_seconds = 0
        try:
            changed = cluster.annotate(self._job, {self._lease: now_text()}, if_unchanged=False)
            self._job = changed or self._job
        except LinnetError as reason:
            log(f"{self._title}: the lease of this task was not refreshed ({reason})")

    def _is_kept(self) -> bool:
        """Whether the job is there and nobody removes it; a removal is then left to the one who does it."""
        assert self._job is not None
        job, uid = self._cluster.get(self.name), self._job["metadata"]["uid"]
        if job is None or job["metadata"]["uid"] != uid or state_of(job) == "deleting":
            return False
        if REMOVING in annotations(job):
            self._cluster.annotate(job, {self._lease: None}, if_unchanged=False)  # else it would look like our removal
            return False
        return True

    def _explain_failure(self, job: dict[str, Any], nodes: Nodes) -> str:
        what, is_final = nodes.failure()
        attempts = f" after {nodes.attempts} attempts" if nodes.attempts > 1 else ""
        remedy = (
            "It would fail again: correct what the sentence names, and start the run again"
            if is_final
            else "Repeat the task (in KFP: Retry) and it goes on from the newest checkpoint"
        )
        selector = f"jobset.sigs.k8s.io/jobset-name={self.name}"
        return (
            f"{self._title} failed{attempts}: {failure(job)}{'; ' + what if what else ''}. {remedy}; the whole log: "
            f"kubectl -n {self._cluster.namespace} logs -l {selector} --prefix --tail=-1"
        )

    def _replace(self, existing: dict[str, Any]) -> None:
        self._cluster.delete(existing)
        self._wait_until_gone(existing)

    def _wait_for_removal(self, existing: dict[str, Any]) -> None:
        """Another run is removing job and files; where it was killed at that, or was this one, go on in its place."""
        marks = annotations(existing)
        if self._lease not in marks and age_seconds(marks[REMOVING]) < FRESH_SECONDS:
            time.sleep(self._poll_seconds)
            return
        self._remove(existing)
        self._wait_until_gone(existing)

    def _remove(self, job: dict[str, Any]) -> None:
        """Files first: while the job is there, nobody publishes new ones."""
        self._files.remove()
        self._cluster.delete(job)
        log(f"{self._title}: removed, with the files that its nodes shared")

    def _wait_until_gone(self, existing: dict[str, Any]) -> None:
        uid, deadline = existing["metadata"]["uid"], time.monotonic() + self._delete_seconds
        while (found := self._cluster.get(self.name)) is not None and found["metadata"]["uid"] == uid:
            if time.monotonic() > deadline:
                raise TrainJobError(
                    f"{self._title} was deleted {self._delete_seconds:.0f} s ago and is still there; see what "
                    f"holds it: kubectl -n {self._cluster.namespace} describe trainjob {self.name}"
                )
            time.sleep(self._poll_seconds)


def _runs(holders: set[str]) -> str:
    return f"pipeline run{'s' if len(holders) > 1 else ''} {', '.join(sorted(holders))}"
