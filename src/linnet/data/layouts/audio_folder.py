"""The raw layout of audio, Hugging Face's audiofolder: metadata.csv with a line for each recording, and the files.

    file_name,labels,caption,split        <- `file_name` is the one column that must be there
    flute/0001.ogg,flute|slow,a slow flute,train

Without metadata.csv every file with a suffix of audio is a recording; its folder's name is its one label, in a column
called `label`. Without a column `split` a folder called train, test, validation, valid or dev names the split.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from linnet.artifacts import Raw
from linnet.data.layouts.base import SplitName
from linnet.data.layouts.labels import Labels, join_labels, read_labels
from linnet.data.layouts.metadata import (
    FILE_NAME,
    FOLDER_LABEL,
    METADATA,
    SPLIT,
    Line,
    check_columns,
    clean,
    parse_file_name,
    read_table,
)
from linnet.data.raw import RawDataError
from linnet.recipe import Audio, OfficialSplit
from linnet.walk import NameFinder, broken_links, examples, is_ignored, readable, visible_entries, walk

# The formats of libsndfile and their other suffixes. Not there: .raw and .sd2, which do not say how their samples are
# stored, and .mat, which seldom is audio. Files that metadata names may have any suffix: their content decides.
AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".wavex", ".bwf", ".rf64", ".w64", ".nist", ".sph"}
    | {".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2"}
    | {".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".voc", ".svx", ".8svx"}
    | {".avr", ".htk", ".ircam", ".sf", ".mpc2k", ".paf", ".pvf", ".sds", ".wve", ".xi"}
)
NO_BYTES = "_no_bytes_in_its_row"  # in the name of a file that is not there, because its parquet row holds none
SPLITS: dict[str, SplitName] = {"train": "train", "test": "test", "validation": "test", "valid": "test", "dev": "test"}


@dataclass(frozen=True)
class Recording:
    """One line of the metadata. The file that it names may still be missing or damaged."""

    number: int  # 0-based, of its row in metadata.csv, or of its name in sorted order where there is none
    file_name: str  # relative to the folder, with /
    labels: tuple[str, ...]  # each once, in the order of the metadata
    caption: str
    split: SplitName


@dataclass(frozen=True)
class RecordingIndex:
    """All recordings in the order of their numbers, and what was odd: (file name, note) each."""

    recordings: tuple[Recording, ...]
    notes: tuple[tuple[str, str], ...]


def read_recordings(folder: Path, data: Audio) -> RecordingIndex:
    """The recordings below `folder`, which holds metadata.csv or audio files, or one inner folder with metadata.csv.

    Raises:
        RawDataError: nothing usable is there, a line or a column makes no sense, or the recipe takes the official split
            and some recording has none; the message names the line, or the columns that exist.
    """
    base = find_folder(folder)
    files, path = visible_files(base), base / METADATA
    if path.is_file():
        columns, lines = read_table(path)
    else:
        columns = [FILE_NAME, FOLDER_LABEL]
        lines = [Line(0, folder_row(name, data, base)) for name in files if _is_audio(name)]
    check_columns(columns, data, where=path)
    notes: list[tuple[str, str]] = []
    labels = _read_labels(lines, data, path)
    listed = (
        _recording(number, line, found, data, notes, path)
        for number, (line, found) in enumerate(zip(lines, labels, strict=True))
    )
    finder = NameFinder(files)
    recordings = tuple(replace(each, file_name=finder.find(each.file_name) or each.file_name) for each in listed)
    _check_names(recordings, lines, path)
    names = {recording.file_name for recording in recordings}
    if names.isdisjoint(files):
        raise RawDataError(
            f"{path} lists {len(recordings)} recordings, and none of the files is there "
            f"({examples([recording.file_name for recording in recordings])})"
        )
    notes += [(readable(name), "left out: a link that leads nowhere") for name in walk(base).broken]
    notes += [(name, _why_left_out(name)) for name in files if name not in names and name != METADATA]
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
        entries = [path for path in visible_entries(base) if path.name != Raw.source]
        if len(entries) != 1 or not entries[0].is_dir():
            base = folder  # no metadata: the names of all folders may be labels
            break
        base = entries[0]
    if not (base / METADATA).is_file() and not audio_files(base):
        raise RawDataError(
            f"{folder}: neither {METADATA} nor audio files (.wav .flac .ogg .opus .mp3 .aiff ...) there. A --source is "
            "a folder or an archive in the layout of docs/audio-data.md; below data/ `linnet ingest` (or `dvc pull`) "
            f"brings it{broken_links(folder)}"
        )
    return base


def recording_path(folder: Path, recording: Recording) -> Path | None:
    """Where the recording lies below `folder` (of `find_folder`); None if its name points out of it or is hidden.

    Links are followed: people and their tools (DVC, the hub's cache) make them; archives bring none.
    """
    name = PurePosixPath(recording.file_name)
    if name.is_absolute() or ".." in name.parts or any(map(is_ignored, name.parts)):
        return None
    return folder / name


def visible_files(folder: Path) -> dict[str, Path]:
    """The files below `folder` that are data, by their relative names as text, except source.json."""
    return {name: path for name, path in walk(folder).texts().items() if name != Raw.source}


def audio_files(folder: Path) -> dict[str, Path]:
    """The visible files with a suffix of audio."""
    return {name: path for name, path in visible_files(folder).items() if _is_audio(name)}


def folder_row(name: str, data: Audio, folder: Path) -> dict[str, str]:
    """What metadata would say of the file `name` below `folder`. Raises RawDataError as `check_label` does."""
    label = PurePosixPath(name).parent.name
    label = "" if label in SPLITS else label
    return {FILE_NAME: name, FOLDER_LABEL: join_labels([label], FOLDER_LABEL, data, where=str(folder / name))}


def _where(line: Line, path: Path) -> str:
    return f"{path}, line {line.number}" if line.number else str(path.parent)


def _read_labels(lines: Sequence[Line], data: Audio, path: Path) -> list[Labels]:
    column = data.labels_column
    if not column:
        return [Labels((), "")] * len(lines)
    texts = [clean(line.cells[column])[0] for line in lines]
    return read_labels(texts, data, lambda number: _where(lines[number], path))


def _recording(
    number: int, line: Line, labels: Labels, data: Audio, notes: list[tuple[str, str]], path: Path
) -> Recording:
    where = _where(line, path)
    name = parse_file_name(line.cells[FILE_NAME], where)

    def text_of(column: str) -> str:
        text, was_odd = clean(line.cells[column]) if column else ("", False)
        if was_odd:
            notes.append((name, f"control characters in {column} became spaces"))
        return text

    text_of(data.labels_column)
    if data.labels_column and not labels.names:
        notes.append((name, "no labels"))
    if labels.note and line.number:  # a folder's name is one label in whatever form
        notes.append((name, labels.note))
    folders = PurePosixPath(name).parent.parts
    given = line.cells[SPLIT].strip() if SPLIT in line.cells else next((f for f in folders if f in SPLITS), "")
    split = SPLITS.get(given.lower(), "")
    if given and split != given.lower():
        notes.append((name, f"split {given!r} counts as {split or 'none'}"))
    if not split and isinstance(data.split, OfficialSplit):
        raise RawDataError(
            f"{where}: {name} has no split{f' that we know ({given!r})' if given else ''}, and the recipe wants the "
            'official one; add a column split with train or test, or set data.split to {kind = "seeded", ...}'
        )
    return Recording(number, name, labels.names, text_of(data.caption_column), split)


def _check_names(recordings: Iterable[Recording], lines: Sequence[Line], path: Path) -> None:
    """Raise RawDataError where two lines name the same file."""
    first: dict[str, int] = {}
    for recording, line in zip(recordings, lines, strict=True):
        earlier = first.setdefault(recording.file_name, line.number)
        if earlier != line.number:
            raise RawDataError(
                f"{path}: lines {earlier} and {line.number} both name {recording.file_name}; take one out"
            )


def _is_audio(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES


def _why_left_out(name: str) -> str:
    if _is_audio(name):
        return f"in the folder, not in {METADATA}"
    suffix = PurePosixPath(name).suffix.lower()
    return f"left out: files {f'ending in {suffix}' if suffix else 'without a suffix'} are no recordings"
