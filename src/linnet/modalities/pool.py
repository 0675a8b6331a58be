"""Processes that read many files at once; a file that is too large for the memory costs itself, and no other."""

import collections
import concurrent.futures
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from linnet.errors import LinnetError, is_out_of_memory
from linnet.memory import keep_freed_memory, limit_to_available
from linnet.processes import end_pool, end_with_parent

CHUNKS_IN_FLIGHT_PER_WORKER = 4  # bounds memory, whatever the size of the data
MAX_KILLED = 32  # readers, before the machine and not the files is what is wrong
KILLED = "the process that read it was killed (too large for the memory, or a fault in its decoder)"
TOO_LARGE = "too large for the memory of this machine"
R = TypeVar("R")
Task = tuple[Any, ...]
Chunk = Sequence[Task]


class ReaderError(LinnetError):
    """Processes that read files are killed again and again."""


class OrderedPool(Generic[R]):
    """Iterates over `function(*task)` for every task, in order, computed by `workers` processes with bounded memory.

    A task whose process runs out of memory or is killed is tried once more, alone in a process of its own; where that
    ends so too, its result is a sentence that says it.

    Args:
        function: picklable; what it raises, besides running out of memory, ends the iteration.
        chunk_size: tasks that a process gets at once, so that handing over is hidden.

    Raises:
        ReaderError: while iterating, where `MAX_KILLED` processes were killed.
    """

    def __init__(self, function: Callable[..., R], tasks: Sequence[Task], workers: int, *, chunk_size: int = 1) -> None:
        self._function, self._workers = function, workers
        self._chunks = [tasks[first : first + chunk_size] for first in range(0, len(tasks), chunk_size)]
        self._pool = _new_pool(workers)
        self._single: concurrent.futures.ProcessPoolExecutor | None = None
        self._num_killed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._pool, self._single):
            if pool is not None:
                end_pool(pool)

    def __iter__(self) -> Iterator[R | str]:
        waiting: collections.deque[_InFlight[R]] = collections.deque()
        for chunk in self._chunks:
            waiting.append(self._submit(chunk))
            if len(waiting) >= CHUNKS_IN_FLIGHT_PER_WORKER * self._workers:
                yield from self._finish(waiting.popleft())
        while waiting:
            yield from self._finish(waiting.popleft())

    def _submit(self, chunk: Chunk) -> "_InFlight[R]":
        try:
            return _InFlight(chunk, self._pool.submit(_run, self._function, chunk))
        except BrokenProcessPool:  # what was in flight says so when it is waited for
            end_pool(self._pool)
            self._pool = _new_pool(self._workers)
            return _InFlight(chunk, self._pool.submit(_run, self._function, chunk))

    def _finish(self, each: "_InFlight[R]") -> Iterator[R | str]:
        try:
            results: Sequence[R | _TooLarge | None] = each.future.result()
        except BrokenProcessPool:  # no word of which process it was, and so of which chunk
            results = [None] * len(each.chunk)
        for task, result in zip(each.chunk, results, strict=True):
            yield self._alone(task) if result is None or isinstance(result, _TooLarge) else result

    def _alone(self, task: Task) -> R | str:
        self._single = self._single or _new_pool(1)
        try:
            result = self._single.submit(_run, self._function, [task]).result()[0]
        except BrokenProcessPool:
            end_pool(self._single)
            self._single = None
            self._num_killed += 1
            if self._num_killed >= MAX_KILLED:
                raise ReaderError(
                    f"{MAX_KILLED} processes that read files were killed, the last at {task[0]}: most likely the "
                    "memory does not suffice. Stop what else takes it, or give --workers 1"
                ) from None
            return KILLED
        return TOO_LARGE if isinstance(result, _TooLarge) else result


class _InFlight(Generic[R]):
    """A chunk, and what will come of it."""

    def __init__(self, chunk: Chunk, future: "concurrent.futures.Future[list[R | _TooLarge]]") -> None:
        self.chunk, self.future = chunk, future


class _TooLarge:
    """Stands for the result of a task that ran out of memory."""


def _run(function: Callable[..., R], chunk: Chunk) -> list[R | _TooLarge]:
    return [_run_one(function, task) for task in chunk]


def _run_one(function: Callable[..., R], task: Task) -> R | _TooLarge:
    try:
        return function(*task)
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        return _TooLarge()


def _new_pool(workers: int) -> concurrent.futures.ProcessPoolExecutor:
    return concurrent.futures.ProcessPoolExecutor(
        max_workers=workers,
        mp_context=multiprocessing.get_context("forkserver"),
        initializer=_start,
        initargs=(workers,),
    )


def _start(workers: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
    limit_to_available(workers)
    keep_freed_memory()
