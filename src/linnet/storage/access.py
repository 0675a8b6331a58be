"""Whether data can be read and written somewhere, found out before anything is spent."""

import os
import tempfile
import uuid
from pathlib import Path

from linnet.storage.connection import CONNECT_SECONDS, StorageError, new_client
from linnet.storage.listing import PROBE
from linnet.storage.location import is_s3_url, split_folder_url

CHECK_SECONDS = 60.0


def check_access(location: str, *, write: bool) -> None:
    """Whether data can be read (and written) at `location`, within seconds; within a minute where there is patience.

    In S3 that is a listing, and for `write` a small object written and deleted. A local folder must exist; for
    `write` it may also be one that can be made.

    Raises:
        StorageError: it cannot; the message says why and what to do.
    """
    if not is_s3_url(location):
        _check_local(Path(location), write=write)
        return
    bucket, prefix = split_folder_url(location)
    with new_client(location, attempts=1, read_seconds=CONNECT_SECONDS, longest_wait_seconds=CHECK_SECONDS) as client:
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
