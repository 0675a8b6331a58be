"""Messages and progress for people: a bar on a terminal, plain lines elsewhere (logs, pods, CI)."""

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0
MEGABYTE = 1_000_000


def log(message: str) -> None:
    """Print one line on standard error; standard output is for results."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(message)


class ProgressBar:
    """A count towards `total` units (0 if unknown), with a short note such as the loss."""

    def __init__(self, description: str, total: int, *, done: int = 0) -> None:
        self._description, self._total, self._done, self._note = description, total, done, ""
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            more = (TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False))
            self._bar = Progress(*columns, *more, console=Console(stderr=True))
            self._task = self._bar.add_task(description, total=total or None, completed=done, note="")
        self._started = self._last_line = time.monotonic()
        self._done_at_start = done
        self._done_in_last_line = -1

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units as done."""
        self._done += count
        self._note = note or self._note
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, note=self._note)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._print_line()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None and self._done != self._done_in_last_line:
            self._print_line()

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        self._done_in_last_line = self._done
        elapsed = self._last_line - self._started
        rate = (self._done - self._done_at_start) / elapsed if elapsed > 0 else 0.0
        count = f"{self._done}/{self._total}" if self._total else str(self._done)
        parts = [f"{self._description}: {count}", f"{elapsed:.0f} s"]
        if 0 < self._done < self._total and rate > 0:
            parts.append(f"{(self._total - self._done) / rate:.0f} s left")
        log(", ".join([*parts, self._note] if self._note else parts))


class MegabyteBar(ProgressBar):
    """A progress bar that is advanced by bytes, from several threads at once, and shows whole megabytes."""

    def __init__(self, what: str, total_bytes: int, *, done_bytes: int = 0) -> None:
        super().__init__(f"{what}: megabytes", _megabytes(total_bytes), done=_megabytes(done_bytes))
        self._bytes, self._lock = done_bytes, threading.Lock()

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more bytes are done; a negative count takes back what has to be sent again."""
        with self._lock:
            self._bytes += count
            if (megabytes := _megabytes(self._bytes)) != self._done:
                super().advance(megabytes - self._done, note)


def _megabytes(count: int) -> int:
    return -(-count // MEGABYTE)
