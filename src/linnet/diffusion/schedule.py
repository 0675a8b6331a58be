"""Noise schedules: how much signal and how much noise an example holds at each timestep."""

import math
from functools import cached_property
from typing import assert_never

import torch
from torch import Tensor

from linnet.recipe import CosineSchedule, LinearSchedule, NoiseLevel, StepSpacing

MAX_BETA = 0.999  # Nichol & Dhariwal 2021, section 3.2: keeps the last step finite
KARRAS_RHO = 7


class NoiseSchedule:
    """alpha-bar of every timestep, float64 [num_timesteps], falling from near 1 to near 0.

    An example at timestep t is sqrt(alpha_bar[t]) x_0 + sqrt(1 - alpha_bar[t]) eps (Ho et al. 2020, eq. 4). Timestep -1
    stands for the clean example: alpha_bar = 1.
    """

    def __init__(self, alpha_bar: Tensor) -> None:
        self.alpha_bar = alpha_bar
        self._tables: dict[torch.device, Tensor] = {}

    @property
    def num_timesteps(self) -> int:
        """The number of noise levels, T in the papers."""
        return len(self.alpha_bar)

    def at(self, timesteps: Tensor) -> Tensor:
        """alpha-bar of integer timesteps (-1 allowed), any shape, float64 on the timesteps' device."""
        table = self._tables.get(timesteps.device)
        if table is None:  # copied to a device once: a copy in every step makes the host wait for the GPU
            table = torch.cat([self.alpha_bar, torch.ones(1, dtype=torch.float64)]).to(timesteps.device)
            self._tables[timesteps.device] = table
        return table[timesteps]

    @cached_property
    def _values(self) -> list[float]:
        return [*self.alpha_bar.tolist(), 1.0]

    def value(self, timestep: int) -> float:
        """alpha-bar of one timestep (-1 allowed), as a number of the host."""
        return self._values[timestep]

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

    def sampling_timesteps(self, num_steps: int, spacing: StepSpacing) -> list[int]:
        """`num_steps` timesteps from T - 1 downwards, all different, then -1 for the clean example.

        - "trailing": evenly spaced (Lin et al. 2024). The last step goes from T / num_steps - 1 to the clean example.
        - "log_snr": evenly spaced in log(signal rate / noise rate) down to timestep 0, as DPM-Solver (Lu et al. 2022)
          prefers for few steps.
        - "karras": evenly spaced in sigma^(1/7), sigma = noise rate / signal rate (Karras et al. 2022, eq. 5).
        """
        match spacing:
            case "trailing":
                width = self.num_timesteps / num_steps
                return [round(self.num_timesteps - index * width) - 1 for index in range(num_steps)] + [-1]
            case "log_snr":
                return self._nearest_timesteps(self._half_log_snr, num_steps)
            case "karras":
                return self._nearest_timesteps(-((-self._half_log_snr).exp() ** (1 / KARRAS_RHO)), num_steps)
            case _:
                assert_never(spacing)

    @cached_property
    def _half_log_snr(self) -> Tensor:
        return 0.5 * (torch.log(self.alpha_bar) - torch.log1p(-self.alpha_bar))

    def _nearest_timesteps(self, measure: Tensor, num_steps: int) -> list[int]:
        """Timesteps from T - 1 to 0 that are nearest to even spacing in `measure`, which falls with the timestep."""
        last = self.num_timesteps - 1
        even = torch.linspace(float(measure[last]), float(measure[0]), max(2, num_steps), dtype=torch.float64)
        nearest = (measure[None] - even[:num_steps, None]).abs().argmin(dim=1).tolist()
        timesteps: list[int] = []
        for index, timestep in enumerate(nearest):
            below = timesteps[-1] - 1 if timesteps else last
            timesteps.append(max(min(timestep, below), num_steps - 1 - index))  # room for those that follow
        return [*timesteps, -1]


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
