"""Locations: s3:// URLs and local paths, as people and tasks write them."""

import re
from pathlib import Path

from linnet.storage.connection import StorageError

SCHEME = "s3://"


def is_s3_url(location: str) -> bool:
    """Whether `location` is a URL in S3 and not a local path."""
    return location.startswith(SCHEME)


def join(location: str, *names: str) -> str:
    """The location `names` below `location`, which is a URL or a local path."""
    if is_s3_url(location):
        return "/".join([location.rstrip("/"), *(name.strip("/") for name in names)])
    return str(Path(location, *names))


def split_object_url(url: str) -> tuple[str, str]:
    """Bucket and key of an object. Raises StorageError if `url` names a folder."""
    bucket, key = _split(url)
    if not key or key.endswith("/"):
        raise StorageError(f"{url!r} names a folder where an object is needed; give {SCHEME}BUCKET/FOLDER/FILE")
    return bucket, key


def split_folder_url(url: str) -> tuple[str, str]:
    """Bucket and prefix of a folder; the prefix ends in "/", or is empty for the whole bucket. Raises StorageError."""
    bucket, key = _split(url)
    return bucket, f"{key.rstrip('/')}/" if key.strip("/") else ""


def _split(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    if not is_s3_url(url) or not re.fullmatch(r"[A-Za-z0-9._-]+", bucket):
        raise StorageError(f"{url!r} is no address in S3; give {SCHEME}BUCKET/FOLDER, with a bucket of letters and -")
    return bucket, key
