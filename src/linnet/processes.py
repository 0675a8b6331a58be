"""Processes that end with the process that started them, however it ends."""

import multiprocessing
import multiprocessing.connection
import os
import threading
from concurrent.futures import ProcessPoolExecutor

ORPHANED = 1  # exit status


def end_with_parent() -> None:
    """End this process, started by multiprocessing, as soon as its parent is gone.

    After a SIGKILL of the parent a worker would otherwise wait for its next task, or for other ranks, for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for_end, args=(parent.sentinel,), daemon=True, name="end-with-parent").start()


def end_pool(pool: ProcessPoolExecutor) -> None:
    """Shut a pool of processes down, also one that broke.

    CPython ends the processes of a pool that broke, and then waits for all of them; one that was being started at that
    moment is overlooked, and would be waited for for ever.
    """
    if pool._broken:
        for process in list((pool._processes or {}).values()):
            process.kill()
    pool.shutdown(wait=True, cancel_futures=True)


def _wait_for_end(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(ORPHANED)
