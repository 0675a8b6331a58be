"""How fast a training goes and what it has cost: for people, never for the result."""

import resource
import sys
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import nn

from linnet.models.flops import TRAINING_TIMES_FORWARD, count_flops
from linnet.models.precision import resolve_precision
from linnet.recipe import ResolvedPrecision, TrainingRecipe
from linnet.training.distributed import DistributedContext

NOTABLE_WAIT = 0.02  # of the time, from which waiting for data is worth a word


@dataclass(frozen=True)
class Interval:
    """Some consecutive steps; grids and checkpoints between them are left out."""

    examples: int = 0  # of all ranks
    seconds: float = 0.0
    waited_seconds: float = 0.0  # of these, for examples to arrive

    def __add__(self, other: "Interval") -> "Interval":
        return Interval(
            self.examples + other.examples,
            self.seconds + other.seconds,
            self.waited_seconds + other.waited_seconds,
        )


@dataclass(frozen=True)
class Throughput:
    """Rates over an interval."""

    examples_per_second: float
    tflops_per_second: float
    peak_share: float  # of what this machine's large matrix products reach
    data_wait_share: float

    def __str__(self) -> str:
        waits = f", {self.data_wait_share:.0%} of it waiting for data" if self.data_wait_share >= NOTABLE_WAIT else ""
        return (
            f"{self.examples_per_second:,.4g} examples/s, {self.tflops_per_second:.2g} TFLOP/s "
            f"({self.peak_share:.0%} of this machine's peak){waits}"
        )


@dataclass(frozen=True)
class Cost:
    """What a training took, for the page about it."""

    device: str
    devices: int
    precision: ResolvedPrecision
    seconds: float  # stops left out
    device_hours: float
    peak_memory_bytes: int  # of the main process; on a GPU, of its memory
    throughput: Throughput | None  # None where nothing was left to train

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Meter:
    """Turns intervals of a training into rates, and adds them up.

    Args:
        flops_per_example: forward and backward.
        peak: FLOP/s of a rank's device.
    """

    def __init__(
        self, flops_per_example: int, peak: float, precision: ResolvedPrecision, distributed: DistributedContext
    ) -> None:
        self._flops_per_example, self._peak = flops_per_example, peak
        self._precision, self._device, self._devices = precision, distributed.device, distributed.world_size
        self._total = Interval()

    @classmethod
    def of(cls, network: nn.Module, recipe: TrainingRecipe, distributed: DistributedContext, *, peak: float) -> Self:
        """Counts the FLOPs of an example."""
        precision = resolve_precision(recipe.train.precision, distributed.device)
        flops = TRAINING_TIMES_FORWARD * count_flops(network, recipe)
        return cls(flops, peak, precision, distributed)

    def add(self, interval: Interval) -> Throughput:
        """The rates of `interval`."""
        self._total += interval
        return self._rates(interval)

    def cost(self, seconds: float) -> Cost:
        """What a training of `seconds` has taken so far."""
        return Cost(
            device=device_name(self._device),
            devices=self._devices,
            precision=self._precision,
            seconds=seconds,
            device_hours=self._devices * seconds / 3600,
            peak_memory_bytes=peak_memory_bytes(self._device),
            throughput=self._rates(self._total) if self._total.examples else None,
        )

    def _rates(self, interval: Interval) -> Throughput:
        seconds = max(interval.seconds, 1e-9)
        rate = interval.examples / seconds
        flops = rate * self._flops_per_example
        return Throughput(rate, flops / 1e12, flops / (self._devices * self._peak), interval.waited_seconds / seconds)


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory this process has taken; on a GPU, of its memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_name(device: torch.device) -> str:
    """What one process computes on, for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = torch.get_num_threads()
    return f"{cores} CPU cores" if cores > 1 else "CPU core"
