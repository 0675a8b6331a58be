"""HTTP downloads that resume where they broke off and are checked against a published checksum."""

import os
import time
from pathlib import Path

import requests

from linnet.errors import LinnetError
from linnet.hashes import file_hash
from linnet.progress import MegabyteBar

CHUNK_BYTES = 1 << 20
MAX_FAILURES = 5  # in a row, without any progress
RETRY_SECONDS = 2.0


class DownloadError(LinnetError):
    """A file could not be downloaded whole."""


def download(url: str, path: Path, *, md5: str, retry_seconds: float = RETRY_SECONDS) -> None:
    """Download `url` to `path`; what an earlier run left at `path` is kept and continued.

    Raises:
        DownloadError: the server refuses, the connection broke `MAX_FAILURES` times without any progress, or the file
            does not have this `md5` and was deleted.
    """
    failures = 0
    while True:
        size_before = _size(path)
        try:
            _download_rest(url, path)
            break
        except requests.HTTPError as error:
            status = error.response.status_code
            advice = "it is in trouble, try again later" if status >= 500 else "is the address right?"
            raise DownloadError(f"{url}: the server answers {status}; {advice}") from None
        except requests.RequestException as error:
            failures = 0 if _size(path) > size_before else failures + 1
            if failures >= MAX_FAILURES:
                raise DownloadError(
                    f"{url}: no connection ({type(error).__name__}). {_size(path)} bytes are kept in {path}: repeat "
                    "the command to resume, or download the file elsewhere and give its path as the source."
                ) from None
            time.sleep(retry_seconds)
    if (actual := file_hash(path, "md5")) != md5:
        path.unlink()
        raise DownloadError(
            f"{url}: the file has md5 {actual}, the published one is {md5}; the file was deleted. Repeat the command; "
            "if it happens again, the server sends something else."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _download_rest(url: str, path: Path) -> None:
    offset = _size(path)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing is left to download; the checksum has the last word
        response.raise_for_status()
        is_resumed = response.status_code == requests.codes.partial_content
        offset = offset if is_resumed else 0
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length else 0
        with path.open("ab" if is_resumed else "wb") as file, MegabyteBar("ingest", total, done_bytes=offset) as bar:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                bar.advance(len(chunk))
            os.fsync(file.fileno())
        if _size(path) < total:
            raise requests.ConnectionError("the connection closed early")
