"""A cluster to ask: the Kubernetes API, a registry, S3 and MLflow at one address, which keeps every request.

It answers what is in `objects` by path; a test takes something away, forbids it, or lets nothing answer.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.serving import serving

Json = dict[str, Any]
DIGEST = "sha256:" + "a" * 64
NAMESPACE = "linnet"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
TRAINER = "/apis/trainer.kubeflow.org/v1alpha1"
TRAINJOBS = f"{TRAINER}/namespaces/{NAMESPACE}/trainjobs"
RUNTIME = f"{TRAINER}/namespaces/{NAMESPACE}/trainingruntimes/linnet"
ARGO = "/api/v1/namespaces/kubeflow/configmaps/workflow-controller-configmap"
ENDPOINTS = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
SECRETS = {
    "linnet-s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "linnet-mlflow": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    "linnet-huggingface": ("HF_TOKEN",),
}
SECRET_VALUE = "bm9ib2R5LXNob3VsZC1zZWUtdGhpcw=="


def node(name: str, *, cpu: str, memory: str, **more: Any) -> Json:
    """A node with so much allocatable; `gpus`, `labels`, `taints`, `unschedulable`."""
    allocatable = {"cpu": cpu, "memory": memory} | ({"nvidia.com/gpu": more["gpus"]} if "gpus" in more else {})
    spec = {key: more[key] for key in ("taints", "unschedulable") if key in more}
    return {
        "metadata": {"name": name, "labels": more.get("labels", {})},
        "spec": spec,
        "status": {"allocatable": allocatable},
    }


def retries(policy: str, limit: str) -> Json:
    workflow = {"spec": {"templateDefaults": {"retryStrategy": {"limit": limit, "retryPolicy": policy}}}}
    return {"data": {"workflowDefaults": json.dumps(workflow)}}  # JSON is YAML


@dataclass
class ClusterApi:
    """What there is, and what was asked."""

    url: str
    objects: dict[str, Json] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)  # paths
    denied_rights: set[str] = field(default_factory=set)  # "create trainjobs"
    webhook: str = ""  # why the admission webhook refuses TrainJobs
    status: int = 0  # of every answer, if not 0
    registry: str = "open"  # or "token" (anonymous), "login", "empty"
    pods: list[Json] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)  # "GET /path?query"
    bodies: list[Json] = field(default_factory=list)

    def answer(self, method: str, path: str, query: dict[str, str], body: Json, token: str) -> tuple[int, Json, Json]:
        """(status, content, headers)"""
        if self.status:
            return self.status, _refusal("Unauthorized"), {}
        if path in self.forbidden:
            return 403, _refusal(f'User "bird" cannot {"get" if method == "GET" else "create"} resource at {path}'), {}
        match method, path:
            case _, path if path.startswith("/v2/"):
                return self._registry_answer(token)
            case "GET", "/token":
                return 200, {"token": "anonymous"}, {}
            case "POST", path if path == REVIEWS:
                attributes = body["spec"]["resourceAttributes"]
                resource = "/".join(attributes[key] for key in ("resource", "subresource") if key in attributes)
                return 201, {"status": {"allowed": f"{attributes['verb']} {resource}" not in self.denied_rights}}, {}
            case "POST", path if path == TRAINJOBS:
                if self.webhook:
                    return 403, _refusal(f'admission webhook "validator" denied the request: {self.webhook}'), {}
                return 201, body, {}
            case _, path if path.startswith(f"{CORE}/pods"):
                return self._pods_answer(method, path.removeprefix(f"{CORE}/pods").strip("/").split("/"), query)
            case "GET" | "HEAD", path if path in self.objects:
                return 200, self.objects[path], {}
        return 404, _refusal("not found"), {}

    def _pods_answer(self, method: str, path: list[str], query: dict[str, str]) -> tuple[int, Json, Json]:
        if path == [""]:
            label, _, value = query["labelSelector"].partition("=")
            labels = [(pod, pod["metadata"]["labels"]) for pod in self.pods]
            return 200, {"items": [pod for pod, has in labels if label in has and value in ("", has[label])]}, {}
        found = [pod for pod in self.pods if pod["metadata"]["name"] == path[0]]
        if not found:
            return 404, _refusal("not found"), {}
        match method, path[1:]:
            case ("DELETE", []) | ("POST", ["eviction"]):
                self.pods.remove(found[0])
                return 200, found[0], {}
            case "GET", ["log"]:
                return 200, {"container": query["container"]}, {}
        return 200, found[0], {}

    def _registry_answer(self, token: str) -> tuple[int, Json, Json]:
        match self.registry:
            case "empty":
                return 404, {}, {}
            case "token" if token != "Bearer anonymous":
                realm = f'Bearer realm="{self.url}/token",service="lab",scope="repository:linnet:pull"'
                return 401, {}, {"WWW-Authenticate": realm}
            case "login":
                return 401, {}, {"WWW-Authenticate": 'Basic realm="lab"'}
        return 200, {}, {}

    @property
    def image(self) -> str:
        return f"{self.url.removeprefix('http://')}/linnet@{DIGEST}"

    def write_kubeconfig(self, path: Path) -> Path:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": {"token": "none"}}],
        }
        path.write_text(json.dumps(config))
        return path


def _refusal(message: str) -> Json:
    return {"kind": "Status", "apiVersion": "v1", "message": message}


def whole(url: str) -> dict[str, Json]:
    """Everything that a run with the profile cpu-small needs, on one node of 2 CPUs."""
    addresses = {
        "MLFLOW_TRACKING_URI": "http://linnet-mlflow:5000",
        "LINNET_WORK": "s3://birds/work",
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_DEFAULT_REGION": "lab-1",
    }
    slices = [{"endpoints": [{"addresses": ["10.0.0.5"], "conditions": {"ready": True}}]}]
    return {
        "/version": {"gitVersion": "v1.33.1"},
        ARGO: retries("Always", "0"),
        f"/api/v1/namespaces/{NAMESPACE}": {},
        TRAINER: {"resources": [{"name": "trainjobs"}, {"name": "trainingruntimes"}]},
        RUNTIME: {},
        f"{CORE}/serviceaccounts/pipeline-runner": {},
        "/api/v1/nodes": {"items": [node("one", cpu="1800m", memory="7Gi")]},
        f"{CORE}/configmaps/linnet": {"data": addresses},
        "/birds": {},  # the bucket
        ENDPOINTS: {"items": slices},
        **{f"{CORE}/secrets/{name}": {"data": dict.fromkeys(keys, SECRET_VALUE)} for name, keys in SECRETS.items()},
    }


@contextmanager
def running_cluster() -> Iterator[ClusterApi]:
    """A server on a free port of this machine with all that is needed, stopped at the end."""
    handler: Any = type("Handler", (_Handler,), {})
    with serving(handler) as url:
        handler.api = ClusterApi(url, whole(url))
        yield handler.api


class _Handler(BaseHTTPRequestHandler):
    api: ClusterApi

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        self.api.requests.append(f"{self.command} {self.path}")
        self.api.bodies.append(copy.deepcopy(body))
        token = self.headers.get("Authorization", "")
        status, content, headers = self.api.answer(self.command, parts.path, query, body, token)
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent: `requests` has it all."""
