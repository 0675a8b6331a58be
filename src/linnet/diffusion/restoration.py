"""Restoration with a diffusion model as prior: denoising diffusion restoration models (DDRM, Kawar et al. 2022).

DDRM runs on xbar_t = x_t / sqrt(alpha_bar_t) = x_0 + sigma_t eps, sigma_t = sqrt((1 - alpha_bar_t) / alpha_bar_t), in
the spectral coordinates V^T xbar of the operator H = U S V^T. There y = H x + sigma_y n says about coordinate i that it
is ybar_i = (S^+ U^T y)_i, give or take sigma_y / s_i.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, assert_never

import torch
from torch import Tensor

from linnet.diffusion.operators import LinearOperator, inverse_spectral
from linnet.diffusion.samplers import OnStep, PredictX0
from linnet.diffusion.schedule import NoiseSchedule
from linnet.recipe import StepSpacing

BelowNoise = Literal["constant", "matched"]
Reestimate = Callable[[Tensor, int], LinearOperator]  # (predicted x_0, timestep it was predicted at) -> next operator


class NoiseSource(Protocol):
    """Standard normal noise in the shape of what is restored, like `linnet.diffusion.samplers.PerSampleNoise`."""

    def next(self) -> Tensor:
        """[B, C, H, W]."""
        ...


@dataclass(frozen=True)
class SpectralObservation:
    """What y says about each spectral coordinate of x.

    Args:
        operator: H.
        estimate: ybar = S^+ U^T y [B, C, H, W]; 0 where s = 0.
        spread: sigma_y / s, float64, broadcastable to it; infinite where s = 0.
    """

    operator: LinearOperator
    estimate: Tensor
    spread: Tensor


def observe(operator: LinearOperator, y: Tensor, noise_std: float) -> SpectralObservation:
    """What y = H x + noise_std n says."""
    estimate = inverse_spectral(operator, y)
    singular = operator.singular_values(tuple(estimate.shape)).to(y.device)
    observed = singular > 0
    spread = torch.where(observed, noise_std / singular.where(observed, 1.0), math.inf)
    return SpectralObservation(operator, estimate, spread)


def ddrm(
    operator: LinearOperator,
    y: Tensor,
    noise_std: float,
    schedule: NoiseSchedule,
    predict_x0: PredictX0,
    noise: NoiseSource,
    *,
    num_steps: int,
    spacing: StepSpacing,
    eta: float,
    eta_b: float,
    below_noise: BelowNoise,
    on_step: OnStep | None = None,
    reestimate: Reestimate | None = None,
) -> Tensor:
    """A restored x [B, C, H, W] for the observation y = H x + noise_std n (Kawar et al. 2022, eq. 7 and 8).

    The spectral steps are those of `step_coefficients`. Without noise and with eta_b = 1 the result fits y exactly:
    H x = y to float precision.

    For a Gaussian prior the mean over many draws tends to E[x | y] as the steps grow: without noise slowly (about
    steps^-0.6: hundreds where the mean matters), with noise fast and for below_noise="matched" only. The spread of the
    draws is not that of p(x | y): where fresh noise fills every step (eta = 1, or "matched" below the noise of y) their
    variance tends to half of the posterior's, and eta = 0.85 gives about 0.8 of it.

    Args:
        operator: H; with `reestimate`, the one that the start is drawn by.
        y: the observation, in the shape `operator.forward` gives.
        noise_std: of y, for each real number in it; whiten with `RowScaled` what is not the same everywhere.
        schedule: of the prior.
        predict_x0: the prior: (x_t = sqrt(alpha_bar_t) xbar_t, timestep) -> x_0.
        noise: as many draws as steps.
        num_steps: predictions.
        spacing: of their timesteps.
        eta: share of fresh noise where nothing was observed, and below the noise of y with below_noise="constant".
        eta_b: trust in y above its noise, 0 to 1.
        below_noise: see `step_coefficients`.
        on_step: called with (timestep, x_t) after each step, x_t in the scaling of the prior.
        reestimate: called with each predicted x_0 for the operator of the step after it (blind restoration).
    """
    timesteps = schedule.sampling_timesteps(num_steps, spacing)
    sigmas = [_sigma(schedule, timestep) for timestep in timesteps]
    seen = observe(operator, y, noise_std)
    x = _start(seen, sigmas[0], noise.next().to(y.dtype))
    for (t, s), (sigma_t, sigma_s) in zip(itertools.pairwise(timesteps), itertools.pairwise(sigmas), strict=True):
        x0 = predict_x0(x / math.hypot(1, sigma_t), t)
        if reestimate:
            seen = observe(reestimate(x0, t), y, noise_std)
        past, trust, fresh = step_coefficients(seen.spread, sigma_t, sigma_s, eta, eta_b, below_noise)
        z, z0 = seen.operator.to_spectral(x), seen.operator.to_spectral(x0)
        # not z0 + trust (ybar - z0): its rounding error would break the fit to y in the last step
        z = _like(1 - past - trust, z) * z0 + _like(past, z) * z + _like(trust, z) * seen.estimate
        if s >= 0:
            z = z + _like(fresh, z) * noise.next().to(z.dtype)
        x = seen.operator.from_spectral(z)
        if on_step:
            on_step(s, x / math.hypot(1, sigma_s))
    return x


def step_coefficients(
    spread: Tensor, sigma_t: float, sigma_s: float, eta: float, eta_b: float, below_noise: BelowNoise
) -> tuple[Tensor, Tensor, Tensor]:
    """(past, trust, fresh) of the step from sigma_t down to sigma_s, float64 in the shape of `spread`.

    xbar_s = (1 - past - trust) xbar_0 + past xbar_t + trust ybar + fresh n for the predicted xbar_0, with r = spread:

    - nothing observed, r infinite: past = sqrt(1 - eta^2) sigma_s / sigma_t, fresh = eta sigma_s;
    - sigma_s >= r: trust = eta_b, fresh = sqrt(sigma_s^2 - eta_b^2 r^2); sigma_s = r = 0 belongs here, so that the last
      step keeps what was observed without noise;
    - sigma_s < r, below the noise of y: trust = sqrt(1 - e^2) sigma_s / r, fresh = e sigma_s, where e = eta for
      "constant" (Kawar et al. 2022, eq. 8) and sqrt(1 - e^2) = sigma_s / r for "matched".

    Why "matched": for x ~ N(0, Sigma) the predictor shrinks x by x - D(x) = sigma^2 Sigma^-1 x + O(sigma^4), so at a
    fixed point of the mean, x = D(x) + trust (ybar - D(x)), sigma^2 Sigma^-1 x = trust (ybar - x). The constant rule
    has trust ~ sigma / r, which outweighs sigma^2 as sigma falls: with many steps x ends at ybar, noise included. The
    matched one has trust = sigma^2 / r^2, hence (Sigma^-1 + 1 / r^2) x = ybar / r^2: x = E[x | y]. At sigma_s = r it
    gives x = ybar without fresh noise, as the branch above does for eta_b = 1.
    """
    observed, above = torch.isfinite(spread), spread <= sigma_s
    below = observed & ~above
    ratio = torch.where(below, sigma_s / spread.where(below, 1.0), 0.0)
    match below_noise:
        case "constant":
            trust_below, fresh_below = math.sqrt(1 - eta**2) * ratio, torch.full_like(ratio, eta * sigma_s)
        case "matched":
            trust_below, fresh_below = ratio**2, sigma_s * (1 - ratio**2).sqrt()
        case _:
            assert_never(below_noise)
    fresh_above = (sigma_s**2 - eta_b**2 * spread.where(above, 0.0) ** 2).clamp(min=0).sqrt()
    past = torch.where(observed, 0.0, math.sqrt(1 - eta**2) * sigma_s / sigma_t)
    trust = torch.where(above, eta_b, trust_below)
    fresh = torch.where(above, fresh_above, fresh_below.where(below, eta * sigma_s))
    return past, trust, fresh


def _start(seen: SpectralObservation, sigma: float, noise: Tensor) -> Tensor:
    """xbar_T: around ybar where y is less noisy than that, pure noise elsewhere."""
    above = seen.spread <= sigma
    fresh = torch.where(above, (sigma**2 - seen.spread.where(above, 0.0) ** 2).sqrt(), sigma)
    return seen.operator.from_spectral(seen.estimate.where(above, 0.0) + _like(fresh, noise) * noise)


def _sigma(schedule: NoiseSchedule, timestep: int) -> float:
    alpha_bar = schedule.value(timestep)
    return math.sqrt((1 - alpha_bar) / alpha_bar)


def _like(coefficient: Tensor, x: Tensor) -> Tensor:
    return coefficient.to(x.dtype)
