"""An S3 server that is away for a while."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from linnet import storage
from linnet.storage import StorageError, access, connection
from linnet.storage.connection import ATTEMPTS

DENIED, BUSY = 403, 503
URL = "s3://bucket/folder/weights"


class Server:
    """Fails as it is told, and takes every object afterwards."""

    def __init__(self) -> None:
        self.failures = list[int]()  # statuses of the next answers; 0 for a connection that breaks
        self.asked = list[bytes]()


@pytest.fixture
def server(keys: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            made.asked.append(self.rfile.read(int(self.headers["Content-Length"] or 0)))
            status = made.failures.pop(0) if made.failures else 200
            if status == 0:
                self.connection.close()
                return
            code = "AccessDenied" if status == DENIED else "ServiceUnavailable"
            text = b"" if status == 200 else f"<Error><Code>{code}</Code></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_PUT = do_GET = do_DELETE = answer  # noqa: N815  names of the standard library

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.handle_error = lambda *_: None  # type: ignore[method-assign]  # of the connections that we break
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{http.server_port}")
        monkeypatch.setenv("LINNET_PATIENCE", "60")
        monkeypatch.setattr(connection, "FIRST_WAIT_SECONDS", 0.05)
        monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
        yield made
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("failure", [0, BUSY])
def test_an_upload_waits_and_sends_all_of_it(
    server: Server, failure: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weights").write_bytes(b"w" * 100_000)
    server.failures = [failure] * (2 * ATTEMPTS + 1)
    storage.upload_file(tmp_path / "weights", URL)
    assert len(server.asked) == 2 * ATTEMPTS + 2
    assert server.asked[-1] == b"w" * 100_000
    said = capsys.readouterr().err
    assert said.count("trying again in") == 2
    assert "no connection to http://127.0.0.1" in said or "answers ServiceUnavailable" in said


def test_a_refusal_is_no_outage(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"w")
    server.failures = [DENIED]
    with pytest.raises(StorageError, match="denies access"):
        storage.upload_file(tmp_path / "weights", URL)
    assert len(server.asked) == 1


def test_at_a_desk_nothing_is_waited_for(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINNET_PATIENCE")
    (tmp_path / "weights").write_bytes(b"w")
    server.failures = [BUSY] * 100
    with pytest.raises(StorageError, match="answers ServiceUnavailable"):
        storage.upload_file(tmp_path / "weights", URL)
    assert len(server.asked) == ATTEMPTS


def test_a_check_waits_a_minute_at_most(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "CHECK_SECONDS", 0.3)
    server.failures = [BUSY] * 100
    began = time.monotonic()
    with pytest.raises(StorageError, match="ServiceUnavailable"):
        storage.check_access("s3://bucket/folder", write=True)
    assert 0.3 <= time.monotonic() - began < 5
    assert len(server.asked) > 2
