"""Schedules against the papers' closed forms and against diffusers."""

import itertools
import math
from typing import get_args

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from linnet.diffusion.schedule import NoiseSchedule, build_schedule
from linnet.recipe import CosineSchedule, LinearSchedule, StepSpacing

LINEAR = LinearSchedule(kind="linear", num_timesteps=1000, beta_start=1e-4, beta_end=0.02)
COSINE = CosineSchedule(kind="cosine", num_timesteps=1000, offset=0.008)


def linear(num_timesteps: int) -> LinearSchedule:
    return LINEAR.model_copy(update={"num_timesteps": num_timesteps})


@pytest.mark.parametrize("num_timesteps", [10, 1000, 4000])
def test_linear_agrees_with_diffusers(num_timesteps: int) -> None:
    theirs = DDPMScheduler(num_train_timesteps=num_timesteps, beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
    ours = build_schedule(linear(num_timesteps)).alpha_bar
    assert ours.dtype == torch.float64
    assert ours.shape == (num_timesteps,)
    # diffusers multiplies up to 4,000 float32 factors: their rounding errors add up in the relative error
    torch.testing.assert_close(ours.float(), theirs.alphas_cumprod, rtol=6e-8 * num_timesteps, atol=1e-7)


@pytest.mark.parametrize("num_timesteps", [10, 1000, 4000])
def test_cosine_agrees_with_diffusers(num_timesteps: int) -> None:
    theirs = DDPMScheduler(num_train_timesteps=num_timesteps, beta_schedule="squaredcos_cap_v2")
    ours = build_schedule(COSINE.model_copy(update={"num_timesteps": num_timesteps})).alpha_bar
    # diffusers keeps betas in float32: near 0.999 the rest, 1 - beta, has lost three digits
    torch.testing.assert_close(ours.float(), theirs.alphas_cumprod, rtol=2e-4, atol=1e-6)


def test_linear_is_the_product_of_its_betas() -> None:
    betas = [0.1, 0.2, 0.3]
    schedule = build_schedule(LinearSchedule(kind="linear", num_timesteps=3, beta_start=0.1, beta_end=0.3))
    expected = [math.prod(1 - beta for beta in betas[: count + 1]) for count in range(3)]
    assert schedule.alpha_bar.tolist() == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("offset", [0.0, 0.008, 0.2])
def test_cosine_is_the_papers_ratio_until_beta_is_capped(offset: float) -> None:
    """alpha-bar_t = f(t) / f(0) (Nichol & Dhariwal 2021, eq. 17), t counted from 1; only the last beta is capped."""
    schedule = build_schedule(CosineSchedule(kind="cosine", num_timesteps=1000, offset=offset))

    def f(t: int) -> float:
        return math.cos((t / 1000 + offset) / (1 + offset) * math.pi / 2) ** 2

    for index in (0, 1, 499, 900, 998):
        assert float(schedule.alpha_bar[index]) == pytest.approx(f(index + 1) / f(0), rel=1e-9)
    assert float(schedule.alpha_bar[-1] / schedule.alpha_bar[-2]) == pytest.approx(1 - 0.999, rel=1e-9)


@pytest.mark.parametrize("section", [LINEAR, COSINE])
def test_signal_falls_all_the_way_and_minus_one_is_the_clean_image(section: LinearSchedule | CosineSchedule) -> None:
    schedule = build_schedule(section)
    assert schedule.num_timesteps == 1000
    whole = schedule.at(torch.arange(-1, 1000))
    assert float(whole[0]) == 1.0
    assert torch.equal(whole[1:], schedule.alpha_bar)
    assert bool((whole.diff() < 0).all())
    assert float(whole[1]) > 0.999
    assert float(whole[-1]) < 1e-4


def test_rates_are_a_point_on_the_unit_circle_shaped_for_images() -> None:
    schedule = build_schedule(COSINE)
    timesteps = torch.tensor([-1, 0, 500, 999])
    signal, noise = schedule.rates(timesteps)
    assert signal.shape == noise.shape == (4, 1, 1, 1)
    assert signal.dtype == noise.dtype == torch.float32
    torch.testing.assert_close(signal.square() + noise.square(), torch.ones(4, 1, 1, 1))
    torch.testing.assert_close(signal.flatten().double().square(), schedule.at(timesteps), rtol=1e-6, atol=0)
    assert signal[0].item() == 1
    assert noise[0].item() == 0


@pytest.mark.parametrize("num_timesteps", [10, 50, 1000])
def test_sampling_timesteps_are_diffusers_trailing_ones(num_timesteps: int) -> None:
    """For every number of steps that divides T; elsewhere diffusers adds up floats and may miss by one."""
    theirs = DDIMScheduler(num_train_timesteps=num_timesteps, timestep_spacing="trailing")
    schedule = build_schedule(linear(num_timesteps))
    for num_steps in (count for count in range(1, num_timesteps + 1) if num_timesteps % count == 0):
        theirs.set_timesteps(num_steps)
        assert schedule.sampling_timesteps(num_steps, "trailing") == [*theirs.timesteps.tolist(), -1], num_steps


@pytest.mark.parametrize("num_timesteps", [7, 50, 1000])
def test_sampling_timesteps_are_even_for_any_number_of_steps(num_timesteps: int) -> None:
    """As many as asked for, from T - 1 strictly down, each within half a timestep of the exact place."""
    schedule = build_schedule(linear(num_timesteps))
    for num_steps in range(1, num_timesteps + 1):
        *steps, last = schedule.sampling_timesteps(num_steps, "trailing")
        assert last == -1
        assert len(steps) == num_steps
        assert steps[0] == num_timesteps - 1
        assert all(t > s for t, s in zip(steps, [*steps[1:], -1], strict=True))
        off = [num_steps * (num_timesteps - 1 - t) - index * num_timesteps for index, t in enumerate(steps)]
        assert 2 * max(map(abs, off)) <= num_steps  # in units of 1 / num_steps, so that integers are exact


def test_noise_level_is_the_variance_or_the_timestep() -> None:
    schedule = build_schedule(COSINE.model_copy(update={"num_timesteps": 50}))
    timesteps = torch.tensor([0, 30, 49])
    variance = schedule.noise_level("noise_variance", timesteps)
    assert variance.tolist() == pytest.approx((1 - schedule.alpha_bar[timesteps]).tolist(), rel=1e-6)
    assert schedule.noise_level("timestep", timesteps).tolist() == [0.0, 30.0, 49.0]
    assert variance.dtype == torch.float32


@pytest.mark.parametrize("schedule", [build_schedule(linear(1000)), build_schedule(COSINE)], ids=["linear", "cosine"])
@pytest.mark.parametrize("spacing", get_args(StepSpacing))
def test_timesteps_fall_from_the_noisiest_to_the_clean_example(schedule: NoiseSchedule, spacing: StepSpacing) -> None:
    for num_steps in (1, 2, 3, 10, 50, 999, 1000):
        timesteps = schedule.sampling_timesteps(num_steps, spacing)
        assert len(timesteps) == num_steps + 1
        assert (timesteps[0], timesteps[-1]) == (999, -1)
        assert all(after < before for before, after in itertools.pairwise(timesteps))
        if spacing != "trailing" and num_steps > 1:
            assert timesteps[-2] == 0


def test_spacings_are_even_in_their_measure() -> None:
    """With many more timesteps than steps: log(signal / noise), and sigma^(1/7) (Karras et al. 2022)."""
    schedule = NoiseSchedule(torch.sigmoid(torch.linspace(8, -8, 100_000, dtype=torch.float64)))
    bars = {name: schedule.alpha_bar[schedule.sampling_timesteps(8, name)[:-1]] for name in ("log_snr", "karras")}
    log_snr = 0.5 * torch.log(bars["log_snr"] / (1 - bars["log_snr"]))
    root = ((1 - bars["karras"]) / bars["karras"]) ** (1 / 14)
    for measure in (log_snr, root):
        steps = measure.diff()
        assert float(steps.std() / steps.mean().abs()) < 0.01
