"""Noise schedules: how much signal and how much noise an example holds at each timestep."""

import math
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from linnet.recipe import CosineSchedule, LinearSchedule, NoiseLevel

MAX_BETA = 0.999  # Nichol & Dhariwal 2021, section 3.2: keeps the last step finite


@dataclass(frozen=True)
class NoiseSchedule:
    """alpha-bar of every timestep, float64 [num_timesteps], falling from near 1 to near 0.

    An example at timestep t is sqrt(alpha_bar[t]) x_0 + sqrt(1 - alpha_bar[t]) eps (Ho et al. 2020, eq. 4). Timestep -1
    stands for the clean example: alpha_bar = 1.
    """

    alpha_bar: Tensor

    @property
    def num_timesteps(self) -> int:
        """The number of noise levels, T in the papers."""
        return len(self.alpha_bar)

    def at(self, timesteps: Tensor) -> Tensor:
        """alpha-bar of integer timesteps (-1 allowed), any shape, float64 on the timesteps' device."""
        padded = torch.cat([self.alpha_bar, torch.ones(1, dtype=torch.float64)]).to(timesteps.device)
        return padded[timesteps]

    def rates(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """(signal_rate, noise_rate) of integer timesteps, float32, shaped to multiply examples [B, C, H, W]."""
        alpha_bar = self.at(timesteps)[:, None, None, None]
        return alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()

    def noise_level(self, kind: NoiseLevel, timesteps: Tensor) -> Tensor:
        """Integer timesteps [B] in the measure of noise that a network takes, float32 [B]."""
        match kind:
            case "noise_variance":
                return (1 - self.at(timesteps)).float()
            case "timestep":
                return timesteps.float()
            case _:
                assert_never(kind)

    def sampling_timesteps(self, num_steps: int) -> list[int]:
        """`num_steps` timesteps from T - 1 downwards, evenly spaced ("trailing": Lin et al. 2024), then -1."""
        spacing = self.num_timesteps / num_steps
        return [round(self.num_timesteps - index * spacing) - 1 for index in range(num_steps)] + [-1]


def build_schedule(section: LinearSchedule | CosineSchedule) -> NoiseSchedule:
    """The schedule that a recipe names."""
    match section:
        case LinearSchedule():
            betas = torch.linspace(section.beta_start, section.beta_end, section.num_timesteps, dtype=torch.float64)
        case CosineSchedule():
            steps = torch.arange(section.num_timesteps + 1, dtype=torch.float64) / section.num_timesteps
            signal = torch.cos((steps + section.offset) / (1 + section.offset) * math.pi / 2) ** 2
            betas = (1 - signal[1:] / signal[:-1]).clamp(max=MAX_BETA)
        case _:
            assert_never(section)
    return NoiseSchedule(torch.cumprod(1 - betas, dim=0))
