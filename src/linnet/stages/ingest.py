"""ingest: a source in, a verified raw data folder out."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from linnet import storage
from linnet.artifacts import Raw
from linnet.data.layouts import caltech, raw
from linnet.data.raw import RawDataError
from linnet.data.sources import hub
from linnet.data.sources.download import ArchiveError, DownloadError, download
from linnet.data.sources.dvc import DVC, call, commit_of, split_revision
from linnet.errors import redact_credentials
from linnet.files import folder_lock, new_folder
from linnet.hashes import file_hash
from linnet.progress import ProgressBar, log
from linnet.recipe import Audio, DataSection, Images

SYNTHETIC, CALTECH = raw.SYNTHETIC, "caltech"
HUB = hub.SCHEME
MEGABYTE = 1_000_000


def run(data: DataSection, *, source: str | None, out: Path, work: Path) -> None:
    """Bring the raw data of `data.kind` into `out`; a folder that already holds this very source is left alone.

    Args:
        source: None keeps what ingest brought, and makes the built-in set where nothing is; `synthetic` (made here);
            `caltech` (birds, from their published address); `hf:OWNER/NAME@REVISION[#CONFIGURATION][:SPLIT]` (audio,
            from the Hugging Face hub); the path of an archive or of a folder; `s3://BUCKET/ARCHIVE` or
            `s3://BUCKET/FOLDER/`; `dvc:REPOSITORY@REVISION` (what a DVC repository has in `data/<data.folder>`).
        work: where an unfinished download waits for the next try.

    Raises:
        LinnetError: the source is missing, broken, hostile, or not in the layout of `data.kind`; or it is None, and
            files lie in `out` that did not come from here.
    """
    if source is None:
        if _keeps(out):
            _say_summary(data, out, "what was there")
            return
        source = SYNTHETIC
    match source:
        case "synthetic":
            origin = raw.builtin_origin(data)
            if not _is_there(out, origin):
                with new_folder(out) as folder:
                    raw.make_builtin(data, folder)
                    raw.finish(data, folder, origin)
        case "caltech":
            _ingest_caltech(data, out, work)
        case _ if source.startswith(HUB):
            _ingest_hub(source, data, out, work)
        case _ if storage.is_remote(source):
            _ingest_s3(source, data, out, work)
        case _ if source.startswith(DVC):
            _ingest_dvc(source, data, out, work)
        case _:
            _ingest_local(Path(source), data, out)
    _say_summary(data, out, source)


def _keeps(out: Path) -> bool:
    """Whether ingest brought what is in `out`; False where nothing is. Raises RawDataError for somebody's own files."""
    if (out / Raw.source).exists():
        return True
    if out.exists() and any(out.iterdir()):
        raise RawDataError(
            f"{out}: holds files, but no {Raw.source}: they did not come from `linnet ingest`, and were left as they "
            f"are. Move them to another place and give that with --source; --source {SYNTHETIC} would replace them"
        )
    return False


def _say_summary(data: DataSection, out: Path, source: str) -> None:
    for line in raw.summary(data, out, source):
        log(line)


def check_source(source: str) -> None:
    """Whether `source` is one, and is there, before anything is spent.

    Raises:
        LinnetError: it is not; the message says why and what to do.
    """
    match source:
        case "synthetic" | "caltech":
            pass
        case _ if source.startswith(HUB):
            hub.commit_of(hub.parse(source))
        case _ if storage.is_remote(source):
            storage.version(source)
        case _ if source.startswith(DVC):
            repository, revision = split_revision(source)
            commit_of(source, repository, revision)
        case _ if not Path(source).exists():
            raise _no_source(source)


def _ingest_caltech(data: DataSection, out: Path, work: Path) -> None:
    if not isinstance(data, Images):
        raise RawDataError(
            f"--source {CALTECH} brings images of birds, and the recipe's data.kind is {data.kind!r}; give "
            f"'{SYNTHETIC}', {hub.GRAMMAR}, a folder or an archive"
        )
    origin = {"kind": "archive", "md5": caltech.MD5}
    if _is_there(out, origin):
        return
    downloads = work / CALTECH
    downloads.mkdir(parents=True, exist_ok=True)
    with folder_lock(downloads, what=out):
        archive = downloads / "CUB_200_2011.tgz"
        _download_caltech(archive)
        raw.unpack_archive(data, archive, out, origin)
        shutil.rmtree(downloads)  # kept until here: the next run goes on with it


def _download_caltech(archive: Path) -> None:
    """Fetch the published archive, or the rest of it. Raises DownloadError."""
    bar: ProgressBar | None = None
    shown = 0

    def advance(have: int, total: int) -> None:
        nonlocal bar, shown
        if bar is None:
            shown = have // MEGABYTE
            bar = ProgressBar("ingest: megabytes", max(total // MEGABYTE, 1), done=shown).__enter__()
        bar.advance(have // MEGABYTE - shown)
        shown = have // MEGABYTE

    try:
        download(caltech.URL, archive, advance=advance)
    finally:
        if bar is not None:
            bar.__exit__(None, None, None)
    found = file_hash(archive, "md5")
    if found != caltech.MD5:
        archive.unlink()
        raise DownloadError(
            f"{caltech.URL}: the file has md5 {found}, the published one is {caltech.MD5}; the file was "
            "deleted. Repeat the command; if it happens again, the server sends something else."
        )


def _ingest_local(source: Path, data: DataSection, out: Path) -> None:
    if source.is_dir():
        raw.check(data, source)  # before the copy, so that a wrong folder costs nothing
        origin = raw.origin_of(data, kind="folder", sha256=Raw.content_hash(source))
        if not _is_there(out, origin):
            raw.copy(data, source, out, origin)
    elif source.is_file():
        origin = raw.origin_of(data, kind="archive", sha256=file_hash(source))
        if not _is_there(out, origin):
            raw.unpack_archive(data, source, out, origin)
    else:
        raise _no_source(str(source))


def _no_source(source: str) -> RawDataError:
    return RawDataError(
        f"--source {redact_credentials(source)}: no such file or folder; give '{SYNTHETIC}', '{CALTECH}', an archive, "
        f"a folder, s3://BUCKET/ARCHIVE, s3://BUCKET/FOLDER/, {DVC}REPOSITORY@REVISION or {HUB}OWNER/NAME@REVISION"
    )


# --- the Hugging Face hub, S3 and DVC ---------------------------------------------------------------------------------


def _ingest_hub(source: str, data: DataSection, out: Path, work: Path) -> None:
    if not isinstance(data, Audio):
        raise RawDataError(
            f"--source {source} brings audio, and the recipe's data.kind is {data.kind!r}; give '{SYNTHETIC}', "
            f"'{CALTECH}', a folder or an archive"
        )
    address = hub.parse(source)
    commit = hub.commit_of(address)
    facts = {"repository": address.repository, "revision": commit, "config": address.config, "split": address.split}
    origin = raw.origin_of(data, kind="huggingface", **facts)
    if _is_there(out, origin):
        return
    downloads = work / hashlib.sha256(address.repository.encode()).hexdigest()[:16]
    cache = downloads / commit
    cache.mkdir(parents=True, exist_ok=True)
    with folder_lock(downloads, what=out):
        snapshot = hub.download(address, commit, cache)
        with new_folder(out) as folder:
            try:
                hub.write(snapshot, folder, data)
                raw.finish(data, folder, origin)
            except RawDataError as reason:  # it names a folder that is about to go
                raise RawDataError(f"--source {source}: {str(reason).replace(f'{folder}/', '')}") from None
        shutil.rmtree(downloads)  # kept until here: the next run goes on with it


def _ingest_s3(source: str, data: DataSection, out: Path, work: Path) -> None:
    is_folder = source.endswith("/")
    kind = "s3 folder" if is_folder else "s3 archive"
    origin = raw.origin_of(data, kind=kind, url=source, version=storage.version(source))
    if _is_there(out, origin):
        return
    with _scratch(source, out, work) as scratch:
        if is_folder:
            storage.download_folder(source, scratch / "folder")
            raw.copy(data, scratch / "folder", out, origin)
        else:
            archive = scratch / PurePosixPath(source).name
            storage.download_file(source, archive)
            raw.unpack_archive(data, archive, out, origin)


def _ingest_dvc(source: str, data: DataSection, out: Path, work: Path) -> None:
    repository, revision = split_revision(source)
    commit = commit_of(source, repository, revision)
    origin = raw.origin_of(data, kind="dvc", repository=redact_credentials(repository), revision=commit)
    if _is_there(out, origin):
        return
    with _scratch(source, out, work) as scratch:
        log(f"dvc get {redact_credentials(repository)} data/{data.folder} --rev {commit}")
        snapshot = scratch / data.folder
        call(source, "dvc", "get", repository, f"data/{data.folder}", "--rev", commit, "-o", str(snapshot))
        raw.copy(data, snapshot, out, origin)


@contextlib.contextmanager
def _scratch(source: str, out: Path, work: Path) -> Iterator[Path]:
    """An empty folder for one source, gone afterwards; a killed run's is emptied by the next."""
    folder = work / hashlib.sha256(source.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder, what=out):
        try:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield folder
        except (RawDataError, ArchiveError) as error:  # they name a file that is gone by now
            raise type(error)(f"{redact_credentials(source)}: {error}") from None
        finally:
            shutil.rmtree(folder)


def _is_there(out: Path, origin: dict[str, Any]) -> bool:
    """Whether `out` came from this origin and nothing in it has changed since."""
    try:
        source = json.loads((out / Raw.source).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(source == origin | {"content_hash": source.get("content_hash")}) and bool(
        source["content_hash"] == Raw.content_hash(out)
    )
