"""Whether folders of this machine can be read and written."""

import os
from pathlib import Path

import pytest

from linnet import storage
from linnet.storage import StorageError


def test_local_folders(tmp_path: Path) -> None:
    storage.check_access(str(tmp_path), write=True)
    storage.check_access(str(tmp_path), write=False)
    storage.check_access(str(tmp_path / "can" / "be" / "made"), write=True)
    assert list(tmp_path.iterdir()) == []  # a check leaves nothing
    with pytest.raises(StorageError, match=r"absent cannot be read \(.*: No such file or directory\); give a folder"):
        storage.check_access(str(tmp_path / "absent"), write=False)
    (tmp_path / "file").write_text("")
    for write in (True, False):
        with pytest.raises(StorageError, match=r"file cannot be \w+ \(.*file: Not a directory\)"):
            storage.check_access(str(tmp_path / "file"), write=write)
    with pytest.raises(StorageError, match=r"below cannot be written \(.*file: Not a directory\)"):
        storage.check_access(str(tmp_path / "file" / "below"), write=True)


def test_a_folder_that_even_root_cannot_write() -> None:
    """/proc refuses new files whoever asks."""
    with pytest.raises(StorageError, match=r"^/proc/new cannot be written \(/proc: .*\); give a folder that can"):
        storage.check_access("/proc/new", write=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(StorageError, match=r"cannot be written .*Permission denied"):
        storage.check_access(str(tmp_path), write=True)
    tmp_path.chmod(0o755)
