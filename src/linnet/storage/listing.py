"""What lies in a bucket: single objects, and all below a prefix."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from linnet.storage.connection import StorageError

PROBE = ".linnet-access-"  # what check_access writes; a killed check must not damage the folder it left one in


@dataclass(frozen=True)
class RemoteObject:
    """One entry of a listing."""

    name: str  # relative to the folder, or the whole key of a single object
    key: str
    size: int  # bytes
    etag: str


def list_entries(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """boto3's entries below `prefix`, without markers of empty folders and what checks leave."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", ()):
            is_marker = entry["Size"] == 0 and entry["Key"].endswith("/")  # consoles and file browsers make them
            if not is_marker and not entry["Key"].startswith(prefix + PROBE):
                yield entry


def list_objects(client: Any, bucket: str, prefix: str, *, url: str) -> list[RemoteObject]:
    """All objects of the folder `url`. Raises StorageError if there are none, or if one would land outside of it."""
    objects = []
    for entry in list_entries(client, bucket, prefix):
        name = entry["Key"].removeprefix(prefix)
        if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
            raise StorageError(f"{url}: object {entry['Key']!r} would land outside the folder; delete or rename it")
        objects.append(RemoteObject(name, entry["Key"], entry["Size"], entry["ETag"]))
    if not objects:
        raise StorageError(f"{url}: nothing is there; correct the address, or run the stage that uploads it first")
    return objects


def find_object(client: Any, bucket: str, key: str) -> RemoteObject | None:
    """The object at `key`, None if there is none.

    It comes from a listing, which says why where it fails, unlike HEAD. A key sorts before all that begin with it.
    """
    page = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    for entry in page.get("Contents", ()):
        if entry["Key"] == key:
            return RemoteObject(key, key, entry["Size"], entry["ETag"])
    return None


def get_object(client: Any, bucket: str, key: str, *, url: str) -> RemoteObject:
    """The object at `key`. Raises StorageError if there is none."""
    found = find_object(client, bucket, key)
    if found is None:
        raise StorageError(f"{url}: there is no such object; correct the address (a folder's ends with '/')")
    return found
