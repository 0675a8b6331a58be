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
    """A pod of a job's first node."""

    job: str
    index: int = 0
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
                },
            },
            "status": {"phase": self.phase, **self.status},
        }


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

    def end_job(self, kind: str, *, reason: str = "JobsCompleted", message: str = "all done") -> None:
        """Set the condition that ends the only job."""
        for job in self.jobs.values():
            condition = {"type": kind, "status": "True", "reason": reason, "message": message}
            suspended = {"type": "Suspended", "status": "False", "reason": "Resumed", "message": ""}
            job["status"] = {"conditions": [suspended, condition]}

    # --- the requests -------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        with self._lock:
            match path.strip("/").split("/"):
                case ["apis", "trainer.kubeflow.org", "v1alpha1", "namespaces", "lab", "trainjobs", *name]:
                    return self._jobs(method, name[0] if name else None, body)
                case ["api", "v1", "namespaces", "lab", "pods"] if method == "GET":
                    return self._list_pods(query)
                case ["api", "v1", "namespaces", "lab", "pods", name, "log"] if method == "GET":
                    return self._log(name, query)
                case _:
                    return 404, "404 page not found\n"

    def _refusal(self, call: str) -> tuple[int, Any] | None:
        self.calls.append(call)
        if self.blips:
            return self.blips.pop(0), "upstream connect error"
        method, resource = call.split()
        verb = {"GET": "get", "POST": "create", "DELETE": "delete", "LIST": "list"}[method]
        if f"{verb} {resource}" in self.forbidden:
            who = 'User "system:serviceaccount:lab:default-editor"'
            return 403, _status("Forbidden", f'{who} cannot {verb} resource "{resource}" in the namespace "lab"')
        return None

    def _jobs(self, method: str, name: str | None, body: dict[str, Any]) -> tuple[int, Any]:
        if refusal := self._refusal(f"{method} trainjobs"):
            return refusal
        if not self.trainer_installed:
            return 404, "404 page not found\n"
        match method:
            case "POST":
                if self.rival is not None:
                    self.create(self.rival)
                return self.create(body)
            case "GET" if name in self.jobs:
                return self._look(name)
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
        self.jobs[name] = job
        return 201, job

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
        if options.get("preconditions", {}).get("uid", job["metadata"]["uid"]) != job["metadata"]["uid"]:
            return 409, _status("Conflict", "the UID in the precondition does not match", name=name)
        self.deletions.append(options)
        job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self._going.setdefault(name, self.looks_until_gone)
        return 200, job

    def _list_pods(self, query: dict[str, str]) -> tuple[int, Any]:
        if refusal := self._refusal("LIST pods"):
            return refusal
        selector = dict(pair.split("=") for pair in query["labelSelector"].split(","))
        pods = [pod.as_json() for pod in self.pods]
        return 200, {
            "kind": "PodList",
            "apiVersion": "v1",
            "items": [pod for pod in reversed(pods) if selector.items() <= pod["metadata"]["labels"].items()],
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
        status, answer = self.api.answer(self.command, url.path, query, body or {})
        text = answer if isinstance(answer, str) else json.dumps(answer)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's names

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - http.server's name
        pass


def _status(reason: str, message: str, **details: Any) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "reason": reason, "message": message, "details": details}
