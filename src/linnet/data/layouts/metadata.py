"""metadata.csv of Hugging Face's audiofolder, read as strictly as CSV can be, and the texts in it."""

import csv
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from linnet.data.layouts.texts import read_text
from linnet.data.raw import RawDataError
from linnet.recipe import Audio

METADATA, JSON_METADATA = "metadata.csv", "metadata.jsonl"
FILE_NAME, SPLIT, FOLDER_LABEL = "file_name", "split", "label"  # columns
LONGEST_NAME_BYTES = 255  # of one folder or file on any common file system


@dataclass(frozen=True)
class Line:
    """A row of metadata.csv and the line of the file where it begins, 0 where there is no such file."""

    number: int
    cells: dict[str, str]


def read_table(path: Path) -> tuple[list[str], list[Line]]:
    """Columns and rows of a CSV file.

    Raises:
        RawDataError: neither UTF-8 nor UTF-16, NUL bytes, quotes that do not close, a row of another width, no or twice
            the same column, no rows; the message names the line.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
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
    except csv.Error as error:
        raise RawDataError(f"{path}, line {begin}: {error}; correct the quotes or the cell there") from None
    if not lines:
        raise RawDataError(f"{path} lists no recordings")
    return columns, lines


def _header(cells: Sequence[str], path: Path) -> list[str]:
    columns = [cell.strip() for cell in cells]
    if FILE_NAME not in columns:
        for separator in (";", "\t"):
            if FILE_NAME in [cell.strip() for cell in separator.join(cells).split(separator)]:
                raise RawDataError(f"{path}: {separator!r} separates its columns; save the table with commas")
        raise RawDataError(f"{path}: no column {FILE_NAME!r} in its first line, only: {', '.join(columns)[:200]}")
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise RawDataError(f"{path}: column {twice[0]!r} stands twice in its first line; rename one")
    return columns


def check_columns(columns: Sequence[str], data: Audio, *, where: Path) -> None:
    """Raise RawDataError where the recipe names a column that is not there."""
    for setting, column in (("labels_column", data.labels_column), ("caption_column", data.caption_column)):
        if column and column not in columns:
            others = ", ".join(name for name in columns if name != FILE_NAME) or "none"
            raise RawDataError(
                f"{where}: the recipe says data.{setting} = {column!r}, but there is no such column (there is: "
                f'{others}). Set data.{setting} to one of them, or to "" for none.'
            )


def check_label(text: str, column: str, data: Audio, *, where: str) -> str:
    """`text`, one entry of a list. Raises RawDataError if it is a label that holds the separator of labels."""
    if column == data.labels_column and data.label_separator in text:
        raise RawDataError(
            f"{where}: label {text[:80]!r} holds {data.label_separator!r}, which would make two labels of it; set "
            "data.label_separator to something that no label holds"
        )
    return text


def parse_file_name(cell: str, where: str) -> str:
    """The relative name in a cell. Raises RawDataError if no file can be called that."""
    name = PurePosixPath(cell.strip()).as_posix() if cell.strip() else ""  # ./a.wav and a.wav are the same file
    if not name or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):  # Cs: bytes that are no UTF-8
        raise RawDataError(f"{where}: {cell[:80]!r} is no file name; correct the line or take it out")
    if any(len(folder_or_file.encode()) > LONGEST_NAME_BYTES for folder_or_file in name.split("/")):
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
