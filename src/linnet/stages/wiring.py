"""Where recipe sections become objects: networks, devices, trained models that can be drawn from."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from linnet.artifacts import Model, read_provenance
from linnet.diffusion import objective
from linnet.diffusion.samplers import NoiseStreams, OnStep, sample
from linnet.diffusion.schedule import NoiseSchedule, build_schedule
from linnet.errors import LinnetError, first_line
from linnet.files import ArtifactError, read_json
from linnet.models import NoiseLevel
from linnet.models.compact_unet import CompactUNet
from linnet.models.unet import UNet
from linnet.recipe import ClassLabel, Precision, SamplerSection, TrainingRecipe, Unconditional
from linnet.recipe import CompactUNet as CompactUNetSection
from linnet.recipe import UNet as UNetSection
from linnet.training.loop import autocast

IMAGE_CHANNELS = 3
Statistics = dict[str, list[float]]


class DeviceError(LinnetError):
    """The device asked for is not there."""


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


def build_network(recipe: TrainingRecipe) -> nn.Module:
    """The untrained network of a recipe, seeded by `train.seed`, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)
        classes = num_classes(recipe)
        match recipe.model:
            case CompactUNetSection():
                return CompactUNet(recipe.model, image_channels=IMAGE_CHANNELS, num_classes=classes)
            case UNetSection():
                return UNet(recipe.model, image_channels=IMAGE_CHANNELS, num_classes=classes)
            case _:
                assert_never(recipe.model)


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on `device`, its convolutions laid out channels last (faster on CPUs and on tensor cores)."""
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def num_classes(recipe: TrainingRecipe) -> int:
    """How many classes the network knows; 0 for an unconditional one."""
    match recipe.conditioning:
        case Unconditional():
            return 0
        case ClassLabel():
            return recipe.conditioning.num_classes
        case _:
            assert_never(recipe.conditioning)


def noise_level(kind: NoiseLevel, schedule: NoiseSchedule, timesteps: Tensor) -> Tensor:
    """[B] timesteps in the measure of noise that the network wants, float32."""
    match kind:
        case "noise_variance":
            return (1 - schedule.at(timesteps)).float()
        case "timestep":
            return timesteps.float()
        case _:
            assert_never(kind)


@dataclass(frozen=True)
class Standardisation:
    """uint8 pictures <-> what the network sees: mean 0 and standard deviation 1 per channel."""

    mean: Tensor  # [3, 1, 1], of pixels scaled to 0..1
    std: Tensor

    @classmethod
    def of(cls, statistics: Statistics, device: torch.device) -> Self:
        """From the statistics that preprocess computed on the train split."""
        mean, std = (torch.tensor(statistics[key], device=device)[:, None, None] for key in ("mean", "std"))
        return cls(mean, std)

    def encode(self, pictures: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float32 [B, 3, H, W], laid out channels last."""
        return (pictures.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std

    def decode(self, x: Tensor) -> NDArray[np.uint8]:
        """float32 [B, 3, H, W] -> uint8 [B, H, W, 3], rounded and clipped."""
        pixels = ((x * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()

    def clip(self, x: Tensor) -> Tensor:
        """Bring `x` into the range that real pixels have."""
        return torch.clamp(x, -self.mean / self.std, (1 - self.mean) / self.std)


@dataclass(frozen=True)
class Painter:
    """A network with all that is needed to draw pictures from it."""

    network: nn.Module
    recipe: TrainingRecipe
    standardisation: Standardisation
    device: torch.device

    def draw(
        self,
        sampler: SamplerSection,
        *,
        seed: int,
        numbers: list[int],
        labels: list[int] | None,
        guidance_scale: float,
        clip_x0: bool,
        precision: Precision,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Standardised pictures [len(numbers), 3, H, W]; picture n depends on (seed, n) and its label alone."""
        schedule = build_schedule(self.recipe.diffusion.schedule)
        size = self.recipe.data.image_size_pixels
        noise = NoiseStreams(seed, numbers, (IMAGE_CHANNELS, size, size), self.device)
        label_tensor = torch.tensor(labels, device=self.device) if labels is not None else None
        predict = self._predictor(schedule, label_tensor, guidance_scale, clip_x0)
        self.network.eval()
        with torch.inference_mode(), autocast(self.device, precision):
            return sample(sampler, schedule, predict, noise, on_step)

    def _predictor(
        self, schedule: NoiseSchedule, labels: Tensor | None, guidance_scale: float, clip_x0: bool
    ) -> Callable[[Tensor, int], Tensor]:
        kind: NoiseLevel = self.network.noise_level  # type: ignore[assignment]
        prediction = self.recipe.diffusion.prediction

        def ask(x: Tensor, timesteps: Tensor, labels: Tensor | None) -> Tensor:
            answer: Tensor = self.network(x, noise_level(kind, schedule, timesteps), labels)
            return answer.float()

        def predict_x0(x: Tensor, timestep: int) -> Tensor:
            timesteps = torch.full((len(x),), timestep, device=self.device)
            x = x.contiguous(memory_format=torch.channels_last)
            if labels is None or guidance_scale == 1:
                answer = ask(x, timesteps, labels)
            else:
                no_class = torch.full_like(labels, num_classes(self.recipe))
                both = ask(torch.cat([x, x]), torch.cat([timesteps, timesteps]), torch.cat([labels, no_class]))
                with_class, without = both.chunk(2)
                answer = without + guidance_scale * (with_class - without)  # Ho & Salimans 2022, with their w + 1
            x0 = objective.predicted_x0(prediction, answer, x, *schedule.rates(timesteps))
            return self.standardisation.clip(x0) if clip_x0 else x0

        return predict_x0


def load_painter(model: Path, *, weights: Literal["ema", "raw", "untrained"], device: torch.device) -> Painter:
    """The model folder made by train, ready to draw. Raises ArtifactError if it is incomplete or damaged."""
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
    return Painter(network, recipe, Standardisation.of(statistics, device), device)


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
