"""What stands for reading a file, in processes of its own: some numbers are too large, or kill whoever reads them."""

import os
import signal
from pathlib import Path

import numpy as np


def read(number: int, *, killers: tuple[int, ...], too_large: tuple[int, ...]) -> int:
    """The square of `number`, unless it is one of the bad ones."""
    if number in killers:
        os.kill(os.getpid(), signal.SIGKILL)
    if number in too_large:
        np.ones(2**62, dtype=np.uint8)
    return number**2


def read_in_company(number: int, *, company: Path) -> int:
    """The square of `number`; killed the first time, as where another process takes the memory meanwhile."""
    if company.exists():
        company.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def raises(number: int) -> int:
    """A bug."""
    raise KeyError(number)
