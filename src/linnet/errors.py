"""Errors that are meant for people: where, what was given, what to do now. Imports nothing."""


class LinnetError(ValueError):
    """The base of them all; shown as one message without a traceback."""


class Stopped(Exception):
    """The run was asked to stop, kept its state, and can be taken up again."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def first_line(reason: BaseException) -> str:
    """What a library's error says, without the page that some of them print."""
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0][:200]
