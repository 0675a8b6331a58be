"""The log of the first node of a TrainJob, line by line as it grows, over all attempts of the job."""

import sys
import time
from collections.abc import Mapping
from typing import Any

from linnet.launch.cluster import Cluster
from linnet.launch.manifest import NODE

OVERLAP_SECONDS = 10  # between two readings of a log; lines that were printed before are left out


class NodeLog:
    """The logs of the pods of one node, one after the other, read again at every poll.

    They are not streamed: a stream that broke would need the same care for what was printed before.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._newest_line: dict[str, str] = {}  # by pod, with its time
        self._read_at: dict[str, float] = {}
        self._finished: set[str] = set()

    def print_new(self, pod: Mapping[str, Any]) -> None:
        """Print the lines of this pod since the last call."""
        name, phase = pod["metadata"]["name"], pod.get("status", {}).get("phase", "Pending")
        if name in self._finished or phase == "Pending":
            return
        now, since = time.monotonic(), None
        if name in self._read_at:
            since = int(now - self._read_at[name]) + OVERLAP_SECONDS
        text = self._cluster.log(name, NODE, since_seconds=since)
        if text is None:
            return
        self._read_at[name] = now
        lines = text.split("\n")
        unfinished = lines.pop()
        if phase in ("Succeeded", "Failed"):
            self._finished.add(name)
            lines += [unfinished] if unfinished else []
        if self._newest_line.get(name) in lines:  # else the whole overlap is new
            lines = lines[len(lines) - lines[::-1].index(self._newest_line[name]) :]
        if lines:
            self._newest_line[name] = lines[-1]
        for line in lines:
            sys.stderr.write(line.partition(" ")[2] + "\n")  # as it is: rich would change tabs and control characters
        sys.stderr.flush()


def last_sentence(cluster: Cluster, pod: Mapping[str, Any]) -> str:
    """What a pod that has ended said last: its termination message, or else the newest line of its log that says it.

    The newest line of linnet itself comes first: torch prints a page after it.
    """
    if message := terminated(pod).get("message", "").strip():
        return str(message.splitlines()[-1])
    text = cluster.log(pod["metadata"]["name"], NODE, since_seconds=None) or ""
    lines = [line.partition(" ")[2].strip() for line in text.splitlines()]
    said = [line for line in lines if any(letter.isalpha() for letter in line)]
    ours = [line for line in said if line.startswith("linnet")]
    return (ours or said or [""])[-1]


def terminated(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the container of the node ended, as Kubernetes says it; empty where it has not, or is lost."""
    for container in pod.get("status", {}).get("containerStatuses", ()):
        if container.get("name", NODE) == NODE and "terminated" in container.get("state", {}):
            return dict(container["state"]["terminated"])
    return {}
