"""Parquet files with audio become files and lines of a table, and what they cannot say is refused."""

import csv
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linnet.data.layouts.audio_conversion import convert
from linnet.data.layouts.audio_folder import read_recordings
from linnet.data.raw import RawDataError
from linnet.recipe import Audio
from support.audio_section import AUDIO
from support.parquet import FEATURES, parquet, row, wav

TAGS_ONLY = AUDIO.model_copy(update={"labels_column": "tags"})
TAGS = AUDIO.model_copy(update={"labels_column": "tags", "caption_column": "text"})


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def one_file(tmp_path: Path, rows: list[dict[str, Any]], features: datasets.Features, data: Audio) -> Path:
    source, folder = tmp_path / "source", tmp_path / "out"
    for path in (source, folder):
        path.mkdir(parents=True)
    (source / "train.parquet").write_bytes(parquet(rows, features))
    convert(source, folder, data)
    return folder


def test_files_get_the_suffix_of_what_they_are_and_keep_their_bytes(tmp_path: Path) -> None:
    contents = {b"fLaC.": "flac", b"OggS.": "ogg", b"ID3.": "mp3", b"\xff\xf3.": "mp3", b"FORM": "aiff", b"?": "wav"}
    features = datasets.Features({"audio": datasets.Audio()})
    rows = [{"audio": {"bytes": content, "path": "x.exe"}} for content in contents]
    data = AUDIO.model_copy(update={"labels_column": ""})
    folder = one_file(tmp_path, rows, features, data)
    names = [f"{number:07d}.{suffix}" for number, suffix in enumerate(contents.values())]
    assert [(folder / "audio" / name).read_bytes() for name in names] == list(contents)


def test_a_row_without_audio_stays_in_the_list_and_no_path_is_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(b"RIFF secret")
    bare = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # parquet of others than Hugging Face's library
    rows = [{"bytes": None, "path": str(secret)}, None, {"bytes": wav(1), "path": None}]
    source, folder = tmp_path / "source", tmp_path / "out"
    for path in (source, folder):
        path.mkdir()
    pq.write_table(pa.table({"audio": pa.array(rows, bare), "split": ["a", "b", None]}), source / "x.parquet")
    convert(source, folder, AUDIO.model_copy(update={"labels_column": ""}))
    assert [line["file_name"] for line in table(folder)] == [
        "audio/0000000_no_bytes_in_its_row.wav",
        "audio/0000001_no_bytes_in_its_row.wav",
        "audio/0000002.wav",
    ]
    said = capsys.readouterr().err
    assert (
        f"column 'audio' holds no bytes in 2 of 3 rows (the first path: '{secret}'): preprocess will reject them"
        in said
    )
    assert [line["split"] for line in table(folder)] == ["a", "b", ""]  # with one split the column is the source's
    assert [path.name for path in (folder / "audio").iterdir()] == ["0000002.wav"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": ["a|b"]}, r"label 'a\|b' holds '\|', which would make two labels of it; set data\.label_separator"),
        ({"audio": None}, r"0 columns hold audio files \(all columns: text, tags\)"),
        ({"other": {"bytes": b"", "path": ""}, "more": {"bytes": b"", "path": ""}, "audio": None}, "2 columns hold"),
        ({"tags": None}, r"labels_column = 'tags', but there is no such column \(there is: text\)"),
    ],
)
def test_what_a_parquet_file_cannot_say(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    values = {name: row(0)[name] for name in ("text", "audio", "tags")} | change
    one = {name: value for name, value in values.items() if value is not None}
    features = datasets.Features({name: FEATURES[name] if name in FEATURES else datasets.Audio() for name in one})
    with pytest.raises(RawDataError, match=message):
        one_file(tmp_path, [one], features, TAGS)


def test_an_endless_text_is_cut_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features = datasets.Features({name: FEATURES[name] for name in ("audio", "text", "tags")})
    rows = [{"audio": row(0)["audio"], "text": "x" * 200_000, "tags": ["a"]}]
    assert len(read_recordings(one_file(tmp_path, rows, features, TAGS), TAGS).recordings[0].caption) == 100_000
    assert "1 texts of more than 100000 characters were cut to that\n" in capsys.readouterr().err


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "recordings.parquet").write_bytes(parquet([row(0)])[:-20])
    with pytest.raises(RawDataError, match=r"recordings\.parquet: not a whole parquet file \(.*\); fetch it again"):
        convert(tmp_path, tmp_path / "out", TAGS)


def test_a_text_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    audio = pa.array([{"bytes": wav(0), "path": ""}])
    text = pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"]).buffers())
    (tmp_path / "out").mkdir()
    pq.write_table(pa.table({"audio": audio, "text": text}), tmp_path / "recordings.parquet")
    with pytest.raises(
        RawDataError, match=r"recordings\.parquet: not a whole parquet file like the others \('utf-8' codec"
    ):
        convert(tmp_path, tmp_path / "out", AUDIO.model_copy(update={"labels_column": ""}))


def test_a_class_whose_name_would_become_two_labels(tmp_path: Path) -> None:
    features = datasets.Features({"audio": datasets.Audio(), "genre": datasets.ClassLabel(names=["jazz", "r|b"])})
    rows = [{"audio": row(0)["audio"], "genre": 1}]
    with pytest.raises(
        RawDataError, match=r"train\.parquet: label 'r\|b' holds '\|', which would make two labels of it"
    ):
        one_file(tmp_path, rows, features, AUDIO.model_copy(update={"labels_column": "genre"}))


@pytest.mark.parametrize(
    ("audio", "kind", "message"),
    [
        (
            [{"bytes": None, "path": "clips/0.wav"}, {"bytes": None, "path": "clips/1.wav"}],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            r"column 'sound' holds no bytes in 2 of 2 rows \(the first path: 'clips/0\.wav'\); put the files into",
        ),
        (
            [None, None],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            "column 'sound' holds no bytes in 2 of 2 rows",
        ),
        (
            ["C:\\a\\0.FLAC", "1.flac"],
            pa.string(),
            r"column 'sound' holds names of files \('.*0\.FLAC'\), not audio; put",
        ),
    ],
)
def test_paths_without_bytes_name_their_column(
    tmp_path: Path, audio: list[Any], kind: pa.DataType, message: str
) -> None:
    source, folder = tmp_path / "source", tmp_path / "out"
    for path in (source, folder):
        path.mkdir()
    pq.write_table(pa.table({"text": ["a", "b"], "sound": pa.array(audio, kind)}), source / "x.parquet")
    with pytest.raises(RawDataError, match=rf"^{source}/x\.parquet: {message}"):
        convert(source, folder, AUDIO.model_copy(update={"labels_column": ""}))


def test_labels_with_other_separators_in_them_stay_whole(tmp_path: Path) -> None:
    """Class names and lists say where a label ends; a comma in one is no separator."""
    features = datasets.Features({"audio": datasets.Audio(), "tags": datasets.List(datasets.Value("string"))})
    rows = [
        {"audio": row(0)["audio"], "tags": tags} for tags in (["Folk, World", "slow"], ["Folk, World"], ["slow", "a"])
    ]
    index = read_recordings(one_file(tmp_path / "lists", rows, features, TAGS_ONLY), TAGS_ONLY)
    assert [recording.labels for recording in index.recordings] == [
        ("Folk, World", "slow"),
        ("Folk, World",),
        ("slow", "a"),
    ]
    features = datasets.Features(
        {"audio": datasets.Audio(), "tags": datasets.ClassLabel(names=["Folk, World", "Soul"])}
    )
    rows = [{"audio": row(0)["audio"], "tags": number} for number in (0, 0, 1)]
    index = read_recordings(one_file(tmp_path / "classes", rows, features, TAGS_ONLY), TAGS_ONLY)
    assert [recording.labels for recording in index.recordings] == [("Folk, World",), ("Folk, World",), ("Soul",)]
