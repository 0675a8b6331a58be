"""What is refused before a folder or a file is uploaded."""

from pathlib import Path

import pytest

from linnet import storage
from linnet.storage import StorageError


def test_what_cannot_be_uploaded(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="absent: no such file, so nothing can go to s3://bucket/file"):
        storage.upload_file(tmp_path / "absent", "s3://bucket/file")
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(StorageError, match="holds no files, so nothing can go to s3://bucket/folder"):
            storage.upload_folder(folder, "s3://bucket/folder")
    (tmp_path / "file").write_text("content")
    with pytest.raises(StorageError, match="give a folder below the bucket, such as s3://bucket/"):
        storage.upload_folder(tmp_path, "s3://bucket/")  # would delete the rest of the bucket
    (tmp_path / "provenance.json").write_text('{"content_hash": "of other content"}')
    with pytest.raises(StorageError, match=r"is not what its provenance\.json says"):
        storage.upload_folder(tmp_path, "s3://bucket/folder")
    (tmp_path / "provenance.json").write_text("{damaged")
    with pytest.raises(StorageError, match=r"its provenance\.json is damaged"):
        storage.upload_folder(tmp_path, "s3://bucket/folder")
