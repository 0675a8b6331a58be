"""Several training processes on this machine, started by torch's elastic agent, as `torchrun` does.

https://docs.pytorch.org/docs/stable/elastic/run.html
"""

import logging
import os
import uuid
from collections.abc import Callable
from typing import Any

from linnet.errors import LinnetError, Stopped, explain
from linnet.processes import end_with_parent

SIGNAL_BY_STATUS = {-2: "SIGINT", -11: "SIGSEGV", -15: "SIGTERM"}
KILLED = -9  # what Linux does to a process when the memory runs out


class LaunchError(LinnetError):
    """A training process ended badly."""


class KilledError(LaunchError):
    """A training process was killed, as happens when the memory runs out."""


def is_worker() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def start(function: Callable[..., None], *arguments: Any, processes: int, **keywords: Any) -> None:
    """Call `function` in this process, or in each of `processes` new ones that form a process group.

    The function and its arguments must be picklable.

    Raises:
        KilledError: a process was killed from outside.
        LaunchError: a process failed; the message is the one of the first that did.
    """
    if processes == 1 or is_worker():
        function(*arguments, **keywords)
        return
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # a repeated command resumes from the checkpoint
        monitor_interval=0.2,
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").addFilter(_is_bug)
    try:
        elastic_launch(config, _call)(function, arguments, keywords)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode == KILLED:
            raise KilledError(f"training process {rank} was killed, most likely because the memory ran out") from None
        raise LaunchError(_explain(rank, failure.exitcode, failure.message)) from None
    except SignalException as signal:
        raise Stopped("the training processes were stopped", signal.sigval.value) from None


def _call(function: Callable[..., None], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    from torch.distributed.elastic.multiprocessing.errors import record

    def call() -> None:
        end_with_parent()
        try:
            function(*arguments, **keywords)
        except (LinnetError, OSError, MemoryError, RuntimeError) as error:
            if (message := explain(error)) is None:
                raise
            raise LaunchError(message) from None

    record(call)()


def _is_bug(record: logging.LogRecord) -> bool:
    """Whether torchrun's own page about a process that failed says more than our sentence does."""
    error = record.exc_info[1] if record.exc_info else None
    told = (f"{LaunchError.__module__}.{LaunchError.__name__}: ", "signal SIGKILL")
    return error is None or not any(words in str(error) for words in told)


def _explain(rank: int, status: int, message: object) -> str:
    """The message of an error for people that `_call` caught; for a bug of ours, where its traceback is."""
    if isinstance(message, dict):
        message = message.get("message", "")
    text = str(message)
    kind, separator, rest = text.partition(": ")
    if separator and kind == LaunchError.__name__:
        return rest
    ended = SIGNAL_BY_STATUS.get(status, f"status {status}")
    return f"training process {rank} ended with {ended}; its last lines are above. Repeat the command to go on"
