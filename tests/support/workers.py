"""Functions for new processes: those must be importable there, which test modules are not."""

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linnet import storage
from linnet.launch import torchrun
from linnet.modalities.pool import OrderedPool
from linnet.training.distributed import distributed_context
from linnet.training.state import new_state
from support.tiny import tiny_recipe


def fail(error: Exception) -> None:
    raise error


def kill_rank_1() -> None:
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(30)


def say_pid_and_sleep(folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as training, which records it: torch sends it to orphans
    (folder / str(os.getpid())).touch()
    time.sleep(60)


def start_pool(folder: Path) -> None:
    with OrderedPool(say_pid_and_sleep, [(folder,)] * 8, workers=2) as results:
        list(results)


def start_ranks(folder: Path) -> None:
    torchrun.start(say_pid_and_sleep, folder, processes=2)


def download(url: str, folder: Path, ready: Any, results: Any) -> None:
    ready.wait()
    storage.download_folder(url, folder)
    results.put(folder.stat().st_ino)


def average_in_shared_memory(folder: Path) -> None:
    """Average 60 random losses and gradients, one rank slower than the others, and save both sides of it."""
    with distributed_context(torch.device("cpu"), batch_size=3) as distributed:
        network = nn.Sequential(nn.Linear(70, 50, bias=False), nn.Linear(3, 1, bias=False))
        average = distributed.shared_average(network)
        assert average is not None
        own, means = [], []
        for step in range(60):
            generator = torch.Generator().manual_seed(100 * step + distributed.rank)
            loss = torch.rand((), generator=generator)
            gradients = [torch.randn(each.shape, generator=generator) for each in network.parameters()]
            own.append(_flat(loss, gradients))
            if distributed.rank == step % 3:
                time.sleep(0.002)
            means.append(_flat(*average(loss, gradients)))
        torch.save({"own": torch.stack(own), "mean": torch.stack(means)}, folder / f"rank{distributed.rank}.pt")


def _flat(loss: Tensor, gradients: list[Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in (loss, *gradients)])


def name_what_averages(folder: Path, has_room: bool) -> None:
    """Write the class of what a step calls: the network itself where ranks share memory."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if not has_room:
        os.posix_fallocate = refuse
    with distributed_context(torch.device("cpu"), batch_size=2) as distributed:
        state = new_state(nn.Linear(4, 4), tiny_recipe().train, distributed)
        (folder / f"rank{distributed.rank}").write_text(type(state.ddp).__name__)
