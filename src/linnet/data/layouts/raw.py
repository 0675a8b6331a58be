"""What ingest does differently for each kind of data: its built-in set, its checks, its place in the raw folder."""

import collections
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_never

from linnet.artifacts import Raw
from linnet.data.layouts import audio_folder, caltech, gathering
from linnet.data.raw import RawDataError
from linnet.data.sources.download import unpack
from linnet.data.synthetic import birds, music, voices
from linnet.errors import redact_credentials
from linnet.files import copy_folder, new_folder, write_json
from linnet.progress import ProgressBar
from linnet.recipe import Audio, DataSection, Images

SYNTHETIC = "synthetic"
MEGABYTE = 1_000_000
MOST_NOTES = 5  # kinds of oddities that are said; all of them stand in the dataset's own report


def builtin_origin(data: DataSection) -> dict[str, Any]:
    """What source.json says of the built-in set."""
    match data:
        case Images():
            return {"kind": SYNTHETIC, "version": birds.VERSION}
        case Audio(builtin="music"):
            return {"kind": SYNTHETIC, "set": data.builtin, "version": music.VERSION}
        case Audio():
            return {"kind": SYNTHETIC, "set": data.builtin, "version": voices.VERSION}
        case _:
            assert_never(data)


def make_builtin(data: DataSection, folder: Path) -> None:
    """Write the built-in set into `folder`."""
    match data:
        case Images():
            birds.make_birds(folder)
        case Audio(builtin="music"):
            music.make_music(folder)
        case Audio():
            voices.make_voices(folder)
        case _:
            assert_never(data)


def origin_of(data: DataSection, **facts: str) -> dict[str, Any]:
    """`facts` about a source, and the settings of the recipe that change how it lies in the raw folder."""
    match data:
        case Images():
            return dict(facts)
        case Audio():  # lists of labels become text
            return facts | {"label_separator": data.label_separator}
        case _:
            assert_never(data)


def check(data: DataSection, folder: Path) -> None:
    """Whether a local folder is usable, before anything is copied. Raises RawDataError."""
    match data:
        case Images():
            caltech.read_index(folder)
        case Audio():
            gathering.check(folder, data)
        case _:
            assert_never(data)


def copy(data: DataSection, source: Path, out: Path, origin: dict[str, Any]) -> None:
    """Make `out` from a local folder, whole or not at all. Raises RawDataError."""
    match data:
        case Images():
            inner = caltech.find_folder(source)
            with new_folder(out) as folder:
                copy_folder(inner, folder / caltech.FOLDER, leave_out=(Raw.source,))
                for path in folder.rglob("*"):
                    path.chmod(path.stat().st_mode | 0o200)  # a read-only source must not make a read-only copy
                finish(data, folder, origin)
        case Audio():
            with new_folder(out) as folder:
                gathering.arrange(source, folder, data)
                finish(data, folder, origin)
        case _:
            assert_never(data)


def unpack_archive(data: DataSection, archive: Path, out: Path, origin: dict[str, Any]) -> None:
    """Make `out` from an archive, whole or not at all. Raises ArchiveError or RawDataError."""
    with new_folder(out) as folder, ProgressBar("ingest: files", 0) as bar:
        match data:
            case Images():
                unpack(archive, folder, advance=bar.advance)
            case Audio():
                unpacked = folder / ".unpacked"
                _unpack_audio(data, archive, unpacked, folder, bar.advance)
                shutil.rmtree(unpacked)
            case _:
                assert_never(data)
        finish(data, folder, origin)


def _unpack_audio(data: Audio, archive: Path, unpacked: Path, folder: Path, advance: Callable[[int], None]) -> None:
    unpack(archive, unpacked, advance=advance)
    try:
        gathering.check(unpacked, data)
        gathering.arrange(unpacked, folder, data)
    except RawDataError as reason:  # it names a folder that is about to go
        raise RawDataError(str(reason).replace(str(unpacked), str(archive))) from None


def finish(data: DataSection, folder: Path, origin: dict[str, Any]) -> None:
    """Verify the new raw folder, and write where it came from."""
    match data:
        case Images():
            caltech.read_index(folder)
        case Audio():
            audio_folder.read_recordings(folder, data)
        case _:
            assert_never(data)
    write_json(folder / Raw.source, origin | {"content_hash": Raw.content_hash(folder)})


def summary(data: DataSection, out: Path, source: str) -> list[str]:
    """What is in `out` now, in lines for people."""
    match data:
        case Images():
            index = caltech.read_index(out)
            classes = {record.label for record in index.records}
            return [f"{out}: {len(index.records)} images of {len(classes)} classes from {redact_credentials(source)}"]
        case Audio():
            recordings = audio_folder.read_recordings(out, data)
            labels = {label for recording in recordings.recordings for label in recording.labels}
            files = audio_folder.visible_files(audio_folder.find_folder(out))
            total = f"{sum(path.stat().st_size for path in files.values()) / MEGABYTE:.1f} MB"
            odd = collections.Counter(what for _, what in recordings.notes).most_common(MOST_NOTES)
            return [
                f"{out}: {len(recordings.recordings)} recordings with {len(labels)} labels, {total} from {redact_credentials(source)}",
                *(f"  {count} of them: {what}" for what, count in odd),
            ]
        case _:
            assert_never(data)
