"""Data-parallel training: the processes that torchrun starts train one model, each on its rows of every batch.

Every rank draws the noise of the whole batch and uses its rows, and DistributedDataParallel (Li et al. 2020, arXiv
2006.15704) or memory that the ranks share averages the gradients, so that the number of ranks changes rounding and
nothing else.
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from linnet.errors import LinnetError
from linnet.models.blocks import Dropout
from linnet.models.device import set_up
from linnet.training.shared_average import SharedAverage, open_shared_average

TIMEOUT = timedelta(minutes=30)  # one rank keeps the others waiting while it samples previews and saves checkpoints


class DistributedError(LinnetError):
    """The run cannot be distributed over this many processes."""


@dataclass(frozen=True)
class DistributedContext:
    """One process among those that train together; the only one outside torchrun."""

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def single_process(cls, device: torch.device) -> Self:
        """The context of a process that trains on its own."""
        return cls(0, 1, device)

    @property
    def is_main_process(self) -> bool:
        """Whether this rank writes files and messages."""
        return self.rank == 0

    def local_rows(self, batch_size: int) -> slice:
        """The rows of a batch that this rank trains on."""
        share = batch_size // self.world_size
        return slice(self.rank * share, (self.rank + 1) * share)

    def divide(self, network: nn.Module, part: int, num_parts: int) -> None:
        """Tell `network` that it is going to see part `part` of `num_parts` of this rank's rows."""
        for module in network.modules():
            if isinstance(module, Dropout):
                module.part, module.num_parts = self.rank * num_parts + part, self.world_size * num_parts

    def wrap_ddp(self, network: nn.Module) -> nn.Module:
        """`network` in DistributedDataParallel, whose backward pass averages gradients; itself where ranks are one."""
        if self.world_size == 1:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        # of a convolution over one channel: its two layouts are the same
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        return DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True)

    def shared_average(self, network: nn.Module) -> SharedAverage | None:
        """What averages gradients instead of `wrap_ddp` where all ranks are processes of one machine, on its CPU."""
        on_one_machine = os.environ.get("LOCAL_WORLD_SIZE") == str(self.world_size)
        if self.world_size == 1 or self.device.type != "cpu" or not on_one_machine:
            return None
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return open_shared_average(parameters, self.rank, self.world_size)

    def without_averaging(self, ddp: nn.Module) -> AbstractContextManager[None]:
        """Within it, backward passes through what `wrap_ddp` gave only add to this rank's gradients."""
        return ddp.no_sync() if isinstance(ddp, DistributedDataParallel) else nullcontext()

    def sync_layers(self, network: nn.Module) -> nn.Module:
        """`network` with layers that know of the other ranks' rows: batch norm takes statistics over all ranks.

        Raises:
            DistributedError: batch norm on CPUs, where torch cannot do that.
        """
        if self.world_size == 1 or not any(isinstance(module, _BatchNorm) for module in network.modules()):
            return network
        if self.device.type != "cuda":
            raise DistributedError(
                f"batch norm over {self.world_size} processes needs GPUs; train with one process (--processes 1) or "
                "choose a model with group norm (noise_injection = 'every_block')"
            )
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-any-return, no-untyped-call]

    def all_reduce_mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all ranks."""
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def all_reduce_max(self, value: int) -> int:
        """The maximum of `value` over all ranks."""
        if self.world_size == 1:
            return value
        shared = torch.tensor(value, device=self.device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return int(shared.item())

    def broadcast(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """The main process's `state` (tensors and plain values) on every rank: only its disk needs to hold it."""
        if self.world_size == 1:
            return state
        buffer = io.BytesIO()
        if self.is_main_process:
            torch.save(state, buffer)
        size = self.all_reduce_max(buffer.getbuffer().nbytes)
        serialised = bytearray(buffer.getbuffer()) if self.is_main_process else bytearray(size)
        data = torch.frombuffer(serialised, dtype=torch.uint8).to(self.device)
        dist.broadcast(data, src=0)
        received: dict[str, Any] | None = torch.load(
            io.BytesIO(data.cpu().numpy().tobytes()), map_location=self.device, weights_only=True
        )
        return received


@contextmanager
def distributed_context(device: torch.device, *, batch_size: int) -> Iterator[DistributedContext]:
    """Join the process group that torchrun's environment describes, and leave it at the end.

    Raises:
        DistributedError: `batch_size` is no multiple of the number of processes.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield DistributedContext.single_process(device)
        return
    if batch_size % world_size:
        fewer = max(count for count in range(1, world_size) if batch_size % count == 0)
        raise DistributedError(
            f"[train] batch_size = {batch_size} cannot be divided evenly among {world_size} processes; give --set "
            f"train.batch_size={-(-batch_size // world_size) * world_size} or --processes {fewer}"
        )
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    set_up(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield DistributedContext(dist.get_rank(), world_size, device)
    finally:
        dist.destroy_process_group()
