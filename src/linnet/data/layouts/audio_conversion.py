"""Published forms of audio into ours: audiofolders as they are, several metadata files as one, parquet as files."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet.data.layouts.audio_folder import (
    audio_files,
    find_folder,
    folder_row,
    read_recordings,
    visible_files,
)
from linnet.data.layouts.base import copy_source
from linnet.data.layouts.file_names import FileNames, resolve
from linnet.data.layouts.labels import join_labels, read_labels
from linnet.data.layouts.metadata import (
    FILE_NAME,
    JSON_METADATA,
    METADATA,
    SPLIT,
    check_columns,
    clean,
    one_line,
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
        copy_source(find_folder(source), folder)


def convert_published(source: Path, published: Published, chosen: Published, folder: Path, data: Audio) -> None:
    """Write the `chosen` splits of a data set, whose files lie below `source`, into the empty `folder`."""
    if published.layout == PARQUET:
        _convert_parquet(source, chosen, folder, data)
        return
    assert published.layout == AUDIOFOLDER
    has_splits = len(published.splits) > 1
    if not has_splits and not _needs_merging(source):
        copy_source(find_folder(source), folder)
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
    metadata = {path.relative_to(source).as_posix() for path in _metadata_files(source)}
    copy_source(source, folder, leave_out=excluded | metadata)


def _metadata_rows(source: Path, data: Audio) -> Iterator[dict[str, str]]:
    files = visible_files(source)
    for path in _metadata_files(source):
        rows = list(_csv_rows(path) if path.suffix == ".csv" else _json_rows(path, data))
        _check_labels(rows, data)
        names = _resolve(rows, path, source, files)
        if summary := names.summary():
            log(f"{path.relative_to(source)}: {summary}")
        yield from (row | {FILE_NAME: name} for (_, row), name in zip(rows, names.names, strict=True))


def _check_labels(rows: Sequence[tuple[str, dict[str, str]]], data: Audio) -> None:
    """Raise RawDataError now, with the source's own lines, where reading what is written would refuse its labels."""
    column = data.labels_column
    listed = [(where, clean(row[column])[0]) for where, row in rows if column and column in row]
    read_labels([text for _, text in listed], data, lambda number: listed[number][0])


def _resolve(rows: Sequence[tuple[str, dict[str, str]]], table: Path, source: Path, files: Iterable[str]) -> FileNames:
    wheres, cells = [where for where, _ in rows], [row[FILE_NAME] for _, row in rows]
    return resolve(cells, wheres, table=table, source=source, files=files)


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
    if column == data.labels_column and _has_table(value):
        raise RawDataError(
            f"{where}: labels {json.dumps(value)[:80]} are a table, and no text says which of its values is the label; "
            'write ["bell", "slow"]'
        )
    return join_labels(_entries(value), column, data, where=where)


def _has_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_has_table, value)))


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
    return sorted(path for path in visible_files(source).values() if path.name in (METADATA, JSON_METADATA))


def _is_parquet(source: Path) -> bool:
    """Whether there are parquet files, and no audio files that they could be the metadata of."""
    return any(name.endswith(".parquet") for name in visible_files(source)) and not audio_files(source)


def _needs_merging(source: Path) -> bool:
    """Whether the metadata lies elsewhere than in one metadata.csv at the top, or has other names than the files.

    Raises:
        RawDataError: metadata.csv makes no sense, or names no file that is there.
    """
    paths = _metadata_files(source)
    if not paths:
        return False
    base = find_folder(source)
    if paths != [base / METADATA]:
        return True
    rows, files = list(_csv_rows(paths[0])), visible_files(base)
    names = _resolve(rows, paths[0], base, files)
    if files and not names.num_found:
        where, row = rows[0]
        example = next((name for name in files if name != METADATA), "")
        raise RawDataError(
            f"{where}: {row[FILE_NAME][:200]!r} is no file of the folder, and no other name in it is ({len(rows)} are "
            f"listed). Names are relative to {METADATA}, with / between folders"
            + (f", such as {example!r}" if example else "")
        )
    return bool(names.mended)
