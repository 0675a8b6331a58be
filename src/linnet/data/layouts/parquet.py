"""Parquet files of a Hugging Face data set into the raw layout of audio, one row after the other."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from linnet.data.layouts.audio_folder import AUDIO_SUFFIXES, NO_BYTES
from linnet.data.layouts.labels import join_labels
from linnet.data.layouts.metadata import FILE_NAME, METADATA, SPLIT, check_columns, clean, one_line
from linnet.data.raw import RawDataError
from linnet.errors import first_line
from linnet.progress import ProgressBar, log
from linnet.recipe import Audio

READ_BYTES = 1 << 20  # without a buffer pyarrow reads a whole column of a row group, however small its pages
SOURCE_NAME = "source_name"  # column: what the row called its file
AUDIO_FOLDER = "audio"
MAGICS = {b"RIFF": ".wav", b"RF64": ".wav", b"FORM": ".aiff", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3"}
LONGEST_TEXT = 100_000  # characters; below what Python's csv module reads back
EMBED = (
    "put the files into the rows (with_format('arrow').map(datasets.table.embed_table_storage, batched=True) before "
    "to_parquet), or give the folder of the files with a metadata.csv instead"
)
TEXT = ("string", "large_string", "string_view")  # types of columns


def write_rows(files: Mapping[str, Sequence[Path]], features: Any, folder: Path, data: Audio) -> None:
    """Write metadata.csv and `audio/` of all rows into the empty `folder`.

    Text, numbers, class labels (by name) and lists of texts or class labels become columns; there is a column `split`
    where there are several. Texts are cut at 100,000 characters, which is logged. Audio files keep their bytes and get
    numbers for names: a path inside the data is not to be trusted. A row without audio bytes stays in the metadata, by
    a name that says so, and is logged: preprocess counts it as rejected.

    Memory holds a page of a file: a few recordings, or a whole row group where the writer made one page of it.

    Args:
        files: parquet files by split.
        features: datasets.Features, None to take them from the files.

    Raises:
        RawDataError: no or several audio columns, no bytes in any row, no column that the recipe names, a label with
            the separator in it, a damaged file.
    """
    paths = [(split, path) for split, group in files.items() for path in group]
    if not paths:
        raise RawDataError(f"{folder}: no parquet files in the splits {', '.join(files) or '(none)'}")
    first, has_splits = paths[0][1], len(files) > 1
    features = features if features is not None else _features(first)
    audio = _audio_column(features, first)
    columns = {name: _renamed(name, has_splits=has_splits) for name in features if _is_text(features[name])}
    check_columns(list(columns.values()), data, where=first)
    (folder / AUDIO_FOLDER).mkdir(parents=True)
    with (folder / METADATA).open("w", encoding="utf-8", newline="") as file, ProgressBar("ingest: rows", 0) as bar:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([FILE_NAME, *columns.values(), SOURCE_NAME, *([SPLIT] if has_splits else [])])
        rows = ((split, path, row) for split, path in paths for row in _rows(path, [audio, *columns]))
        num_rows = num_cut = 0
        num_empty, first_empty = 0, ""  # rows without bytes, and what the first of them calls its file
        for number, (split, path, row) in enumerate(rows):
            name, source_name = _write_audio(row[audio], folder, number)
            num_rows += 1
            if not (row[audio] or {}).get("bytes"):
                first_empty = first_empty if num_empty else str((row[audio] or {}).get("path") or "")
                num_empty += 1
            cells = [_cell(row[column], features[column], column, data, path) for column in columns]
            num_cut += sum(len(cell) > LONGEST_TEXT for cell in cells)
            cells = [cell[:LONGEST_TEXT] for cell in cells]
            writer.writerow([name, *cells, source_name, *([split] if has_splits else [])])
            bar.advance()
    if num_empty:
        empty = (
            f"column {audio!r} holds no bytes in {num_empty} of {num_rows} rows (the first path: {first_empty[:200]!r})"
        )
        if num_empty == num_rows:
            raise RawDataError(f"{first}: {empty}; {EMBED}")
        log(f"{empty}: preprocess will reject them; {EMBED}")
    if num_cut:
        log(f"{num_cut} texts of more than {LONGEST_TEXT} characters were cut to that")


def _rows(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            missing = [column for column in columns if column not in file.schema_arrow.names]
            if missing:  # pyarrow would leave them out silently
                raise RawDataError(f"{path}: no column {missing[0]!r}, which the others or README.md have; correct it")
            for batch in file.iter_batches(batch_size=1, columns=columns):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # texts are decoded as late as here
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        raise RawDataError(f"{path}: not a whole parquet file like the others ({first_line(error)})") from None


def _features(path: Path) -> Any:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return datasets.Features.from_arrow_schema(pq.read_schema(path))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise RawDataError(f"{path}: not a whole parquet file ({first_line(error)}); fetch it again") from None


def _audio_column(features: Any, path: Path) -> str:
    import datasets

    columns = [
        str(name)
        for name, feature in features.items()
        if isinstance(feature, datasets.Audio) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})
    ]
    if len(columns) == 1:
        return columns[0]
    if "audio" in columns:
        return "audio"
    if not columns and (named := _column_of_names(features, path)):
        raise RawDataError(f"{path}: column {named[0]!r} holds names of files ({named[1][:200]!r}), not audio; {EMBED}")
    names = ", ".join(columns) or "all columns: " + ", ".join(features)
    raise RawDataError(
        f"{path}: {len(columns)} columns hold audio files ({names}); there must be one, or one called audio, of "
        "struct{bytes, path}"
    )


def _column_of_names(features: Any, path: Path) -> tuple[str, str] | None:
    """The first column of texts that names an audio file in the first row, and that name."""
    texts = [str(name) for name, feature in features.items() if getattr(feature, "dtype", "") in TEXT]
    row = next(_rows(path, texts), {})
    named = ((name, str(row[name] or "")) for name in texts if name in row)
    return next(((name, value) for name, value in named if PurePosixPath(value).suffix.lower() in AUDIO_SUFFIXES), None)


def _renamed(name: str, *, has_splits: bool) -> str:
    """Columns of ours go before columns of the source."""
    taken = {FILE_NAME, SOURCE_NAME} | ({SPLIT} if has_splits else set())
    return f"source_{name}" if name in taken else name


def _is_text(feature: Any) -> bool:
    """Whether values of this type can stand in metadata.csv."""
    import datasets

    match feature:
        case datasets.ClassLabel():
            return True
        case datasets.List() | datasets.LargeList():
            item = feature.feature  # a list of numbers is no list of labels but an embedding, of any length
            return isinstance(item, datasets.ClassLabel) or (isinstance(item, datasets.Value) and item.dtype in TEXT)
        case datasets.Value():
            return feature.dtype in TEXT or feature.dtype.rstrip("0123456789") in ("bool", "int", "uint", "float")
        case _:
            return False


def _cell(value: Any, feature: Any, column: str, data: Audio, path: Path) -> str:
    import datasets

    if value is None:
        return ""
    match feature:
        case datasets.ClassLabel():
            return join_labels([_text(value, feature)], column, data, where=str(path))
        case datasets.List() | datasets.LargeList():
            return join_labels([_text(item, feature.feature) for item in value], column, data, where=str(path))
        case _:
            return _text(value, feature)


def _text(value: Any, feature: Any) -> str:
    import datasets

    if value is None:
        return ""
    if isinstance(feature, datasets.ClassLabel):
        return one_line(feature.names[value]) if 0 <= value < feature.num_classes else ""  # -1: not labelled
    return one_line(str(value))


def _write_audio(audio: Any, folder: Path, number: int) -> tuple[str, str]:
    """Write the bytes; returns the file's name in `folder`, and what the row called it."""
    audio = audio or {}
    content, source_path = audio.get("bytes"), str(audio.get("path") or "")
    source_name = clean(source_path.replace("\\", "/").rpartition("/")[2])[0][:200]
    name = f"{AUDIO_FOLDER}/{number:07d}{'' if content else NO_BYTES}{_suffix(content or b'', source_name)}"
    if content:
        (folder / name).write_bytes(content)
    return name, source_name


def _suffix(content: bytes, source_name: str) -> str:
    """The suffix of what the file is, or of its name."""
    for magic, suffix in MAGICS.items():
        if content.startswith(magic):
            return suffix
    if len(content) > 1 and content[0] == 0xFF and content[1] >= 0xE0:  # the sync bits of an MPEG frame
        return ".mp3"
    suffix = PurePosixPath(source_name).suffix.lower()
    return suffix if suffix in AUDIO_SUFFIXES else ".wav"
