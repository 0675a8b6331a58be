"""Names in tables as other machines and programs write them, and the one file of the folder that each means."""

import unicodedata
from pathlib import Path

import pytest

from linnet.data.layouts.audio_conversion import check, convert
from linnet.data.layouts.audio_folder import read_recordings
from linnet.data.layouts.file_names import FileNames, resolve
from linnet.data.raw import RawDataError
from support.audio_section import AUDIO

DATA = AUDIO.model_copy(update={"labels_column": ""})
FILES = ("flute/s0.wav", "flute/s1.wav", "a b.wav", "Bell.WAV", "100%25.wav")
SLASHES, INSIDE = "backslashes became slashes", "paths that lead into the folder became relative to it"


def names_of(
    tmp_path: Path, *cells: str, files: tuple[str, ...] = FILES, folder: str = "songs", below: str = "."
) -> FileNames:
    source = tmp_path / folder
    wheres = [f"line {number}" for number, _ in enumerate(cells)]
    return resolve(cells, wheres, table=source / below / "metadata.csv", source=source, files=files)


@pytest.mark.parametrize(
    ("cells", "names", "done"),
    [
        (["flute/s0.wav", "./a b.wav", "absent.wav"], ["flute/s0.wav", "a b.wav", "absent.wav"], ""),
        (["flute\\s0.wav", "flute/s1.wav"], ["flute/s0.wav", "flute/s1.wav"], f"1 of 2 file names: {SLASHES}"),
        ([".\\flute\\s0.wav"], ["flute/s0.wav"], f"1 of 1 file names: {SLASHES}"),
        (["x/../a b.wav"], ["a b.wav"], f"1 of 1 file names: {INSIDE}"),
        (["../songs/flute/s0.wav"], ["flute/s0.wav"], f"1 of 1 file names: {INSIDE}"),
        (["..\\songs\\flute\\s0.wav"], ["flute/s0.wav"], f"1 of 1 file names: {SLASHES}, {INSIDE}"),
        (["a%20b.wav"], ["a b.wav"], "1 of 1 file names: %20 and the like were decoded"),
        (["100%25.wav"], ["100%25.wav"], ""),  # a file is really called that
        (
            ["FLUTE/S0.wav", "bell.wav"],
            ["flute/s0.wav", "Bell.WAV"],
            "2 of 2 file names: capitals as the files have them",
        ),
        (
            ["/home/me/songs/flute/s0.wav", "/home/me/songs/a b.wav"],
            ["flute/s0.wav", "a b.wav"],
            "'/home/me/songs/' was",
        ),
        (
            ["C:\\Songs\\flute\\s0.wav", "C:\\Songs\\gone.wav"],
            ["flute/s0.wav", "gone.wav"],
            f"{SLASHES}, 'C:/Songs/' was",
        ),
        (["\\\\nas\\songs\\flute\\s0.wav"], ["flute/s0.wav"], "'//nas/songs/' was taken off"),
        (["file:///home/me/a%20b.wav"], ["a b.wav"], "decoded, '/home/me/' was taken off"),
        (
            ["songs/flute/s0.wav", "songs/flute/s1.wav"],
            ["flute/s0.wav", "flute/s1.wav"],
            "2 of 2 file names: 'songs/' was",
        ),
        # what is taken off is the same for all; one in two must be there
        (["/a/flute/s0.wav", "/b/flute/s1.wav"], ["/a/flute/s0.wav", "/b/flute/s1.wav"], ""),
        (["/a/flute/s0.wav", "/a/x.wav", "/a/y.wav"], ["/a/flute/s0.wav", "/a/x.wav", "/a/y.wav"], ""),
        # nothing out of the folder, though a file is called so
        (["../a b.wav"], ["../a b.wav"], ""),
        (["../other/flute/s0.wav"], ["../other/flute/s0.wav"], ""),
        (["..\\..\\flute\\s0.wav"], ["..\\..\\flute\\s0.wav"], ""),
    ],
)
def test_names_and_what_was_done(tmp_path: Path, cells: list[str], names: list[str], done: str) -> None:
    found = names_of(tmp_path, *cells)
    assert list(found.names) == names
    assert (done in found.summary()) if done else not found.summary()


def test_absolute_names_of_this_very_folder(tmp_path: Path) -> None:
    here = str(tmp_path / "songs" / "flute" / "s0.wav")
    found = names_of(tmp_path, here, str(tmp_path / "a b.wav"))
    assert found.names == ("flute/s0.wav", str(tmp_path / "a b.wav"))
    assert (found.summary(), found.num_found) == (f"1 of 2 file names: {INSIDE}", 1)


def test_what_might_be_two_files_is_none(tmp_path: Path) -> None:
    assert names_of(tmp_path, "S0.wav", files=("s0.wav", "s0.WAV")).names == ("S0.wav",)
    assert names_of(tmp_path, "/x/flute/a.wav", files=("flute/a.wav", "a.wav")).names == ("/x/flute/a.wav",)
    both = names_of(tmp_path, "/x/flute/a.wav", "/x/b.wav", files=("flute/a.wav", "a.wav", "b.wav"))
    assert both.names == ("flute/a.wav", "b.wav")  # only one beginning fits both


def test_a_table_further_down(tmp_path: Path) -> None:
    files = ("audio/a.wav", "lists/b.wav")
    assert names_of(tmp_path, "../audio/a.wav", "b.wav", files=files, below="lists").names == files
    assert names_of(tmp_path, "audio/a.wav", "lists/b.wav", files=files, below="lists").names == files  # from the top
    assert names_of(tmp_path, "lists/b.wav", files=files, below="lists").names == ("lists/b.wav",)


def test_either_unicode_form_is_no_change(tmp_path: Path) -> None:
    name = "fl\u00fbte.wav"
    found = names_of(tmp_path, unicodedata.normalize("NFD", name), files=(name,))
    assert (found.num_found, found.mended) == (1, ())
    assert names_of(tmp_path, "\\\\nas\\" + unicodedata.normalize("NFD", name), files=(name,)).names == (name,)


def source_of(folder: Path, metadata: str, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "metadata.csv").write_text(metadata)
    return folder


def test_the_mended_table_is_what_ingest_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "file_name,caption\nD:\\in\\s0.wav,a\nD:\\in\\s1.wav,b\n"
    source = source_of(tmp_path / "source", text, "s0.wav", "s1.wav", "notes.txt")
    (tmp_path / "out").mkdir()
    check(source, DATA)
    convert(source, tmp_path / "out", DATA)
    assert (tmp_path / "out" / "metadata.csv").read_text() == "file_name,caption\ns0.wav,a\ns1.wav,b\n"
    assert [each.file_name for each in read_recordings(tmp_path / "out", DATA).recordings] == ["s0.wav", "s1.wav"]
    said = "metadata.csv: 2 of 2 file names: backslashes became slashes, 'D:/in/' was taken off\n"
    assert said in capsys.readouterr().err
    assert (tmp_path / "out" / "notes.txt").is_file()


def test_names_that_fit_nothing_are_shown(tmp_path: Path) -> None:
    source = source_of(tmp_path / "source", "file_name\n/x/1.wav\n/x/2.wav\n", "s0.wav")
    with pytest.raises(
        RawDataError, match=r"metadata\.csv, line 2: '/x/1\.wav' is no file .*, such as 's0\.wav'"
    ) as caught:
        check(source, DATA)
    assert str(caught.value).startswith(str(source / "metadata.csv"))


@pytest.mark.parametrize("cell", ["", "a\0b.wav", "x" * 256, "\ud83d.wav"])
def test_what_is_no_name_is_refused(tmp_path: Path, cell: str) -> None:
    with pytest.raises(RawDataError, match=r"^line 1: "):
        names_of(tmp_path, "flute/s0.wav", cell, files=("flute/s0.wav", "a", "a.wav"))
