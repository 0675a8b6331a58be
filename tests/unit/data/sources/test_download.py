"""HTTP downloads from a real server that breaks off, ignores ranges and sends the wrong thing."""

import hashlib
import http.server
import re
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from linnet.artifacts import Raw
from linnet.data.layouts.caltech import FOLDER, read_index
from linnet.data.sources import caltech
from linnet.data.sources.download import CHUNK_BYTES, MAX_FAILURES, DownloadError, download
from linnet.data.synthetic.birds import make_birds
from linnet.files import ArtifactError, folder_lock
from linnet.stages import ingest
from support.image_section import BIRDS

CONTENT = np.random.default_rng(0).bytes(3 * CHUNK_BYTES + 12345)
MD5 = hashlib.md5(CONTENT).hexdigest()  # noqa: S324 as published


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; each entry of `breaks` cuts one response off after so many bytes."""

    content = CONTENT
    supports_ranges = True
    sends_length = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks: list[int] = []
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data.tgz"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        span = self.headers.get("Range")
        self.server.ranges.append(span)
        content, start = self.server.content, 0
        if span and self.server.supports_ranges:
            start = int(span.removeprefix("bytes=").removesuffix("-"))
        if self.path != "/data.tgz":
            self.send_error(404)
        elif start >= len(content) and start:
            self.send_error(416)
        else:
            self.send_response(206 if start else 200)
            if self.server.sends_length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            length = self.server.breaks.pop(0) if self.server.breaks else len(content)
            self.wfile.write(content[start : start + length])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the library's name
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(url: str, path: Path) -> None:
    download(url, path, md5=MD5, retry_seconds=0)


@pytest.mark.parametrize("sends_length", [True, False])
def test_a_file_arrives_whole_and_its_progress_is_told(
    server: Server, tmp_path: Path, sends_length: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    server.sends_length = sends_length
    fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert capsys.readouterr().err.startswith(f"ingest: megabytes: {'4/4' if sends_length else '4'}, ")
    assert server.ranges == [None]


def test_a_broken_download_resumes_where_it_stopped(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.breaks = [2 * CHUNK_BYTES + 100, CHUNK_BYTES // 2]
    fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert capsys.readouterr().err.startswith("ingest: megabytes: 4/4, ")
    assert server.ranges[0] is None
    starts = [int(re.fullmatch(r"bytes=(\d+)-", span or "")[1]) for span in server.ranges[1:]]  # type: ignore[index]
    assert len(starts) == 2
    assert starts[0] >= 2 * CHUNK_BYTES  # only an unfinished chunk is downloaded twice


def test_what_an_earlier_run_left_is_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT[:1000])
    fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]
    fetch(server.url, tmp_path / "file")  # nothing is left to download
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.supports_ranges = False
    (tmp_path / "file").write_bytes(b"x" * 1000)
    server.breaks = [2 * CHUNK_BYTES]
    fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(server.ranges) == 2


def test_a_connection_that_never_progresses_is_given_up(server: Server, tmp_path: Path) -> None:
    server.breaks = [CHUNK_BYTES, *[0] * 20]
    with pytest.raises(DownloadError, match=rf"no connection .*{CHUNK_BYTES} bytes are kept in .*file: repeat"):
        fetch(server.url, tmp_path / "file")
    assert len(server.ranges) == 1 + MAX_FAILURES
    assert (tmp_path / "file").read_bytes() == CONTENT[:CHUNK_BYTES]
    server.breaks = []
    fetch(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_wrong_address_is_not_tried_again(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/other: the server answers 404; is the address right\?"):
        fetch(server.url.replace("data.tgz", "other"), tmp_path / "file")
    assert len(server.ranges) == 1
    assert not (tmp_path / "file").exists()


def test_a_server_that_is_not_there(server: Server, tmp_path: Path) -> None:
    server.server_close()  # its port is free again
    with pytest.raises(DownloadError, match=r"no connection \(ConnectionError\)\. 0 bytes are kept"):
        fetch(server.url, tmp_path / "file")
    assert issubclass(requests.ConnectionError, requests.RequestException)


def serve_birds(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_birds(folder / "made", per_species=2)
    with tarfile.open(folder / "birds.tgz", "w:gz") as tar:
        tar.add(folder / "made" / FOLDER, FOLDER)
    server.content = (folder / "birds.tgz").read_bytes()
    monkeypatch.setattr(caltech, "URL", server.url)
    monkeypatch.setattr(caltech, "MD5", hashlib.md5(server.content).hexdigest())  # noqa: S324 as published


def test_the_published_archive_is_downloaded_checked_and_unpacked_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_birds(server, tmp_path, monkeypatch)
    out, work = tmp_path / "out", tmp_path / "work"
    for _ in range(2):
        ingest.run(BIRDS, source="caltech", out=out, work=work)
    assert len(server.ranges) == 1
    assert Raw.content_hash(out) == Raw.content_hash(tmp_path / "made")
    assert list(work.iterdir()) == []


def test_an_interrupted_archive_resumes_and_no_two_runs_write_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_birds(server, tmp_path, monkeypatch)
    out, work = tmp_path / "out", tmp_path / "work"
    (work / "caltech").mkdir(parents=True)
    (work / "caltech" / "CUB_200_2011.tgz").write_bytes(server.content[:1000])  # as a killed run leaves it
    with folder_lock(work / "caltech", what=out), pytest.raises(ArtifactError, match="out: another run is making it"):
        ingest.run(BIRDS, source="caltech", out=out, work=work)
    assert server.ranges == []
    ingest.run(BIRDS, source="caltech", out=out, work=work)
    assert server.ranges == ["bytes=1000-"]
    assert Raw.content_hash(out) == Raw.content_hash(tmp_path / "made")


def test_an_archive_with_another_checksum_is_thrown_away(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_birds(server, tmp_path, monkeypatch)
    out, work = tmp_path / "out", tmp_path / "work"
    good = server.content
    server.content = good[:-1] + bytes([good[-1] ^ 1])
    found = hashlib.md5(server.content).hexdigest()  # noqa: S324 as published
    with pytest.raises(DownloadError, match=f"has md5 {found}, the published one is {caltech.MD5}"):
        ingest.run(BIRDS, source="caltech", out=out, work=work)
    assert not out.exists()
    assert not [path for path in work.rglob("*") if path.is_file()]
    server.content = good
    ingest.run(BIRDS, source="caltech", out=out, work=work)
    assert len(read_index(out).records) == 16
