"""Raw data as one file between tasks."""

import os
from pathlib import Path

import pytest

from linnet.files import ArtifactError
from linnet.hashes import folder_hash
from linnet.tasks.packing import pack, unpacked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "deep" / "er").mkdir(parents=True)
    (made / "deep" / "er" / "ü ñ.bin").write_bytes(bytes(range(256)) * 40)
    (made / "empty").touch()
    (made / ("long" * 40)).write_text("a name longer than old archives hold")
    return made


def test_what_comes_out_is_what_went_in(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "raw")
    with unpacked(str(tmp_path / "raw")) as out:
        assert folder_hash(out, leave_out=()) == folder_hash(folder, leave_out=())
        place = out
    assert not place.exists()


def test_the_same_files_are_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Whenever and in whatever order they were written."""
    pack(folder, tmp_path / "one")
    os.utime(folder / "empty", (1, 1))
    (folder / "empty").chmod(0o600)
    pack(folder, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("damage", [b"", b"no archive at all" * 100])
def test_what_is_no_archive_is_refused(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(damage)
    with pytest.raises(ArtifactError, match="is not the raw data that ingest packed"), unpacked(str(tmp_path / "raw")):
        pass


def test_a_cut_archive_is_refused(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "raw")
    content = (tmp_path / "raw").read_bytes()
    (tmp_path / "raw").write_bytes(content[: len(content) // 4])
    with pytest.raises(ArtifactError, match="run ingest again"), unpacked(str(tmp_path / "raw")):
        pass
