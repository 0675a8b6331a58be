"""ingest: a source in, a verified raw data folder out."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from linnet import storage
from linnet.artifacts import Raw
from linnet.data import caltech_birds
from linnet.data.caltech_birds import RawDataError
from linnet.data.download import ArchiveError, DownloadError, download, unpack
from linnet.data.synthetic import VERSION as SYNTHETIC_VERSION
from linnet.data.synthetic import make_birds
from linnet.errors import public
from linnet.files import copy_folder, exclusive, new_folder, write_json
from linnet.hashes import file_hash
from linnet.progress import Meter, say
from linnet.recipe import DataSection

SYNTHETIC, CALTECH, DVC = "synthetic", "caltech", "dvc:"
MEGABYTE = 1_000_000


def run(data: DataSection, *, source: str | None, out: Path, work: Path) -> None:
    """Bring the raw data of `data.kind` into `out`; a folder that already holds this very source is left alone.

    Args:
        source: None keeps what is there, and draws birds where nothing is; `synthetic` (drawn here), `caltech`
            (downloaded from its published address), the path of an archive or of a folder, `s3://BUCKET/ARCHIVE`,
            `s3://BUCKET/FOLDER/`, or `dvc:REPOSITORY@REVISION` (what a DVC repository has in `data/<data.folder>`).
        work: where an unfinished download waits for the next try.

    Raises:
        LinnetError: the source is missing, broken, hostile, or not in the layout of `data.kind`.
    """
    if source is None:
        source = "what was there" if (out / Raw.source).exists() else SYNTHETIC
    match source:
        case "what was there":
            pass
        case "synthetic":
            origin = {"kind": SYNTHETIC, "version": SYNTHETIC_VERSION}
            if not _is_there(out, origin):
                with new_folder(out) as folder:
                    make_birds(folder)
                    _finish(folder, origin)
        case "caltech":
            _ingest_caltech(out, work)
        case _ if storage.is_remote(source):
            _ingest_s3(source, out, work)
        case _ if source.startswith(DVC):
            _ingest_dvc(source, data.folder, out, work)
        case _:
            _ingest_local(Path(source), out)
    index = caltech_birds.read_index(out)
    classes = {record.label for record in index.records}
    say(f"{out}: {len(index.records)} pictures of {len(classes)} classes from {public(source)}")


def check_source(source: str) -> None:
    """Whether `source` is one, and is there, before anything is spent.

    Raises:
        LinnetError: it is not; the message says why and what to do.
    """
    match source:
        case "synthetic" | "caltech":
            pass
        case _ if storage.is_remote(source):
            storage.version(source)
        case _ if source.startswith(DVC):
            repository, revision = _split_revision(source)
            _commit(source, repository, revision)
        case _ if not Path(source).exists():
            raise _no_source(source)


def _ingest_caltech(out: Path, work: Path) -> None:
    origin = {"kind": "archive", "md5": caltech_birds.MD5}
    if _is_there(out, origin):
        return
    work.mkdir(parents=True, exist_ok=True)
    archive = work / "CUB_200_2011.tgz"
    meter: Meter | None = None
    shown = 0

    def advance(have: int, total: int) -> None:
        nonlocal meter, shown
        if meter is None:
            shown = have // MEGABYTE
            meter = Meter("ingest: megabytes", max(total // MEGABYTE, 1), done=shown).__enter__()
        meter.advance(have // MEGABYTE - shown)
        shown = have // MEGABYTE

    try:
        download(caltech_birds.URL, archive, advance=advance)
    finally:
        if meter is not None:
            meter.__exit__(None, None, None)
    found = file_hash(archive, "md5")
    if found != caltech_birds.MD5:
        archive.unlink()
        raise DownloadError(
            f"{caltech_birds.URL}: the file has md5 {found}, the published one is {caltech_birds.MD5}; the file was "
            "deleted. Repeat the command; if it happens again, the server sends something else."
        )
    _unpack(archive, out, origin)
    archive.unlink()


def _ingest_local(source: Path, out: Path) -> None:
    if source.is_dir():
        caltech_birds.read_index(source)  # before the copy, so that a wrong folder costs nothing
        origin = {"kind": "folder", "sha256": Raw.content_hash(source)}
        if not _is_there(out, origin):
            _copy(source, out, origin)
    elif source.is_file():
        origin = {"kind": "archive", "sha256": file_hash(source)}
        if not _is_there(out, origin):
            _unpack(source, out, origin)
    else:
        raise _no_source(str(source))


def _no_source(source: str) -> RawDataError:
    return RawDataError(
        f"--source {public(source)}: no such file or folder; give '{SYNTHETIC}', '{CALTECH}', an archive, "
        f"a folder, s3://BUCKET/ARCHIVE, s3://BUCKET/FOLDER/ or {DVC}REPOSITORY@REVISION"
    )


# --- S3 and DVC -------------------------------------------------------------------------------------------------------


def _ingest_s3(source: str, out: Path, work: Path) -> None:
    is_folder = source.endswith("/")
    kind = "s3 folder" if is_folder else "s3 archive"
    origin = {"kind": kind, "url": source, "version": storage.version(source)}
    if _is_there(out, origin):
        return
    with _scratch(source, out, work) as scratch:
        if is_folder:
            storage.download_folder(source, scratch / "folder")
            _copy(scratch / "folder", out, origin)
        else:
            archive = scratch / PurePosixPath(source).name
            storage.download_file(source, archive)
            _unpack(archive, out, origin)


def _ingest_dvc(source: str, folder: str, out: Path, work: Path) -> None:
    repository, revision = _split_revision(source)
    commit = _commit(source, repository, revision)
    origin = {"kind": "dvc", "repository": public(repository), "revision": commit}
    if _is_there(out, origin):
        return
    with _scratch(source, out, work) as scratch:
        say(f"dvc get {public(repository)} data/{folder} --rev {commit}")
        snapshot = scratch / folder
        _call(source, "dvc", "get", repository, f"data/{folder}", "--rev", commit, "-o", str(snapshot))
        _copy(snapshot, out, origin)


def _split_revision(source: str) -> tuple[str, str]:
    """Repository and revision. An `@` of git@host:path or https://user@host belongs to the repository."""
    repository, _, revision = source.removeprefix(DVC).rpartition("@")
    is_user = ":" in revision or re.fullmatch(r"[^/]+://[^/]*", repository) is not None
    if not repository or not revision or is_user:
        raise RawDataError(
            f"--source {public(source)}: no revision; give {DVC}REPOSITORY@REVISION with a commit, tag or branch"
        )
    if repository.startswith("-") or revision.startswith("-"):  # git and dvc would take it for an option
        raise RawDataError(f"--source {public(source)}: neither repository nor revision can begin with '-'")
    return repository, revision


def _commit(source: str, repository: str, revision: str) -> str:
    """The full commit that `revision` means now, so that source.json says the same for ever."""
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    if Path(repository).exists():
        return _call(source, "git", "-C", repository, "rev-parse", "--verify", f"{revision}^{{commit}}").strip()
    lines = _call(source, "git", "ls-remote", "--", repository, revision, f"{revision}^{{}}").splitlines()
    found = {name: commit for commit, name in (line.split("\t") for line in lines)}
    tag = f"refs/tags/{revision}"
    for name in (f"{tag}^{{}}", tag, f"refs/heads/{revision}", f"{revision}^{{}}", revision):  # git's own order
        if name in found:
            return found[name]
    raise RawDataError(
        f"--source {public(source)}: the repository has no tag or branch {revision!r}; give one, or a full commit"
    )


def _call(source: str, program: str, *arguments: str) -> str:
    """What `program` prints. Raises DownloadError with the last useful line of what it complained about."""
    beside_python = str(Path(sys.executable).parent)  # where pip puts dvc; not on the PATH without activation
    path = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), beside_python]))
    if path is None:
        remedy = "pip install 'dvc[s3]'" if program == "dvc" else "install git"
        raise DownloadError(f"--source {public(source)}: needs the command `{program}`, which is not here; {remedy}")
    never_ask = os.environ | {"GIT_TERMINAL_PROMPT": "0", "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run([path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False, env=never_ask)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        useful = [line for line in lines if line.startswith(("ERROR:", "fatal:"))] or lines or ["no reason given"]
        raise DownloadError(
            f"--source {public(source)}: `{program}` failed ({public(useful[-1])[:300]}); check the repository, the "
            "revision, and the access to both it and its DVC remote"
        )
    return done.stdout.decode()


@contextlib.contextmanager
def _scratch(source: str, out: Path, work: Path) -> Iterator[Path]:
    """An empty folder for one source, gone afterwards; a killed run's is emptied by the next."""
    folder = work / hashlib.sha256(source.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, what=out):
        try:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield folder
        except (RawDataError, ArchiveError) as error:  # they name a file that is gone by now
            raise type(error)(f"{public(source)}: {error}") from None
        finally:
            shutil.rmtree(folder)


# --- writing ----------------------------------------------------------------------------------------------------------


def _copy(source: Path, out: Path, origin: dict[str, Any]) -> None:
    inner = caltech_birds.find_folder(source)
    with new_folder(out) as folder:
        copy_folder(inner, folder / caltech_birds.FOLDER, leave_out=(Raw.source,))
        for path in folder.rglob("*"):
            path.chmod(path.stat().st_mode | 0o200)  # a read-only source must not make a read-only copy
        _finish(folder, origin)


def _unpack(archive: Path, out: Path, origin: dict[str, Any]) -> None:
    with new_folder(out) as folder, Meter("ingest: files", 0) as meter:
        unpack(archive, folder, advance=meter.advance)
        _finish(folder, origin)


def _finish(folder: Path, origin: dict[str, Any]) -> None:
    caltech_birds.read_index(folder)
    write_json(folder / Raw.source, origin | {"content_hash": Raw.content_hash(folder)})


def _is_there(out: Path, origin: dict[str, Any]) -> bool:
    """Whether `out` came from this origin and nothing in it has changed since."""
    try:
        source = json.loads((out / Raw.source).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(source == origin | {"content_hash": source.get("content_hash")}) and bool(
        source["content_hash"] == Raw.content_hash(out)
    )
