"""Single objects in S3, and removing what lies at a location."""

import hashlib
import shutil
from pathlib import Path

from linnet.files import new_file, path_lock
from linnet.storage.connection import StorageError, new_client
from linnet.storage.listing import find_object, get_object, list_entries, list_objects
from linnet.storage.location import is_s3_url, split_folder_url, split_object_url
from linnet.storage.transfers import download_objects, upload_objects


def exists(url: str) -> bool:
    """Whether there is an object at `url`. Raises StorageError where the server does not say."""
    bucket, key = split_object_url(url)
    with new_client(url) as client:
        return find_object(client, bucket, key) is not None


def version(url: str) -> str:
    """Identify what lies at `url` now without downloading it: the sha256 of names, sizes and etags.

    Args:
        url: an object, or a folder if it ends with "/".

    Raises:
        StorageError: nothing is there.
    """
    bucket, key = split_folder_url(url) if url.endswith("/") else split_object_url(url)
    with new_client(url) as client:
        if url.endswith("/"):
            objects = list_objects(client, bucket, key, url=url)
        else:
            objects = [get_object(client, bucket, key, url=url)]
    lines = "".join(f"{found.name}\0{found.size}\0{found.etag}\n" for found in objects)
    return hashlib.sha256(lines.encode()).hexdigest()


def download_file(url: str, path: Path) -> None:
    """Download one object to `path`, whole or not at all. Raises StorageError."""
    bucket, key = split_object_url(url)
    with new_client(url) as client, path_lock(path):
        found = get_object(client, bucket, key, url=url)
        with new_file(path) as partial, partial.open("wb") as file:
            download_objects(client, bucket, {found: file}, description=f"download {path.name}")


def upload_file(path: Path, url: str) -> None:
    """Upload one file to `url`; the object appears whole or not at all. Raises StorageError."""
    bucket, key = split_object_url(url)
    if not path.is_file():
        raise StorageError(f"{path}: no such file, so nothing can go to {url}; make it first")
    with new_client(url) as client:
        upload_objects(client, bucket, {key: path}, description=f"upload {path.name}")


def remove(location: str) -> None:
    """Delete what lies at `location` and below it, a URL below a bucket or a local folder; nothing there is fine.

    Raises:
        StorageError: the server refuses.
    """
    if not is_s3_url(location):
        shutil.rmtree(location, ignore_errors=True)
        return
    bucket, key = split_object_url(location.rstrip("/"))
    with new_client(location) as client:
        for found in [key, *[entry["Key"] for entry in list_entries(client, bucket, f"{key}/")]]:
            client.delete_object(Bucket=bucket, Key=found)
