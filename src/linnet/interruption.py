"""Ctrl-C while libraries are being imported: one line. Imports next to nothing itself, so that it is there at once."""

import os
import signal
from types import FrameType

INTERRUPTED = 130  # the exit status after Ctrl-C
MESSAGE = "interrupted; repeat the command to go on"


def end_at_once_if_interrupted() -> None:
    """Until `raise_if_interrupted`, Ctrl-C ends this process with one line: it imports, and has begun nothing.

    A KeyboardInterrupt there would be a traceback, or whatever a half-imported library makes of it. Where SIGINT is
    ignored (nohup, a job in the background) it stays so. The first process of a container has no default for SIGTERM
    and would ignore it, so that a pod that is deleted early takes its whole grace period; it ends at once too.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end_at_once)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


def raise_if_interrupted() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt, so that what is open is closed."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    try:
        os.write(2, f"linnet: {MESSAGE}\n".encode())
    finally:  # also where the terminal is gone
        os._exit(INTERRUPTED)
