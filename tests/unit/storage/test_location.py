"""Locations in S3 and on this machine."""

from pathlib import Path

import pytest

from linnet import storage
from linnet.storage import StorageError


def test_urls_and_local_paths() -> None:
    assert storage.is_s3_url("s3://bucket/folder")
    assert not storage.is_s3_url("build/s3")
    assert storage.join("s3://bucket/folder/", "a", "b.txt") == "s3://bucket/folder/a/b.txt"
    assert storage.join("s3://bucket", "a") == "s3://bucket/a"
    assert storage.join("build", "a", "b.txt") == "build/a/b.txt"


@pytest.mark.parametrize("url", ["/local/file", "s3://", "s3:///key", "s3://bucket name/key", "https://bucket/key"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(StorageError, match=r"is no address in S3; give s3://BUCKET/FOLDER"):
        storage.exists(url)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket/folder/"])
def test_a_folder_is_no_object(url: str, tmp_path: Path) -> None:
    for use in (storage.exists, lambda url: storage.download_file(url, tmp_path / "x")):
        with pytest.raises(StorageError, match="names a folder where an object is needed"):
            use(url)
