"""Reading the audiofolder layout: what it says, what is odd, and what cannot be read and why."""

import os
import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile

from linnet.data.audio_files import read_audio
from linnet.data.layouts.audio_folder import Recording, find_folder, read_recordings, recording_path
from linnet.data.raw import RawDataError
from linnet.recipe import Audio, OfficialSplit
from support.audio_section import AUDIO

NO_LABELS = AUDIO.model_copy(update={"labels_column": ""})


def folder_of(folder: Path, metadata: bytes | str | None, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    if metadata is not None:
        (folder / "metadata.csv").write_bytes(metadata.encode() if isinstance(metadata, str) else metadata)
    return folder


def test_every_column_is_read(tmp_path: Path) -> None:
    text = (
        "\ufefffile_name,split,mood;,words\r\n"
        '"b, c.wav",train,slow ; sad;; slow ,"He said ""go""\r\nand went"\r\n'
        "\r\n"
        "./sub//a.ogg,validation,;,\r\n"
        "z.flac,,\u00e9t\u00e9,\u00fc\r\n"
    )
    names = ("b, c.wav", "sub/a.ogg", "z.flac", "other/UNLISTED.MP3", "notes.txt", ".hidden.wav", "__MACOSX/._a.ogg")
    changes = {"labels_column": "mood;", "label_separator": ";", "caption_column": "words"}
    index = read_recordings(folder_of(tmp_path, text, *names), AUDIO.model_copy(update=changes))
    assert index.recordings == (
        Recording(0, "b, c.wav", ("slow", "sad"), 'He said "go" and went', "train"),
        Recording(1, "sub/a.ogg", (), "", "test"),
        Recording(2, "z.flac", ("\u00e9t\u00e9",), "\u00fc", ""),
    )
    assert index.notes == (
        ("sub/a.ogg", "no labels"),
        ("sub/a.ogg", "split 'validation' counts as test"),
        ("notes.txt", "left out: files ending in .txt are no recordings"),
        ("other/UNLISTED.MP3", "in the folder, not in metadata.csv"),
    )


@pytest.mark.parametrize(
    ("given", "split", "note"),
    [
        ("train", "train", None),
        ("test", "test", None),
        ("valid", "test", "split 'valid' counts as test"),
        ("dev", "test", "split 'dev' counts as test"),
        ("Train", "train", None),
        ("unlabelled", "", "split 'unlabelled' counts as none"),
        ("", "", None),
    ],
)
def test_splits(tmp_path: Path, given: str, split: str, note: str | None) -> None:
    folder = folder_of(tmp_path, f"file_name,split\na.wav,{given}\n", "a.wav")
    index = read_recordings(folder, NO_LABELS)
    assert index.recordings[0].split == split
    assert [what for _, what in index.notes] == ([note] if note else [])


def test_the_official_split_must_be_there(tmp_path: Path) -> None:
    official = NO_LABELS.model_copy(update={"split": OfficialSplit(kind="official")})
    folder = folder_of(tmp_path, "file_name,split\na.wav,train\nb.wav,extra\n", "a.wav", "b.wav")
    with pytest.raises(RawDataError, match=r"metadata\.csv, line 3: b\.wav has no split that we know \('extra'\), and"):
        read_recordings(folder, official)
    folder_of(tmp_path, "file_name\ntrain/a.wav\nx/dev/b.wav\n", "train/a.wav", "x/dev/b.wav")
    assert [recording.split for recording in read_recordings(folder, official).recordings] == ["train", "test"]
    folder_of(tmp_path, "file_name\na.wav\n")
    with pytest.raises(
        RawDataError, match=r"line 2: a\.wav has no split, and the recipe wants the official one; add a"
    ):
        read_recordings(folder, official)


def test_without_metadata_folders_are_labels(tmp_path: Path) -> None:
    names = ("train/rock/b.WAV", "train/rock/a.ogg", "test/folk/c.mp3", "d.flac", "test/e.aiff", "rock/notes.txt")
    folder = folder_of(tmp_path, None, *names)
    data = AUDIO.model_copy(update={"labels_column": "label"})
    index = read_recordings(folder, data)
    assert index.recordings == (
        Recording(0, "d.flac", (), "", ""),
        Recording(1, "test/e.aiff", (), "", "test"),
        Recording(2, "test/folk/c.mp3", ("folk",), "", "test"),
        Recording(3, "train/rock/a.ogg", ("rock",), "", "train"),
        Recording(4, "train/rock/b.WAV", ("rock",), "", "train"),
    )
    assert index.notes == (
        ("d.flac", "no labels"),
        ("test/e.aiff", "no labels"),
        ("rock/notes.txt", "left out: files ending in .txt are no recordings"),
    )
    with pytest.raises(RawDataError, match=r"data\.labels_column = 'labels', but .* \(there is: label\)\. Set"):
        read_recordings(folder, AUDIO)


def test_all_that_libsndfile_reads_is_a_recording_and_all_else_gets_a_note(tmp_path: Path) -> None:
    no_audio = {"RAW", "SD2", "MAT4", "MAT5"}  # of no known encoding, or seldom audio
    kinds = {f"a.{kind.lower()}": kind for kind in soundfile.available_formats() if kind not in no_audio}
    assert len(kinds) > 20
    for name, kind in kinds.items():
        soundfile.write(tmp_path / name, np.linspace(-0.5, 0.5, 4000), 8000, format=kind)
    soundfile.write(tmp_path / "A.OPUS", np.linspace(-0.5, 0.5, 4000), 8000, format="OGG", subtype="OPUS")
    folder_of(tmp_path, None, "b.m4a", "c.m4a", "LICENSE", "source.json", ".DS_Store")
    index = read_recordings(tmp_path, NO_LABELS)
    assert {recording.file_name for recording in index.recordings} == kinds.keys() | {"A.OPUS"}
    for recording in index.recordings:
        assert len(read_audio(tmp_path / recording.file_name, sample_rate_hz=8000).samples) > 500
    assert index.notes == (
        ("LICENSE", "left out: files without a suffix are no recordings"),
        ("b.m4a", "left out: files ending in .m4a are no recordings"),
        ("c.m4a", "left out: files ending in .m4a are no recordings"),
    )


def test_what_metadata_names_is_a_recording_whatever_its_suffix(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "file_name\na.opus\nb.bin\n", "a.opus", "b.bin")
    index = read_recordings(folder, NO_LABELS)
    assert [recording.file_name for recording in index.recordings] == ["a.opus", "b.bin"]
    assert index.notes == ()
    (folder / "a.opus").unlink()
    assert len(read_recordings(folder, NO_LABELS).recordings) == 2  # preprocess rejects the other, and says so


def test_a_folder_whose_name_would_become_two_labels(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, None, "rock|pop/a.wav")
    with pytest.raises(
        RawDataError, match=r"rock\|pop/a\.wav: label 'rock\|pop' holds '\|', which would make two labels"
    ):
        read_recordings(folder, AUDIO.model_copy(update={"labels_column": "label"}))
    data = AUDIO.model_copy(update={"labels_column": "label", "label_separator": ";"})
    assert read_recordings(folder, data).recordings[0].labels == ("rock|pop",)
    assert read_recordings(folder, NO_LABELS).recordings[0].labels == ()


def test_names_on_the_disk_that_are_no_utf_8(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "file_name\na.wav\n", "a.wav", os.fsdecode(b"caf\xe9.wav"), os.fsdecode(b"x.\xe9"))
    assert read_recordings(folder, NO_LABELS).notes == (
        ("caf\u00e9.wav", "in the folder, not in metadata.csv"),
        ("x.\u00e9", "left out: files ending in .\u00e9 are no recordings"),
    )
    (folder / "metadata.csv").unlink()
    names = [recording.file_name for recording in read_recordings(folder, NO_LABELS).recordings]
    assert names == ["a.wav", "caf\u00e9.wav"]  # as ingest's copy is called


@pytest.mark.parametrize("listed", ["NFC", "NFD"])
def test_names_match_in_either_form_of_unicode(tmp_path: Path, listed: Literal["NFC", "NFD"]) -> None:
    """macOS writes an accent as a letter of its own, spreadsheets do not."""
    on_disk = unicodedata.normalize("NFD" if listed == "NFC" else "NFC", "caf\u00e9/\u00fcber.wav")
    text = "file_name\n" + unicodedata.normalize(listed, "caf\u00e9/\u00fcber.wav") + "\n"
    index = read_recordings(folder_of(tmp_path, text, on_disk), NO_LABELS)
    assert [recording.file_name for recording in index.recordings] == [on_disk]
    assert index.notes == ()
    twice = text + unicodedata.normalize("NFD" if listed == "NFC" else "NFC", "caf\u00e9/\u00fcber.wav") + "\n"
    with pytest.raises(RawDataError, match="lines 2 and 3 both name"):
        read_recordings(folder_of(tmp_path, twice), NO_LABELS)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_metadata_as_windows_writes_it(tmp_path: Path, encoding: str) -> None:
    folder = folder_of(tmp_path, "file_name,labels\r\na.wav,\u00fc|x\r\n".encode(encoding), "a.wav")
    assert read_recordings(folder, AUDIO).recordings[0].labels == ("\u00fc", "x")


def test_recordings_behind_links_are_read_and_links_to_nothing_are_said(tmp_path: Path) -> None:
    """As DVC lays data out with cache.type = symlink, and the hub its snapshots."""
    cache = folder_of(tmp_path / "cache", None, "ab/12", "folder/b.wav")
    folder = folder_of(tmp_path / "music", None)
    folder.mkdir()
    for name, target in (("a.wav", cache / "ab" / "12"), ("rock", cache / "folder"), ("gone.wav", cache / "gone")):
        (folder / name).symlink_to(target)
    index = read_recordings(folder, NO_LABELS)
    assert [recording.file_name for recording in index.recordings] == ["a.wav", "rock/b.wav"]
    assert index.notes == (("gone.wav", "left out: a link that leads nowhere"),)
    for recording in index.recordings:
        assert recording_path(folder, recording) == folder / recording.file_name


def test_the_only_folder_is_a_label_too(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, None, "train/rock/a.wav")
    assert find_folder(folder) == folder
    recording = read_recordings(folder, AUDIO.model_copy(update={"labels_column": "label"})).recordings[0]
    assert (recording.file_name, recording.labels, recording.split) == ("train/rock/a.wav", ("rock",), "train")


def test_an_inner_folder_is_found_if_it_is_the_only_one(tmp_path: Path) -> None:
    folder_of(tmp_path / "deep" / "music", "file_name\na.wav\n", "a.wav")
    folder_of(tmp_path, None, ".DS_Store", "source.json")
    assert find_folder(tmp_path) == tmp_path / "deep" / "music"
    assert read_recordings(tmp_path, NO_LABELS).recordings[0].file_name == "a.wav"
    folder_of(tmp_path, None, "other/b.wav")
    assert find_folder(tmp_path) == tmp_path


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="no such folder; run `linnet ingest`"):
        find_folder(tmp_path / "absent")
    folder_of(tmp_path, None, "a/image.png", "b/.wav")
    with pytest.raises(RawDataError, match=r"neither metadata\.csv nor audio files \(\.wav .*\) there\. A --source is"):
        find_folder(tmp_path)


def test_where_a_recording_lies(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "music", None, "in/a.wav")
    outside = folder_of(tmp_path, None, "secret.wav") / "secret.wav"
    (folder / "link.wav").symlink_to(outside)
    (folder / "folder").symlink_to(tmp_path)
    (folder / "inner.wav").symlink_to(folder / "in" / "a.wav")

    def place(name: str) -> Path | None:
        return recording_path(folder, Recording(0, name, (), "", ""))

    assert place("in/a.wav") == folder / "in" / "a.wav"
    assert place("absent.wav") == folder / "absent.wav"
    assert place("inner.wav") == folder / "inner.wav"
    assert place("link.wav") == folder / "link.wav"  # links are followed, as people and their tools make them
    for name in ("../secret.wav", str(outside), "in/../../secret.wav", "folder/../../secret.wav", "in/.a.wav"):
        assert place(name) is None


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "file_name,genre,who\na.wav,rock,me\n", "a.wav")
    with pytest.raises(
        RawDataError, match=r"data\.labels_column = 'labels', .* \(there is: genre, who\)\. Set .* to \"\""
    ):
        read_recordings(folder, AUDIO)
    with pytest.raises(RawDataError, match=r"data\.caption_column = 'text', but there is no such column"):
        read_recordings(folder, NO_LABELS.model_copy(update={"caption_column": "text"}))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (b"", "lists no recordings"),
        (b"file_name,labels\n", "lists no recordings"),
        (b"name,labels\na.wav,x\n", r"no column 'file_name' in its first line, only: name, labels"),
        (b"file_name,labels,labels\na.wav,x,y\n", "column 'labels' stands twice"),
        (b"file_name,labels\na.wav,x\n\na.wav,y\n", r"lines 2 and 4 both name a\.wav; take one out"),
        (b"file_name,labels\na.wav,x\n./a.wav,y\n", r"lines 2 and 3 both name a\.wav"),
        (b"file_name,labels\na.wav,x,y\n", r"line 2: 3 cells, the header has 2; a cell that holds a comma"),
        (b'file_name,labels\na.wav,"x\ny"\nb.wav\n', "line 4: 1 cells"),
        (b"file_name,labels\na.wav,x\n,y\n", r"line 3: '' is no file name"),
        (b'file_name,labels\n"a\nb.wav",x\n', r"line 2: 'a\\nb\.wav' is no file name"),
        (b"file_name,labels\n" + b"a" * 256 + b",x\n", "line 2: the file name is longer than 255 bytes"),
        (b"file_name,labels\na.wav,x\nb\0.wav,x\n", "line 3: a NUL byte; save the file as text in UTF-8"),
        ("file_name,labels\na.wav,x\nb\0.wav,x\n".encode("utf-16"), "line 3: a NUL byte"),
        ("file_name,labels\na.wav,x\n".encode("utf-16") + b"\x00", "line 3: byte 0x00 is no UTF-16"),
        ("file_name,labels\na.wav,\u00fc\n".encode("latin-1"), "line 2: byte 0xfc is no UTF-8"),
        (b'file_name,labels\na.wav,"x\n', r"line 2: unexpected end of data; correct the quotes"),
        (b'file_name,labels\na.wav,"x"y\n', r"line 2: ',' expected after '\"'"),
        (b"file_name,labels\na.wav," + b"x" * 1_000_000 + b"\n", r"line 2: field larger than field limit"),
        (b"file_name,labels\nb.wav,x\n../a.wav,y\n", "lists 2 recordings, and none of the files is there"),
    ],
)
def test_hostile_metadata_is_one_sentence(tmp_path: Path, metadata: bytes, message: str) -> None:
    folder = folder_of(tmp_path, metadata, "a.wav")
    with pytest.raises(RawDataError, match=message) as caught:
        read_recordings(folder, AUDIO)
    assert str(folder / "metadata.csv") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(folder)) + 300


def test_control_characters_become_spaces_and_are_noted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "file_name,labels\na.wav,\x1b[31mred|\x07\n", "a.wav")
    index = read_recordings(folder, AUDIO)
    assert index.recordings[0].labels == ("[31mred",)
    assert index.notes == (("a.wav", "control characters in labels became spaces"),)


def test_the_order_is_the_one_of_the_metadata(tmp_path: Path) -> None:
    def names(data: Audio) -> list[str]:
        return [recording.file_name for recording in read_recordings(tmp_path, data).recordings]

    folder_of(tmp_path, "file_name\nb.wav\nc.wav\na.wav\n", "a.wav", "b.wav", "c.wav")
    assert names(NO_LABELS) == ["b.wav", "c.wav", "a.wav"]
    (tmp_path / "metadata.csv").unlink()
    assert names(NO_LABELS) == ["a.wav", "b.wav", "c.wav"]


def test_labels_written_as_lists_are_noted(tmp_path: Path) -> None:
    text = "file_name,labels\na.wav,\"['x', 'y']\"\nb.wav,['y']\n"
    index = read_recordings(folder_of(tmp_path, text, "a.wav", "b.wav"), AUDIO)
    assert [recording.labels for recording in index.recordings] == [("x", "y"), ("y",)]
    assert index.notes == (("a.wav", "labels read from a list"), ("b.wav", "labels read from a list"))


def test_labels_with_commas_are_refused_captions_are_not(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "file_name,labels\na.wav,'x, y'\nb.wav,'x, y'\n".replace("'", '"'), "a.wav", "b.wav")
    with pytest.raises(RawDataError, match=r"metadata\.csv, line 2: 'x, y' would be one label"):
        read_recordings(folder, AUDIO)
    captions = AUDIO.model_copy(update={"labels_column": "", "caption_column": "labels"})
    assert [recording.caption for recording in read_recordings(folder, captions).recordings] == ["x, y", "x, y"]


def test_a_folder_with_a_comma_is_one_label(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, None, "Folk, World/a.wav", "Folk, World/b.wav", "Soul/c.wav")
    index = read_recordings(folder, AUDIO.model_copy(update={"labels_column": "label"}))
    assert [recording.labels for recording in index.recordings] == [("Folk, World",), ("Folk, World",), ("Soul",)]
    assert index.notes == ()
