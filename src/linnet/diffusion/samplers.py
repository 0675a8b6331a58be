"""Samplers: from noise to examples, given a function that predicts the clean example.

Each sampler walks down `timesteps` (the last one is -1, the clean example). All arithmetic is float32, with the scalar
coefficients taken in float64. The noise comes from outside, one stream per example, so that an example depends on its
own seed alone and not on the batch it is sampled in.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from linnet.diffusion.schedule import NoiseSchedule
from linnet.recipe import DDIM, DDPM, DPMSolver

PredictX0 = Callable[[Tensor, int], Tensor]  # (x_t, timestep) -> x_0
OnStep = Callable[[int, Tensor], None]  # (timestep that x now has, x)


class PerSampleNoise:
    """Standard normal noise, an independent stream for each example, seeded by (seed, index of the example).

    The streams are numpy's: torch seeds its CPU generator with 32 bits, too few to keep many examples apart.
    """

    def __init__(self, seed: int, indices: Sequence[int], shape: tuple[int, ...], device: torch.device) -> None:
        self._generators = [np.random.default_rng([seed, index]) for index in indices]
        self._shape, self._device = shape, device

    def next(self) -> Tensor:
        """[len(indices), *shape], float32; the next numbers of every stream."""
        numbers = np.empty((len(self._generators), *self._shape), dtype=np.float32)
        for generator, row in zip(self._generators, numbers, strict=True):
            generator.standard_normal(dtype=np.float32, out=row)
        return torch.from_numpy(numbers).to(self._device)


def sample(
    section: DDPM | DDIM | DPMSolver,
    schedule: NoiseSchedule,
    predict_x0: PredictX0,
    noise: PerSampleNoise,
    on_step: OnStep | None = None,
) -> Tensor:
    """Clean examples [B, C, H, W]: the recipe's sampler, which starts from the first numbers of every stream."""
    timesteps = schedule.sampling_timesteps(section.num_steps, section.spacing)
    x = noise.next()
    match section:
        case DDPM():
            return ddpm(x, timesteps, schedule, predict_x0, noise, on_step)
        case DDIM():
            return ddim(x, timesteps, schedule, predict_x0, noise, section.eta, on_step)
        case DPMSolver():
            return dpm_solver_pp_2m(x, timesteps, schedule, predict_x0, on_step)
        case _:
            assert_never(section)


def ddpm(
    x: Tensor,
    timesteps: Sequence[int],
    schedule: NoiseSchedule,
    predict_x0: PredictX0,
    noise: PerSampleNoise,
    on_step: OnStep | None = None,
) -> Tensor:
    """Ancestral sampling from q(x_s | x_t, x_0) with the predicted x_0 (Ho et al. 2020, eq. 6 and 7)."""
    for t, s in itertools.pairwise(timesteps):
        bar_t, bar_s = _alpha_bars(schedule, t, s)
        alpha = bar_t / bar_s
        x0 = predict_x0(x, t)
        x = math.sqrt(bar_s) * (1 - alpha) / (1 - bar_t) * x0 + math.sqrt(alpha) * (1 - bar_s) / (1 - bar_t) * x
        if s >= 0:
            x = x + math.sqrt((1 - alpha) * (1 - bar_s) / (1 - bar_t)) * noise.next()
        if on_step:
            on_step(s, x)
    return x


def ddim(
    x: Tensor,
    timesteps: Sequence[int],
    schedule: NoiseSchedule,
    predict_x0: PredictX0,
    noise: PerSampleNoise,
    eta: float,
    on_step: OnStep | None = None,
) -> Tensor:
    """Implicit sampling (Song et al. 2021, eq. 12 and 16); eta = 1 samples from the same posterior as `ddpm`."""
    for t, s in itertools.pairwise(timesteps):
        bar_t, bar_s = _alpha_bars(schedule, t, s)
        x0 = predict_x0(x, t)
        eps = (x - math.sqrt(bar_t) * x0) / math.sqrt(1 - bar_t)
        sigma = eta * math.sqrt((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s))
        x = math.sqrt(bar_s) * x0 + math.sqrt(max(1 - bar_s - sigma**2, 0.0)) * eps
        if eta > 0 and s >= 0:
            x = x + sigma * noise.next()
        if on_step:
            on_step(s, x)
    return x


def dpm_solver_pp_2m(
    x: Tensor,
    timesteps: Sequence[int],
    schedule: NoiseSchedule,
    predict_x0: PredictX0,
    on_step: OnStep | None = None,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), first order in the first step and in the last.

    With lambda = log(signal rate / noise rate), h the step in lambda and r the ratio of the step before to this one:
    x_s = (sigma_s / sigma_t) x_t - alpha_s (exp(-h) - 1) D, D = (1 + 1 / 2r) x_0(t) - 1 / 2r x_0(the step before).
    """
    previous: Tensor | None = None
    previous_lambda = 0.0
    for t, s in itertools.pairwise(timesteps):
        bar_t, bar_s = _alpha_bars(schedule, t, s)
        x0 = predict_x0(x, t)
        lambda_t = 0.5 * math.log(bar_t / (1 - bar_t))
        if s < 0:
            x = x0  # the limit of the first-order step for noise rate 0
        else:
            h = 0.5 * math.log(bar_s / (1 - bar_s)) - lambda_t
            direction = x0
            if previous is not None:
                r = (lambda_t - previous_lambda) / h
                direction = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * previous
            x = math.sqrt((1 - bar_s) / (1 - bar_t)) * x - math.sqrt(bar_s) * math.expm1(-h) * direction
        previous, previous_lambda = x0, lambda_t
        if on_step:
            on_step(s, x)
    return x


def _alpha_bars(schedule: NoiseSchedule, t: int, s: int) -> tuple[float, float]:
    return schedule.value(t), schedule.value(s)
