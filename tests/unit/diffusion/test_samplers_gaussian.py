"""For Gaussian data the best denoiser is known, so every sampler has a right answer. And: where noise comes from.

Data N(mu, s^2), signal rate a, noise rate n: E[x_0 | x_t] = mu + a s^2 / (a^2 s^2 + n^2) (x_t - a mu). The probability
flow keeps the standard score of an image: (x_t - a mu) / sqrt(a^2 s^2 + n^2) is the same at every t.
"""

import itertools
import math
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from linnet.diffusion.samplers import PerSampleNoise, PredictX0, ddim, ddpm, dpm_solver_pp_2m
from linnet.diffusion.schedule import NoiseSchedule, build_schedule
from linnet.recipe import CosineSchedule, LinearSchedule, StepSpacing

CPU = torch.device("cpu")
MU, S = 0.7, 0.4
LINEAR = build_schedule(LinearSchedule(kind="linear", num_timesteps=1000, beta_start=1e-4, beta_end=0.02))
COSINE = build_schedule(CosineSchedule(kind="cosine", num_timesteps=1000, offset=0.008))
VOCALS = build_schedule(CosineSchedule(kind="cosine", num_timesteps=4000, offset=0.008))
MIDDLE = 499
Solver = Callable[[Tensor, NoiseSchedule, int, Callable[[int, Tensor], None]], Tensor]


def rates(schedule: NoiseSchedule, timestep: int) -> tuple[float, float]:
    """Mean and standard deviation of x_t are (a mu, second value)."""
    alpha_bar = float(schedule.at(torch.tensor(timestep)))
    return math.sqrt(alpha_bar), math.sqrt(alpha_bar * S**2 + 1 - alpha_bar)


def best(schedule: NoiseSchedule) -> PredictX0:
    def predict(x: Tensor, timestep: int) -> Tensor:
        a, deviation = rates(schedule, timestep)
        return MU + a * S**2 / deviation**2 * (x - a * MU)

    return predict


def flow(schedule: NoiseSchedule, x: Tensor, start: int, end: int) -> Tensor:
    """The exact solution of the probability flow."""
    (a, before), (b, after) = rates(schedule, start), rates(schedule, end)
    return b * MU + after / before * (x - a * MU)


def no_noise() -> PerSampleNoise:
    return PerSampleNoise(0, [], (1,), CPU)


def run_ddim(x: Tensor, schedule: NoiseSchedule, steps: int, on_step: Callable[[int, Tensor], None]) -> Tensor:
    return ddim(x, schedule.sampling_timesteps(steps, "trailing"), schedule, best(schedule), no_noise(), 0.0, on_step)


def run_dpm(x: Tensor, schedule: NoiseSchedule, steps: int, on_step: Callable[[int, Tensor], None]) -> Tensor:
    return dpm_solver_pp_2m(x, schedule.sampling_timesteps(steps, "trailing"), schedule, best(schedule), on_step)


def solve(run: Solver, schedule: NoiseSchedule, steps: int) -> tuple[float, float]:
    """(error half way, error at the end) over some starts, in data units."""
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    halfway: list[Tensor] = []
    end = run(x, schedule, steps, lambda t, x_t: halfway.append(x_t) if t == MIDDLE else None)
    wanted = [flow(schedule, x, 999, MIDDLE), flow(schedule, x, 999, -1)]
    errors = [float((found - exact).abs().max()) for found, exact in zip([halfway[0], end], wanted, strict=True)]
    return errors[0], errors[1]


@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=["linear", "cosine"])
@pytest.mark.parametrize(("run", "tolerance"), [(run_ddim, 6e-3), (run_dpm, 3e-4)], ids=["ddim", "dpm"])
def test_a_thousand_steps_recover_mean_and_deviation(run: Solver, tolerance: float, schedule: NoiseSchedule) -> None:
    """The solvers are affine in the start here, so two starts give the whole distribution of their images."""
    starts = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    low, high = run(starts, schedule, 1000, lambda *_: None).tolist()
    a, _ = rates(schedule, 999)
    _, deviation = rates(schedule, 999)
    mean, slope = (low + high) / 2, (high - low) / 2
    assert mean + slope * a * MU == pytest.approx(MU, abs=tolerance)  # x_T has mean a mu
    assert slope * deviation == pytest.approx(S, abs=tolerance)


@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=["linear", "cosine"])
def test_dpm_solver_is_more_accurate_than_ddim_at_twenty_steps(schedule: NoiseSchedule) -> None:
    (ddim_half, ddim_end), (dpm_half, dpm_end) = (solve(run, schedule, 20) for run in (run_ddim, run_dpm))
    assert dpm_half < ddim_half / 3
    assert dpm_end < ddim_end / 2


@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=["linear", "cosine"])
@pytest.mark.parametrize(("run", "order"), [(run_ddim, 1), (run_dpm, 2)], ids=["ddim", "dpm"])
def test_order_of_convergence(run: Solver, order: int, schedule: NoiseSchedule) -> None:
    """Twice the steps, half or a quarter of the error; measured half way, where log-SNR does not run to infinity."""
    errors = [solve(run, schedule, steps)[0] for steps in (50, 100, 200)]
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine == pytest.approx(2**order, rel=0.15)


@pytest.mark.parametrize(
    ("schedule", "steps", "spacing", "error"),
    [
        (LINEAR, 10, "trailing", -0.719),
        (LINEAR, 10, "log_snr", -0.003),
        (LINEAR, 10, "karras", -0.042),
        (COSINE, 20, "trailing", -0.264),
        (COSINE, 20, "log_snr", 0.019),
        (COSINE, 20, "karras", -0.034),
        (VOCALS, 50, "trailing", -0.070),
        (VOCALS, 50, "log_snr", 0.007),
        (VOCALS, 50, "karras", 0.080),
    ],
)
def test_how_far_the_deviation_of_fine_detail_is_off(
    schedule: NoiseSchedule, steps: int, spacing: StepSpacing, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of data with a deviation of 0.1: the last trailing step is too long for it, the others end at timestep 0."""
    monkeypatch.setattr(sys.modules[__name__], "S", 0.1)
    starts = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    timesteps = schedule.sampling_timesteps(steps, spacing)
    low, high = dpm_solver_pp_2m(starts, timesteps, schedule, best(schedule)).tolist()
    _, deviation = rates(schedule, schedule.num_timesteps - 1)
    assert (high - low) / 2 * deviation / S - 1 == pytest.approx(error, abs=0.002)


def test_ddpm_recovers_the_distribution() -> None:
    """2,304 images of one pixel: the mean has a standard error of S / 48, the deviation of S / 67."""
    noise = PerSampleNoise(3, range(48**2), (1,), CPU)
    start = noise.next()
    end = ddpm(start, LINEAR.sampling_timesteps(1000, "trailing"), LINEAR, best(LINEAR), noise).flatten()
    assert float(end.mean()) == pytest.approx(MU, abs=4 * S / 48)
    assert float(end.std()) == pytest.approx(S, abs=4 * S / 67)
    correlation = float(torch.corrcoef(torch.stack([start.flatten(), end]))[0, 1])
    assert abs(correlation) < 4 / 48  # a thousand noisy steps forget where they came from


def test_ddpm_variance_is_the_closed_form() -> None:
    """With x_0 known to be 0 everywhere, x_s given x_t is a scaled x_t plus noise of known size."""
    noise, replay = PerSampleNoise(1, [0], (5,), CPU), PerSampleNoise(1, [0], (5,), CPU)
    x = noise.next().double()
    replay.next()
    found = ddpm(x, [600, 400], LINEAR, lambda x, _: torch.zeros_like(x), noise)
    bar_t, bar_s = LINEAR.at(torch.tensor([600, 400])).tolist()
    alpha = bar_t / bar_s
    scale, variance = math.sqrt(alpha) * (1 - bar_s) / (1 - bar_t), (1 - alpha) * (1 - bar_s) / (1 - bar_t)
    torch.testing.assert_close(found, scale * x + math.sqrt(variance) * replay.next().double(), rtol=1e-6, atol=1e-6)


def test_a_images_noise_depends_on_its_seed_and_number_only() -> None:
    shape = (3, 4, 5)
    together = PerSampleNoise(11, [4, 2, 9], shape, CPU)
    alone = PerSampleNoise(11, [2], shape, CPU)
    for _ in range(3):
        whole, single = together.next(), alone.next()
        assert whole.shape == (3, *shape)
        assert whole.dtype == torch.float32
        assert torch.equal(whole[1], single[0])


def test_noise_of_other_seeds_indices_and_steps_differs() -> None:
    first = PerSampleNoise(0, [0, 1], (64,), CPU)
    rows = [*first.next(), *first.next(), *PerSampleNoise(1, [0, 1], (64,), CPU).next()]
    assert len({row.numpy().tobytes() for row in rows}) == 6
    correlations = np.corrcoef(torch.stack(rows).numpy())
    assert np.abs(correlations - np.eye(6)).max() < 0.6


def test_noise_is_standard_normal() -> None:
    draws = PerSampleNoise(5, range(100), (1000,), CPU).next().double()
    assert float(draws.mean()) == pytest.approx(0, abs=4 / 316)
    assert float(draws.var()) == pytest.approx(1, abs=4 * 2**0.5 / 316)
    assert float(draws.pow(4).mean()) == pytest.approx(3, abs=0.15)
