"""Audio without its room, where the room is not known.

Two estimates that need each other: the room's filter given the dry audio (exactly Gaussian), and the dry audio given
the filter (DDRM with the trained prior). Filters are complex [B, F, K], over frames at each frequency.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from linnet.diffusion.operators import FrequencyConvolution, LinearOperator, RowScaled, to_complex
from linnet.diffusion.restoration import BelowNoise, NoiseSource, ddrm
from linnet.diffusion.reverb import decay
from linnet.diffusion.samplers import OnStep, PredictX0
from linnet.diffusion.schedule import NoiseSchedule
from linnet.recipe import StepSpacing

WPE_ITERATIONS = 3
PREDICTION_ERROR = 0.05  # of the predicted dry audio, against y's root mean square at that frequency
LEAST_NOISE = 1e-3  # assumed where all is silent, in the units of the prior: keeps the posterior finite
FIRST_SIGMA = 2.0  # predictions from more noise than this say too little about the audio to estimate its room


def wpe(y: Tensor, *, taps: int, delay: int, iterations: int) -> Tensor:
    """Late reverberation predicted from the past and subtracted: weighted prediction error (Nakatani et al. 2010).

    One channel, each frequency apart: d[t] = y[t] - sum_k g_k y[t - delay - k] with the g that minimises
    sum_t |d[t]|^2 / lambda[t], with lambda[t] = |d[t]|^2 of the iteration before.

    Args:
        y: complex [B, F, T].
        taps: length of the prediction filter, frames.
        delay: frames left alone, so that the audio's own correlation stays; at least 1.
        iterations: solves; the first takes lambda from y.

    Returns:
        d [B, F, T] in the precision of y; solved in complex128.
    """
    assert delay >= 1, "a frame cannot be predicted from itself"
    return torch.stack([_wpe_one(one.to(torch.complex128), taps, delay, iterations) for one in y]).to(y.dtype)


def _wpe_one(y: Tensor, taps: int, delay: int, iterations: int) -> Tensor:
    frames = y.shape[-1]
    padded = torch.nn.functional.pad(y, (delay + taps - 1, 0))
    past = torch.stack([padded[:, taps - 1 - k : taps - 1 - k + frames] for k in range(taps)], dim=-1)  # [F, T, K]
    floor = 1e-6 * y.abs().square().mean(dim=-1, keepdim=True) + torch.finfo(torch.float64).tiny
    dry = y
    for _ in range(iterations):
        weighted = past.mH / dry.abs().square().maximum(floor)[:, None, :]
        gram, cross = weighted @ past, weighted @ y[..., None]
        loading = 1e-10 * gram.diagonal(dim1=-2, dim2=-1).real.mean(dim=-1)
        loading = loading.where(loading > 0, 1.0)  # a silent frequency
        gain = torch.linalg.solve(gram + loading[:, None, None] * torch.eye(taps, dtype=gram.dtype).to(gram), cross)
        dry = y - (past @ gain)[..., 0]
    return dry


@dataclass(frozen=True)
class FilterPosterior:
    """Filters given dry and reverberant audio: CN(mean, root root^H) at each frequency.

    Args:
        mean: complex128 [B, F, K].
        root: complex128 [B, F, K, K], a square root of the covariance: D L^-H for D^2 the prior's covariance and L
            the Cholesky factor of the posterior precision in units of the prior.
    """

    mean: Tensor
    root: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """A sample [B, F, K] from standard circular complex noise [B, F, K] (E|n|^2 = 1)."""
        return self.mean + (self.root @ noise.to(self.root)[..., None])[..., 0]


def filter_posterior(
    y: Tensor, x: Tensor, *, num_taps: int, noise_std: Tensor, prior_variance: Tensor
) -> FilterPosterior:
    """The filters h of y[t] = sum_k h[k] x[t - k] + n, circular in t, for a prior h[k] ~ CN(k == 0, prior_variance[k]).

    y is linear in h, so the posterior is Gaussian: with h = e_0 + D g and D^2 = diag(prior_variance), g has precision
    I + D X^H X D / (2 noise_std^2). X^H X holds circular autocorrelations of x, which a Fourier transform gives.
    prior_variance[0] = 0 holds tap 0 at 1 exactly and settles the scale that y = h x leaves open.

    Args:
        y: reverberant, complex [B, F, T].
        x: dry, complex [B, F, T].
        num_taps: K <= T.
        noise_std: of real and of imaginary part each, > 0, broadcastable to [B, F].
        prior_variance: E|h[k] - (k == 0)|^2, >= 0, broadcastable to [B, F, K].
    """
    assert num_taps <= x.shape[-1], f"{num_taps} taps do not fit {x.shape[-1]} frames"
    spectrum = torch.fft.fft(x.to(torch.complex128))
    rest = torch.fft.fft(y.to(torch.complex128)) - spectrum  # what tap 0 = 1 leaves to explain
    lags = torch.arange(num_taps, device=x.device)
    gram = torch.fft.ifft(spectrum.abs().square())[..., lags[:, None] - lags]  # negative lags wrap, as they should
    cross = torch.fft.ifft(spectrum.conj() * rest)[..., :num_taps]
    precision = 0.5 / noise_std.to(torch.float64) ** 2
    deviation = prior_variance.to(torch.float64).sqrt().to(gram)
    scaled = deviation[..., :, None] * gram * deviation[..., None, :] * precision[..., None, None]
    eye = torch.eye(num_taps, dtype=gram.dtype, device=x.device)
    factor = torch.linalg.cholesky(scaled + eye)
    pull = (deviation * cross * precision[..., None])[..., None]
    mean = eye[0] + deviation * torch.cholesky_solve(pull, factor)[..., 0]
    root = deviation[..., :, None] * torch.linalg.solve_triangular(factor.mH, eye.expand_as(factor), upper=True)
    return FilterPosterior(mean, root)


def blind_dereverb(
    y: Tensor,
    noise_std: Tensor,
    schedule: NoiseSchedule,
    predict_x0: PredictX0,
    noise: NoiseSource,
    *,
    filter_frames: int,
    wpe_delay: int,
    num_steps: int,
    spacing: StepSpacing,
    eta: float,
    eta_b: float,
    below_noise: BelowNoise,
    on_step: OnStep | None = None,
) -> Tensor:
    """The dry audio x of y[t] = sum_k h[k] x[t - k] + n, with h unknown, after GibbsDDRM (Murata et al. 2023).

    The first filter is the one that explains y by WPE's estimate of x. From sigma_t = 2 downwards each DDRM step is
    preceded by a sample of the filter from its posterior given the predicted x_0, the last step by its mean.
    GibbsDDRM's filters move by Langevin steps instead. Tap 0 is held at 1, which settles the scale; the prior of the
    later ones decays by 60 dB over the filter.

    The convolution is circular over the T frames. A recording's is not: let it die away, append silence of
    filter_frames - 1 frames, so that no sound wraps round, and predict with `multidiffusion.windowed`.

    Args:
        y: [B, 2, F, T], in the units of the prior.
        noise_std: [F] of real and imaginary part each; all zero or all positive.
        schedule: of the prior.
        predict_x0: the prior.
        noise: as for `ddrm`, and a draw more for each filter.
        filter_frames: K of the estimated filter.
        wpe_delay: frames over which the dry audio is correlated with itself: window length / hop - 1.
        num_steps: as for `ddrm`.
        spacing: as for `ddrm`.
        eta: as for `ddrm`.
        eta_b: as for `ddrm`.
        below_noise: as for `ddrm`.
        on_step: as for `ddrm`.
    """
    noisy = bool((noise_std > 0).all())
    assert noisy or not noise_std.any(), "noise at some frequencies only cannot be whitened"
    row_scale = (1 / noise_std if noisy else torch.ones_like(noise_std)).to(y)
    rooms = _Rooms.of(y, noise_std.to(y), row_scale, filter_frames)
    current = rooms.operator(rooms.posterior(rooms.without_late_reverberation(wpe_delay)).mean)
    last = schedule.sampling_timesteps(num_steps, spacing)[-2]

    def reestimate(x0: Tensor, timestep: int) -> LinearOperator:
        nonlocal current
        if schedule.value(timestep) >= 1 / (1 + FIRST_SIGMA**2):
            found = rooms.posterior(to_complex(x0))
            current = rooms.operator(found.mean if timestep == last else found.sample(rooms.standard_normal(noise)))
        return current

    return ddrm(
        current,
        y * row_scale[:, None],
        float(noisy),
        schedule,
        predict_x0,
        noise,
        num_steps=num_steps,
        spacing=spacing,
        eta=eta,
        eta_b=eta_b,
        below_noise=below_noise,
        on_step=on_step,
        reestimate=reestimate,
    )


@dataclass(frozen=True)
class _Rooms:
    """What filters of the observed audio are sampled from, and the whitened operators they make."""

    observed: Tensor  # complex [B, F, T]
    assumed_noise: Tensor  # [B, F], of real and imaginary part each
    prior_variance: Tensor  # [K]
    row_scale: Tensor  # [F]

    @classmethod
    def of(cls, y: Tensor, noise_std: Tensor, row_scale: Tensor, filter_frames: int) -> Self:
        rms = y.square().mean(dim=(1, 3)).sqrt()
        assumed = torch.maximum(noise_std, PREDICTION_ERROR * rms).clamp(min=LEAST_NOISE)
        variance = decay(filter_frames, reverberation_seconds=filter_frames, frame_seconds=1).to(y.device)
        variance[0] = 0
        return cls(to_complex(y), assumed, variance, row_scale)

    def without_late_reverberation(self, delay: int) -> Tensor:
        return wpe(self.observed, taps=len(self.prior_variance), delay=delay, iterations=WPE_ITERATIONS)

    def posterior(self, dry: Tensor) -> FilterPosterior:
        return filter_posterior(
            self.observed,
            dry,
            num_taps=len(self.prior_variance),
            noise_std=self.assumed_noise,
            prior_variance=self.prior_variance,
        )

    def standard_normal(self, noise: NoiseSource) -> Tensor:
        """Complex [B, F, K], E|n|^2 = 1, of the streams that the examples' noise comes from."""
        return to_complex(noise.next()[..., : len(self.prior_variance)]) / math.sqrt(2)

    def operator(self, filters: Tensor) -> LinearOperator:
        return RowScaled(FrequencyConvolution(filters), self.row_scale[None, :, None])
