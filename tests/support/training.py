"""The train stage as most tests run it."""

from pathlib import Path

import torch

from linnet.recipe import Recipe
from linnet.stages import train


def train_on(recipe: Recipe, dataset: Path, out: Path, *, device: torch.device | None = None) -> None:
    """Run the train stage without tracking and checkpoints, on the CPU unless a device is given."""
    train.run(
        recipe,
        dataset=dataset,
        out=out,
        work=out.with_name(f"{out.name}-work"),
        mirror=None,
        device=device or torch.device("cpu"),
        checkpoint_every_seconds=1e9,
        keep_checkpoint=False,
        track=False,
    )
