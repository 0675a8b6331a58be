"""Models for the page that were really trained, if only for four steps."""

from pathlib import Path

import torch

from linnet.artifacts import Samples
from linnet.files import write_text
from linnet.inference.requests import GenerationRequest, default_seconds
from linnet.models.conditioning import Condition
from linnet.recipe import Recipe
from linnet.stages import preprocess
from linnet.ui.models import Built, TrainedModel, load_model
from support.training import train_on

CPU = torch.device("cpu")
SHORT = ("train.duration_kexamples=0.016", "train.warmup_kexamples=0.004", "train.grid_every_kexamples=0.016")


def train_tiny(build: Path, recipe: Recipe, raw: Path) -> Path:
    folder = build / recipe.name
    if not (build / "dataset").exists():
        preprocess.run(recipe.data, raw=raw, out=build / "dataset", workers=1)
    train_on(recipe, build / "dataset", folder / "model")
    return folder


def write_section(folder: Path, recipe: Recipe) -> None:
    """As `linnet sample` leaves it."""
    (folder / "samples").mkdir()
    write_text(folder / "samples" / Samples.recipe, recipe.sample.model_dump_json())


def built(build: Path, name: str) -> TrainedModel:
    return load_model(Built(build / name / "model"), CPU)


def request(model: TrainedModel, condition: Condition = None, *, count: int = 2, seed: int = 3) -> GenerationRequest:
    return GenerationRequest(
        conditions=(condition,) * count,
        seed=seed,
        num_steps=5,
        guidance_scale=None if condition is None else 1.5,
        duration_seconds=default_seconds(model.diffusion_model.recipe, model.section),
    )


def nothing(fraction: float) -> None:
    pass
