"""Downloads that go on where they broke off, and archives that cannot write outside their folder."""

import lzma
import os
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import requests

from linnet.errors import LinnetError, first_line

CHUNK_BYTES = 1 << 20
TRIES = 5
WAIT_SECONDS = 2.0


class DownloadError(LinnetError):
    """A file could not be fetched whole."""


class ArchiveError(LinnetError):
    """An archive is damaged or hostile."""


def download(
    url: str,
    path: Path,
    *,
    advance: Callable[[int, int], None],
    wait_seconds: float = WAIT_SECONDS,
) -> None:
    """Fetch `url` into `path`; what an earlier try left at `path` is kept and continued.

    Args:
        advance: called with (bytes so far, bytes in all or 0 where the server does not say).

    Raises:
        DownloadError: the server refuses, or the connection broke `TRIES` times without any progress.
    """
    failures = 0
    while True:
        before = path.stat().st_size if path.exists() else 0
        try:
            _fetch_rest(url, path, before, advance)
            return
        except requests.HTTPError as reason:
            status = reason.response.status_code
            advice = "it is in trouble, try again later" if status >= 500 else "is the address right?"
            raise DownloadError(f"{url}: the server answers {status}; {advice}") from None
        except requests.RequestException as reason:
            size = path.stat().st_size if path.exists() else 0
            failures = 0 if size > before else failures + 1
            if failures >= TRIES:
                raise DownloadError(
                    f"{url}: no connection ({type(reason).__name__}). {size} bytes are kept in {path}: repeat the "
                    "command to go on, or fetch the file elsewhere and give its path as the source."
                ) from None
            time.sleep(wait_seconds)


def _fetch_rest(url: str, path: Path, have: int, advance: Callable[[int, int], None]) -> None:
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing is left to fetch; the checksum has the last word
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        have = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else 0
        with path.open("ab" if resumed else "wb") as file:
            for chunk in answer.iter_content(CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                advance(have, total)
            os.fsync(file.fileno())
        if total and have < total:
            raise requests.ConnectionError("the connection closed early")


def unpack(archive: Path, folder: Path, *, advance: Callable[[int], None]) -> None:
    """Unpack a tar (any compression) or zip archive into `folder`; no member may land outside it.

    Links become copies of the archive's member they point to; links to anything else, devices and names that leave the
    folder are refused. (Python's own extraction filters are missing before 3.11.4.)

    Raises:
        ArchiveError: not an archive, truncated, damaged, or with a refused member; the message names it.
    """
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, advance)
        else:
            _unpack_tar(archive, folder, advance)
    except ArchiveError as refusal:
        raise ArchiveError(f"{archive}: {refusal}; nothing is kept") from None
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        OSError,
        RuntimeError,
    ) as reason:
        if isinstance(reason, OSError) and reason.errno is not None:
            raise  # the disk's fault, not the archive's
        raise ArchiveError(f"{archive}: not a whole archive ({first_line(reason)}); fetch it again") from None


def _unpack_tar(archive: Path, folder: Path, advance: Callable[[int], None]) -> None:
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            if member.isdir():
                _inside(folder, member.name).mkdir(parents=True, exist_ok=True)
            else:
                with _content(tar, member) as content:
                    _write(_inside(folder, member.name), content)
            advance(1)
        while tar.fileobj is not None and tar.fileobj.read(CHUNK_BYTES):
            pass  # to the end of the compressed stream, where its checksum is


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    try:
        content = tar.extractfile(member)  # follows links, inside the archive only
    except KeyError:
        raise ArchiveError(f"member {member.name!r} would land outside the folder ({member.linkname})") from None
    if content is None:
        raise ArchiveError(f"member {member.name!r} is no plain file")
    return content


def _unpack_zip(archive: Path, folder: Path, advance: Callable[[int], None]) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            target = _inside(folder, member.filename)
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                with file.open(member) as content:
                    _write(target, content)
            advance(1)


def _inside(folder: Path, name: str) -> Path:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ArchiveError(f"member {name!r} would land outside the folder")
    return target


def _write(target: Path, content: IO[bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, CHUNK_BYTES)
