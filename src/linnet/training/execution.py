"""How steps are computed on this machine: eagerly, compiled, as a CUDA graph. It changes rounding and nothing else."""

from dataclasses import dataclass

from linnet.training.distributed import DistributedContext

GPU_COMPILES_FROM_STEPS = 10_000  # compiling takes two minutes, and a step saves some ten milliseconds


@dataclass(frozen=True)
class Execution:
    """What is done to a step before it is taken again and again."""

    compiled: bool  # by torch.compile
    graphed: bool  # all kernels of a step launched at once (CUDA graphs)


EAGER = Execution(compiled=False, graphed=False)


def choose_execution(num_steps: int, distributed: DistributedContext) -> Execution:
    """What wins for a run of `num_steps`, decided once and from what a resumed run knows, too."""
    if distributed.device.type != "cuda":
        return EAGER
    return Execution(compiled=num_steps >= GPU_COMPILES_FROM_STEPS, graphed=distributed.world_size == 1)
