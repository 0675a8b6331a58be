"""Waiting out an outage: servers restart, and that must not cost hours of work. For every server linnet talks to."""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar

from linnet.engine import in_pod
from linnet.errors import LinnetError
from linnet.progress import log

VARIABLE = "LINNET_PATIENCE"  # seconds
IN_A_POD, AT_A_DESK = 600.0, 0.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 30.0

_LIMIT: ContextVar[float] = ContextVar("limit", default=float("inf"))

T = TypeVar("T")


class PatienceError(LinnetError):
    """LINNET_PATIENCE is no number of seconds."""


def patience_seconds() -> float:
    """How long to wait for a server that does not answer.

    LINNET_PATIENCE, or else ten minutes in a pod, where nobody reads along, and nothing elsewhere, where somebody does.

    Raises:
        PatienceError: LINNET_PATIENCE is no number of seconds.
    """
    return min(_given_seconds(), _LIMIT.get())


@contextlib.contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """In the block nothing waits longer, whatever LINNET_PATIENCE says: for what is nice to have."""
    token = _LIMIT.set(seconds)
    try:
        yield
    finally:
        _LIMIT.reset(token)


def _given_seconds() -> float:
    if not (given := os.environ.get(VARIABLE)):
        return IN_A_POD if in_pod() else AT_A_DESK
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise PatienceError(f"{VARIABLE} = {given!r} is no number of seconds; give 600, say, or unset it")
    return seconds


def wait_out(
    call: Callable[[], T],
    *,
    outage: Callable[[Exception], str | None],
    seconds: float | None = None,
    first_wait_seconds: float = FIRST_WAIT_SECONDS,
) -> T:
    """What `call` returns; while a server does not answer it is called again, after waits that double up to 30 s.

    Args:
        call: what may fail, and may be repeated as a whole.
        outage: what does not answer, for people, if that is what the error says; None for every other error, which is
            raised at once.
        seconds: how long after the first failure the last try may begin; None: `patience_seconds()`.
        first_wait_seconds: the first wait.

    Raises:
        Exception: of `call`, the last one, when the time is over or it is no outage.
    """
    began, wait = 0.0, first_wait_seconds
    for tries in itertools.count():
        try:
            return call()
        except Exception as error:
            if (sentence := outage(error)) is None:
                raise
            began = began or time.monotonic()
            left = began + (patience_seconds() if seconds is None else seconds) - time.monotonic()
            if left <= 0:
                raise
            wait = min(wait, left)
            log(f"{sentence}; trying again in {wait:.0f} s" + ("" if tries else f" and for {left:.0f} s"))
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)
    raise AssertionError("unreachable")
