"""A layout of images needs no more than an index."""

import tarfile
from pathlib import Path

import pytest

from linnet.artifacts import Raw
from linnet.data.layouts.base import ImageIndex, ImageLayoutReader, ImageRecord
from linnet.data.raw import RawDataError


class OneFolder(ImageLayoutReader):
    """All .txt files in a folder, of one class."""

    def read_index(self, raw: Path) -> ImageIndex:
        paths = sorted(raw.glob("*.txt"))
        if not paths:
            raise RawDataError(f"{raw}: no .txt there")
        records = (ImageRecord(number, path.name, path, None, 0, "") for number, path in enumerate(paths))
        return ImageIndex(tuple(records), ("text",), (1,))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "LICENSE", Raw.source):
        (folder / name).write_text(name)
        (folder / name).chmod(0o444)
    return folder


def test_a_folder_is_copied_as_it_is_and_can_be_written_to(source: Path, tmp_path: Path) -> None:
    reader, raw = OneFolder(), tmp_path / "raw"
    reader.check(source)
    reader.copy(source, raw)
    assert sorted(path.name for path in raw.iterdir()) == ["LICENSE", "a.txt", "b.txt"]
    assert all(path.stat().st_mode & 0o200 for path in raw.iterdir())
    reader.verify(raw)
    assert reader.describe(raw) == ["2 images of 1 classes"]


def test_an_archive_is_unpacked_as_it_is(source: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(source / "a.txt", "a.txt")
    members: list[int] = []
    OneFolder().unpack(tmp_path / "a.tar", tmp_path / "raw", advance=members.append)
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["a.txt"]
    assert members == [1]


def test_a_folder_in_another_layout_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match=r"no \.txt there"):
        OneFolder().check(tmp_path)
