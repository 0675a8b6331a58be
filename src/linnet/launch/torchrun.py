"""Several training processes on this machine, started by torch's elastic agent, as `torchrun` does.

https://docs.pytorch.org/docs/stable/elastic/run.html
"""

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from signal import Signals
from typing import TYPE_CHECKING, Any, Self

from linnet.errors import LinnetError, Stopped, explain, first_line
from linnet.processes import end_with_parent

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

STOP_SECONDS = 30.0  # torch's own
SIGNAL_BY_STATUS = {-2: "SIGINT", -11: "SIGSEGV", -15: "SIGTERM"}
KILLED = -9  # what Linux does to a process when the memory runs out


class LaunchError(LinnetError):
    """A training process ended badly."""

    may_pass = True


class FinalLaunchError(LaunchError):
    """A training process ended with an error for people that a repetition would meet again."""

    may_pass = False


class KilledError(LaunchError):
    """A training process was killed, as happens when the memory runs out."""


TOLD = (LaunchError, FinalLaunchError)  # errors whose message says everything


@dataclass(frozen=True)
class Rendezvous:
    """How the nodes of one training find each other (torch's c10d rendezvous)."""

    run_id: str  # nodes with another one are not seen
    endpoint: str  # host:port of the node that is the host
    num_nodes: int
    is_host: bool
    local_address: str | None  # of this node; ranks follow the order of these names
    join_seconds: float

    @classmethod
    def on_this_machine(cls) -> Self:
        """That of processes that are all on this machine."""
        return cls(uuid.uuid4().hex, "localhost:0", num_nodes=1, is_host=True, local_address=None, join_seconds=600)


def is_worker() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def start(
    function: Callable[..., None],
    *arguments: Any,
    processes: int,
    rendezvous: Rendezvous | None = None,
    stop_seconds: float = STOP_SECONDS,
    **keywords: Any,
) -> None:
    """Call `function` in this process, or in each of `processes` new ones that form a process group.

    The function and its arguments must be picklable.

    Args:
        rendezvous: how to join with other nodes, on which the same is called; None where there are none.
        stop_seconds: how long the processes may take to end after a signal or another one's failure.

    Raises:
        KilledError: a process was killed from outside.
        FinalLaunchError: a process ended with an error for people; the message is that of the first that did.
        LaunchError: a process failed in another way, or the other nodes did not come.
        Stopped: a signal asked to stop, and all processes have ended.
    """
    if is_worker() or (processes == 1 and rendezvous is None):
        function(*arguments, **keywords)
        return
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").addFilter(_is_bug)
    try:
        with _patient_agent(stop_seconds):
            elastic_launch(_config(processes, rendezvous or Rendezvous.on_this_machine()), _call)(
                function, arguments, keywords
            )
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode == KILLED:
            raise KilledError(f"training process {rank} was killed, most likely because the memory ran out") from None
        raise _explained(rank, failure.exitcode, failure.message) from None
    except RendezvousError as error:
        raise LaunchError(f"the nodes did not find each other ({first_line(error)}); repeat the command") from None
    except SignalException as signal:
        raise Stopped("the training processes were stopped", signal.sigval.value) from None


def _config(processes: int, rendezvous: Rendezvous) -> "LaunchConfig":
    from torch.distributed.launcher.api import LaunchConfig

    return LaunchConfig(
        min_nodes=rendezvous.num_nodes,
        max_nodes=rendezvous.num_nodes,
        nproc_per_node=processes,
        run_id=rendezvous.run_id,
        rdzv_backend="c10d",
        rdzv_endpoint=rendezvous.endpoint,
        rdzv_configs={"is_host": rendezvous.is_host, "join_timeout": int(rendezvous.join_seconds)},
        local_addr=rendezvous.local_address,
        max_restarts=0,  # a repeated command resumes from the checkpoint
        monitor_interval=0.2,
    )


@contextmanager
def _patient_agent(stop_seconds: float) -> Iterator[None]:
    """Within the block torch's agent gives its processes `stop_seconds` to end; it has no setting for its own 30."""
    from torch.distributed.elastic.multiprocessing.api import PContext

    close = PContext.close

    def patient_close(self: PContext, death_sig: Signals | None = None, timeout: int = 30) -> None:
        close(self, death_sig, max(timeout, int(stop_seconds)))

    PContext.close = patient_close  # type: ignore[method-assign]
    try:
        yield
    finally:
        PContext.close = close  # type: ignore[method-assign]


def _call(function: Callable[..., None], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    from torch.distributed.elastic.multiprocessing.errors import record

    def call() -> None:
        end_with_parent()
        try:
            function(*arguments, **keywords)
        except Stopped as error:  # because another node was asked to
            raise LaunchError(f"{error}, because another process was asked to; repeat the command to go on") from None
        except (LinnetError, OSError, MemoryError, RuntimeError) as error:
            if (message := explain(error)) is None:
                raise
            may_pass = error.may_pass if isinstance(error, LinnetError) else True
            raise (LaunchError if may_pass else FinalLaunchError)(message) from None

    record(call)()


def _is_bug(record: logging.LogRecord) -> bool:
    """Whether torchrun's own page about a process that failed says more than our sentence does."""
    error = record.exc_info[1] if record.exc_info else None
    told = (*(f"{kind.__module__}.{kind.__name__}: " for kind in TOLD), "signal SIGKILL")
    return error is None or not any(words in str(error) for words in told)


def _explained(rank: int, status: int, message: object) -> LaunchError:
    """The error for people that `_call` caught; for a bug of ours, where its traceback is."""
    if isinstance(message, dict):
        message = message.get("message", "")
    name, separator, rest = str(message).partition(": ")
    for kind in TOLD:
        if separator and name == kind.__name__:
            return kind(rest)
    ended = SIGNAL_BY_STATUS.get(status, f"status {status}")
    return LaunchError(
        f"training process {rank} ended with {ended}; its last lines are above. Repeat the command to go on"
    )
