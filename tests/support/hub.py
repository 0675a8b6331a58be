"""A small Hugging Face hub: the paths that `huggingface_hub` requests for a data set, with failures on demand.

Its responses follow the hub's: the commit of a revision, the tree with git's hash of small files and the sha256 of
large ones, a file's metadata (HEAD) and its content with ranges, refusals with `X-Error-Code`. It speaks HTTP/1.0, so
that no connection outlives its response.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

REPOSITORY = "someone/recordings"
COMMIT = "5f3c" * 10
LARGE_SUFFIXES = (".wav", ".ogg", ".parquet")  # kept outside of git, by their sha256


class Hub:
    """The one data set of the server, and what a test may set before or read after."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.token = ""  # what every request must carry; empty: none
        self.refusal: tuple[int, str] | None = None  # status and X-Error-Code of every response
        self.page = b""  # the body of every response, as of a login page in between
        self.bytes_until_break = -1  # so many bytes of files are sent, then the connection breaks; later ones get 503
        self.stalled = ""  # this file is sent by half; then nothing, until `resume` is set and the connection closes
        self.resume = threading.Event()
        self.damaged = ""  # this file is sent with another first byte
        self.requests: list[tuple[str, str]] = []  # method and path

    @property
    def downloaded(self) -> list[str]:
        """Names of the files whose content was requested, in the order of the requests."""
        marker = f"/resolve/{COMMIT}/"
        return [path.partition(marker)[2] for method, path in self.requests if method == "GET" and marker in path]

    def tree(self) -> list[dict[str, Any]]:
        return [_entry(name, content) for name, content in self.files.items()]


def _entry(name: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": oid}
    if name.endswith(LARGE_SUFFIXES):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


@contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.respond()

        def do_GET(self) -> None:
            self.respond()

        def respond(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path))
            if hub.page:
                self.send(200, hub.page)
            elif hub.refusal is not None:
                self.send(hub.refusal[0], b"{}", {"X-Error-Code": hub.refusal[1]})
            elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self.send(401, b"{}", {"X-Error-Code": "GatedRepo"})
            elif re.fullmatch(rf"/api/datasets/{REPOSITORY}/revision/(main|v1|{COMMIT})", path):
                self.send(200, json.dumps({"id": REPOSITORY, "sha": COMMIT}).encode())
            elif path.startswith(f"/api/datasets/{REPOSITORY}/revision/"):
                self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            elif path == f"/api/datasets/{REPOSITORY}/tree/{COMMIT}":
                self.send(200, json.dumps(hub.tree()).encode())
            elif found := re.fullmatch(rf"/datasets/{REPOSITORY}/resolve/{COMMIT}/(.+)", path):
                self.send_file(found[1], self.headers.get("Range", ""))
            else:
                self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def send_file(self, name: str, span: str) -> None:
            content = hub.files[name]
            entry = _entry(name, content)
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{entry.get("lfs", entry)["oid"]}"'}
            if name == hub.damaged:
                content = bytes([content[0] ^ 1]) + content[1:]
            if self.command == "GET" and hub.bytes_until_break == 0:
                self.send(503, b"{}")
                return
            total, start = len(content), int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
            headers |= {"Content-Range": f"bytes {start}-{total - 1}/{total}"} if span else {}
            content = sent = content[start:]
            if self.command == "GET" and 0 < hub.bytes_until_break < len(content):
                sent, hub.bytes_until_break = content[: hub.bytes_until_break], 0
            if name == hub.stalled:
                sent = content[: total // 2]
            self.send(206 if span else 200, sent, headers, length=len(content))
            if name == hub.stalled and self.command == "GET":
                hub.resume.wait(60)

        def send(
            self, status: int, body: bytes, headers: dict[str, str] | None = None, *, length: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.resume.set()
        server.shutdown()
        thread.join()
        server.server_close()
