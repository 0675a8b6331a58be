"""Bytes in S3: what arrives is whole or absent, and what went wrong is one sentence that says what to do.

Endpoint and credentials are boto3's own settings (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, profiles, pod identities).
boto3 is imported where it is used, so that work in local folders does without it.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from linnet.files import PROVENANCE, commit_file, new_folder
from linnet.hashes import file_hash, folder_hash
from linnet.storage.connection import CONNECT_SECONDS, PARALLEL, StorageError, new_client
from linnet.storage.transfers import RemoteObject, Watcher, one_at_a_time, transfers

__all__ = [
    "StorageError", "check_access", "download_file", "download_folder", "exists", "is_complete", "is_remote", "join",
    "remove", "upload_file", "upload_folder", "version",
]  # fmt: skip

SCHEME = "s3://"
PROBE = ".linnet-access-"  # what check_access writes; a killed check must not damage the folder it left one in
DIGEST = "sha256"  # of a file's bytes, in the metadata of its object


# --- addresses and access ---------------------------------------------------------------------------------------------


def is_remote(location: str) -> bool:
    """Whether `location` is an address in S3 and not a local path."""
    return location.startswith(SCHEME)


def join(location: str, *names: str) -> str:
    """The place `names` below `location`, which is an address or a local path."""
    if is_remote(location):
        return "/".join([location.rstrip("/"), *(name.strip("/") for name in names)])
    return str(Path(location, *names))


def check_access(location: str, *, write: bool) -> None:
    """Whether data can be read (and written) at `location`, within seconds and before anything is spent.

    In S3 that is a listing, and for `write` a small object written and deleted. A local folder must be there; for
    `write` it may also be one that can be made.

    Raises:
        StorageError: it cannot; the message says why and what to do.
    """
    if not is_remote(location):
        _check_local(Path(location), write=write)
        return
    bucket, prefix = _split(location, folder=True)
    with new_client(location, attempts=1, read_seconds=CONNECT_SECONDS) as client:
        client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        if write:
            key = f"{prefix}{PROBE}{uuid.uuid4().hex}"
            client.put_object(Bucket=bucket, Key=key, Body=b"written by a check, to be deleted at once\n")
            client.delete_object(Bucket=bucket, Key=key)


def _check_local(folder: Path, *, write: bool) -> None:
    nearest = folder
    try:
        if write:  # permissions alone say little to root and on read-only mounts: try it
            nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
            with tempfile.TemporaryFile(dir=nearest) as file:
                file.write(b"\n")
        else:
            with os.scandir(folder) as entries:
                next(entries, None)
    except OSError as error:
        verb = "written" if write else "read"
        raise StorageError(
            f"{folder} cannot be {verb} ({nearest}: {error.strerror}); give a folder that can, or correct its rights"
        ) from None


def exists(url: str) -> bool:
    """Whether there is an object at `url`. Raises StorageError where the server does not say."""
    bucket, key = _split(url, folder=False)
    with new_client(url) as client:
        return _find(client, bucket, key) is not None


def is_complete(url: str) -> bool:
    """Whether a stage's folder at `url` was uploaded to its end: its provenance is the last object to arrive."""
    return exists(join(url, PROVENANCE))


def version(url: str) -> str:
    """Names what lies at `url` now without fetching it: sha256 over names, sizes and etags.

    Args:
        url: an object, or a folder if it ends with "/".

    Raises:
        StorageError: nothing is there.
    """
    bucket, key = _split(url, folder=url.endswith("/"))
    with new_client(url) as client:
        objects = _list(client, bucket, key, url) if url.endswith("/") else [_get(client, bucket, key, url)]
    lines = "".join(f"{found.name}\0{found.size}\0{found.etag}\n" for found in objects)
    return hashlib.sha256(lines.encode()).hexdigest()


# --- single files -----------------------------------------------------------------------------------------------------


def download_file(url: str, path: Path) -> None:
    """Fetch one object into `path`, whole or not at all. Raises StorageError."""
    bucket, key = _split(url, folder=False)
    with new_client(url) as client, one_at_a_time(path):
        found = _get(client, bucket, key, url)
        partial = path.with_name(f".{path.name}.partial")
        try:
            with (
                partial.open("wb") as file,
                transfers(client, f"download {path.name}", found.size) as (manager, count),
            ):
                manager.download(bucket, key, file, subscribers=[Watcher(count, found)]).result()
            commit_file(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def upload_file(path: Path, url: str) -> None:
    """Send one file to `url`; the object appears whole or not at all. Raises StorageError."""
    bucket, key = _split(url, folder=False)
    if not path.is_file():
        raise StorageError(f"{path}: no such file, so nothing can go to {url}; make it first")
    with new_client(url) as client:
        _send(client, bucket, {key: path}, f"upload {path.name}")


# --- folders ----------------------------------------------------------------------------------------------------------


def download_folder(url: str, folder: Path) -> None:
    """Fetch all objects below `url` into `folder`, which appears whole or not at all.

    Where a provenance.json lies among them, the folder must hash to what it says; a local folder that already does is
    left alone. Processes of one machine may call this at once for the same folder: one fetches, the others wait.

    Raises:
        StorageError: nothing is there, an object's name leaves the folder, or the content is damaged.
    """
    bucket, prefix = _split(url, folder=True)
    with new_client(url) as client, one_at_a_time(folder):
        objects = _list(client, bucket, prefix, url)
        provenance = None
        if any(found.name == PROVENANCE for found in objects):
            provenance = client.get_object(Bucket=bucket, Key=prefix + PROVENANCE)["Body"].read()
            if _holds(folder, provenance):
                return
        with new_folder(folder) as partial:
            _fetch(client, bucket, objects, partial)
            wanted = _content_hash(provenance, url) if provenance is not None else None
            if wanted is not None and folder_hash(partial) != wanted:
                raise StorageError(
                    f"{url}: the objects do not hash to what their {PROVENANCE} says: damaged, or replaced while they "
                    "were read; repeat the command, and if it happens again upload the folder again"
                )


def _fetch(client: Any, bucket: str, objects: list[RemoteObject], folder: Path) -> None:
    for parent in {(folder / found.name).parent for found in objects}:
        parent.mkdir(parents=True, exist_ok=True)
    total = sum(found.size for found in objects)
    with transfers(client, f"download {len(objects)} files", total) as (manager, count):
        futures = [
            manager.download(bucket, found.key, str(folder / found.name), subscribers=[Watcher(count, found)])
            for found in objects
        ]
        for future in futures:
            future.result()


def _holds(folder: Path, provenance: bytes) -> bool:
    """Whether `folder` is the undamaged folder of exactly this provenance."""
    try:
        if (folder / PROVENANCE).read_bytes() != provenance:
            return False
        return folder_hash(folder) == _content_hash(provenance, str(folder))
    except (OSError, StorageError):
        return False


def _content_hash(provenance: bytes, where: str) -> str | None:
    try:
        value = json.loads(provenance)
    except ValueError:
        raise StorageError(f"{where}: its {PROVENANCE} is damaged; upload the folder again") from None
    return value["content_hash"] if isinstance(value, dict) and "content_hash" in value else None


def upload_folder(folder: Path, url: str) -> None:
    """Make the objects below `url` equal to the files in `folder`; what else lies there is deleted.

    provenance.json goes first and comes last, so that a half-replaced folder is never taken for a finished one. A
    file whose size and sha256 an object there has already is not sent again.

    Raises:
        StorageError: `folder` is empty, has changed since its provenance was written, or the server refuses.
    """
    bucket, prefix = _split(url, folder=True)
    if not prefix:  # deleting the rest of a whole bucket is never meant
        raise StorageError(f"{url}: give a folder below the bucket, such as {join(url, folder.name)}")
    files = _unchanged_files(folder, url, prefix)
    last = prefix + PROVENANCE
    with new_client(url) as client:
        there = {entry["Key"]: entry["Size"] for entry in _entries(client, bucket, prefix)}
        if last in there:
            client.delete_object(Bucket=bucket, Key=last)
        for key in there.keys() - files.keys() - {last}:
            client.delete_object(Bucket=bucket, Key=key)
        same_size = [key for key in files if key != last and files[key].stat().st_size == there.get(key)]
        with ThreadPoolExecutor(PARALLEL) as pool:
            is_sent = pool.map(lambda key: _digest(client, bucket, key) == file_hash(files[key]), same_size)
            sent = {key for key, yes in zip(same_size, is_sent, strict=True) if yes}
        new = {key: path for key, path in files.items() if key != last and key not in sent}
        _send(client, bucket, new, f"upload {len(new)} files")
        if last in files:
            _send(client, bucket, {last: files[last]}, f"upload {PROVENANCE}")


def remove(location: str) -> None:
    """Delete what lies at `location` and below it, an address below a bucket or a local folder; nothing there is fine.

    Raises:
        StorageError: the server refuses.
    """
    if not is_remote(location):
        shutil.rmtree(location, ignore_errors=True)
        return
    bucket, key = _split(location.rstrip("/"), folder=False)
    with new_client(location) as client:
        below = [entry["Key"] for entry in _entries(client, bucket, f"{key}/")]
        for found in [key, *below]:
            client.delete_object(Bucket=bucket, Key=found)


def _unchanged_files(folder: Path, url: str, prefix: str) -> dict[str, Path]:
    """Files by their keys. What no longer hashes to its provenance could never be fetched again."""
    files = {prefix + path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    if not files:
        raise StorageError(f"{folder} holds no files, so nothing can go to {url}; run the stage that makes it first")
    if (folder / PROVENANCE).is_file():
        wanted = _content_hash((folder / PROVENANCE).read_bytes(), str(folder))
        if wanted is not None and wanted != folder_hash(folder):
            raise StorageError(f"{folder} is not what its {PROVENANCE} says; run the stage that makes it again")
    return dict(sorted(files.items()))


def _digest(client: Any, bucket: str, key: str) -> str | None:
    metadata: dict[str, str] = client.head_object(Bucket=bucket, Key=key)["Metadata"]
    return metadata.get(DIGEST)


def _send(client: Any, bucket: str, files: dict[str, Path], what: str) -> None:
    total = sum(path.stat().st_size for path in files.values())
    with transfers(client, what, total) as (manager, count):
        futures = [
            manager.upload(
                str(path), bucket, key, {"Metadata": {DIGEST: file_hash(path)}}, subscribers=[Watcher(count, None)]
            )
            for key, path in files.items()
        ]
        for future in futures:
            future.result()


# --- objects ----------------------------------------------------------------------------------------------------------


def _split(url: str, *, folder: bool) -> tuple[str, str]:
    """Bucket, and key of the object or prefix of the folder (ends in "/", or is empty for the whole bucket)."""
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    if not is_remote(url) or not re.fullmatch(r"[A-Za-z0-9._-]+", bucket):
        raise StorageError(f"{url!r} is no address in S3; give {SCHEME}BUCKET/FOLDER, with a bucket of letters and -")
    if folder:
        return bucket, f"{key.rstrip('/')}/" if key.strip("/") else ""
    if not key or key.endswith("/"):
        raise StorageError(f"{url!r} names a folder where an object is wanted; give {SCHEME}BUCKET/FOLDER/FILE")
    return bucket, key


def _entries(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """The listing below `prefix`, without markers of empty folders and what checks leave."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", ()):
            is_marker = entry["Size"] == 0 and entry["Key"].endswith("/")  # consoles and file browsers make them
            if not is_marker and not entry["Key"].startswith(prefix + PROBE):
                yield entry


def _list(client: Any, bucket: str, prefix: str, url: str) -> list[RemoteObject]:
    """All objects of a folder. Raises StorageError if there are none, or if one would land outside the folder."""
    objects = []
    for entry in _entries(client, bucket, prefix):
        name = entry["Key"].removeprefix(prefix)
        if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
            raise StorageError(f"{url}: object {entry['Key']!r} would land outside the folder; delete or rename it")
        objects.append(RemoteObject(name, entry["Key"], entry["Size"], entry["ETag"]))
    if not objects:
        raise StorageError(f"{url}: nothing is there; correct the address, or run the stage that uploads it first")
    return objects


def _find(client: Any, bucket: str, key: str) -> RemoteObject | None:
    """The object, from a listing: unlike HEAD it says why where it fails. A key sorts before all that begin with it."""
    page = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    for entry in page.get("Contents", ()):
        if entry["Key"] == key:
            return RemoteObject(key, key, entry["Size"], entry["ETag"])
    return None


def _get(client: Any, bucket: str, key: str, url: str) -> RemoteObject:
    found = _find(client, bucket, key)
    if found is None:
        raise StorageError(f"{url}: there is no such object; correct the address (a folder's ends with '/')")
    return found
