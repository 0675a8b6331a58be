"""The train stage as most tests run it."""

from pathlib import Path

import torch

from linnet.recipe import Recipe
from linnet.stages import preprocess, train
from support.tiny import tiny_raw_data


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


def tiny_model(recipe: Recipe, folder: Path) -> Path:
    """A model of the tiny birds, trained in `folder` by a recipe of support.tiny."""
    preprocess.run(recipe.data, raw=tiny_raw_data(folder / "raw"), out=folder / "dataset", workers=1)
    train_on(recipe, folder / "dataset", folder / "model")
    return folder / "model"
