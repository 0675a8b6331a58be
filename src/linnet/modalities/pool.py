"""Processes that read many files at once."""

import collections
import concurrent.futures
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from linnet.processes import end_with_parent

TASKS_IN_FLIGHT_PER_WORKER = 4  # bounds memory, whatever the size of the data
R = TypeVar("R")


class OrderedPool(Generic[R]):
    """Iterates over `function(*task)` for every task, in order, computed by `workers` processes with bounded memory."""

    def __init__(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]], workers: int) -> None:
        self._function, self._tasks = function, tasks
        self._max_in_flight = TASKS_IN_FLIGHT_PER_WORKER * workers
        self._pool = concurrent.futures.ProcessPoolExecutor(
            max_workers=workers, mp_context=multiprocessing.get_context("forkserver"), initializer=_start
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[R]:
        waiting: collections.deque[concurrent.futures.Future[R]] = collections.deque()
        for task in self._tasks:
            waiting.append(self._pool.submit(self._function, *task))
            if len(waiting) >= self._max_in_flight:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
