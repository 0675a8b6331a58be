"""Averaging gradients among the processes of one machine, through memory that they share.

DistributedDataParallel sends them through sockets, which costs a CPU's cores as much work as time (docs/lab-log.md).
Here every rank writes its gradients to a place of its own, waits once for the others, and reads all of them.
"""

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

SHARED = Path("/dev/shm")  # noqa: S108  Linux's files in memory; ours is unlinked as soon as all ranks have opened it
NUMBER_BYTES = 4
SETS = 2  # written in turn: with one wait a step, no rank overwrites what another still reads


class SharedAverage:
    """The means over all ranks of the gradients of `parameters` and of the loss: the same bits on every rank."""

    def __init__(self, path: Path, parameters: Sequence[Tensor], rank: int, world_size: int) -> None:
        sizes = [1, *(parameter.numel() for parameter in parameters)]
        count = SETS * world_size * sum(sizes)
        self._slots = torch.from_file(str(path), shared=True, size=count).view(SETS, world_size, sum(sizes))
        self._mean = torch.zeros(sum(sizes))
        self._views = _views(parameters, self._mean)
        self._own = [_views(parameters, each[rank]) for each in self._slots]
        self._turn = 0

    def __call__(self, loss: Tensor, gradients: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The averages, valid until the next call. All ranks call it in turn with their steps."""
        slots, own = self._slots[self._turn], self._own[self._turn]
        torch._foreach_copy_(own, [loss.reshape(1), *gradients])
        dist.barrier()
        torch.add(slots[0], slots[1], out=self._mean)
        for other in slots[2:]:
            self._mean += other
        self._mean /= len(slots)
        self._turn = 1 - self._turn
        return self._views[0].squeeze(), self._views[1:]


def open_shared_average(parameters: Sequence[Tensor], rank: int, world_size: int) -> SharedAverage | None:
    """None where this machine has no such memory, or too little of it free; all ranks get the same answer."""
    path = [""]
    if rank == 0:
        count = SETS * world_size * (1 + sum(parameter.numel() for parameter in parameters))
        path[0] = _reserve(count * NUMBER_BYTES)
    dist.broadcast_object_list(path, src=0)
    if not path[0]:
        return None
    average = SharedAverage(Path(path[0]), parameters, rank, world_size)
    dist.barrier()
    if rank == 0:
        Path(path[0]).unlink()
    return average


def _reserve(num_bytes: int) -> str:
    """The path of a new file of that size, so that no write to it can fail later; "" where there is no room."""
    path = SHARED / f"linnet-{uuid.uuid4().hex}"
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError:
        return ""
    try:
        os.posix_fallocate(handle, 0, num_bytes)
    except OSError:
        path.unlink()
        return ""
    finally:
        os.close(handle)
    return str(path)


def _views(parameters: Sequence[Tensor], flat: Tensor) -> list[Tensor]:
    """One number, then views of `flat` in the shapes of the parameters."""
    first, *parts = torch.split(flat, [1, *(parameter.numel() for parameter in parameters)])
    return [first, *(part.view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True))]
