"""Data-parallel training: the processes that torchrun starts train one model, each on its share of every batch.

Every rank draws the noise of the whole batch and uses its rows, and DistributedDataParallel averages the gradients
(Li et al. 2020, arXiv 2006.15704), so how many ranks there are changes rounding and nothing else.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from linnet.errors import LinnetError

SILENCE = timedelta(minutes=30)  # how long one rank may keep the others waiting (images, checkpoints)


class DistributedError(LinnetError):
    """The run cannot be spread over this many processes."""


@dataclass(frozen=True)
class DistributedContext:
    """One process among those that train together; a world of one outside torchrun."""

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def alone(cls, device: torch.device) -> Self:
        """The only process."""
        return cls(0, 1, device)

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files and talks to people."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """The rank's rows of a batch."""
        share = batch_size // self.world_size
        return slice(self.rank * share, (self.rank + 1) * share)

    def replica(self, network: nn.Module) -> nn.Module:
        """`network` itself, or a wrapper around it whose backward pass averages gradients over all ranks."""
        if self.world_size == 1:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True)

    def synchronised(self, network: nn.Module) -> nn.Module:
        """`network` with batch statistics taken over all ranks. Raises DistributedError where that cannot be done."""
        if self.world_size == 1 or not any(isinstance(module, _BatchNorm) for module in network.modules()):
            return network
        if self.device.type != "cuda":
            raise DistributedError(
                f"batch norm over {self.world_size} processes needs GPUs; train with one process (--processes 1) or "
                "choose a model with group norm (noise_injection = 'every_block')"
            )
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-any-return, no-untyped-call]

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all ranks."""
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def largest(self, value: int) -> int:
        """The largest `value` of all ranks."""
        if self.world_size == 1:
            return value
        shared = torch.tensor(value, device=self.device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return int(shared.item())

    def from_first(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """The first rank's `state` (tensors and plain values) on every rank: only its disk needs to hold it."""
        if self.world_size == 1:
            return state
        buffer = io.BytesIO()
        if self.is_first:
            torch.save(state, buffer)
        size = self.largest(buffer.getbuffer().nbytes)
        held = bytearray(buffer.getbuffer()) if self.is_first else bytearray(size)
        data = torch.frombuffer(held, dtype=torch.uint8).to(self.device)
        dist.broadcast(data, src=0)
        received: dict[str, Any] | None = torch.load(
            io.BytesIO(data.cpu().numpy().tobytes()), map_location=self.device, weights_only=True
        )
        return received


@contextmanager
def joined(device: torch.device, *, batch_size: int) -> Iterator[DistributedContext]:
    """Join the process group that torchrun's environment describes, and leave it at the end.

    Raises:
        DistributedError: `batch_size` cannot be shared out evenly.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield DistributedContext.alone(device)
        return
    if batch_size % world_size:
        fewer = max(count for count in range(1, world_size) if batch_size % count == 0)
        raise DistributedError(
            f"[train] batch_size = {batch_size} cannot be shared out evenly to {world_size} processes; give --set "
            f"train.batch_size={-(-batch_size // world_size) * world_size} or --processes {fewer}"
        )
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=SILENCE)
    try:
        yield DistributedContext(dist.get_rank(), world_size, device)
    finally:
        dist.destroy_process_group()
