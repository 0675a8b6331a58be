"""The part of a Kubernetes API server that a TrainJob needs, in memory: the real client talks to it over HTTP.

It keeps objects and answers like the real one: defaults are filled in, a foreground deletion lasts a while, refusals
are `Status` objects. The controller's part is played by the test: one entry of `steps` runs at each look at a job.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

JOBS = "trainjobs.trainer.kubeflow.org"
COUNTER = itertools.count(1)
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Pod:
    """A pod of a job's node."""

    job: str
    index: int = 0
    attempt: int = 0
    phase: str = "Running"
    status: dict[str, Any] = field(default_factory=dict)
    number: int = field(default_factory=lambda: next(COUNTER))
    lines: list[tuple[float, str]] = field(default_factory=list)
    readable: bool = True

    @property
    def name(self) -> str:
        return f"{self.job}-node-0-{self.index}-{1_000_000 - self.number}"  # names say nothing of the order

    def write(self, *lines: str) -> None:
        for line in lines:
            stamp = f"2026-01-01T00:00:00.{next(COUNTER):09d}".rstrip("0") + "Z"  # as kubelets write it
            self.lines.append((time.monotonic(), f"{stamp} {line}"))

    def as_json(self) -> dict[str, Any]:
        return {
            "metadata": {
                "name": self.name,
                "creationTimestamp": (START + timedelta(seconds=self.number)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "labels": {
                    "jobset.sigs.k8s.io/jobset-name": self.job,
                    "jobset.sigs.k8s.io/replicatedjob-name": "node",
                    "batch.kubernetes.io/job-completion-index": str(self.index),
                    "jobset.sigs.k8s.io/restart-attempt": str(self.attempt),
                },
            },
            "status": {"phase": self.phase, **self.status},
        }

    def wait_for(self, reason: str, message: str = "") -> None:
        """Its container waits, for its image say."""
        self.phase = "Pending"
        waiting = {"reason": reason} | ({"message": message} if message else {})
        self.status = {"containerStatuses": [{"name": "node", "state": {"waiting": waiting}}]}

    def end(self, status: int, *, reason: str = "Error", said: str = "") -> None:
        """Its process ended; what it wrote as its termination message is `said`."""
        self.phase = "Failed" if status else "Succeeded"
        ended = {"exitCode": status, "reason": reason} | ({"message": said} if said else {})
        self.status = {"containerStatuses": [{"name": "node", "state": {"terminated": ended}}]}


class KubernetesApi:
    """The server and its state; a context manager."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: list[Pod] = []
        self.calls: list[str] = []  # "POST trainjobs"
        self.deletions: list[dict[str, Any]] = []
        self.steps: list[Callable[[], object]] = []
        self.blips: list[int] = []  # statuses to answer with instead, one a call
        self.forbidden: set[str] = set()  # "create trainjobs"
        self.denial = ""  # of the admission webhook
        self.rival: dict[str, Any] | None = None  # what somebody else creates just before the next POST
        self.before: dict[str, Callable[[], object]] = {}  # once, just before such a call, by somebody else
        self.trainer_installed = self.namespace_exists = True
        self.looks_until_gone = 2
        self._going: dict[str, int] = {}
        self._lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def write_kubeconfig(self, path: Path) -> Path:
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": address}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": {"token": "none"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def count(self, call: str) -> int:
        return self.calls.count(call)

    def start_pod(self, **fields: Any) -> Pod:
        """A new pod of the first node of the only job."""
        pod = Pod(job=next(iter(self.jobs)), **fields)
        self.pods.append(pod)
        return pod

    def end_job(
        self, kind: str, *, reason: str = "JobsCompleted", message: str = "all done", at: str | None = None
    ) -> None:
        """Set the condition that ends all jobs."""
        for job in self.jobs.values():
            when = at or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            condition = {"type": kind, "status": "True", "reason": reason, "message": message}
            suspended = {"type": "Suspended", "status": "False", "reason": "Resumed", "message": ""}
            job["status"] = {"conditions": [{**suspended, "lastTransitionTime": when}]}
            job["status"]["conditions"].append({**condition, "lastTransitionTime": when})
            self.changed(job)

    def changed(self, job: dict[str, Any]) -> None:
        """Every write gives an object another version."""
        job["metadata"]["resourceVersion"] = str(next(COUNTER))

    # --- the requests -------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        with self._lock:
            match path.strip("/").split("/"):
                case ["apis", "trainer.kubeflow.org", "v1alpha1", "namespaces", "lab", "trainjobs", *name]:
                    return self._jobs(method, name[0] if name else None, query, body)
                case ["api", "v1", "namespaces", "lab", "pods"] if method == "GET":
                    return self._list_pods(query)
                case ["api", "v1", "namespaces", "lab", "pods", name, "log"] if method == "GET":
                    return self._log(name, query)
                case _:
                    return 404, "404 page not found\n"

    def _refusal(self, call: str) -> tuple[int, Any] | None:
        self.calls.append(call)
        if interference := self.before.pop(call, None):
            interference()
        if self.blips:
            return self.blips.pop(0), "upstream connect error"
        method, resource = call.split()
        verb = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete", "LIST": "list"}[method]
        if f"{verb} {resource}" in self.forbidden:
            who = 'User "system:serviceaccount:lab:default-editor"'
            return 403, _status("Forbidden", f'{who} cannot {verb} resource "{resource}" in the namespace "lab"')
        return None

    def _jobs(self, method: str, name: str | None, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        if refusal := self._refusal(f"{'LIST' if method == 'GET' and name is None else method} trainjobs"):
            return refusal
        if not self.trainer_installed:
            return 404, "404 page not found\n"
        match method:
            case "POST":
                if self.rival is not None:
                    self.create(self.rival)
                return self.create(body)
            case "GET" if name is None:
                found = [job for job in self.jobs.values() if _selects(query, job["metadata"].get("labels", {}))]
                return 200, {"kind": "TrainJobList", "apiVersion": "trainer.kubeflow.org/v1alpha1", "items": found}
            case "GET" if name in self.jobs:
                return self._look(name)
            case "PATCH" if name in self.jobs:
                return self.patch(name, body)
            case "DELETE" if name in self.jobs:
                return self.delete(name, body)
            case _:
                return 404, _status("NotFound", f'{JOBS} "{name}" not found', name=name, kind="trainjobs")

    def create(self, body: dict[str, Any]) -> tuple[int, Any]:
        name = body["metadata"]["name"]
        if not self.namespace_exists:
            return 404, _status("NotFound", 'namespaces "lab" not found', name="lab", kind="namespaces")
        if self.denial:
            return 403, _status("Forbidden", f'admission webhook "validator" denied the request: {self.denial}')
        if name in self.jobs:
            return 409, _status("AlreadyExists", f'{JOBS} "{name}" already exists', name=name)
        job = json.loads(json.dumps(body))
        job["metadata"] |= {"uid": f"uid-{next(COUNTER)}", "creationTimestamp": "2026-01-01T00:00:00Z"}
        job["spec"] |= {"suspend": False, "managedBy": "trainer.kubeflow.org/trainjob-controller"}
        for patch in job["spec"].get("runtimePatches", ()):
            patch["time"] = "2026-01-01T00:00:00Z"
        self.changed(job)
        self.jobs[name] = job
        return 201, job

    def patch(self, name: str, body: dict[str, Any]) -> tuple[int, Any]:
        """A merge patch of the metadata; with a uid or a version in it, only of that object."""
        metadata, given = self.jobs[name]["metadata"], dict(body["metadata"])
        for precondition in ("uid", "resourceVersion"):
            if given.pop(precondition, metadata[precondition]) != metadata[precondition]:
                return 409, _status("Conflict", "the object has been modified; please apply your changes", name=name)
        assert set(body) == {"metadata"}, "the spec of a job that runs is immutable"
        assert set(given) == {"annotations"}
        merged = metadata.get("annotations", {}) | given["annotations"]
        metadata["annotations"] = {key: value for key, value in merged.items() if value is not None}
        self.changed(self.jobs[name])
        return 200, self.jobs[name]

    def _look(self, name: str) -> tuple[int, Any]:
        if name in self._going:
            self._going[name] -= 1
            if self._going[name] < 0:
                del self._going[name], self.jobs[name]
                self.pods = [pod for pod in self.pods if pod.job != name]
                return 404, _status("NotFound", f'{JOBS} "{name}" not found', name=name, kind="trainjobs")
        elif self.steps:
            self.steps.pop(0)()
        return 200, self.jobs[name]

    def delete(self, name: str, options: dict[str, Any] | None = None) -> tuple[int, Any]:
        job, options = self.jobs[name], options or {}
        for kind, value in options.get("preconditions", {}).items():
            if job["metadata"][kind] != value:
                return 409, _status("Conflict", f"the {kind} in the precondition does not match", name=name)
        self.deletions.append(options)
        job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.changed(job)
        self._going.setdefault(name, self.looks_until_gone)
        return 200, job

    def _list_pods(self, query: dict[str, str]) -> tuple[int, Any]:
        if refusal := self._refusal("LIST pods"):
            return refusal
        pods = [pod.as_json() for pod in self.pods]
        return 200, {
            "kind": "PodList",
            "apiVersion": "v1",
            "items": [pod for pod in reversed(pods) if _selects(query, pod["metadata"]["labels"])],
        }

    def _log(self, name: str, query: dict[str, str]) -> tuple[int, Any]:
        if refusal := self._refusal("GET pods/log"):
            return refusal
        pod = next((pod for pod in self.pods if pod.name == name), None)
        if pod is None or query["container"] != "node":
            return 404, _status("NotFound", f'pods "{name}" not found', name=name, kind="pods")
        if not pod.readable:
            return 500, _status("InternalError", "Get https://10.0.0.7:10250/containerLogs: no route to host")
        since = float(query.get("sinceSeconds", "inf"))
        return 200, "".join(f"{line}\n" for at, line in pod.lines if time.monotonic() - at <= since)


class _Handler(BaseHTTPRequestHandler):
    api: KubernetesApi
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer, not one a header

    def _serve(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "{}")
        if self.command == "PATCH":  # custom resources know no strategic merge
            assert self.headers["Content-Type"] == "application/merge-patch+json", self.headers["Content-Type"]
        status, answer = self.api.answer(self.command, url.path, query, body or {})
        text = answer if isinstance(answer, str) else json.dumps(answer)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - http.server's name
        pass


def _selects(query: dict[str, str], labels: dict[str, str]) -> bool:
    return dict(pair.split("=") for pair in query["labelSelector"].split(",")).items() <= labels.items()


def _status(reason: str, message: str, **details: Any) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "reason": reason, "message": message, "details": details}
