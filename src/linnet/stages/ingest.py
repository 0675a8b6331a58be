"""ingest: a source in, a verified raw data folder out."""

import json
import shutil
from pathlib import Path
from typing import Any

from linnet.artifacts import Raw, file_hash, new_folder, write_json
from linnet.data import caltech_birds
from linnet.data.caltech_birds import RawDataError
from linnet.data.download import DownloadError, download, unpack
from linnet.data.synthetic import VERSION as SYNTHETIC_VERSION
from linnet.data.synthetic import make_birds
from linnet.progress import Meter, say
from linnet.recipe import DataSection

SYNTHETIC, CALTECH = "synthetic", "caltech"
MEGABYTE = 1_000_000


def run(data: DataSection, *, source: str | None, out: Path, work: Path) -> None:
    """Bring the raw data of `data.kind` into `out`; a folder that already holds this very source is left alone.

    Args:
        source: None keeps what is there, and draws birds where nothing is; `synthetic` (drawn here), `caltech`
            (downloaded from its published address), or the path of an archive or of a folder.
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
        case _:
            _ingest_local(Path(source), out)
    index = caltech_birds.read_index(out)
    say(f"{out}: {len(index.records)} pictures of {len({r.label for r in index.records})} classes from {source}")


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
            with new_folder(out) as folder:
                inner = caltech_birds.find_folder(source)
                shutil.copytree(inner, folder / caltech_birds.FOLDER, ignore=shutil.ignore_patterns(Raw.source))
                for path in folder.rglob("*"):
                    path.chmod(path.stat().st_mode | 0o200)  # a read-only source must not make a read-only copy
                _finish(folder, origin)
    elif source.is_file():
        origin = {"kind": "archive", "sha256": file_hash(source)}
        if not _is_there(out, origin):
            _unpack(source, out, origin)
    else:
        raise RawDataError(
            f"--source {source}: no such file or folder; give '{SYNTHETIC}', '{CALTECH}', an archive or a folder"
        )


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
