"""An MLflow server that is away for a while: what is sent again, looked for first, or not waited for."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from linnet.tracking import client as tracking
from linnet.tracking import outages
from linnet.tracking.client import check_server, connect
from linnet.tracking.failures import TrackingError, UnansweredError, server_errors
from linnet.tracking.outages import create_once, waiting_at_most
from linnet.tracking.run import RunTracker

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
BUSY, MISSING, FORBIDDEN = 503, 404, 403


class Server:
    """Fails as it is told, answers `{}`, or what is in `answers`, afterwards, and remembers what it was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.failures = list[int]()  # statuses of the next answers; 0 for a connection that breaks
        self.answers = dict[str, dict[str, object]]()
        self.asked = list[tuple[str, bytes]]()

    def paths(self) -> list[str]:
        return [path.rpartition("/mlflow/")[2] for path, _ in self.asked]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with running(Server()) as made:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", made.address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv("LINNET_PATIENCE", "60")
        monkeypatch.setattr(outages, "FIRST_WAIT_SECONDS", 0.05)
        monkeypatch.setattr(outages, "_given_up", False)
        yield made


@contextmanager
def running(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            server.asked.append((self.path.partition("?")[0], body))
            status = server.failures.pop(0) if server.failures else 200
            if status == 0:
                self.connection.close()
                return
            text = json.dumps(next((server.answers[end] for end in server.answers if self.path.endswith(end)), {}))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  names of the standard library

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.handle_error = lambda *_: None  # type: ignore[method-assign]  # of the connections that we break
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        server.address = f"http://127.0.0.1:{http.server_port}"
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


@pytest.mark.parametrize("failure", [0, 429, 500, 502, 503, 504])
def test_a_single_request_is_sent_again(server: Server, failure: int, capsys: pytest.CaptureFixture[str]) -> None:
    client = connect()
    client.set_tag("r", "before", "1")
    server.failures = [failure] * 3
    client.set_tag("r", "during", "2")
    sent = [json.loads(body)["key"] for _, body in server.asked]
    assert sent == ["before", *["during"] * 4]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert said[0].startswith(f"MLflow at {server.address}")
    assert "trying again in" in said[0]


@pytest.mark.parametrize("refusal", [400, 401, FORBIDDEN, MISSING, 501])
def test_a_refusal_is_no_outage(server: Server, refusal: int) -> None:
    client = connect()
    server.failures = [refusal]
    with pytest.raises(TrackingError), server_errors():
        client.set_tag("r", "k", "v")
    assert len(server.asked) == 1


def test_an_uploaded_file_is_read_from_its_beginning_again(server: Server, tmp_path: Path) -> None:
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    connect()
    (tmp_path / "weights").write_bytes(b"w" * 100_000)
    server.failures = [BUSY, 0, BUSY]
    artifacts: Any = HttpArtifactRepository
    artifacts(server.address).log_artifact(str(tmp_path / "weights"))
    assert len(server.asked) == 4
    assert server.asked[-1][1] == b"w" * 100_000


def test_what_may_have_been_made_is_looked_for(server: Server) -> None:
    """The server makes it, and its answer is lost: sent again it would be there twice."""
    client, made = connect(), list[str]()
    server.answers["runs/create"] = {"run": {"info": {"run_id": "second"}}}

    def create() -> str:
        made.append("first")  # what a server does before its answer is lost
        return str(client.create_run("0").info.run_id)

    server.failures = [0]
    assert create_once(lambda: made[0] if made else None, create) == "first"
    assert server.paths() == ["runs/create"]


def test_what_was_not_made_is_made(server: Server) -> None:
    client = connect()
    server.answers["runs/create"] = {"run": {"info": {"run_id": "made", "experiment_id": "0"}}}
    server.failures = [0, BUSY]
    assert create_once(lambda: None, lambda: client.create_run("0").info.run_id) == "made"
    assert server.paths() == ["runs/create"] * 3


@pytest.mark.parametrize("call", ["create_run", "create_model_version", "create_logged_model"])
def test_nothing_new_is_asked_for_twice_by_itself(server: Server, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's own would
    client = connect()
    arguments = {"create_run": ("0",), "create_model_version": ("m", "s3://m"), "create_logged_model": ("0",)}[call]
    server.failures = [0] * 9
    with pytest.raises(UnansweredError), server_errors():
        getattr(client, call)(*arguments)
    assert len(server.asked) == 1


def test_patience_is_lost_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cleaning up after a request that was given up must not wait as long again."""
    client = connect()
    monkeypatch.setenv("LINNET_PATIENCE", "0.3")
    server.failures = [BUSY] * 100
    with pytest.raises(UnansweredError), server_errors():
        client.set_tag("r", "k", "v")
    tries = len(server.asked)
    assert tries > 2
    with pytest.raises(UnansweredError), server_errors():
        client.set_terminated("r")
    assert len(server.asked) == tries + 1
    server.failures = []
    client.set_tag("r", "k", "v")
    server.failures = [BUSY] * 2
    client.set_tag("r", "k", "v")  # it has answered, and is waited for again


def test_a_check_waits_a_minute_at_most(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "CHECK_SECONDS", 0.3)
    server.failures = [BUSY] * 100
    began = time.monotonic()
    with pytest.raises(UnansweredError, match=r"does not answer|answers 503"):
        check_server(outlives_pods=False)
    assert 0.3 <= time.monotonic() - began < 3
    assert len(server.asked) > 2


def test_at_a_desk_nothing_is_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINNET_PATIENCE")
    client = connect()
    server.failures = [BUSY]
    with pytest.raises(UnansweredError), server_errors():
        client.set_tag("r", "k", "v")
    assert len(server.asked) == 1


def test_the_shorter_limit_counts(server: Server) -> None:
    client = connect()
    server.failures = [BUSY] * 2
    with waiting_at_most(0), waiting_at_most(60), pytest.raises(UnansweredError), server_errors():
        client.set_tag("r", "k", "v")
    assert len(server.asked) == 1


def test_a_locked_store_is_waited_for(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that MLflow uses without a server: the calls of its store wait, and what makes something is left."""
    import sqlalchemy
    from mlflow.exceptions import MlflowException

    monkeypatch.setenv("LINNET_PATIENCE", "60")
    client = connect()
    store = client._tracking_client.store
    failures = [1, 1]

    @sqlalchemy.event.listens_for(store.engine, "before_cursor_execute")
    def fail(*_: object) -> None:
        if failures and failures.pop():
            raise sqlalchemy.exc.OperationalError("SELECT", {}, Exception("database is locked"))

    assert client.get_experiment_by_name("linnet") is None
    assert failures == []
    failures.append(1)
    with pytest.raises(MlflowException, match="locked"):
        client.create_run("0")
    failures.append(1)
    assert client.get_experiment_by_name("linnet") is None


def tracker(*, must_arrive: bool = False) -> RunTracker:
    return RunTracker(
        "key", run_name="t", params={}, tags={}, system_metrics=False, must_arrive=must_arrive, closing_seconds=1.0
    )


INFO = {"run_id": "r", "experiment_id": "0", "status": "RUNNING"}
RUN: dict[str, object] = {"info": INFO, "data": {}}


@pytest.fixture
def with_a_run(server: Server) -> Server:
    server.answers = {
        "experiments/get-by-name": {
            "experiment": {"experiment_id": "0", "name": "linnet", "lifecycle_stage": "active"}
        },
        "runs/search": {"runs": [RUN]},
        "runs/get": {"run": RUN},
        "runs/update": {"run_info": INFO},
    }
    return server


def test_the_end_of_a_training_waits_and_nothing_is_lost(
    with_a_run: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Away from the first request on; more failures than an entry that is refused would be sent."""
    monkeypatch.setattr("linnet.tracking.run.RETRY_SECONDS", 0.1)
    with_a_run.failures = [BUSY] * 20
    began = time.monotonic()
    with tracker() as run:
        for step in range(5):
            run.log_metrics({"loss": 1.0}, step)
        assert time.monotonic() - began < 1
    logged = [json.loads(body).get("metrics", []) for path, body in with_a_run.asked if path.endswith("log-batch")]
    assert [metrics[0]["step"] for metrics in logged if metrics] == [0, 1, 2, 3, 4]
    assert (
        json.loads([body for path, body in with_a_run.asked if path.endswith("runs/update")][-1])["status"]
        == "FINISHED"
    )
    assert "did not take" not in capsys.readouterr().err


def test_an_outage_in_the_middle_costs_no_entry(with_a_run: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.tracking.run.RETRY_SECONDS", 0.1)
    with tracker() as run:
        run.log_metrics({"loss": 1.0}, 0)
        while not any(b'"metrics"' in body for _, body in with_a_run.asked):
            time.sleep(0.01)
        with_a_run.failures = [BUSY] * 10
        run.log_metrics({"loss": 1.0}, 1)
    logged = [json.loads(body).get("metrics", []) for path, body in with_a_run.asked if path.endswith("log-batch")]
    steps = [metrics[0]["step"] for metrics in logged if metrics]
    assert (len(steps), steps[0], steps[-1]) == (12, 0, 1)  # the first's answer may be a failure already


@pytest.mark.parametrize("must_arrive", [True, False])
def test_scores_arrive_or_it_fails(
    with_a_run: Server, must_arrive: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("linnet.tracking.run.RETRY_SECONDS", 0.1)
    monkeypatch.setenv("LINNET_PATIENCE", "1")
    with_a_run.failures = [BUSY] * 10_000
    run = tracker(must_arrive=must_arrive)
    run.__enter__()
    run.log_metrics({"frechet": 1.0}, 0)
    if must_arrive:
        with pytest.raises(TrackingError, match="did not take 1 entries of this run, which belong to its result"):
            run.__exit__(None, None, None)
    else:
        run.__exit__(None, None, None)
        assert "did not take 1 entries of this run; the results are complete" in capsys.readouterr().err


def test_who_is_killed_does_not_wait(with_a_run: Server) -> None:
    with_a_run.failures = [BUSY] * 10_000
    began = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt), tracker() as run:
        run.log_metrics({"loss": 1.0}, 0)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 10
