"""Gradients averaged through shared memory are the mean, on every rank and in every step, and leave no file."""

from pathlib import Path

import pytest
import torch

from linnet.launch import torchrun
from linnet.training import shared_average
from support.workers import average_in_shared_memory, name_what_averages

pytestmark = pytest.mark.skipif(not shared_average.SHARED.is_dir(), reason="needs Linux's /dev/shm")


def test_three_processes_get_the_same_mean_in_each_of_many_steps(tmp_path: Path) -> None:
    """No rank that is ahead overwrites what another still reads."""
    torchrun.start(average_in_shared_memory, tmp_path, processes=3)
    first, second, third = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(3))
    assert torch.equal(first["mean"], second["mean"])
    assert torch.equal(first["mean"], third["mean"])
    assert torch.equal(first["mean"], (first["own"] + second["own"] + third["own"]) / 3)
    assert list(shared_average.SHARED.glob("linnet-*")) == []


@pytest.mark.parametrize(("has_room", "expected"), [(True, "Linear"), (False, "DistributedDataParallel")])
def test_without_room_ranks_average_through_sockets(tmp_path: Path, has_room: bool, expected: str) -> None:
    torchrun.start(name_what_averages, tmp_path, has_room, processes=2)
    assert [(tmp_path / f"rank{rank}").read_text() for rank in range(2)] == [expected] * 2
    assert list(shared_average.SHARED.glob("linnet-*")) == []
