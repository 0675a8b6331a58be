"""ingest: a source in, a verified raw data folder out."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from linnet import storage
from linnet.artifacts import Raw
from linnet.data.layouts.base import UNPACKED
from linnet.data.layouts.dispatch import layout_reader
from linnet.data.raw import RawDataError
from linnet.data.sources import caltech, dvc, hub, origins
from linnet.data.sources.download import download
from linnet.data.synthetic import builtin
from linnet.data.synthetic.builtin import SYNTHETIC
from linnet.errors import LinnetError, redact_credentials
from linnet.files import folder_lock, new_folder, read_json, write_json
from linnet.progress import ProgressBar, log
from linnet.recipe import Audio, DataSection


def run(data: DataSection, *, source: str | None, out: Path, work: Path) -> None:
    """Bring the raw data of `data.kind` into `out`; a folder that already holds this very source is left alone.

    Args:
        source: None keeps what is there, and makes the built-in set where nothing is; `synthetic` (made here);
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
            _log_summary(data, out, "what was there")
            return
        source = SYNTHETIC
    match source:
        case "synthetic":
            origin = builtin.origin_of(data)
            if not _is_there(out, origin):
                with _verified_folder(data, out, origin, place=f"{SYNTHETIC}/") as folder:
                    builtin.make(data, folder)
        case "caltech":
            _ingest_caltech(data, out, work)
        case _ if source.startswith(hub.SCHEME):
            _ingest_hub(source, data, out, work)
        case _ if storage.is_s3_url(source):
            _ingest_s3(source, data, out, work)
        case _ if source.startswith(dvc.SCHEME):
            _ingest_dvc(source, data, out, work)
        case _:
            _ingest_local(Path(source), data, out)
    _log_summary(data, out, source)


def _keeps(out: Path) -> bool:
    """Whether ingest fetched what is in `out`; False where nothing is. Raises RawDataError for somebody's own files."""
    if (out / Raw.source).exists():
        return True
    if out.exists() and any(out.iterdir()):
        raise RawDataError(
            f"{out}: holds files, but no {Raw.source}: they did not come from `linnet ingest`, and were left as they "
            f"are. Move them to another place and give that with --source; --source {SYNTHETIC} would replace them"
        )
    return False


def _log_summary(data: DataSection, out: Path, source: str) -> None:
    contents, *notes = layout_reader(data).describe(out)
    log(f"{out}: {contents} from {redact_credentials(source)}")
    for note in notes:
        log(f"  {note}")


def fingerprint(data: DataSection, source: str) -> str:
    """The sha256 of what `source` is now, without bringing it: equal ones mean equal raw data.

    It comes from the hub's or DVC's commit, S3's names, sizes and ETags, the archive's published md5 or the file's own
    sha256, the version of the built-in set, and the settings that change how raw data is written.

    Raises:
        LinnetError: `source` is none, or is not there.
    """
    return _hash(find_origin(data, source))


def fingerprint_of(raw: Path) -> str:
    """The fingerprint of the source that the folder `raw` was made from."""
    origin = read_json(raw / Raw.source, made_by="ingest")
    return _hash({key: fact for key, fact in origin.items() if key != "content_hash"})


def _hash(origin: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


def find_origin(data: DataSection, source: str) -> dict[str, Any]:
    """What source.json is going to say of `source`. Raises as `fingerprint` does."""
    if storage.is_s3_url(source):
        kind = "s3 folder" if source.endswith("/") else "s3 archive"
        return origins.facts_of(data, kind=kind, url=source, version=storage.version(source))
    return origins.find_origin(data, source)


def _ingest_caltech(data: DataSection, out: Path, work: Path) -> None:
    origin = find_origin(data, caltech.NAME)
    if _is_there(out, origin):
        return
    downloads = work / caltech.NAME
    downloads.mkdir(parents=True, exist_ok=True)
    with folder_lock(downloads, what=out):
        archive = downloads / "CUB_200_2011.tgz"
        download(caltech.URL, archive, md5=caltech.MD5)
        _unpack(data, archive, out, origin, place=f"{caltech.URL}/")
        shutil.rmtree(downloads)  # kept until here: the next run goes on with it


def _ingest_local(source: Path, data: DataSection, out: Path) -> None:
    if source.is_dir():
        layout_reader(data).check(source)  # before the copy, so that a wrong folder costs nothing
        origin = find_origin(data, str(source))
        if not _is_there(out, origin):
            _copy(data, source, out, origin, place=f"{source}/")
    elif source.is_file():
        origin = find_origin(data, str(source))
        if not _is_there(out, origin):
            _unpack(data, source, out, origin, place=f"{source}/")
    else:
        raise origins.no_source(str(source))


# --- the Hugging Face hub, S3 and DVC ---------------------------------------------------------------------------------


def _ingest_hub(source: str, data: DataSection, out: Path, work: Path) -> None:
    origin = find_origin(data, source)
    if _is_there(out, origin):
        return
    assert isinstance(data, Audio), "checked with the origin"
    address, commit = hub.parse(source), origin["revision"]
    downloads = work / hashlib.sha256(address.repository.encode()).hexdigest()[:16]
    cache = downloads / commit
    cache.mkdir(parents=True, exist_ok=True)
    with folder_lock(downloads, what=out):
        snapshot = hub.download(address, commit, cache)
        place = f"--source {source}: "
        with _naming(place, snapshot.folder), _verified_folder(data, out, origin, place=place) as folder:
            hub.write(snapshot, folder, data)
        shutil.rmtree(downloads)  # kept until here: the next run goes on with it


def _ingest_s3(source: str, data: DataSection, out: Path, work: Path) -> None:
    origin = find_origin(data, source)
    if _is_there(out, origin):
        return
    place = f"{redact_credentials(source).rstrip('/')}/"
    with _scratch(source, out, work) as scratch:
        if source.endswith("/"):
            storage.download_folder(source, scratch / "folder")
            _copy(data, scratch / "folder", out, origin, place=place)
        else:
            archive = scratch / PurePosixPath(source).name
            storage.download_file(source, archive)
            _unpack(data, archive, out, origin, place=place)


def _ingest_dvc(source: str, data: DataSection, out: Path, work: Path) -> None:
    origin = find_origin(data, source)
    if _is_there(out, origin):
        return
    address, commit = dvc.parse(source), origin["revision"]
    with _scratch(source, out, work) as scratch:
        snapshot = scratch / data.folder
        dvc.download(address, commit, f"data/{data.folder}", snapshot)
        _copy(data, snapshot, out, origin, place=f"{address}: ")


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
        finally:
            shutil.rmtree(folder)


def _copy(data: DataSection, source: Path, out: Path, origin: dict[str, Any], *, place: str) -> None:
    """Make `out` from a local folder, whole or not at all."""
    reader = layout_reader(data)
    with _naming(place, source), _verified_folder(data, out, origin, place=place) as folder:
        reader.check(source)
        reader.copy(source, folder)


def _unpack(data: DataSection, archive: Path, out: Path, origin: dict[str, Any], *, place: str) -> None:
    """Make `out` from an archive, whole or not at all."""
    with (
        _naming(place, archive),
        _verified_folder(data, out, origin, place=place) as folder,
        ProgressBar("ingest: files", 0) as bar,
    ):
        layout_reader(data).unpack(archive, folder, advance=bar.advance)


@contextlib.contextmanager
def _verified_folder(data: DataSection, out: Path, origin: dict[str, Any], *, place: str) -> Iterator[Path]:
    """A folder to write raw data into. It is verified, gets its source.json and appears at `out`, or nothing does."""
    with new_folder(out) as folder, _naming(place, folder / UNPACKED, folder):
        yield folder
        layout_reader(data).verify(folder)
        write_json(folder / Raw.source, origin | {"content_hash": Raw.content_hash(folder)})


@contextlib.contextmanager
def _naming(place: str, *folders: Path) -> Iterator[None]:
    """Messages from inside name the source as people gave it, not the folders of ours in which it lies meanwhile.

    Args:
        place: the source, and what stands between it and the name of a file in it.
    """
    try:
        yield
    except LinnetError as error:
        text = str(error)
        for name in (str(path) for folder in folders for path in (folder.resolve(), folder)):
            text = text.replace(f"{name}/", place).replace(name, place.rstrip("/ :"))
        error.args = (text,)
        raise


def _is_there(out: Path, origin: dict[str, Any]) -> bool:
    """Whether `out` came from this origin and nothing in it has changed since."""
    try:
        source = json.loads((out / Raw.source).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(source == origin | {"content_hash": source.get("content_hash")}) and bool(
        source["content_hash"] == Raw.content_hash(out)
    )
