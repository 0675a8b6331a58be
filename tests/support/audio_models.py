"""Tiny audio datasets and models, made once for all tests of a run."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import pytest
import torch

from linnet.artifacts import Model
from linnet.inference.diffusion_model import DiffusionModel
from linnet.modalities.audio_codec import AudioCodec
from linnet.modalities.statistics import AudioStatistics, read_statistics
from linnet.recipe import Audio, Recipe
from linnet.stages import preprocess
from support.tiny import tiny_audio_data, tiny_audio_recipe, tiny_music_recipe
from support.training import train_on

CPU = torch.device("cpu")
BATCH = 4  # samples made at once, so that there are several batches
QUICK = ("train.duration_kexamples=0.032", "train.grid_every_kexamples=1000.0", "train.log_every_steps=4")  # 8 steps


@dataclass(frozen=True)
class Made:
    """A recipe and the outputs of its first stages; no test may change them."""

    recipe: Recipe
    raw: Path
    dataset: Path
    model: Path

    @property
    def audio(self) -> Audio:
        """The data section."""
        assert isinstance(self.recipe.data, Audio)
        return self.recipe.data

    @property
    def statistics(self) -> AudioStatistics:
        """As train stored them."""
        statistics = read_statistics(self.model / Model.statistics, made_by="train")
        assert isinstance(statistics, AudioStatistics)
        return statistics

    @property
    def codec(self) -> AudioCodec:
        """On the CPU."""
        return AudioCodec(self.audio, self.statistics, CPU)

    def diffusion_model(self) -> DiffusionModel:
        """With the averaged weights."""
        return DiffusionModel.load(self.model, weights="ema", device=CPU)


def made(kind: Literal["voices", "music"], factory: pytest.TempPathFactory) -> Made:
    """The tiny vocals (complex, unconditional U-Net) or music (magnitudes, DiT with text) after 8 steps of training."""
    match kind:
        case "voices":
            recipe = tiny_audio_recipe(*QUICK)
        case "music":
            recipe = tiny_music_recipe(*QUICK)
        case _:
            assert_never(kind)
    folder = factory.getbasetemp() / f"made-{kind}"
    if not (folder / "model").exists():
        shutil.rmtree(folder, ignore_errors=True)
        tiny_audio_data(folder / "raw", kind)
        preprocess.run(recipe.data, raw=folder / "raw", out=folder / "dataset", workers=1)
        train_on(recipe, folder / "dataset", folder / "model")
    return Made(recipe, folder / "raw", folder / "dataset", folder / "model")
