"""Stopping between two steps when a person or a scheduler asks for it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """The signal that asked for a stop, 0 until then."""

    signal_number = 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Ctrl-C and SIGTERM only take note, so that no optimizer step is cut in two; a second Ctrl-C ends at once.

    Under torchrun one Ctrl-C arrives twice, from the terminal and from the agent, which itself ends what takes long.
    """
    request = StopRequest()
    alone = "TORCHELASTIC_RUN_ID" not in os.environ

    def take_note(number: int, _frame: FrameType | None) -> None:
        if alone and request.signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal_number = number

    previous = {number: signal.signal(number, take_note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
