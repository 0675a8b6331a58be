"""A trained diffusion model: a network with all that is needed to sample from it, or to restore with it as prior."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import ValidationError
from torch import Tensor

from linnet.artifacts import Model, read_provenance
from linnet.diffusion import objective
from linnet.diffusion.multidiffusion import windowed
from linnet.diffusion.samplers import OnStep, PerSampleNoise, PredictX0, sample
from linnet.diffusion.schedule import NoiseSchedule, build_schedule
from linnet.errors import LinnetError, first_line
from linnet.files import ArtifactError
from linnet.modalities.base import Codec
from linnet.modalities.conditions import build_encoder
from linnet.modalities.dispatch import build_codec
from linnet.modalities.statistics import Statistics, read_statistics
from linnet.models.build import build_network
from linnet.models.conditioning import Condition, ConditionEncoder
from linnet.models.denoising_network import DenoisingNetwork
from linnet.models.device import memory_format, to_device
from linnet.models.precision import autocast, resolve_precision
from linnet.models.row_threads import map_rows
from linnet.models.weights import load_weights
from linnet.recipe import Precision, SamplerSection, TrainingRecipe, Unconditional

Weights = Literal["ema", "raw", "untrained"]


class NoUnconditionalModeError(LinnetError):
    """The model cannot predict without a condition: it was never trained without one."""


@dataclass(frozen=True)
class DiffusionModel:
    """A network and what surrounds it: the recipe and the statistics of its training, codec, encoder and device."""

    network: DenoisingNetwork
    recipe: TrainingRecipe
    statistics: Statistics  # that preprocess computed on the train split
    codec: Codec
    encoder: ConditionEncoder
    device: torch.device

    @classmethod
    def of(
        cls, network: DenoisingNetwork, recipe: TrainingRecipe, statistics: Statistics, device: torch.device
    ) -> Self:
        """A model around a network that is on `device` already."""
        codec, encoder = build_codec(recipe.data, statistics, device), build_encoder(recipe, statistics, device)
        return cls(network, recipe, statistics, codec, encoder, device)

    @classmethod
    def load(cls, model: Path, *, weights: Weights, device: torch.device) -> Self:
        """The model folder made by train, ready to sample from. Raises ArtifactError if it is incomplete or damaged."""
        read_provenance(model, made_by="train")
        recipe = load_training_recipe(model)
        statistics = read_statistics(model / Model.statistics, made_by="train")
        network = build_network(recipe)
        if weights != "untrained":
            load_weights(model / (Model.ema_weights if weights == "ema" else Model.weights), network)
        network = to_device(network, device).eval().requires_grad_(False)
        return cls.of(network, recipe, statistics, device)

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule it was trained with."""
        return build_schedule(self.recipe.diffusion.schedule)

    def sample(
        self,
        sampler: SamplerSection,
        *,
        seed: int,
        indices: list[int],
        conditions: Sequence[Condition] | None,
        guidance_scale: float,
        clip_x0: bool,
        precision: Precision,
        frames: int | None = None,
        overlap_fraction: float = 0.5,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Standardised examples [len(indices), C, H, W].

        Example n depends on `seed`, on n and on its condition alone, not on the others of its batch.

        Args:
            indices: the n of each example.
            conditions: one for each example; None for unconditional predictions.
            frames: the width W, where it is more than that of a training example: windows that overlap by
                `overlap_fraction` are denoised together.

        Raises:
            NoUnconditionalModeError: guidance, or no conditions, where the model was trained without dropping any.
        """
        channels, height, width = self.recipe.data.shape
        noise = PerSampleNoise(seed, indices, (channels, height, max(frames or width, width)), self.device)
        predict = self.predictor(
            conditions, guidance_scale, clip_x0=clip_x0, precision=precision, overlap_fraction=overlap_fraction
        )
        with torch.inference_mode():
            return sample(sampler, self.schedule, predict, noise, on_step)

    def predictor(
        self,
        conditions: Sequence[Condition] | None,
        guidance_scale: float,
        *,
        clip_x0: bool,
        precision: Precision,
        overlap_fraction: float,
    ) -> PredictX0:
        """A function (x_t [B, C, H, W], timestep) -> x_0; H and W may be larger than those of a training example.

        Args:
            conditions: one for each row; None for an unconditional model, or the unconditional mode of another.

        Raises:
            NoUnconditionalModeError: guidance, or no conditions, where the model was trained without dropping any.
        """
        self._check_unconditional_mode(conditions, guidance_scale)
        self.network.eval()
        encoded = self.encoder.encode(conditions) if conditions is not None else None
        is_guided = encoded is not None and guidance_scale != 1
        null_condition = self.encoder.null_condition(1) if is_guided else None
        schedule, prediction = self.schedule, self.recipe.diffusion.prediction
        resolved, layout = resolve_precision(precision, self.device), memory_format(self.device)

        def denoise(x: Tensor, noise_level: Tensor, condition: Tensor | None) -> Tensor:
            with autocast(self.device, resolved):
                output: Tensor = self.network(x.contiguous(memory_format=layout), noise_level, condition)
            return output.float()

        def denoise_rows(x: Tensor, timesteps: Tensor, condition: Tensor | None) -> Tensor:
            noise_level = schedule.noise_level(self.network.noise_level, timesteps)
            return map_rows(denoise, x, noise_level, condition, device=self.device)

        def predict_x0(x: Tensor, timestep: int) -> Tensor:
            timesteps = torch.full((len(x),), timestep, device=self.device)
            condition = None
            if encoded is not None:  # of a longer example, windows come in turns: one of each example
                condition = encoded.repeat(len(x) // len(encoded), *[1] * (encoded.ndim - 1))
            if null_condition is None or condition is None:
                output = denoise_rows(x, timesteps, condition)
            else:
                both = torch.cat([condition, null_condition.expand_as(condition)])
                cond, uncond = denoise_rows(torch.cat([x, x]), torch.cat([timesteps, timesteps]), both).chunk(2)
                output = uncond + guidance_scale * (cond - uncond)  # Ho & Salimans 2022, with their w + 1
            x0 = objective.predicted_x0(prediction, output, x, *schedule.rates(timesteps))
            return self.codec.clip(x0) if clip_x0 else x0

        return windowed(predict_x0, self.recipe.data.shape[1:], overlap_fraction)

    def _check_unconditional_mode(self, conditions: Sequence[Condition] | None, guidance_scale: float) -> None:
        section = self.recipe.conditioning
        if isinstance(section, Unconditional) or section.dropout > 0:
            return
        if conditions is None or guidance_scale != 1:
            raise NoUnconditionalModeError(
                "this model was trained with [conditioning] dropout = 0, never without a condition, and restoration, "
                "guidance and generating without a prompt need it to predict without one. Give a prompt and guidance "
                "1, or train with dropout = 0.1"
            )


def load_training_recipe(model: Path) -> TrainingRecipe:
    """The sections that made the model folder. Raises ArtifactError if they cannot be read."""
    try:
        return TrainingRecipe.model_validate_json((model / Model.recipe).read_bytes())
    except (OSError, ValidationError) as reason:
        raise ArtifactError(
            f"{model / Model.recipe}: cannot be used ({first_line(reason)}); train the model again"
        ) from None
