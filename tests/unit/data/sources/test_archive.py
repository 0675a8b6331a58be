"""Archives: whole or an error, and nothing lands outside the folder."""

import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from linnet.data.sources.archive import ArchiveError, unpack

FILES = {f"folder/{place}.bin": np.random.default_rng(place).bytes(5000) for place in range(8)}
TAR_MODES = {"tar": "w", "tgz": "w:gz", "tbz": "w:bz2", "txz": "w:xz"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "around" / "out").mkdir(parents=True)
    return tmp_path / "around" / "out"


def make_archive(path: Path, kind: str) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in FILES.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, TAR_MODES[kind]) as tar:  # type: ignore[call-overload]
            for name, content in FILES.items():
                add(tar, name, content=content)
    return path


def add(
    tar: tarfile.TarFile, name: str, *, kind: bytes = tarfile.REGTYPE, target: str = "", content: bytes = b""
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, len(content)
    tar.addfile(member, io.BytesIO(content))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", [*TAR_MODES, "zip"])
def test_every_kind_of_archive_is_unpacked_whatever_its_name(folder: Path, tmp_path: Path, kind: str) -> None:
    counted: list[int] = []
    unpack(make_archive(tmp_path / "archive", kind), folder, advance=counted.append)
    assert contents(folder) == FILES
    assert counted == [1] * len(FILES)


def test_links_inside_become_copies(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "a/b.txt", content=b"b")
        add(tar, "soft.txt", kind=tarfile.SYMTYPE, target="a/b.txt")
        add(tar, "hard.txt", kind=tarfile.LNKTYPE, target="a/b.txt")
    unpack(tmp_path / "a.tar", folder, advance=lambda _: None)
    assert contents(folder) == {"a/b.txt": b"b", "soft.txt": b"b", "hard.txt": b"b"}
    assert not (folder / "soft.txt").is_symlink()


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("../escaped.txt", tarfile.REGTYPE, ""),
        ("a/../../escaped.txt", tarfile.REGTYPE, ""),
        ("link", tarfile.SYMTYPE, "../escaped.txt"),
        ("link", tarfile.SYMTYPE, "/etc/passwd"),
        ("link", tarfile.LNKTYPE, "../escaped.txt"),
        ("device", tarfile.CHRTYPE, ""),
        ("pipe", tarfile.FIFOTYPE, ""),
    ],
)
def test_a_hostile_tar_member_is_refused(folder: Path, tmp_path: Path, name: str, kind: bytes, target: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, name, kind=kind, target=target)
        add(tar, "after.txt")
    with pytest.raises(ArchiveError, match=rf"a\.tar: member '{name}'"):
        unpack(tmp_path / "a.tar", folder, advance=lambda _: None)
    assert not os.path.lexists(folder / name)
    assert list(folder.parent.iterdir()) == [folder]
    assert list(folder.iterdir()) == []


def test_a_file_is_not_written_through_a_link(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "sub", kind=tarfile.SYMTYPE, target=str(folder.parent))
        add(tar, "sub/escaped.txt", content=b"x")
    with pytest.raises(ArchiveError, match="member 'sub' would land outside"):
        unpack(tmp_path / "a.tar", folder, advance=lambda _: None)
    assert list(folder.parent.iterdir()) == [folder]


def test_an_absolute_tar_name_is_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "escaped.txt"
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, str(outside), content=b"x")
    with pytest.raises(ArchiveError, match="would land outside the folder"):
        unpack(tmp_path / "a.tar", folder, advance=lambda _: None)
    assert not outside.exists()


@pytest.mark.parametrize("name", ["../escaped.txt", "a/../../escaped.txt", "/escaped.txt"])
def test_a_hostile_zip_member_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
        archive.writestr("after.txt", b"x")
    with pytest.raises(ArchiveError, match=rf"a\.zip: member '{name}' would land outside the folder"):
        unpack(tmp_path / "a.zip", folder, advance=lambda _: None)
    assert list(folder.parent.iterdir()) == [folder]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", [*TAR_MODES, "zip"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_a_truncated_archive_is_an_error(folder: Path, tmp_path: Path, kind: str, share: float) -> None:
    path = make_archive(tmp_path / "archive", kind)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(ArchiveError, match=r"(?s)archive: not a whole archive \(.+\); fetch it again"):
        unpack(path, folder, advance=lambda _: None)


@pytest.mark.parametrize("kind", ["tgz", "tbz", "txz", "zip"])
@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_byte_is_an_error(folder: Path, tmp_path: Path, kind: str, seed: int) -> None:
    """All these formats carry checksums, so that a damaged image can't slip into the data."""
    path = make_archive(tmp_path / "archive", kind)
    content = bytearray(path.read_bytes())
    content[int(np.random.default_rng(seed).integers(len(content) // 4, len(content) // 2))] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="archive: not a whole archive"):
        unpack(path, folder, advance=lambda _: None)


def test_what_is_no_archive_is_an_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>Not found</html>" * 100)
    with pytest.raises(ArchiveError, match=r"page\.html: not a whole archive"):
        unpack(tmp_path / "page.html", folder, advance=lambda _: None)


def test_a_full_disk_is_not_the_archives_fault(folder: Path, tmp_path: Path) -> None:
    path = make_archive(tmp_path / "archive", "tgz")
    shutil.rmtree(folder)
    folder.write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        unpack(path, folder, advance=lambda _: None)


def zip_of(path: Path, name: bytes, *, flags: int, system: int) -> Path:
    """A zip with one empty member, whose name is these bytes."""
    place = "x" * len(name)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(place, b"")
    content = bytearray(path.read_bytes().replace(place.encode(), name))
    local, central = content.find(name) - 30, content.rfind(name) - 46  # the headers of fixed lengths before it
    content[local + 6 : local + 8] = content[central + 8 : central + 10] = flags.to_bytes(2, "little")
    content[central + 5] = system
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "flags", "system", "expected"),
    [
        ("caf\u00e9/a.png".encode(), 0, 3, "caf\u00e9/a.png"),  # of a Mac: UTF-8 that does not say so
        ("caf\u00e9/a.png".encode(), 0, 0, "caf\u00e9/a.png"),
        ("caf\u00e9/a.png".encode(), 0x800, 0, "caf\u00e9/a.png"),
        ("caf\u00e9/a.png".encode("cp437"), 0, 0, "caf\u00e9/a.png"),  # what the format says
        ("caf\u00e9/a.png".encode("latin-1"), 0, 3, "caf\u00e9/a.png"),  # of an older Unix
        (b"mine\\red\\a.png", 0, 0, "mine/red/a.png"),  # of Windows
    ],
)
def test_names_in_a_zip_become_text(
    folder: Path, tmp_path: Path, name: bytes, flags: int, system: int, expected: str
) -> None:
    unpack(zip_of(tmp_path / "a.zip", name, flags=flags, system=system), folder, advance=lambda _: None)
    assert list(contents(folder)) == [expected]


@pytest.mark.parametrize("name", ["..\\escaped.txt", "a\\..\\..\\escaped.txt", "\\\\server\\x", "__MACOSX\\..\\..\\x"])
def test_a_hostile_name_of_windows_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        member = zipfile.ZipInfo("x")
        member.filename = name
        archive.writestr(member, b"x")
    with pytest.raises(ArchiveError, match=r"would land outside the folder"):
        unpack(tmp_path / "a.zip", folder, advance=lambda _: None)
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_what_a_system_added_is_left_out_and_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    names = ("mine/a.png", "__MACOSX/mine/._a.png", "mine/Thumbs.db", "./mine/.ipynb_checkpoints/a.png")
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "a", "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
    else:
        with tarfile.open(tmp_path / "a", "w") as tar:
            for name in names:
                add(tar, name, content=b"x")
    unpack(tmp_path / "a", folder, advance=lambda _: None)
    assert contents(folder) == {"mine/a.png": b"x"}
    assert "3 hidden files or files of the system are left out: __MACOSX/mine/._a.png" in capsys.readouterr().err


def test_a_tar_of_an_older_system_has_names_of_text(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT, encoding="latin-1") as tar:
        add(tar, "caf\u00e9.png", content=b"x")
    unpack(tmp_path / "a.tar", folder, advance=lambda _: None)
    assert contents(folder) == {"caf\u00e9.png": b"x"}


def test_the_formats_that_are_read_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    words = r"mine\.tar\.zst: not a whole archive \(\w[^:]*\w\); fetch it again \(\.tar, \.tar\.gz, .* are read\)"
    with pytest.raises(ArchiveError, match=words):
        unpack(tmp_path / "mine.tar.zst", folder, advance=lambda _: None)


def test_a_link_to_a_folder_of_the_archive_is_called_so(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tar", "w") as tar:
        for name, kind, target in (("images/c", tarfile.DIRTYPE, ""), ("images/d", tarfile.SYMTYPE, "c")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    with pytest.raises(ArchiveError, match=r"member 'images/d' is a link to a folder \(c\); pack the files themselves"):
        unpack(tmp_path / "links.tar", folder, advance=lambda _: None)
