"""Where recipe sections become objects: networks, devices, trained models that can be drawn from."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from linnet.artifacts import Model, read_provenance
from linnet.diffusion import objective
from linnet.diffusion.multidiffusion import windowed
from linnet.diffusion.samplers import OnStep, PerSampleNoise, PredictX0, sample
from linnet.diffusion.schedule import NoiseSchedule, build_schedule
from linnet.errors import LinnetError, first_line
from linnet.files import ArtifactError, read_json
from linnet.modalities.codec import Codec, Statistics, build_codec
from linnet.modalities.conditions import build_encoder
from linnet.models.conditioning import Condition
from linnet.models.build import build_network
from linnet.models.conditioning import ConditionEncoder
from linnet.models.denoising_network import DenoisingNetwork
from linnet.models.precision import autocast
from linnet.recipe import Precision, SamplerSection, TrainingRecipe, Unconditional

Weights = Literal["ema", "raw", "untrained"]


class DeviceError(LinnetError):
    """The device asked for is not there."""


class NoUnconditionalModeError(LinnetError):
    """The model has to be told something: it was never trained without."""


def pick_device(name: str) -> torch.device:
    """`auto` (the GPU where there is one), `cpu` or `cuda`. Raises DeviceError."""
    match name:
        case "cuda" if not torch.cuda.is_available():
            raise DeviceError(
                "--device cuda: torch sees no GPU here; use --device cpu or check the driver with nvidia-smi"
            )
        case "auto" | "cpu" | "cuda":
            return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
        case _:
            raise DeviceError(f"--device {name}: give auto, cpu or cuda")


def place(network: DenoisingNetwork, device: torch.device) -> DenoisingNetwork:
    """The network on `device`, its convolutions laid out channels last (faster on CPUs and on tensor cores)."""
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class DiffusionModel:
    """A network with all that is needed to draw images or audio from it."""

    network: DenoisingNetwork
    recipe: TrainingRecipe
    codec: Codec
    encoder: ConditionEncoder
    device: torch.device

    @classmethod
    def of(
        cls, network: DenoisingNetwork, recipe: TrainingRecipe, statistics: Statistics, device: torch.device
    ) -> Self:
        """With what preprocess measured."""
        codec, encoder = build_codec(recipe.data, statistics, device), build_encoder(recipe, statistics, device)
        return cls(network, recipe, codec, encoder, device)

    @classmethod
    def load(cls, model: Path, *, weights: Weights, device: torch.device) -> Self:
        """The model folder made by train, ready to sample from. Raises ArtifactError if it is incomplete or damaged."""
        read_provenance(model, made_by="train")
        recipe = load_training_recipe(model)
        statistics = read_json(model / Model.statistics, made_by="train")
        network = build_network(recipe)
        if weights != "untrained":
            path = model / (Model.ema_weights if weights == "ema" else Model.weights)
            try:
                network.load_state_dict(load_file(path))
            except (OSError, SafetensorError, RuntimeError) as reason:
                raise ArtifactError(f"{path}: cannot be loaded ({first_line(reason)}); train the model again") from None
        network = place(network, device).eval().requires_grad_(False)
        return cls.of(network, recipe, statistics, device)

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise it was trained with."""
        return build_schedule(self.recipe.diffusion.schedule)

    def sample(
        self,
        sampler: SamplerSection,
        *,
        seed: int,
        numbers: list[int],
        conditions: Sequence[Condition] | None,
        guidance_scale: float,
        clip_x0: bool,
        precision: Precision,
        frames: int | None = None,
        overlap_fraction: float = 0.5,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Standardised examples [len(numbers), C, H, W]; example n depends on (seed, n) and its condition alone.

        Args:
            frames: the width W, where it is more than that of a training example: windows that overlap by
                `overlap_fraction` are denoised together.
        """
        channels, height, width = self.recipe.data.shape
        noise = PerSampleNoise(seed, numbers, (channels, height, max(frames or width, width)), self.device)
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
        """(x_t [B, C, H, W], timestep) -> x_0; H and W may be larger than those of a training example.

        Args:
            conditions: one for each row; None for an unconditional model, or to tell a conditional one nothing.

        Raises:
            NoUnconditionalModeError: guidance, or no conditions, where a conditional model was trained without dropping any.
        """
        self._check_told(conditions, guidance_scale)
        self.network.eval()
        encoded = self.encoder.encode(conditions) if conditions is not None else None
        is_guided = encoded is not None and guidance_scale != 1
        nothing = self.encoder.null_condition(1) if is_guided else None
        schedule, prediction = self.schedule, self.recipe.diffusion.prediction

        def ask(x: Tensor, timesteps: Tensor, condition: Tensor | None) -> Tensor:
            x = x.contiguous(memory_format=torch.channels_last)
            with autocast(self.device, precision):
                noise_level = schedule.noise_level(self.network.noise_level, timesteps)
                answer: Tensor = self.network(x, noise_level, condition)
            return answer.float()

        def predict_x0(x: Tensor, timestep: int) -> Tensor:
            timesteps = torch.full((len(x),), timestep, device=self.device)
            condition = None
            if encoded is not None:  # of a longer example, windows come in turns: one of each example
                condition = encoded.repeat(len(x) // len(encoded), *[1] * (encoded.ndim - 1))
            if nothing is None or condition is None:
                answer = ask(x, timesteps, condition)
            else:
                both = torch.cat([condition, nothing.expand_as(condition)])
                told, untold = ask(torch.cat([x, x]), torch.cat([timesteps, timesteps]), both).chunk(2)
                answer = untold + guidance_scale * (told - untold)  # Ho & Salimans 2022, with their w + 1
            x0 = objective.predicted_x0(prediction, answer, x, *schedule.rates(timesteps))
            return self.codec.clip(x0) if clip_x0 else x0

        return windowed(predict_x0, self.recipe.data.shape[1:], overlap_fraction)

    def _check_told(self, conditions: Sequence[Condition] | None, guidance_scale: float) -> None:
        section = self.recipe.conditioning
        if isinstance(section, Unconditional) or section.dropout > 0:
            return
        if conditions is None or guidance_scale != 1:
            raise NoUnconditionalModeError(
                "this model was trained with [conditioning] dropout = 0, never without a condition, and "
                "restoration, guidance and drawing without a prompt ask it without one. Give a prompt and guidance 1, "
                "or train with dropout = 0.1"
            )


def save_weights(path: Path, network: nn.Module) -> None:
    """Write the network's tensors. Raises OSError where the disk does not take them."""
    try:
        save_file({key: value.contiguous().cpu() for key, value in network.state_dict().items()}, path)
    except SafetensorError as reason:  # wraps what the system said in words
        if number := re.search(r"os error (\d+)", str(reason)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        raise


def load_training_recipe(model: Path) -> TrainingRecipe:
    """The sections that made the model folder. Raises ArtifactError if they cannot be read."""
    try:
        return TrainingRecipe.model_validate_json((model / Model.recipe).read_bytes())
    except (OSError, ValidationError) as reason:
        raise ArtifactError(
            f"{model / Model.recipe}: cannot be used ({first_line(reason)}); train the model again"
        ) from None


def chunks(count: int, size: int) -> Iterator[list[int]]:
    """0..count-1 in runs of at most `size`."""
    for start in range(0, count, size):
        yield list(range(start, min(start + size, count)))
