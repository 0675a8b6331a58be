"""Sampling on all GPUs of this machine: a process each, which changes no sample."""

import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from linnet.models.device import set_up
from linnet.processes import end_pool, end_with_parent
from linnet.recipe import Recipe
from linnet.stages import sample as stage
from linnet.tasks.boundary import SAMPLE_BATCH


def devices_here(device: torch.device) -> list[torch.device]:
    """All GPUs of this machine if `device` is one, or else `device`."""
    if device.type != "cuda":
        return [device]
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def run(recipe: Recipe, *, model: Path, out: Path, devices: Sequence[torch.device]) -> None:
    """Generate `recipe.sample.num_samples` examples into `out`, to the same bits on any number of equal devices.

    Raises:
        ArtifactError: as `stages.sample.run` does.
    """
    num_parts = min(len(devices), -(-recipe.sample.num_samples // SAMPLE_BATCH))
    if num_parts == 1:
        stage.run(recipe, model=model, out=out, device=devices[0], batch_size=SAMPLE_BATCH)
        return
    with tempfile.TemporaryDirectory(prefix="linnet-samples-") as scratch:
        parts = [Path(scratch) / f"part-{index}" for index in range(num_parts)]
        spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        pool = ProcessPoolExecutor(num_parts, mp_context=spawn, initializer=end_with_parent)
        try:
            running = [
                pool.submit(_part, recipe, model, part, device, index, num_parts)
                for index, (part, device) in enumerate(zip(parts, devices, strict=False))
            ]
            for each in running:
                each.result()
        finally:
            end_pool(pool)
        stage.collect(recipe, model=model, shards=parts, out=out)


def _part(recipe: Recipe, model: Path, out: Path, device: torch.device, index: int, num_parts: int) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    set_up(device)
    stage.sample_shard(
        recipe, model=model, out=out, device=device, batch_size=SAMPLE_BATCH, shard=index, num_shards=num_parts
    )
