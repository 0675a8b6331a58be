"""The nodes of a TrainJob as people want to see them: what each does, why it waits, and which one failed."""

import time
from collections.abc import Mapping
from typing import Any

from linnet.launch.cluster import Cluster, TrainJobError
from linnet.launch.manifest import ATTEMPT_LABEL, NODE
from linnet.launch.node import FINAL_STATUS
from linnet.launch.node_log import NodeLog, last_sentence, terminated
from linnet.progress import log

PODS = f"jobset.sigs.k8s.io/jobset-name={{name}},jobset.sigs.k8s.io/replicatedjob-name={NODE}"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
IMAGE_SECONDS = 300.0  # a registry that is away for longer, or an image that is not there

Pod = Mapping[str, Any]


class Nodes:
    """The newest pod of every node of a job, told about whenever something changes.

    Raises:
        TrainJobError: in `look`, that an image cannot be pulled.
    """

    def __init__(self, cluster: Cluster, job: str) -> None:
        self._cluster, self._labels = cluster, PODS.format(name=job)
        self._log = NodeLog(cluster)
        self._pods: dict[int, Pod] = {}
        self._states: dict[int, str] = {}
        self._without_image: dict[str, float] = {}  # pods, and since when
        self.attempts = 1

    def look(self, num_nodes: int) -> None:
        """Print the new lines of the first node, and the state of each node that is in another than before."""
        pods = self._cluster.pods(self._labels)
        self._pods = {_index(pod): pod for pod in pods}  # oldest first, so the newest one of each node stays
        if (attempts := max([self.attempts, *map(_attempt, pods)])) > self.attempts:
            self.attempts = attempts
            log(f"attempt {attempts}: all nodes start again, from the newest checkpoint")
        for pod in pods:
            if _index(pod) == 0:
                self._log.print_new(pod)
        for index in range(num_nodes):
            state = _state(self._pods[index]) if index in self._pods else "waiting for its pod"
            if self._states.get(index) != state:
                self._states[index] = state
                log(f"node {index}: {state}")
        self._check_images()

    def failure(self) -> tuple[str, bool]:
        """Which node failed and what it said last, for people; and whether every further attempt would fail too.

        The one whose error is final comes first: the others may only have lost sight of it.
        """
        failed = [pod for pod in self._pods.values() if pod.get("status", {}).get("phase") == "Failed"]
        failed.sort(key=lambda pod: (terminated(pod).get("exitCode") != FINAL_STATUS, _index(pod)))
        if not failed:
            return "", False
        pod = failed[0]
        said = last_sentence(self._cluster, pod)
        what = f"node {_index(pod)} {_how_it_ended(pod)}" + (f" and said last: {said!r}" if said else "")
        return what, terminated(pod).get("exitCode") == FINAL_STATUS

    def _check_images(self) -> None:
        now, waiting = time.monotonic(), {}
        for index, pod in self._pods.items():
            for reason, message in _waits(pod):
                if reason in IMAGE_REASONS:
                    name = pod["metadata"]["name"]
                    waiting[name] = since = self._without_image.get(name, now)
                    if now - since > IMAGE_SECONDS:
                        raise TrainJobError(
                            f"node {index} has not got its image for {IMAGE_SECONDS / 60:.0f} minutes ({reason}: "
                            f"{message}); push the image that LINNET_IMAGE named when the run was submitted, or give "
                            "the namespace the right to pull it (imagePullSecrets), and submit the run again"
                        )
        self._without_image = waiting


def _index(pod: Pod) -> int:
    return int(pod["metadata"]["labels"].get(INDEX_LABEL, 0))


def _attempt(pod: Pod) -> int:
    return int(pod["metadata"]["labels"].get(ATTEMPT_LABEL, 0)) + 1


def _state(pod: Pod) -> str:
    """The phase of a pod, with the reason for it."""
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    match phase := status.get("phase", "Pending"):
        case "Pending":
            reasons = [": ".join(filter(None, wait)) for wait in _waits(pod)]
            return ": ".join(["pending", *reasons[:1]])
        case "Failed":
            return f"{_how_it_ended(pod)} as pod {name}"
        case "Running" if "deletionTimestamp" in pod["metadata"]:
            return f"asked to stop as pod {name}"
        case _:
            return f"{phase.lower()} as pod {name}"


def _waits(pod: Pod) -> list[tuple[str, str]]:
    """(reason, message) of what the pod waits for: its containers, or a machine."""
    status = pod.get("status", {})
    waiting = [container.get("state", {}).get("waiting", {}) for container in status.get("containerStatuses", ())]
    unplaced = [condition for condition in status.get("conditions", ()) if condition["status"] == "False"]
    return [(entry["reason"], entry.get("message", "")) for entry in [*waiting, *unplaced] if entry.get("reason")]


def _how_it_ended(pod: Pod) -> str:
    """Such as `failed (OOMKilled, exit status 137)`; of a pod that was evicted or lost, what Kubernetes says."""
    status, end = pod.get("status", {}), terminated(pod)
    if "exitCode" in end:
        reason = f"{end['reason']}, " if end.get("reason") not in (None, "Error") else ""
        return f"failed ({reason}exit status {end['exitCode']})"
    reasons = [status[name] for name in ("reason", "message") if status.get(name)]
    return f"failed ({': '.join(reasons)})" if reasons else "failed"
