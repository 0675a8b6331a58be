"""Workers end with their parent, however it ends."""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from support.workers import start_pool, start_ranks

SECONDS = 20.0


@pytest.mark.parametrize("parent", [start_pool, start_ranks], ids=["pool", "ranks"])
def test_workers_end_with_a_killed_parent(parent: Callable[[Path], None], tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=parent, args=(tmp_path,))
    process.start()
    workers = _workers(tmp_path, 2)

    process.kill()

    assert _all_end(workers)


def _workers(folder: Path, count: int) -> list[int]:
    deadline = time.monotonic() + 60
    while len(found := list(folder.glob("*"))) < count:
        assert time.monotonic() < deadline, "no worker began"
        time.sleep(0.05)
    return [os.pidfd_open(int(path.name)) for path in found]


def _all_end(workers: list[int]) -> bool:
    deadline = time.monotonic() + SECONDS
    while workers and (seconds := deadline - time.monotonic()) > 0:
        for ended in wait(workers, seconds):
            assert isinstance(ended, int)
            workers.remove(ended)
            os.close(ended)
    return not workers
