"""The raw layout of audio, Hugging Face's audiofolder: metadata.csv with a line for each recording, and the audio files.

    file_name,labels,caption,split        <- `file_name` is the one column that must be there
    flute/0001.ogg,flute|slow,a slow flute,train

Without a metadata.csv every file with a suffix of audio is a recording; its folder's name is its one label, in a column
called `label`. Where no column `split` says it, a folder called train, test, validation, valid or dev does.
"""

import csv
import io
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from linnet.artifacts import Raw
from linnet.data.raw import RawDataError
from linnet.recipe import Audio, OfficialSplit

METADATA, JSON_METADATA = "metadata.csv", "metadata.jsonl"
FILE_NAME, SPLIT, FOLDER_LABEL = "file_name", "split", "label"  # columns
# The formats of libsndfile and their other suffixes. Not there: .raw and .sd2, which do not say how their samples are
# stored, and .mat, which seldom is audio. What metadata names may have any suffix: a file's content decides.
AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".wavex", ".bwf", ".rf64", ".w64", ".nist", ".sph"}
    | {".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2"}
    | {".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".voc", ".svx", ".8svx"}
    | {".avr", ".htk", ".ircam", ".sf", ".mpc2k", ".paf", ".pvf", ".sds", ".wve", ".xi"}
)
LONGEST_NAME_BYTES = 255  # of one folder or file on any common file system

SplitName = Literal["", "train", "test"]
SPLITS: dict[str, SplitName] = {
    "train": "train",
    "test": "test",
    "validation": "test",
    "valid": "test",
    "dev": "test",
}


@dataclass(frozen=True)
class Recording:
    """One line of the metadata. The file that it names may still be missing or damaged."""

    number: int  # 0-based place in metadata.csv, or in the sorted names where there is none
    file_name: str  # relative to the folder, with /
    labels: tuple[str, ...]  # each once, in the order of the metadata
    caption: str
    split: SplitName  # "" where the source does not say


@dataclass(frozen=True)
class RecordingIndex:
    """All recordings in the order of their numbers, and what was odd: (file_name, what) each."""

    recordings: tuple[Recording, ...]
    notes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Line:
    """A row of metadata.csv and the line of the file where it begins, 0 where there is no such file."""

    number: int
    cells: dict[str, str]


def read_recordings(folder: Path, data: Audio) -> RecordingIndex:
    """The recordings below `folder`, which holds metadata.csv or audio files, or one inner folder that holds metadata.csv.

    Raises:
        RawDataError: nothing usable is there, a line or a column makes no sense, or the official split is wanted and
            some recording has none; the message names the line, or the columns that exist.
    """
    base = find_folder(folder)
    files = visible_files(base)
    path = base / METADATA
    if path.is_file():
        columns, lines = read_table(path)
    else:
        columns = [FILE_NAME, FOLDER_LABEL]
        lines = [Line(0, folder_row(name, data, base)) for name in files if _is_audio(name)]
    check_columns(columns, data, where=path)
    notes: list[tuple[str, str]] = []
    recordings = tuple(_recording(number, line, data, notes, path) for number, line in enumerate(lines))
    _check_names(recordings, lines, path)
    if not any(recording.file_name in files for recording in recordings):
        raise RawDataError(
            f"{path} lists {len(recordings)} recordings, and none of the files is there; ingest the source again"
        )
    names = {recording.file_name for recording in recordings}
    notes += [(_in_utf_8(name), _why_left_out(name)) for name in files if name not in names and name != METADATA]
    return RecordingIndex(recordings, tuple(notes))


def find_folder(folder: Path) -> Path:
    """Where metadata.csv lies: in `folder`, or in the only folder in it (archives often begin with one), however deep.

    Without metadata it is `folder` itself.

    Raises:
        RawDataError: there is neither metadata.csv nor any audio file.
    """
    if not folder.is_dir():
        raise RawDataError(f"{folder}: no such folder; run `linnet ingest` (or `dvc pull`) first")
    base = folder
    while not (base / METADATA).is_file():
        entries = [path for path in base.iterdir() if not is_hidden(path.name) and path.name != Raw.source]
        if len(entries) != 1 or not entries[0].is_dir():
            base = folder  # no metadata: every folder's name says something
            break
        base = entries[0]
    if not (base / METADATA).is_file() and not audio_files(base):
        raise RawDataError(
            f"{folder}: neither {METADATA} nor audio files (.wav .flac .ogg .opus .mp3 .aiff ...) there. A --source is "
            "a folder or an archive in the layout of docs/audio-data.md; below data/ `linnet ingest` (or `dvc pull`) brings "
            "it"
        )
    return base


def recording_path(folder: Path, recording: Recording) -> Path | None:
    """Where the recording lies below `folder` (what `find_folder` gave); None if its name or a link points out of it."""
    name = PurePosixPath(recording.file_name)
    if name.is_absolute() or ".." in name.parts:
        return None
    path = folder / name
    # realpath, because Path.resolve raises on a link to itself
    real = Path(os.path.realpath(path))
    return path if real.is_relative_to(os.path.realpath(folder)) else None


def visible_files(folder: Path) -> dict[str, Path]:
    """All files below `folder` by their relative names, sorted; hidden ones and source.json are none of it."""
    found = {path.relative_to(folder): path for path in folder.rglob("*")}
    named = {name.as_posix(): path for name, path in found.items() if not any(map(is_hidden, name.parts))}
    return {name: named[name] for name in sorted(named) if name != Raw.source and named[name].is_file()}


def audio_files(folder: Path) -> dict[str, Path]:
    """The visible files with a suffix of audio."""
    return {name: path for name, path in visible_files(folder).items() if _is_audio(name)}


def _is_audio(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES


def _why_left_out(name: str) -> str:
    if _is_audio(name):
        return f"in the folder, not in {METADATA}"
    suffix = _in_utf_8(PurePosixPath(name).suffix.lower())
    return f"left out: files {f'ending in {suffix}' if suffix else 'without a suffix'} are no recordings"


def _in_utf_8(name: str) -> str:
    """Names on a disk may be any bytes."""
    return name.encode(errors="replace").decode()


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is the system's, not the data's: .DS_Store, ._recording.wav, .git."""
    return name.startswith(".") or name == "__MACOSX"


def check_columns(columns: Sequence[str], data: Audio, *, where: Path) -> None:
    """Raises RawDataError where the recipe names a column that is not there."""
    for setting, column in (("labels_column", data.labels_column), ("caption_column", data.caption_column)):
        if column and column not in columns:
            exists = ", ".join(name for name in columns if name != FILE_NAME) or "none"
            raise RawDataError(
                f"{where}: the recipe says data.{setting} = {column!r}, but there is no such column (there is: "
                f'{exists}). Set data.{setting} to one of them, or to "" for none.'
            )


def split_of_name(name: str) -> str:
    """The first folder in a file's name that is called like a split; "" if none is."""
    return next((part for part in PurePosixPath(name).parent.parts if part in SPLITS), "")


def folder_label(name: str) -> str:
    """The folder a file lies in, as its label; "" for one at the top or directly in a split's folder."""
    label = PurePosixPath(name).parent.name
    return "" if label in SPLITS else label


def folder_row(name: str, data: Audio, folder: Path) -> dict[str, str]:
    """What metadata would say of the file `name` below `folder`. Raises RawDataError as `whole_label` does."""
    label = whole_label(folder_label(name), FOLDER_LABEL, data, where=str(folder / name))
    return {FILE_NAME: name, FOLDER_LABEL: label}


def whole_label(text: str, column: str, data: Audio, *, where: str) -> str:
    """`text`, one entry of a list. Raises RawDataError if it is a label that the separator would tear."""
    if column == data.labels_column and data.label_separator in text:
        raise RawDataError(
            f"{where}: label {text[:80]!r} holds {data.label_separator!r}, which would make two labels of it; set "
            "data.label_separator to something that no label holds"
        )
    return text


def read_table(path: Path) -> tuple[list[str], list[Line]]:
    """Columns and rows of a CSV file, as strict as CSV can be.

    Raises:
        RawDataError: no UTF-8, NUL bytes, quotes that do not close, a row of another width, no or twice the same
            column, no rows; the message names the line.
    """
    text = _decode(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    lines: list[Line] = []
    begin = 1
    try:
        for cells in reader:
            if not columns:
                columns = _header(cells, path)
            elif cells and len(cells) != len(columns):
                raise RawDataError(
                    f"{path}, line {begin}: {len(cells)} cells, the header has {len(columns)}; "
                    "a cell that holds a comma must stand in double quotes"
                )
            elif cells:  # a blank line has none
                lines.append(Line(begin, dict(zip(columns, cells, strict=True))))
            begin = reader.line_num + 1
    except csv.Error as reason:
        raise RawDataError(f"{path}, line {begin}: {reason}; correct the quotes or the cell there") from None
    if not lines:
        raise RawDataError(f"{path} lists no recordings")
    return columns, lines


def _decode(path: Path) -> str:
    content = path.read_bytes()
    nul = content.find(b"\0")
    if nul >= 0:
        raise RawDataError(f"{path}, line {_line_at(content, nul)}: a NUL byte; save the file as text in UTF-8")
    try:
        return content.decode("utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as reason:
        line = _line_at(content, reason.start)
        raise RawDataError(
            f"{path}, line {line}: byte 0x{content[reason.start]:02x} is no UTF-8; save the file as text in UTF-8"
        ) from None


def _line_at(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


def _header(cells: Sequence[str], path: Path) -> list[str]:
    columns = [cell.strip() for cell in cells]
    if FILE_NAME not in columns:
        raise RawDataError(f"{path}: no column {FILE_NAME!r} in its first line, only: {', '.join(columns)[:200]}")
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise RawDataError(f"{path}: column {twice[0]!r} stands twice in its first line; rename one")
    return columns


def _recording(number: int, line: Line, data: Audio, notes: list[tuple[str, str]], path: Path) -> Recording:
    where = f"{path}, line {line.number}" if line.number else str(path.parent)
    name = file_name_of(line.cells[FILE_NAME], where)

    def text_of(column: str) -> str:
        text, was_odd = clean(line.cells[column])
        if was_odd:
            notes.append((name, f"control characters in {column} became spaces"))
        return text

    parts = text_of(data.labels_column).split(data.label_separator) if data.labels_column else []
    labels = tuple(dict.fromkeys(label.strip() for label in parts if label.strip()))
    if data.labels_column and not labels:
        notes.append((name, "no labels"))
    given = line.cells[SPLIT].strip() if SPLIT in line.cells else split_of_name(name)
    split = SPLITS.get(given.lower(), "")
    if given and split != given.lower():
        notes.append((name, f"split {given!r} counts as {split or 'none'}"))
    if not split and isinstance(data.split, OfficialSplit):
        raise RawDataError(
            f"{where}: {name} has no split{f' that we know ({given!r})' if given else ''}, and the recipe wants the "
            'official one; add a column split with train or test, or set data.split to {kind = "seeded", ...}'
        )
    return Recording(number, name, labels, text_of(data.caption_column) if data.caption_column else "", split)


def file_name_of(cell: str, where: str) -> str:
    """The relative name in a cell. Raises RawDataError if no file can be called that."""
    name = PurePosixPath(cell.strip()).as_posix() if cell.strip() else ""  # ./a.wav and a.wav are the same file
    if not name or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):  # Cs: bytes that are no UTF-8
        raise RawDataError(f"{where}: {cell[:80]!r} is no file name; correct the line or take it out")
    if any(len(part.encode()) > LONGEST_NAME_BYTES for part in name.split("/")):
        raise RawDataError(f"{where}: the file name is longer than {LONGEST_NAME_BYTES} bytes; correct the line")
    return name


def clean(text: str) -> tuple[str, bool]:
    """`text` on one line with single spaces, and whether it held control characters that no text has."""
    is_odd = any(unicodedata.category(letter) == "Cc" and not letter.isspace() for letter in text)
    spaced = "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text)
    return " ".join(spaced.split()), is_odd


def one_line(text: str) -> str:
    """`text` as metadata.csv can hold it: on one line, without NUL. Other control characters stay, and get a note."""
    return " ".join(text.replace("\0", "\1").split())


def _check_names(recordings: Iterable[Recording], lines: Sequence[Line], path: Path) -> None:
    first: dict[str, int] = {}
    for recording, line in zip(recordings, lines, strict=True):
        if recording.file_name in first:
            raise RawDataError(
                f"{path}: lines {first[recording.file_name]} and {line.number} both name {recording.file_name}; take one out"
            )
        first[recording.file_name] = line.number
