"""Audiofolders with metadata elsewhere than in one metadata.csv: merged into one, with nothing lost or torn."""

import json
from pathlib import Path

import pytest

from linnet.data.layouts.audio_conversion import convert
from linnet.data.layouts.audio_folder import Recording, read_recordings
from linnet.data.raw import RawDataError
from linnet.recipe import Audio
from support.audio_section import AUDIO

DATA = AUDIO.model_copy(update={"caption_column": "caption"})


def source_of(folder: Path, *names: str, **metadata: bytes) -> Path:
    """A folder of empty files, and `metadata.jsonl` or `metadata.csv` in its folder `sub`."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for kind, content in metadata.items():
        (folder / "sub" / f"metadata.{kind}").write_bytes(content)
    return folder


def gathered(source: Path, data: Audio = DATA) -> Path:
    out = source.with_name("out")
    out.mkdir()
    convert(source, out, data)
    return out


def line(**values: object) -> bytes:
    return json.dumps({"file_name": "a.wav", "labels": None, "caption": None} | values).encode() + b"\n"


def test_values_of_every_kind_become_text(tmp_path: Path) -> None:
    content = line(labels=["slow", ["sad"], None, 4, True], caption="two\n lines", more={"b": "c|d"})
    out = gathered(source_of(tmp_path / "in", "sub/a.wav", jsonl=content))
    assert read_recordings(out, DATA).recordings == (
        Recording(0, "sub/a.wav", ("slow", "sad", "4", "true"), "two lines", ""),
    )
    assert (out / "metadata.csv").read_text().splitlines()[
        1
    ] == 'sub/a.wav,slow|sad||4|true,two lines,"{""b"": ""c|d""}"'


@pytest.mark.parametrize("labels", [{"id": 0, "name": "bell"}, ["slow", {"name": "bell"}]])
def test_a_table_is_no_label(tmp_path: Path, labels: object) -> None:
    source = source_of(tmp_path / "in", "sub/a.wav", jsonl=b"\n" + line(labels=labels))
    with pytest.raises(RawDataError, match=r"sub/metadata\.jsonl, line 2: labels .*bell.* are a table"):
        gathered(source)


@pytest.mark.parametrize("labels", [["slow", "a|b"], [["a|b"]]])
def test_a_label_that_would_become_two(tmp_path: Path, labels: object) -> None:
    source = source_of(tmp_path / "in", "sub/a.wav", jsonl=b"\n" + line(labels=labels))
    with pytest.raises(
        RawDataError, match=r"sub/metadata\.jsonl, line 2: label .*a\|b.* holds '\|', which would make two labels of it"
    ):
        gathered(source)
    out = gathered(source_of(tmp_path / "more" / "in", "sub/a.wav", jsonl=line(labels="a|b", tags=["c|d"])))
    assert read_recordings(out, DATA).recordings[0].labels == ("a", "b")  # a text, which may hold several


def test_control_characters_of_json_are_noted_too(tmp_path: Path) -> None:
    content = line(labels=["\x07red"], caption="a\0b\r\nc")
    index = read_recordings(gathered(source_of(tmp_path / "in", "sub/a.wav", jsonl=content)), DATA)
    assert index.recordings == (Recording(0, "sub/a.wav", ("red",), "a b c", ""),)
    assert index.notes == (
        ("sub/a.wav", "control characters in labels became spaces"),
        ("sub/a.wav", "control characters in caption became spaces"),
    )


def test_a_lone_carriage_return_in_a_cell_does_not_tear_the_line(tmp_path: Path) -> None:
    """csv writes it without quotes, and reads it as the end of the line."""
    content = b'file_name,labels,caption\na.wav,x,"one\rtwo"\nb.wav,y,\n'
    index = read_recordings(gathered(source_of(tmp_path / "in", "sub/a.wav", "sub/b.wav", "c.wav", csv=content)), DATA)
    assert [(recording.file_name, recording.caption) for recording in index.recordings] == [
        ("sub/a.wav", "one two"),
        ("sub/b.wav", ""),
    ]


def test_lists_in_lists_are_read_to_a_depth_that_every_python_can(tmp_path: Path) -> None:
    content = b'{"file_name": "a.wav", "caption": "", "labels": ' + b"[" * 100 + b'"deep"' + b"]" * 100 + b"}"
    index = read_recordings(gathered(source_of(tmp_path / "in", "sub/a.wav", jsonl=content)), DATA)
    assert [recording.labels for recording in index.recordings] == [("deep",)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"file_name": "a.wav", "caption": "\\ud83d"}',
            r"'\\ud83d' is half a character, which no text in UTF-8 holds",
        ),
        (b'{"file_name": "a.wav", "caption": "\xed\xa0\xbd"}', r"'\\ud83d' is half a character"),
        (b'{"file_name": "\\ud83d.wav"}', r"'\\ud83d' is half a character"),
        (b'{"file_name": "a.wav", "\\ud83d": 1}', r"'\\ud83d' is half a character"),
        (b'{"file_name": "a.wav", "x": ' + b"[" * 99_999 + b"]" * 99_999 + b"}", "lists in lists, too deep to be read"),
        (b'{"file_name": "a.wav", "x": ' + b"[" * 101 + b"]" * 101 + b"}", "lists in lists, too deep to be read"),
        (b'{"file_name": "a\\u0000.wav"}', r"'a\\x00\.wav' is no file name"),
        (b'{"file_name": "a\\r.wav"}', r"'a\\r\.wav' is no file name"),
        (b'{"file_name": 3}', "no object with a file_name"),
        (b"[]", "no object with a file_name"),
        (b"{", r"no JSON \(Expecting property name"),
        (b"\xff", r"no JSON \('utf-8' codec can't decode byte 0xff"),
    ],
)
def test_a_hostile_line_is_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    source = source_of(tmp_path / "in", "sub/a.wav", jsonl=line() + content)
    with pytest.raises(RawDataError, match=rf"^{source}/sub/metadata\.jsonl, line 2: {message}") as caught:
        gathered(source)
    assert "\n" not in str(caught.value)


def test_whole_characters_beyond_sixteen_bits_are_kept(tmp_path: Path) -> None:
    content = b'{"file_name": "a.wav", "labels": "x", "caption": "\\ud83d\\ude00"}'
    out = gathered(source_of(tmp_path / "in", "sub/a.wav", jsonl=content))
    assert read_recordings(out, DATA).recordings[0].caption == "\U0001f600"


def test_all_files_come_along(tmp_path: Path) -> None:
    """What metadata names may end in anything; of the rest nothing is lost silently."""
    names = ("sub/a.wav", "sub/b.opus", "sub/c.bin", "LICENSE", "d.m4a", ".git/config", "source.json")
    content = b"".join(line(file_name=name, labels="x") for name in ("a.wav", "b.opus", "c.bin"))
    out = gathered(source_of(tmp_path / "in", *names, jsonl=content))
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == {"metadata.csv", "sub/a.wav", "sub/b.opus", "sub/c.bin", "LICENSE", "d.m4a"}
    index = read_recordings(out, DATA)
    assert [recording.file_name for recording in index.recordings] == ["sub/a.wav", "sub/b.opus", "sub/c.bin"]
    assert index.notes == (
        ("LICENSE", "left out: files without a suffix are no recordings"),
        ("d.m4a", "left out: files ending in .m4a are no recordings"),
    )


def test_labels_in_an_unknown_form_name_the_line_of_their_table(tmp_path: Path) -> None:
    content = line(labels="a, b") + b"\n" + line(file_name="b.wav", labels="b, a")
    source = source_of(tmp_path / "in", "sub/a.wav", "sub/b.wav", jsonl=content)
    with pytest.raises(RawDataError, match=rf"^{source}/sub/metadata\.jsonl, line 1: 'a, b' would be one label"):
        gathered(source)


def test_labels_in_lists_keep_their_commas(tmp_path: Path) -> None:
    content = line(labels=["a, b", "c"]) + line(file_name="b.wav", labels=["a, b"])
    index = read_recordings(gathered(source_of(tmp_path / "in", "sub/a.wav", "sub/b.wav", jsonl=content)), DATA)
    assert [recording.labels for recording in index.recordings] == [("a, b", "c"), ("a, b",)]


def test_names_of_a_table_further_down_are_from_its_parent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = line(file_name="sub\\a.wav") + line(file_name="sub\\b.wav")
    out = gathered(source_of(tmp_path / "in", "sub/a.wav", "sub/b.wav", "c.wav", jsonl=content))
    assert [recording.file_name for recording in read_recordings(out, DATA).recordings] == ["sub/a.wav", "sub/b.wav"]
    assert "sub/metadata.jsonl: 2 of 2 file names: backslashes became slashes" in capsys.readouterr().err
