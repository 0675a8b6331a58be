"""Many files to and from S3 at once, with a progress bar."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from linnet.hashes import file_hash
from linnet.progress import MegabyteBar
from linnet.storage.connection import MAX_CONCURRENCY
from linnet.storage.listing import RemoteObject

DIGEST = "sha256"  # of a file's bytes, in the metadata of its object


class Subscriber:
    """What boto3 calls during one transfer; a known size and etag save a request and notice a replaced object."""

    def __init__(self, advance: Callable[[int], None], known: RemoteObject | None) -> None:
        self._advance, self._known = advance, known

    def on_queued(self, future: Any) -> None:
        if self._known is not None:
            future.meta.provide_transfer_size(self._known.size)
            future.meta.provide_object_etag(self._known.etag)

    def on_progress(self, future: Any, bytes_transferred: int) -> None:
        self._advance(bytes_transferred)  # negative where a part is sent again


def download_objects(
    client: Any, bucket: str, targets: Mapping[RemoteObject, str | IO[bytes]], *, description: str
) -> None:
    """Download each object into its file."""
    with _transfers(client, description, sum(found.size for found in targets)) as (manager, advance):
        futures = [
            manager.download(bucket, found.key, target, subscribers=[Subscriber(advance, found)])
            for found, target in targets.items()
        ]
        for future in futures:
            future.result()


def upload_objects(client: Any, bucket: str, files: Mapping[str, Path], *, description: str) -> None:
    """Upload each file to its key, with the hash of its bytes in the object's metadata."""
    with _transfers(client, description, sum(path.stat().st_size for path in files.values())) as (manager, advance):
        futures = [
            manager.upload(
                str(path), bucket, key, {"Metadata": {DIGEST: file_hash(path)}}, subscribers=[Subscriber(advance, None)]
            )
            for key, path in files.items()
        ]
        for future in futures:
            future.result()


@contextlib.contextmanager
def _transfers(client: Any, description: str, total_bytes: int) -> Iterator[tuple[Any, Callable[[int], None]]]:
    """boto3's transfer manager and what counts its bytes; on an error or Ctrl-C all transfers end before it returns."""
    from boto3.s3.transfer import TransferConfig, create_transfer_manager

    config = TransferConfig(max_concurrency=MAX_CONCURRENCY, preferred_transfer_client="classic")
    with MegabyteBar(description, total_bytes) as bar, create_transfer_manager(client, config) as manager:
        yield manager, bar.advance
