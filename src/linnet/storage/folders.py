"""Whole folders to and from S3, checked against the hash in their provenance."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from linnet.files import PROVENANCE, new_folder, path_lock
from linnet.hashes import file_hash, folder_hash
from linnet.storage.connection import MAX_CONCURRENCY, StorageError, new_client
from linnet.storage.listing import list_entries, list_objects
from linnet.storage.location import join, split_folder_url
from linnet.storage.objects import exists
from linnet.storage.transfers import DIGEST, download_objects, upload_objects
from linnet.walk import walk


def is_complete(url: str) -> bool:
    """Whether a stage's folder at `url` was uploaded to its end: its provenance is the last object to arrive."""
    return exists(join(url, PROVENANCE))


def download_folder(url: str, folder: Path) -> None:
    """Download all objects below `url` to `folder`, which appears whole or not at all.

    Where a provenance.json lies among them, the folder must hash to what it says; a local folder that already does is
    left alone. Processes of one machine may call this at once for the same folder: one downloads, the others wait.

    Raises:
        StorageError: nothing is there, an object's name leaves the folder, or the content is damaged.
    """
    bucket, prefix = split_folder_url(url)
    with new_client(url) as client, path_lock(folder):
        objects = list_objects(client, bucket, prefix, url=url)
        provenance = None
        if any(found.name == PROVENANCE for found in objects):
            provenance = client.get_object(Bucket=bucket, Key=prefix + PROVENANCE)["Body"].read()
            if _holds(folder, provenance):
                return
        with new_folder(folder) as partial:
            targets = {found: partial / found.name for found in objects}
            for parent in {path.parent for path in targets.values()}:
                parent.mkdir(parents=True, exist_ok=True)
            paths = {found: str(path) for found, path in targets.items()}
            download_objects(client, bucket, paths, description=f"download {len(objects)} files")
            expected = _content_hash(provenance, url) if provenance is not None else None
            if expected is not None and folder_hash(partial) != expected:
                raise StorageError(
                    f"{url}: the objects do not hash to what their {PROVENANCE} says: damaged, or replaced while they "
                    "were read; repeat the command, and if it happens again upload the folder again"
                )


def upload_folder(folder: Path, url: str) -> None:
    """Make the objects below `url` equal to the files in `folder`; what else lies there is deleted.

    provenance.json goes first and comes last, so that a half-replaced folder is never taken for a finished one. A
    file whose size and sha256 an object there has already is not uploaded again.

    Raises:
        StorageError: `folder` is empty, has changed since its provenance was written, or the server refuses.
    """
    bucket, prefix = split_folder_url(url)
    if not prefix:  # deleting the rest of a whole bucket is never meant
        raise StorageError(f"{url}: give a folder below the bucket, such as {join(url, folder.name)}")
    files = _unchanged_files(folder, url, prefix)
    last = prefix + PROVENANCE
    with new_client(url) as client:
        sizes = {entry["Key"]: entry["Size"] for entry in list_entries(client, bucket, prefix)}
        if last in sizes:
            client.delete_object(Bucket=bucket, Key=last)
        for key in sizes.keys() - files.keys() - {last}:
            client.delete_object(Bucket=bucket, Key=key)

        def is_uploaded(key: str) -> bool:
            if files[key].stat().st_size != sizes.get(key):
                return False
            metadata = client.head_object(Bucket=bucket, Key=key)["Metadata"]
            return bool(metadata.get(DIGEST) == file_hash(files[key]))

        keys = [key for key in files if key != last]
        with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
            changed = {key: files[key] for key, same in zip(keys, pool.map(is_uploaded, keys), strict=True) if not same}
        upload_objects(client, bucket, changed, description=f"upload {len(changed)} files")
        if last in files:
            upload_objects(client, bucket, {last: files[last]}, description=f"upload {PROVENANCE}")


def _unchanged_files(folder: Path, url: str, prefix: str) -> dict[str, Path]:
    """Files by their keys. What no longer hashes to its provenance could never be downloaded again."""
    files = {prefix + name: path for name, path in walk(folder).texts().items()}
    if not files:
        raise StorageError(f"{folder} holds no files, so nothing can go to {url}; run the stage that makes it first")
    if (folder / PROVENANCE).is_file():
        expected = _content_hash((folder / PROVENANCE).read_bytes(), str(folder))
        if expected is not None and expected != folder_hash(folder):
            raise StorageError(f"{folder} is not what its {PROVENANCE} says; run the stage that makes it again")
    return dict(sorted(files.items()))


def _holds(folder: Path, provenance: bytes) -> bool:
    """Whether `folder` is the undamaged folder of exactly this provenance."""
    try:
        if (folder / PROVENANCE).read_bytes() != provenance:
            return False
        return folder_hash(folder) == _content_hash(provenance, str(folder))
    except (OSError, StorageError):
        return False


def _content_hash(provenance: bytes, location: str) -> str | None:
    try:
        value = json.loads(provenance)
    except ValueError:
        raise StorageError(f"{location}: its {PROVENANCE} is damaged; upload the folder again") from None
    return value["content_hash"] if isinstance(value, dict) and "content_hash" in value else None
