"""How steps are computed on this machine: eagerly, compiled, as a CUDA graph, in parts. It changes rounding only."""

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from linnet.errors import LinnetError
from linnet.training.distributed import DistributedContext

GPU_COMPILES_FROM_STEPS = 10_000  # compiling takes two minutes, and a step saves some ten milliseconds


class ExecutionError(LinnetError):
    """A batch cannot be divided as asked."""


@dataclass(frozen=True)
class Execution:
    """What is done to a step before it is taken again and again."""

    compiled: bool  # by torch.compile
    graphed: bool  # all kernels of a step launched at once (CUDA graphs)
    passes: int = 1  # through the network in a step, each over an equal part of a rank's rows (gradient accumulation)


EAGER = Execution(compiled=False, graphed=False)


def choose_execution(num_steps: int, distributed: DistributedContext, *, passes: int = 1) -> Execution:
    """What wins for a run of `num_steps`, decided once and from what a resumed run knows, too."""
    if distributed.device.type != "cuda":
        return Execution(compiled=False, graphed=False, passes=passes)
    return Execution(
        compiled=num_steps >= GPU_COMPILES_FROM_STEPS,
        graphed=distributed.world_size == 1 and passes == 1,  # generators are restarted between passes
        passes=passes,
    )


def check_passes(passes: int, network: nn.Module, *, batch_size: int, world_size: int) -> None:
    """Raises ExecutionError where `passes` do not make the same step as one."""
    share = batch_size // world_size
    if share % passes:
        fewer = max(count for count in range(1, passes) if share % count == 0)
        raise ExecutionError(
            f"--passes {passes} does not divide the {share} examples of a batch that each process trains on; give "
            f"--passes {fewer}"
        )
    if passes > 1 and any(isinstance(module, _BatchNorm) for module in network.modules()):
        raise ExecutionError(
            f"--passes {passes}: batch norm takes its statistics over the whole batch; give --passes 1 or choose a "
            "model with group norm (noise_injection = 'every_block')"
        )
