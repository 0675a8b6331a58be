"""Rates and costs are those of plain arithmetic."""

import pytest
import torch

from linnet.training.distributed import DistributedContext
from linnet.training.throughput import Interval, Meter, Throughput

CPU = torch.device("cpu")


def meter(*, ranks: int = 1) -> Meter:
    """An example takes 2e9 FLOPs, a device does 1e12 a second at most."""
    return Meter(2_000_000_000, 1e12, "bf16", DistributedContext(0, ranks, CPU))


def test_rates_of_an_interval() -> None:
    found = meter(ranks=2).add(Interval(examples=500, seconds=2.0, waited_seconds=0.5))
    assert found == Throughput(examples_per_second=250.0, tflops_per_second=0.5, peak_share=0.25, data_wait_share=0.25)
    assert str(found) == "250 examples/s, 0.5 TFLOP/s (25% of this machine's peak), 25% of it waiting for data"
    assert "waiting" not in str(meter().add(Interval(500, 2.0, 0.01)))


def test_the_cost_is_of_all_intervals_and_all_devices() -> None:
    two = meter(ranks=2)
    two.add(Interval(100, 1.0, 0.0))
    two.add(Interval(300, 3.0, 2.0))
    cost = two.cost(seconds=900.0)
    assert cost.throughput == Throughput(100.0, 0.2, 0.1, 0.5)
    assert (cost.devices, cost.precision) == (2, "bf16")
    assert cost.device_hours == pytest.approx(0.5)
    assert cost.peak_memory_bytes > 2**20
    assert meter().cost(seconds=0.0).throughput is None
