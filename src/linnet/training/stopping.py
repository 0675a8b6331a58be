"""Stopping between two optimizer steps when a signal asks for it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """The signal that asked to stop; 0 until one does."""

    signal_number = 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Record Ctrl-C and SIGTERM instead of ending at once, so that no optimizer step is cut in two.

    A second Ctrl-C ends at once. Under torchrun one Ctrl-C arrives twice, from the terminal and from the agent, and the
    agent itself ends what takes too long.
    """
    request = StopRequest()
    under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ

    def record(number: int, _frame: FrameType | None) -> None:
        if not under_torchrun and request.signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal_number = number

    previous = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
