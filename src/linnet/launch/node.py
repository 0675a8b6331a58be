"""The first process of a pod of a TrainJob: it starts the training processes of its node, and its exit status says
whether another attempt makes sense.

Kubeflow Trainer describes the nodes in PET_ variables
(https://www.kubeflow.org/docs/components/trainer/user-guides/pytorch/). torchrun would read them too, but ends with
status 1 whatever happened.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Self

from linnet.errors import LinnetError, Stopped
from linnet.launch import torchrun
from linnet.launch.torchrun import Rendezvous
from linnet.progress import log

FINAL_STATUS = (
    64  # deploy/kubernetes/base/training-runtime.yaml ends the job for it, and starts it again for all others
)
ATTEMPT_VARIABLE, RENDEZVOUS_VARIABLE = "LINNET_ATTEMPT", "LINNET_RENDEZVOUS"  # from labels of the pod
JOIN_SECONDS = 3600.0  # how long the nodes of an attempt wait for each other: one may have to be started first
LAST_WORD_SECONDS = 10.0  # Kubernetes decides by the pods that have ended; the one whose fault it is comes first


class NodeError(LinnetError):
    """The process is no node of a TrainJob, or the other nodes do not come."""

    may_pass = True


class FinalError(LinnetError):
    """An error that every further attempt would meet again."""

    exit_status = FINAL_STATUS


@dataclass(frozen=True)
class Node:
    """One node of a TrainJob, as Kubeflow Trainer and JobSet describe it."""

    rank: int
    count: int  # of nodes
    processes: int
    first_host: str  # the name of node 0
    first_port: int
    rendezvous: str  # of this attempt; an earlier attempt had another
    attempt: int  # from 0

    @classmethod
    def from_environment(cls) -> Self:
        """Raises NodeError, which names the variable that is missing."""
        try:
            return cls(
                rank=int(os.environ["PET_NODE_RANK"]),
                count=int(os.environ["PET_NNODES"]),
                processes=int(os.environ["PET_NPROC_PER_NODE"]),
                first_host=os.environ["PET_MASTER_ADDR"],
                first_port=int(os.environ["PET_MASTER_PORT"]),
                rendezvous=os.environ[RENDEZVOUS_VARIABLE],
                attempt=int(os.environ[ATTEMPT_VARIABLE]),
            )
        except (KeyError, ValueError) as reason:
            raise NodeError(
                f"{reason}: `linnet train-node` is for the pods of a TrainJob, in which Kubeflow Trainer sets PET_... "
                f"and linnet {RENDEZVOUS_VARIABLE} and {ATTEMPT_VARIABLE}; elsewhere start `linnet train-shared`"
            ) from None

    def run(self, function: Callable[..., None], *arguments: Any, stop_seconds: float) -> None:
        """Call `function` in every training process of this node.

        Args:
            stop_seconds: how long the training processes may take to end after SIGTERM.

        Raises:
            LinnetError: of `function`, or as `torchrun.start` raises it; `may_pass` says whose fault it was.
            Stopped: SIGTERM; the checkpoint is written.
        """
        log(f"node {self.rank} of {self.count}: attempt {self.attempt + 1}")
        rendezvous = self._rendezvous() if self.count > 1 else None
        try:
            torchrun.start(
                function, *arguments, processes=self.processes, rendezvous=rendezvous, stop_seconds=stop_seconds
            )
        except LinnetError as error:
            if self.count > 1 and error.may_pass:  # it may only be the echo of another node's end
                time.sleep(LAST_WORD_SECONDS)
            raise

    def _rendezvous(self) -> Rendezvous:
        if self.rank > 0:
            self._wait_for_first()
        # torch numbers the nodes in the order of these names: Trainer's node 0, whose log is followed, is to be rank 0
        address = self.first_host if self.rank == 0 else f"~{self.rank:06d}"
        return Rendezvous(
            run_id=self.rendezvous,
            endpoint=f"{self.first_host}:{self.first_port}",
            num_nodes=self.count,
            is_host=self.rank == 0,
            local_address=address,
            join_seconds=JOIN_SECONDS,
        )

    def _wait_for_first(self) -> None:
        """Until node 0 listens; torch itself would wait a minute, and deaf to SIGTERM."""
        deadline = time.monotonic() + JOIN_SECONDS
        while time.monotonic() < deadline:
            try:
                socket.create_connection((self.first_host, self.first_port), timeout=5).close()
            except OSError:  # no such name yet, or nobody listens
                time.sleep(1)
            else:
                return
        raise NodeError(
            f"node 0 ({self.first_host}:{self.first_port}) could not be reached for {JOIN_SECONDS / 60:.0f} minutes; "
            "see why its pod does not start (kubectl describe pod), and whether a NetworkPolicy keeps pods apart"
        )


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped on SIGTERM within the block: the first process of a container would otherwise ignore it."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped("stopped before the first step", number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def final_errors() -> Iterator[None]:
    """Within the block an error for people that a repetition meets again is a FinalError."""
    try:
        yield
    except LinnetError as error:
        if error.may_pass:
            raise
        raise FinalError(str(error)) from None
