"""Many files to and from S3 at once, with a progress bar, and one process at a time for one place."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet.progress import ProgressBar
from linnet.storage.connection import PARALLEL

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class RemoteObject:
    """One entry of a listing."""

    name: str  # relative to the folder, or the whole key of a single object
    key: str
    size: int  # bytes
    etag: str


class Watcher:
    """Answers boto3 during one transfer; a known size and etag save a request and notice a replaced object."""

    def __init__(self, count: Callable[[int], None], known: RemoteObject | None) -> None:
        self._count, self._known = count, known

    def on_queued(self, future: Any) -> None:
        if self._known is not None:
            future.meta.provide_transfer_size(self._known.size)
            future.meta.provide_object_etag(self._known.etag)

    def on_progress(self, future: Any, bytes_transferred: int) -> None:
        self._count(bytes_transferred)  # negative where a part is sent again


@contextlib.contextmanager
def transfers(client: Any, what: str, total_bytes: int) -> Iterator[tuple[Any, Callable[[int], None]]]:
    """boto3's transfer manager and what counts its bytes; on an error or Ctrl-C all transfers end before it returns."""
    from boto3.s3.transfer import TransferConfig, create_transfer_manager

    lock, done, shown = threading.Lock(), 0, 0
    config = TransferConfig(max_concurrency=PARALLEL, preferred_transfer_client="classic")

    def count(number: int) -> None:
        nonlocal done, shown
        with lock:
            done += number
            now = -(-done // MEGABYTE)
            if now != shown:
                bar.advance(now - shown)
                shown = now

    megabytes = -(-total_bytes // MEGABYTE)
    with ProgressBar(f"{what}: megabytes", megabytes) as bar, create_transfer_manager(client, config) as manager:
        yield manager, count


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Other processes of this machine that want `path` wait here, behind a lock file that is gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_open_at(descriptor, lock):  # else the one before deleted it: its lock is nobody's lock
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
