"""Errors that are meant for people: where, what was given, what to do now. This module imports nothing of linnet."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator

REMEDIES = {
    errno.ENOSPC: "free some space there, or give it a larger disk or volume",
    errno.EDQUOT: "the quota is used up: free some space there, or ask for more",
    errno.EACCES: "give this user the right to read and write there",
    errno.EPERM: "give this user the right to read and write there",
    errno.EROFS: "point the command at a folder that can be written",
}
FULL_DATABASE = "database or disk is full"  # SQLite's words
OUT_OF_MEMORY = (  # torch and CUDA say it in words, as RuntimeErrors
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)
MEMORY_REMEDY = (
    "give it more memory, or less to do at once: a smaller batch (train.batch_size, --batch-size, train --passes), "
    "shorter or smaller files; and look whether other programs hold much of it"
)
ROOM_FOR_TEMPORARY_FILES = 1_000_000  # bytes; with less, whatever failed for lack of room may have failed there


class LinnetError(ValueError):
    """The base class of errors for people, which are printed as one message without a traceback."""

    exit_status = 1
    may_pass = False  # whether the same command may succeed later, though nobody has changed anything


class Stopped(Exception):
    """The run was asked to stop; it has kept its state and can be resumed."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_status = 128 + signal_number


def first_line(reason: BaseException) -> str:
    """What a library's error says, in a line, since some of them print a page; without credentials.

    A full disk or database is named, also where it is the cause of the cause, or stands on the third line.
    """
    if FULL_DATABASE in str(reason):
        return f"{FULL_DATABASE}; free some space there, or give it a larger disk or volume"
    if place := _full_disk(reason):
        return f"{os.strerror(errno.ENOSPC)}: {place}"
    return redact_credentials((str(reason).strip().splitlines() or [type(reason).__name__])[0])[:200]


def _full_disk(reason: BaseException | None) -> str | None:
    """Where there was no room, if that is what `reason` or what caused it says."""
    while reason is not None:
        if isinstance(reason, OSError) and reason.errno in {errno.ENOSPC, errno.EDQUOT} and reason.filename:
            return str(reason.filename)
        if os.strerror(errno.ENOSPC) in str(reason):
            return _unnamed_disk()
        reason = reason.__cause__ or reason.__context__
    return None


def _unnamed_disk() -> str:
    """The disk of the temporary files if that one is full: its errors seldom say where they come from."""
    try:
        folder = tempfile.gettempdir()
        is_full = shutil.disk_usage(folder).free < ROOM_FOR_TEMPORARY_FILES
    except OSError:
        is_full = False
    if not is_full:
        return "the disk"
    return f"the disk of temporary files ({folder}; TMPDIR names another folder)"


def redact_credentials(text: str) -> str:
    """`text` without the user names and passwords in its URLs."""
    text = re.sub(r"\b((?:postgres|mysql|mssql)[\w+]*://)\S*@", r"\1", text)  # whose passwords may hold a slash
    return re.sub(r"([\w+.-]+://|https?:/)[^/\s]*@", r"\1", text)  # Path makes one slash of two


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the machine or of the GPU ran out, whichever library says it."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    )


def explain(error: BaseException) -> str | None:
    """The message of an expected error; None for a bug of ours, which deserves its traceback."""
    if is_out_of_memory(error):
        return f"the memory does not suffice ({first_line(error)}). What to do: {MEMORY_REMEDY}"
    if isinstance(error, OSError) and error.errno is not None:
        remedy = REMEDIES.get(error.errno, "look at that place")
        return (
            f"{error.filename2 or error.filename or _unnamed_disk()}: {error.strerror}; nothing half-written was kept. "
            f"What to do: {remedy}, and repeat"
        )
    if isinstance(error, Stopped):
        return f"{error}; repeat the command to go on"
    return str(error) if isinstance(error, LinnetError) else None


@contextlib.contextmanager
def error_boundary(tell: Callable[[str], None]) -> Iterator[None]:
    """An expected error inside becomes one message, given to `tell`, and the end of the process; a bug its traceback.

    Raises:
        SystemExit: with the error's exit status.
    """
    try:
        yield
    except (LinnetError, OSError, Stopped, MemoryError, RuntimeError) as error:
        message = explain(error)
        if message is None:
            raise
        tell(message)
        raise SystemExit(error.exit_status if isinstance(error, LinnetError | Stopped) else 1) from None
