"""Tiny datasets and models of sound, made once for all tests of a run."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import pytest
import torch

from linnet.artifacts import Model
from linnet.files import read_json
from linnet.inference.diffusion_model import Painter, load_painter
from linnet.modalities.codec import SoundCodec, Statistics
from linnet.recipe import Recipe, Sound
from linnet.stages import preprocess, train
from support.tiny import tiny_music_recipe, tiny_sound_data, tiny_sound_recipe

CPU = torch.device("cpu")
QUICK = ("train.duration_kexamples=0.032", "train.grid_every_kexamples=1000.0", "train.log_every_steps=4")  # 8 steps


@dataclass(frozen=True)
class Made:
    """A recipe, and what its first stages left; not to be changed by a test."""

    recipe: Recipe
    raw: Path
    dataset: Path
    model: Path

    @property
    def sound(self) -> Sound:
        """The data section."""
        assert isinstance(self.recipe.data, Sound)
        return self.recipe.data

    @property
    def statistics(self) -> Statistics:
        """As train stored them."""
        statistics: Statistics = read_json(self.model / Model.statistics, made_by="train")
        return statistics

    @property
    def codec(self) -> SoundCodec:
        """On the CPU."""
        return SoundCodec(self.sound, self.statistics, CPU)

    def painter(self) -> Painter:
        """With the averaged weights."""
        return load_painter(self.model, weights="ema", device=CPU)


def made(kind: Literal["voices", "music"], factory: pytest.TempPathFactory) -> Made:
    """The tiny vocals (complex, unconditional U-Net) or music (magnitudes, DiT with text) after 8 steps of training."""
    match kind:
        case "voices":
            recipe = tiny_sound_recipe(*QUICK)
        case "music":
            recipe = tiny_music_recipe(*QUICK)
        case _:
            assert_never(kind)
    folder = factory.getbasetemp() / f"made-{kind}"
    if not (folder / "model").exists():
        shutil.rmtree(folder, ignore_errors=True)
        tiny_sound_data(folder / "raw", kind)
        preprocess.run(recipe.data, raw=folder / "raw", out=folder / "dataset", workers=1)
        train_on(recipe, folder / "dataset", folder / "model")
    return Made(recipe, folder / "raw", folder / "dataset", folder / "model")


def train_on(recipe: Recipe, dataset: Path, out: Path) -> None:
    """The train stage with everything around it left out."""
    train.run(
        recipe,
        dataset=dataset,
        out=out,
        work=out.with_name(f"{out.name}-work"),
        mirror=None,
        device=CPU,
        checkpoint_every_seconds=1e9,
        keep_checkpoint=False,
        track=False,
    )
