"""What is asked of MLflow outside of a training, from a real store (SQLite)."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from linnet.tracking.address import display_uri, tracking_uri
from linnet.tracking.client import (
    RUN_KEY,
    check_server,
    connect,
    experiment_id,
    known_run,
    log_text,
)
from linnet.tracking.failures import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")


@pytest.fixture
def client(workspace: Path) -> "MlflowClient":
    return connect()


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one sentence where somebody waits for the server, and no error where only a file is lost."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(TrackingError, match=r"does not answer .*check MLFLOW_TRACKING_URI"):
        check_server(outlives_pods=False)
    assert known_run("key") is None
    log_text("key", "a page", "report/evaluation.html")
    assert "did not take report/evaluation.html" in capsys.readouterr().err


def test_a_page_goes_to_the_run_of_its_model(client: "MlflowClient", tmp_path: Path) -> None:
    run_id = client.create_run(experiment_id(client), tags={RUN_KEY: "k"}).info.run_id
    log_text("k", "a page", "report/evaluation.html")
    log_text("another", "a page", "report/another.html")  # there is no such run
    assert [file.path for file in client.list_artifacts(run_id, "report")] == ["report/evaluation.html"]
    assert Path(client.download_artifacts(run_id, "report/evaluation.html", str(tmp_path))).read_text() == "a page"


def test_the_default_is_a_store_in_the_working_folder(workspace: Path) -> None:
    assert tracking_uri() == f"sqlite:///{workspace / 'mlflow.db'}"
    check_server(outlives_pods=False)
    with pytest.raises(TrackingError, match=r"names no server \(sqlite:.*\): what is logged there would be gone with"):
        check_server(outlives_pods=True)


def test_a_password_is_used_and_never_printed(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:1")
    assert tracking_uri() == "http://user:secret@127.0.0.1:1"
    assert display_uri() == "http://127.0.0.1:1"
    with pytest.raises(TrackingError, match=r"\(http://127\.0\.0\.1:1\) holds a user; put user and password into"):
        check_server(outlives_pods=True)


def test_a_deleted_experiment_has_its_sentence_wherever_it_is_needed(
    client: "MlflowClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    number = experiment_id(client)
    client.delete_experiment(number)
    words = rf"the experiment 'linnet' was deleted; bring it back with .* restore --experiment-id {number}`"
    asks: list[Callable[[], object]] = [
        lambda: check_server(outlives_pods=False),
        lambda: experiment_id(client),
    ]
    for ask in asks:
        with pytest.raises(TrackingError, match=words):
            ask()
    assert known_run("key") is None
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    check_server(outlives_pods=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    client.restore_experiment(number)
    assert experiment_id(client) == number


@contextmanager
def server(answers: dict[str, tuple[int, str]]) -> Iterator[str]:
    """An HTTP server that answers paths by how they end, and 404 to all others, as Flask does."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            found = [answers[end] for end in answers if self.path.partition("?")[0].endswith(end)]
            status, text = found[0] if found else (404, "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>")
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = answer  # noqa: N815  names of the standard library

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


NO_EXPERIMENT = (404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "No Experiment with that name"}))
LOCKED_AWAY = {
    "artifact_location": "/dev/null/artifacts",
    "experiment_id": "1",
    "name": "linnet",
    "lifecycle_stage": "active",
}
OLD = {"experiments/get-by-name": NO_EXPERIMENT}  # MLflow 2 knows no logged models
NEW = OLD | {"logged-models/search": (200, "{}"), "registered-models/search": (200, "{}")}


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (OLD | {"/version": (200, "2.22.1")}, r"the server is version 2\.22\.1, the client here 3\..*'mlflow>=3'"),
        (OLD | {"/version": (200, "1.30.0")}, r"the server is version 1\.30\.0"),
        (OLD, r"is older than version 3: it keeps no logged models"),  # behind a proxy that hides /version
        ({}, r"does not answer as MLflow does .*check MLFLOW_TRACKING_URI"),
        (
            {"experiments/get-by-name": (200, "<html>please log in</html>")},
            r"does not answer as MLflow does .*check MLFLOW_TRACKING_URI",
        ),
        ({"experiments/get-by-name": (403, "no")}, r"refuses us .*MLFLOW_TRACKING_USERNAME"),
        (
            NEW | {"experiments/get-by-name": (200, json.dumps({"experiment": LOCKED_AWAY}))},
            r"keeps artifacts in /dev/null/artifacts, a folder that this machine cannot write; start the server with",
        ),
        (NEW | {"registered-models/search": (501, "no")}, r"does not answer as MLflow does"),
    ],
)
def test_what_a_server_cannot_do_is_known_before_anything_is_spent(
    answers: dict[str, tuple[int, str]], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(answers) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(TrackingError, match=words):
            check_server(outlives_pods=False)


@pytest.mark.parametrize("version", ["3.0.0", "4.1.0.dev0", "a page that is no version"])
def test_a_server_as_new_as_version_3_or_newer_is_good(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(NEW | {"/version": (200, version)}) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        check_server(outlives_pods=False)


@pytest.mark.parametrize("name", ["a%20b", "q?r"])
def test_a_folder_that_mlflow_reads_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(TrackingError, match="rename the folder, or set MLFLOW_TRACKING_URI"):
        connect()
    assert [path.name for path in tmp_path.rglob("*")] == [name]
