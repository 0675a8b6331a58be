"""A small KFP API server: the REST paths of v2beta1 that `kfp.Client` asks, with state, a token and failures on demand.

What it answers follows kubeflow/pipelines' apiserver: 64-bit numbers as strings, `recurringRuns` in camel case,
refusals as JSON with `code` and `message`, a new recurring run at work only if `mode` says so.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp.client
import pytest
import typer

from linnet.cli import run_command
from support.serving import serving
from support.tiny import ROOT

IMAGE = f"registry.example/linnet@sha256:{'a' * 64}"
Json = dict[str, Any]
PREFIX = "/apis/v2beta1"
UNSUPPORTED_CRON = (  # what the real server says of a minute 60
    "Invalid input error: Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). "
    "Error: End of range (60) above maximum (59): 60"
)


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class KfpApi:
    """The server's state, and what a test may set before or read after."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.token = ""  # what every request must bring; empty: no token is asked for
        self.multi_user = False
        self.version = "2.17.0"  # which only the older health check tells; empty: that one is gone
        self.namespaces = ["team-a"]
        self.changes_until_failure = -1  # so many changes succeed, then every request is answered with 503
        self.lose_answer_of_change = -1  # this change (from 0) is made, but the connection breaks before the answer
        self.refusal: Refusal | None = None  # every request is answered so
        self.has_pages = False  # whether a browser finds Kubeflow's page there, as at a gateway
        self.login_page = ""  # as gateways do: "redirect" to it, or the page itself as "html"
        self.run_states = ["SUCCEEDED"]  # what looking at a run finds, one after the other; the last one stays
        self.task_details: list[Json] = []  # of every run; empty: those below
        self.experiments: list[Json] = []
        self.runs: list[Json] = []
        self.recurring_runs: list[Json] = []
        self.pipelines: list[Json] = []
        self.versions: list[Json] = []  # of pipelines
        self.requests: list[str] = []
        self.most_enabled = 0  # recurring runs of one name that were switched on at the same time, at worst
        self._numbers = iter(range(1, 10_000))

    @property
    def changes(self) -> list[str]:
        return [request for request in self.requests if not request.startswith("GET ")]

    def enabled_runs(self) -> list[Json]:
        return [run for run in self.recurring_runs if run["mode"] == "ENABLE"]

    def identifier(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers)}"

    def answer(self, method: str, path: str, query: dict[str, str], body: Json, token: str) -> Json:
        if self.token and token != f"Bearer {self.token}":
            raise Refusal(401, f"cannot authenticate '{token}'")  # servers do repeat what they were sent
        if self.refusal is not None:
            raise self.refusal
        if method != "GET":
            if self.changes_until_failure == 0:
                raise Refusal(503, "upstream connect error")
            self.changes_until_failure -= 1
        answer = self._route(method, path, query, body)
        names = [run["display_name"] for run in self.enabled_runs()]
        self.most_enabled = max([self.most_enabled, *(names.count(name) for name in names)])
        return answer

    def _route(self, method: str, path: str, query: dict[str, str], body: Json) -> Json:
        match method, path.removeprefix(PREFIX).strip("/").split("/"):
            case "GET", ["apis", "v1beta1", "healthz"] if self.version:
                return {"commit_sha": "0" * 40, "tag_name": self.version, "multi_user": self.multi_user}
            case "GET", ["healthz"]:
                return {"multi_user": self.multi_user}
            case "GET", ["experiments"]:
                self._check_namespace(query)
                name = json.loads(query["filter"])["predicates"][0]["stringValue"]
                return {"experiments": [each for each in self.experiments if each["display_name"] == name]}
            case "POST", ["experiments"]:
                self._check_namespace(body)
                self.experiments.append({**body, "experiment_id": self.identifier("experiment")})
                return self.experiments[-1]
            case "POST", ["runs"]:
                self.runs.append({**body, "run_id": self.identifier("run"), "state": "PENDING"})
                return self.runs[-1]
            case "GET", ["runs", identifier]:
                state = self.run_states.pop(0) if len(self.run_states) > 1 else self.run_states[0]
                names = ("train", "root", "executor", "linnet-training-tndsz(0)", "exit-handler-1", "train-driver")
                tasks = [{"display_name": name, "state": state} for name in names]
                tasks.append({"display_name": "ingest", "state": "SUCCEEDED"})
                return {
                    **_found(self.runs, "run_id", identifier),
                    "state": state,
                    "run_details": {"task_details": self.task_details or tasks},
                }
            case "POST", ["runs", action]:
                identifier, _, verb = action.partition(":")
                _found(self.runs, "run_id", identifier)
                self.run_states = ["RUNNING", "SUCCEEDED"] if verb == "retry" else ["CANCELED"]
                return {}
            case "DELETE", ["runs", identifier]:
                self.runs.remove(_found(self.runs, "run_id", identifier))
                return {}
            case "GET", ["pipelines"]:
                name = json.loads(query["filter"])["predicates"][0]["stringValue"]
                found = [each for each in self.pipelines if each["display_name"] == name]
                return {"pipelines": found} if found else {}
            case "POST", ["pipelines", "upload"]:
                pipeline = {"pipeline_id": self.identifier("pipeline"), "display_name": query["name"]}
                self.pipelines.append(pipeline)
                self.versions.append({**pipeline, "pipeline_version_id": self.identifier("version")})
                return pipeline
            case "POST", ["pipelines", "upload_version"]:
                named = {"pipeline_id": query["pipelineid"], "display_name": query["name"]}
                self.versions.append({**named, "pipeline_version_id": self.identifier("version")})
                return self.versions[-1]
            case "GET", ["pipelines", identifier, "versions"]:
                return {"pipeline_versions": [each for each in self.versions if each["pipeline_id"] == identifier]}
            case _, ["recurringruns", *rest]:
                return self._recurring(method, rest, query, body)
        raise Refusal(404, f"no such path: {path}")

    def _recurring(self, method: str, rest: list[str], query: dict[str, str], body: Json) -> Json:
        match method, rest:
            case "GET", []:
                self._check_namespace(query)
                return self._page(int(query.get("page_token") or 0), int(query["page_size"]))
            case "POST", []:
                if not 1 <= body["max_concurrency"] <= 10:
                    raise Refusal(400, "The max concurrency of the recurring run is out of range")
                if "60" in body["trigger"]["cron_schedule"]["cron"].split():
                    raise Refusal(400, UNSUPPORTED_CRON)
                return self.add_recurring_run(body)
            case "POST", [action]:
                identifier, _, verb = action.partition(":")
                _found(self.recurring_runs, "recurring_run_id", identifier)["mode"] = verb.upper()
                return {}
            case "DELETE", [identifier]:
                self.recurring_runs.remove(_found(self.recurring_runs, "recurring_run_id", identifier))
                return {}
        raise Refusal(404, "no such path")

    def add_recurring_run(self, body: Json) -> Json:
        run = {
            **body,
            "recurring_run_id": self.identifier("recurring"),
            "max_concurrency": str(body["max_concurrency"]),
        }
        self.recurring_runs.append(run)
        return run

    def _page(self, start: int, size: int) -> Json:
        size = min(size, 2)  # a server may give less than asked for: everybody must read on
        page: Json = {"recurringRuns": self.recurring_runs[start : start + size]}
        if start + size < len(self.recurring_runs):
            page["next_page_token"] = str(start + size)
        return page

    def _check_namespace(self, where: dict[str, Any]) -> None:
        namespace = where.get("namespace", "")
        if self.multi_user and namespace not in self.namespaces:
            raise Refusal(403, f"User 'bird' is not authorized in namespace '{namespace}'")


def _found(things: list[Json], key: str, value: str) -> Json:
    for thing in things:
        if thing[key] == value:
            return thing
    raise Refusal(404, f"{value} not found")


class _Handler(BaseHTTPRequestHandler):
    api: KfpApi

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        number = len(self.api.changes)
        self.api.requests.append(f"{self.command} {parts.path}")
        status = 200
        is_json = "json" in self.headers.get("Content-Type", "json")  # an upload is a form
        body = json.loads(content or "{}") if is_json else {}
        try:
            answer = self.api.answer(self.command, parts.path, query, body, self.headers.get("Authorization", ""))
        except Refusal as refusal:
            status, answer = refusal.status, {"code": 16, "message": str(refusal)}
        if self.command != "GET" and number == self.api.lose_answer_of_change:
            return
        if self.api.login_page:
            self._show_login_page()
            return
        if self.api.has_pages and parts.path == "/":
            self._show_page(b"<html>Kubeflow</html>")
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def _show_login_page(self) -> None:
        redirects = self.api.login_page == "redirect" and not self.path.startswith("/login")
        self.send_response(302 if redirects else 200)
        if redirects:
            self.send_header("Location", f"{self.api.url}/login")
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>Log in</html>")

    def _show_page(self, page: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page)

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent: `requests` has it all."""


def status_of(app: typer.Typer, *arguments: str) -> int:
    """Run a command of `pipelines` in this process, as its `__main__` does; its exit status."""
    try:
        run_command(app, arguments)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    raise AssertionError("typer ends commands by SystemExit")


def as_people_start_it(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with the real pipeline."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("KFP_", "KF_PIPELINES_"))}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**known, "LINNET_IMAGE": IMAGE, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def use_test_environment(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No setting of this machine's user reaches the commands, and the pipeline is the small one below."""
    for name in [name for name in os.environ if name.startswith(("KFP_", "KF_PIPELINES_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LINNET_IMAGE", IMAGE)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(folder / "no-token"))
    monkeypatch.setattr(kfp.client.Client, "_LOCAL_KFP_CONTEXT", str(folder / "no-context.json"))
    module = ModuleType("pipelines.compile")
    module.compile_pipeline = compile_pipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pipelines.compile", module)


@contextmanager
def running_kfp_api() -> Iterator[KfpApi]:
    """A server on a free port of this machine, stopped at the end."""
    handler: Any = type("Handler", (_Handler,), {})
    with serving(handler) as url:
        handler.api = KfpApi(url)
        yield handler.api


def compile_pipeline(path: Path) -> None:
    """A pipeline with the parameters of the real one, and a platform part; stands in for `pipelines.compile`."""
    from kfp import compiler, dsl, kubernetes

    def train(recipe: str, overrides: str, source: str, num_nodes: int, only_if_changed: bool) -> None:
        pass

    def training_pipeline(recipe: str, overrides: str, source: str, num_nodes: int, only_if_changed: bool) -> None:
        task = component(
            recipe=recipe, overrides=overrides, source=source, num_nodes=num_nodes, only_if_changed=only_if_changed
        )
        kubernetes.add_node_selector(task, label_key="kind", label_value="gpu")

    component = dsl.component(train, base_image=os.environ["LINNET_IMAGE"], install_kfp_package=False)
    compiler.Compiler().compile(dsl.pipeline(training_pipeline, name="linnet-training"), str(path))
