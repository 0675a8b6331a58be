"""Published forms of audio into ours: audiofolders as they are, several metadata files as one, parquet as files."""

import csv
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet.artifacts import Raw
from linnet.data.layouts.audio_folder import (
    audio_files,
    find_folder,
    folder_row,
    is_hidden,
    read_recordings,
    visible_files,
)
from linnet.data.layouts.metadata import (
    FILE_NAME,
    JSON_METADATA,
    METADATA,
    SPLIT,
    check_columns,
    check_label,
    one_line,
    parse_file_name,
    read_table,
)
from linnet.data.layouts.parquet import write_rows
from linnet.data.layouts.published import AUDIOFOLDER, PARQUET, Published, read_published
from linnet.data.raw import RawDataError
from linnet.progress import log
from linnet.recipe import Audio

MAX_LISTS_IN_LISTS = 100  # no label needs as many; how many Python itself can read depends on its version
TOO_DEEP = "lists in lists, too deep to be read; correct the line"


@dataclass(frozen=True)
class Selection:
    """What to take of an audiofolder: its splits, and what belongs to none of them."""

    splits: Mapping[str, str]  # of audio files, by name; empty: as metadata.csv and the folders' names say
    excluded: frozenset[str]  # audio files of other splits; metadata may well name them


EVERYTHING = Selection({}, frozenset())


def check(source: Path, data: Audio) -> None:
    """Raise RawDataError if `source` cannot be converted, as far as that shows without copying anything."""
    if not _is_parquet(source) and not _needs_merging(source):
        read_recordings(source, data)


def convert(source: Path, folder: Path, data: Audio) -> None:
    """Write what a local folder holds into the empty `folder`, in our layout.

    Raises:
        RawDataError: it holds neither audio files nor parquet files with audio in them.
    """
    if _is_parquet(source):
        _convert_parquet(source, read_published(source, config=""), folder, data)
    elif _needs_merging(source):
        _merge(source, folder, data, EVERYTHING)
    else:
        _copy(find_folder(source), folder)


def convert_published(source: Path, published: Published, chosen: Published, folder: Path, data: Audio) -> None:
    """Write the `chosen` splits of a data set, whose files lie below `source`, into the empty `folder`."""
    if published.layout == PARQUET:
        _convert_parquet(source, chosen, folder, data)
        return
    assert published.layout == AUDIOFOLDER
    has_splits = len(published.splits) > 1
    if not has_splits and not _needs_merging(source):
        _copy(find_folder(source), folder)
        return
    splits = {name: split for split, names in chosen.splits.items() for name in names}
    others = {name for names in published.splits.values() for name in names} - splits.keys()
    _merge(source, folder, data, Selection(splits if has_splits else {}, frozenset(others)))


def _convert_parquet(source: Path, published: Published, folder: Path, data: Audio) -> None:
    files = {split: [source / name for name in names] for split, names in published.splits.items()}
    write_rows(files, published.features, folder, data)


def _merge(source: Path, folder: Path, data: Audio, selection: Selection) -> None:
    """Write one metadata.csv of all metadata files below `source`, and copy the other files.

    Raises:
        RawDataError: a metadata file makes no sense, or lacks a column that the recipe names.
    """
    excluded = selection.excluded
    rows = [row for row in _metadata_rows(source, data) if row[FILE_NAME] not in excluded]
    if not rows:
        rows = [folder_row(name, data, source) for name in audio_files(source) if name not in excluded]
    if selection.splits:
        rows = [row | {SPLIT: selection.splits.get(row[FILE_NAME], "")} for row in rows]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    check_columns(columns, data, where=source)
    with (folder / METADATA).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for name, path in visible_files(source).items():
        if name not in excluded and path.name not in (METADATA, JSON_METADATA):
            _copy_file(path, folder / name)


def _metadata_rows(source: Path, data: Audio) -> Iterator[dict[str, str]]:
    for path in _metadata_files(source):
        below = path.parent.relative_to(source)
        for where, row in _csv_rows(path) if path.suffix == ".csv" else _json_rows(path, data):
            yield row | {FILE_NAME: (below / parse_file_name(row[FILE_NAME], where)).as_posix()}


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for line in read_table(path)[1]:
        texts = {column: one_line(cell) for column, cell in line.cells.items()}
        yield f"{path}, line {line.number}", texts | {FILE_NAME: line.cells[FILE_NAME]}


def _json_rows(path: Path, data: Audio) -> Iterator[tuple[str, dict[str, str]]]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = _json_row(line, data, where)
        except RecursionError:
            raise RawDataError(f"{where}: {TOO_DEEP}") from None
        yield where, row


def _json_row(line: bytes, data: Audio, where: str) -> dict[str, str]:
    try:
        row = json.loads(line)
    except ValueError as error:  # bytes that are no UTF-8 too
        raise RawDataError(f"{where}: no JSON ({error}); correct the line") from None
    if not isinstance(row, dict) or not isinstance(row.get(FILE_NAME), str):
        raise RawDataError(f"{where}: no object with a {FILE_NAME}; correct the line")
    if _is_too_deep(row):
        raise RawDataError(f"{where}: {TOO_DEEP}")
    texts = {one_line(column): _text_of(value, column, data, where) for column, value in row.items()}
    texts[FILE_NAME] = row[FILE_NAME]
    try:
        "".join(text for item in texts.items() for text in item).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise RawDataError(f"{where}: {half} is half a character, which no text in UTF-8 holds; correct it") from None
    return texts


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(1 + MAX_LISTS_IN_LISTS):  # the row itself is a table
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
        level = [item for item in level if isinstance(item, list | dict)]
    return bool(level)


def _text_of(value: Any, column: str, data: Audio, where: str) -> str:
    if isinstance(value, str):
        return one_line(value)
    return data.label_separator.join(check_label(entry, column, data, where=where) for entry in _entries(value))


def _entries(value: Any) -> list[str]:
    match value:
        case None:
            return [""]
        case list():
            return [entry for item in value for entry in _entries(item)]
        case str():
            return [one_line(value)]
        case _:
            return [json.dumps(value)]


def _metadata_files(source: Path) -> list[Path]:
    paths = [path for name in (METADATA, JSON_METADATA) for path in source.rglob(name)]
    return sorted(path for path in paths if not any(map(is_hidden, path.relative_to(source).parts)))


def _is_parquet(source: Path) -> bool:
    """Whether there are parquet files, and no audio files that they could be the metadata of."""
    return next(source.rglob("*.parquet"), None) is not None and not audio_files(source)


def _needs_merging(source: Path) -> bool:
    """Whether the metadata lies elsewhere than in one metadata.csv at the top."""
    files = _metadata_files(source)
    return bool(files) and files != [find_folder(source) / METADATA]


def _copy(source: Path, folder: Path) -> None:
    """Copy all files but hidden ones and source.json: licences and read-me files belong to the data."""
    top = os.path.realpath(source)
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if not Path(os.path.realpath(path)).is_relative_to(top):
            log(f"{path}: a link to a file outside of {source}; left out")
        elif path.is_file() and name.as_posix() != Raw.source and not any(map(is_hidden, name.parts)):
            _copy_file(path, folder / name)


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)  # bytes only: a read-only source must not make a read-only copy
