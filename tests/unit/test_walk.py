"""One walk over somebody's disk: links, names of any bytes, and what a system left."""

import os
import unicodedata
from pathlib import Path

import pytest

from linnet.files import copy_folder
from linnet.hashes import folder_hash
from linnet.walk import NameFinder, WalkError, is_ignored, readable, walk


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.fsencode(name))
    return folder


def test_files_behind_links_are_found_and_links_to_nothing_are_counted(tmp_path: Path) -> None:
    fill(tmp_path / "disk", "b.png", "deep/c.png")
    set_ = fill(tmp_path / "set", "a/x.png")
    (set_ / "z").symlink_to(tmp_path / "disk")
    (set_ / "a" / "file.png").symlink_to("../../disk/b.png")
    (set_ / "twice").symlink_to("a")  # the same folder by two ways is no circle
    (set_ / "gone.png").symlink_to(tmp_path / "nowhere")
    (set_ / "self").symlink_to("self")
    (tmp_path / "link").symlink_to(set_)
    for folder in (set_, tmp_path / "link"):
        found = walk(folder)
        names = ["a/file.png", "a/x.png", "twice/file.png", "twice/x.png", "z/b.png", "z/deep/c.png"]
        assert list(found.files) == names
        assert [path.read_bytes() for path in found.files.values()][-2:] == [b"b.png", b"deep/c.png"]
        assert found.broken == ("gone.png", "self")
        assert found.notes() == ["2 links lead nowhere and are left out: gone.png, self"]


@pytest.mark.parametrize("target", ["..", ".", "../..", "../other"])
def test_a_link_to_a_folder_that_it_lies_in_is_refused(tmp_path: Path, target: str) -> None:
    folder = fill(tmp_path / "set", "images/a.png", "other/b.png")
    (folder / "images" / "loop").symlink_to(target)
    (folder / "other" / "back").symlink_to("../images")  # a circle of two links
    with pytest.raises(
        WalkError, match=r"set/.*: a link leads back to .*/set.*, in which it lies; .* remove the link$"
    ):
        walk(folder)


def test_what_a_system_left_is_passed_over(tmp_path: Path) -> None:
    left = ("._a.png", "__MACOSX/._a.png", ".DS_Store", "x/.ipynb_checkpoints/a.png", "x/Thumbs.db", "x/DESKTOP.INI")
    folder = fill(tmp_path / ".hidden" / "set", "a.png", "x/b._c.png", *left)
    found = walk(folder)
    assert list(found.files) == ["a.png", "x/b._c.png"]
    assert set(found.ignored) == {name.replace("X/._a.png", "X").removesuffix("/a.png") for name in left}
    assert folder_hash(folder) == folder_hash(fill(tmp_path / "same", "a.png", "x/b._c.png"))
    assert not any(map(is_ignored, ("a.", "thumbs.dbx", "MACOSX", "..".strip("."))))


def test_names_are_bytes(tmp_path: Path) -> None:
    names = [os.fsdecode(name) for name in (b"z.png", b"caf\xe9.png", b"\x81.png")]
    folder = fill(tmp_path / "set", *names)
    assert list(walk(folder).files) == [names[1], "z.png", names[2]]
    before = folder_hash(folder)
    (folder / names[1]).rename(folder / os.fsdecode(b"caf\xe8.png"))
    assert folder_hash(folder) != before
    assert [readable(name) for name in names] == ["z.png", "caf\u00e9.png", "\x81.png"]


def test_a_copy_holds_files_and_names_of_text(tmp_path: Path) -> None:
    source = fill(tmp_path / "source", os.fsdecode(b"caf\xe9.png"), "b.txt", ".c")
    (source / "link").symlink_to("b.txt")
    (source / "b.txt").chmod(0o444)
    notes = copy_folder(source, tmp_path / "copy", leave_out=["none"]).notes()
    copied = {path.name: path for path in (tmp_path / "copy").iterdir()}
    assert set(copied) == {"caf\u00e9.png", "b.txt", "link"}
    assert not copied["link"].is_symlink()
    assert copied["b.txt"].stat().st_mode & 0o200
    assert notes == [
        "1 names are not UTF-8 and were read as Windows-1252: caf\u00e9.png",
        "1 hidden files or files of the system are left out: .c",
    ]
    fill(source, "caf\u00e9.png")
    with pytest.raises(WalkError, match=r"both names read 'caf\u00e9\.png'; rename one"):
        copy_folder(source, tmp_path / "other")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("a/b.png", "a/b.png"),
        ("./a//b.png", "a/b.png"),
        ("a\\b.png", "a/b.png"),
        ("back\\slash.png", "back\\slash.png"),  # a name on the disk goes before what it may mean
        (unicodedata.normalize("NFD", "\u00fc/\u00e9.png"), "\u00fc/\u00e9.png"),
        ("n/" + unicodedata.normalize("NFC", "a\u030a.png"), "n/a\u030a.png"),
        ("caf\u00e9.png", os.fsdecode(b"caf\xe9.png")),
        ("A/b.png", None),
        ("../a/b.png", None),
        ("a/../a/b.png", None),
        ("..\\a\\b.png", None),
        ("/a/b.png", None),
        ("", None),
    ],
)
def test_a_file_is_found_by_the_name_in_a_table(tmp_path: Path, asked: str, found: str | None) -> None:
    names = ("a/b.png", "back\\slash.png", "\u00fc/\u00e9.png", "n/a\u030a.png", os.fsdecode(b"caf\xe9.png"))
    assert NameFinder(dict.fromkeys(names, tmp_path)).find(asked) == found
