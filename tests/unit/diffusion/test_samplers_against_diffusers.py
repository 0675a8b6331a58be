"""Whole trajectories of the samplers against diffusers' schedulers, with an arbitrary denoiser and the same noise.

Both sides get linnet's alpha-bar in float64 (the schedules are compared in test_schedule.py) and images in float64,
so that formulas are compared and not roundings. diffusers' "previous timestep" is t - T // num_steps, which is the next
of its own "trailing" timesteps only where num_steps divides T: that is what is compared here.
"""

from collections.abc import Callable

import pytest
import torch
from diffusers.schedulers import scheduling_ddpm
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from linnet.diffusion.samplers import PerSampleNoise, ddim, ddpm, dpm_solver_pp_2m, sample
from linnet.diffusion.schedule import NoiseSchedule, build_schedule
from linnet.recipe import DDIM, DDPM, CosineSchedule, DPMSolver, LinearSchedule

CPU = torch.device("cpu")
SHAPE = (3, 4, 4)
NOISY = 1e-6  # ours scales the noise in the float32 it comes in
SCHEDULES = {
    "linear": build_schedule(LinearSchedule(kind="linear", num_timesteps=100, beta_start=1e-3, beta_end=0.2)),
    "cosine": build_schedule(CosineSchedule(kind="cosine", num_timesteps=100, offset=0.008)),
}
Path = list[Tensor]


def denoiser(x: Tensor, timestep: int) -> Tensor:
    """Nonlinear in the image, different at every timestep, and nobody's best guess."""
    return torch.tanh(0.9 * x + timestep / 100 - 0.3)


def streams() -> PerSampleNoise:
    return PerSampleNoise(7, [0, 3], SHAPE, CPU)


def recorder(path: Path, timesteps: list[int]) -> Callable[[int, Tensor], None]:
    def on_step(timestep: int, x: Tensor) -> None:
        path.append(x)
        timesteps.append(timestep)

    return on_step


def assert_same(ours: Path, theirs: Path, *, tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.double(), other.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 5, 20, 100])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(name: str, num_steps: int, eta: float) -> None:
    schedule, noise = SCHEDULES[name], streams()
    scheduler = DDIMScheduler(
        num_train_timesteps=100,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=False,
        prediction_type="sample",
    )
    scheduler.alphas_cumprod = schedule.alpha_bar
    scheduler.set_timesteps(num_steps)
    x = noise.next().double()
    theirs: Path = []
    for timestep in scheduler.timesteps.tolist():
        last = timestep == scheduler.timesteps[-1]
        drawn = noise.next().double() if eta > 0 and not last else torch.zeros_like(x)  # the last has variance 0
        answer = denoiser(x, timestep)
        x = scheduler.step(answer, timestep, x, eta=eta, variance_noise=drawn if eta > 0 else None).prev_sample
        theirs.append(x)

    noise, ours, seen = streams(), list[Tensor](), list[int]()
    first = noise.next().double()
    timesteps = schedule.sampling_timesteps(num_steps, "trailing")
    end = ddim(first, timesteps, schedule, denoiser, noise, eta, recorder(ours, seen))
    assert_same(ours, theirs, tolerance=NOISY if eta > 0 else 1e-12)
    assert seen == timesteps[1:]
    assert torch.equal(end, ours[-1])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 10, 50, 100])  # 100 = T: algorithm 2 of Ho et al. as it stands
def test_ddpm(name: str, num_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule, noise = SCHEDULES[name], streams()
    scheduler = DDPMScheduler(
        num_train_timesteps=100,
        timestep_spacing="trailing",
        variance_type="fixed_small",
        clip_sample=False,
        prediction_type="sample",
    )
    scheduler.alphas_cumprod = schedule.alpha_bar
    scheduler.set_timesteps(num_steps)
    x = noise.next().double()
    theirs: Path = []
    for timestep in scheduler.timesteps.tolist():
        last = timestep == scheduler.timesteps[-1]
        # diffusers draws noise whenever t > 0, and in the last of few steps multiplies it by sqrt(1e-20)
        drawn = torch.zeros_like(x) if last else noise.next().double()
        monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, drawn=drawn, **__: drawn)
        x = scheduler.step(denoiser(x, timestep), timestep, x).prev_sample
        theirs.append(x)

    noise, ours, seen = streams(), list[Tensor](), list[int]()
    first = noise.next().double()
    timesteps = schedule.sampling_timesteps(num_steps, "trailing")
    ddpm(first, timesteps, schedule, denoiser, noise, recorder(ours, seen))
    assert_same(ours, theirs, tolerance=NOISY)
    assert seen == timesteps[1:]


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 10, 20, 50])
def test_dpm_solver(name: str, num_steps: int) -> None:
    """final_sigmas_type="zero" makes diffusers' last step first order, as ours; it computes in float32 throughout.

    Its sigmas come out of an interpolation, which at whole timesteps changes nothing.
    """
    schedule = SCHEDULES[name]
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=100,
        timestep_spacing="trailing",
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
        prediction_type="sample",
    )
    scheduler.alphas_cumprod = schedule.alpha_bar
    scheduler.set_timesteps(num_steps)
    timesteps = schedule.sampling_timesteps(num_steps, "trailing")
    assert [*scheduler.timesteps.tolist(), -1] == timesteps
    x = streams().next()
    theirs: Path = []
    for timestep in scheduler.timesteps:
        x = scheduler.step(denoiser(x, int(timestep)), timestep, x).prev_sample
        theirs.append(x)

    ours, seen = list[Tensor](), list[int]()
    dpm_solver_pp_2m(streams().next(), timesteps, schedule, denoiser, recorder(ours, seen))
    assert_same(ours, theirs, tolerance=2e-5)
    assert seen == timesteps[1:]


def run_by_hand(section: DDPM | DDIM | DPMSolver, schedule: NoiseSchedule) -> Tensor:
    noise = streams()
    x, timesteps = noise.next(), schedule.sampling_timesteps(section.num_steps, "trailing")
    if isinstance(section, DDPM):
        return ddpm(x, timesteps, schedule, denoiser, noise)
    if isinstance(section, DDIM):
        return ddim(x, timesteps, schedule, denoiser, noise, section.eta)
    return dpm_solver_pp_2m(x, timesteps, schedule, denoiser)


def test_sample_runs_the_recipes_sampler_from_the_first_draw() -> None:
    sections: list[DDPM | DDIM | DPMSolver] = [
        DDPM(kind="ddpm", num_steps=10, spacing="trailing"),
        DDIM(kind="ddim", num_steps=10, spacing="trailing", eta=0.0),
        DDIM(kind="ddim", num_steps=10, spacing="trailing", eta=0.7),
        DPMSolver(kind="dpm_solver_pp_2m", num_steps=10, spacing="trailing"),
    ]
    schedule = SCHEDULES["cosine"]
    ends = [sample(section, schedule, denoiser, streams()) for section in sections]
    assert all(torch.equal(end, run_by_hand(one, schedule)) for end, one in zip(ends, sections, strict=True))
    assert all(end.dtype == torch.float32 for end in ends)
    assert not any(torch.equal(one, other) for i, one in enumerate(ends) for other in ends[:i])


def test_ddim_with_eta_1_is_ancestral_sampling() -> None:
    """Song et al. 2021, section 4.1: the same posterior, so with the same noise the same path."""
    schedule = SCHEDULES["linear"]
    timesteps = schedule.sampling_timesteps(20, "trailing")
    noise = streams()
    implicit = ddim(noise.next().double(), timesteps, schedule, denoiser, noise, 1.0)
    noise = streams()
    ancestral = ddpm(noise.next().double(), timesteps, schedule, denoiser, noise)
    torch.testing.assert_close(implicit, ancestral, rtol=NOISY, atol=NOISY)
