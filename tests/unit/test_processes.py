"""Workers end with their parent, however it ends."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from linnet.processes import end_pool
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


def test_a_pool_that_broke_while_it_started_a_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython asks the processes to end that it knows of, and then waits for all: here it overlooks one."""
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver"))
    first = pool.submit(time.sleep, 0.5)  # so that the second task starts a second process
    pool.submit(time.sleep, 0).result()
    first.result()
    processes = list(pool._processes.values())
    assert len(processes) == 2
    for process in processes:  # one of them is going to end by itself, the other is overlooked
        monkeypatch.setattr(process, "terminate", lambda: None)
        monkeypatch.setattr(process, "is_alive", lambda: False)
    with pytest.raises(BrokenProcessPool):
        pool.submit(os._exit, 1).result()
    ending = threading.Thread(target=end_pool, args=(pool,), daemon=True)
    ending.start()
    ending.join(SECONDS)
    is_ended = not ending.is_alive()
    for process in processes:
        process.kill()
    assert is_ended
