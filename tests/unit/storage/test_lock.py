"""The lock of a path, between processes."""

import multiprocessing
import time
from pathlib import Path

from linnet.storage.lock import path_lock


def _append_alone(path: Path, rounds: int) -> None:
    for _ in range(rounds):
        with path_lock(path):
            before = path.read_text()
            time.sleep(0.001)
            path.write_text(before + "x")  # loses the other's letter if two are here


def test_the_lock_keeps_processes_apart_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "letters"
    path.write_text("")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_alone, args=(path, 25)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert path.read_text() == "x" * 100
    assert list(tmp_path.iterdir()) == [path]
