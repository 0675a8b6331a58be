"""Made-up rooms, on audio made of rare bursts: its bins are loud with probability 0.15 and almost silent otherwise.

The best denoiser of such audio is known (a mixture of two Gaussians), so nothing here is trained.
"""

import math

import pytest
import torch
from torch import Tensor

from linnet.diffusion.dereverberation import PREDICTION_ERROR, blind_dereverb, filter_posterior, wpe
from linnet.diffusion.operators import FrequencyConvolution, to_channels, to_complex
from linnet.diffusion.reverb import decay, exponential_filter
from linnet.diffusion.samplers import PerSampleNoise, PredictX0
from linnet.diffusion.schedule import build_schedule
from linnet.recipe import CosineSchedule

COSINE = build_schedule(CosineSchedule(kind="cosine", num_timesteps=4000, offset=0.008))
LOUD, QUIET, RATE = 6.0, 0.01, 0.15  # variances of real and imaginary part, and how often it is loud
FREQUENCIES, FRAMES, TAPS = 8, 128, 10


def bursts(generator: torch.Generator, count: int) -> Tensor:
    loud = torch.rand(count, 1, FREQUENCIES, FRAMES, generator=generator) < RATE
    return torch.randn(count, 2, FREQUENCIES, FRAMES, generator=generator) * torch.where(loud, LOUD, QUIET).sqrt()


def best(x: Tensor, timestep: int) -> Tensor:
    """E[x_0 | x_t] for bursts: how likely loud, times the answer for loud, and the same for quiet."""
    alpha_bar = float(COSINE.at(torch.tensor(timestep)))
    loud, quiet = (alpha_bar * variance + 1 - alpha_bar for variance in (LOUD, QUIET))
    power = x.square().sum(dim=1, keepdim=True)
    log_odds = math.log(RATE / (1 - RATE)) - math.log(loud / quiet) - power / 2 * (1 / loud - 1 / quiet)
    is_loud = torch.sigmoid(log_odds)
    return math.sqrt(alpha_bar) * x * (is_loud * LOUD / loud + (1 - is_loud) * QUIET / quiet)


def si_sdr(estimate: Tensor, truth: Tensor) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, mean over the batch (Le Roux et al. 2019)."""
    estimate, truth = estimate.flatten(1), truth.flatten(1)
    target = (estimate * truth).sum(dim=1, keepdim=True) / truth.square().sum(dim=1, keepdim=True) * truth
    ratio = target.square().sum(dim=1) / (estimate - target).square().sum(dim=1)
    return float((10 * ratio.log10()).mean())


def room(seed: int, count: int, reverberation_frames: float) -> tuple[Tensor, Tensor, Tensor]:
    """Dry audio [B, 2, F, T], the room's filter [F, K], and the audio in the room."""
    generator = torch.Generator().manual_seed(seed)
    x = bursts(generator, count)
    filters = exponential_filter(FREQUENCIES, TAPS, reverberation_frames, 1.0, generator)
    return x, filters, FrequencyConvolution(filters).forward(x)


def complex_normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def test_wpe_is_weighted_least_squares() -> None:
    """One iteration against least squares with the matrix of delayed frames."""
    y, taps, delay = complex_normal(1, 1, 40, seed=0), 3, 2
    past = torch.zeros(40, taps, dtype=torch.complex128)
    for t in range(40):
        for k in range(taps):
            if t - delay - k >= 0:
                past[t, k] = y[0, 0, t - delay - k]
    weight = 1 / y[0, 0].abs()
    gain = torch.linalg.lstsq(weight[:, None] * past, (weight * y[0, 0])[:, None]).solution[:, 0]
    found = wpe(y, taps=taps, delay=delay, iterations=1)[0, 0]
    torch.testing.assert_close(found, y[0, 0] - past @ gain, rtol=1e-7, atol=1e-7)


def test_wpe_removes_most_of_the_tail() -> None:
    """A burst rings on as a geometric series, which one predicted frame explains."""
    x = to_complex(bursts(torch.Generator().manual_seed(0), 2))
    y = x.clone()
    for t in range(1, FRAMES):
        y[..., t] += 0.8j * y[..., t - 1]
    found = wpe(y, taps=3, delay=1, iterations=3)
    assert found.dtype == torch.complex64
    left = [
        float((estimate - x).abs().square().sum() / (y - x).abs().square().sum())
        for estimate in (wpe(y, taps=3, delay=1, iterations=1), found)
    ]
    assert left[1] < left[0] / 1.5
    assert left[1] < 0.06
    torch.testing.assert_close(wpe(y[1:], taps=3, delay=1, iterations=3), found[1:])


def test_wpe_leaves_the_frames_before_its_delay() -> None:
    y = complex_normal(1, 2, 50, seed=1)
    assert torch.equal(wpe(y, taps=4, delay=3, iterations=2)[..., :3], y[..., :3])


def test_wpe_of_silence_is_silence() -> None:
    y = to_complex(bursts(torch.Generator().manual_seed(0), 1))
    y[:, 3] = 0
    found = wpe(y, taps=3, delay=1, iterations=3)
    assert torch.equal(found[:, 3], y[:, 3])
    assert bool(torch.isfinite(torch.view_as_real(found)).all())


def dense_posterior(y: Tensor, x: Tensor, noise_std: float, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance at one frequency by conditioning jointly Gaussian h and y: no precision, no Fourier."""
    frames, taps = len(x), len(variance)
    design = torch.stack([x.roll(k) for k in range(taps)], dim=1)
    prior = torch.diag(variance).to(torch.complex128)
    joint = design @ prior @ design.mH + 2 * noise_std**2 * torch.eye(frames, dtype=torch.complex128)
    gain = prior @ design.mH @ torch.linalg.inv(joint)
    start = torch.eye(taps, dtype=torch.complex128)[0]
    return start + gain @ (y - design @ start), prior - gain @ design @ prior


@pytest.mark.parametrize("first_variance", [0.0, 0.5])
def test_filter_posterior_is_the_dense_one(first_variance: float) -> None:
    x, y = complex_normal(2, 3, 12, seed=2), complex_normal(2, 3, 12, seed=3)
    noise_std = torch.tensor([0.3, 0.5, 2.0], dtype=torch.float64)
    variance = torch.tensor([first_variance, 0.5, 0.2, 0.1], dtype=torch.float64)
    found = filter_posterior(y, x, num_taps=4, noise_std=noise_std, prior_variance=variance)
    for b, f in [(0, 0), (0, 1), (1, 2)]:
        mean, covariance = dense_posterior(y[b, f], x[b, f], float(noise_std[f]), variance)
        torch.testing.assert_close(found.mean[b, f], mean)
        torch.testing.assert_close(found.root[b, f] @ found.root[b, f].mH, covariance)
    if first_variance == 0:
        assert torch.equal(found.sample(complex_normal(2, 3, 4, seed=4))[..., 0], torch.ones_like(found.mean[..., 0]))


def test_drawn_filters_have_the_posteriors_covariance() -> None:
    x, y = complex_normal(1, 1, 12, seed=5), complex_normal(1, 1, 12, seed=6)
    variance = torch.tensor([0.5, 0.2, 0.1], dtype=torch.float64)
    found = filter_posterior(y, x, num_taps=3, noise_std=torch.tensor([1.0]), prior_variance=variance)
    mean, covariance = dense_posterior(y[0, 0], x[0, 0], 1.0, variance)
    count = 20_000
    deviations = found.sample(complex_normal(count, 1, 3, seed=7))[:, 0] - mean
    scale = covariance.diagonal().real.sqrt()
    error = (deviations.T @ deviations.conj() / count - covariance) / scale[:, None] / scale
    assert float(error.abs().max()) < 5 / math.sqrt(count)
    assert float((deviations.mean(dim=0) / scale).abs().max()) < 5 / math.sqrt(count)


def test_a_room_decays_by_60_db_in_its_reverberation_time() -> None:
    torch.testing.assert_close(decay(11, 0.5, 0.05)[10], torch.tensor(1e-6, dtype=torch.float64))
    filters = exponential_filter(5000, 11, 0.5, 0.05, torch.Generator().manual_seed(0))
    assert filters.dtype == torch.complex64
    assert torch.equal(filters[:, 0], torch.ones_like(filters[:, 0]))
    power = filters.abs().square().mean(dim=0).double()
    torch.testing.assert_close(power[1:], decay(11, 0.5, 0.05)[1:], rtol=0.07, atol=0)
    assert float(filters[:, 1].mean().abs()) < 0.04  # of any phase
    assert torch.equal(filters, exponential_filter(5000, 11, 0.5, 0.05, torch.Generator().manual_seed(0)))


def restore(y: Tensor, noise_std: Tensor, indices: list[int], predict_x0: PredictX0 = best) -> Tensor:
    return blind_dereverb(
        y,
        noise_std,
        COSINE,
        predict_x0,
        PerSampleNoise(0, indices, tuple(y.shape[1:]), torch.device("cpu")),
        filter_frames=TAPS,
        wpe_delay=1,
        num_steps=40,
        spacing="trailing",
        eta=0.85,
        eta_b=1,
        below_noise="matched",
    )


@pytest.mark.parametrize("reverberation_frames", [6.0, 10.0])
def test_blind_dereverberation_beats_wpe_and_what_was_observed(reverberation_frames: float) -> None:
    x, _, y = room(1, 2, reverberation_frames)
    y = y + 0.05 * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    without_prior = to_channels(wpe(to_complex(y), taps=TAPS, delay=1, iterations=3))
    found = restore(y, torch.full((FREQUENCIES,), 0.05), [0, 1])
    assert si_sdr(without_prior, x) > si_sdr(y, x) + 2
    assert si_sdr(found, x) > si_sdr(without_prior, x) + 5


def test_noise_that_differs_over_frequency() -> None:
    """The loud noise of one half stays out of the other, and is removed where it is."""
    x, _, y = room(1, 2, 6.0)
    noise_std = torch.tensor([0.02] * 4 + [0.7] * 4)
    y = y + noise_std[:, None] * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    found = restore(y, noise_std, [0, 1])
    assert si_sdr(found[:, :, :4], x[:, :, :4]) > 22
    assert si_sdr(found[:, :, 4:], x[:, :, 4:]) > si_sdr(y[:, :, 4:], x[:, :, 4:]) + 3


def test_without_noise_the_last_room_explains_what_was_observed() -> None:
    """The result is y without the filter that is most likely given the last prediction."""
    predictions = list[Tensor]()

    def remember(x: Tensor, timestep: int) -> Tensor:
        predictions.append(best(x, timestep))
        return predictions[-1]

    x, _, y = room(3, 1, 6.0)
    found = restore(y, torch.zeros(FREQUENCIES), [0], remember)
    assert si_sdr(found, x) > si_sdr(y, x) + 10
    filters = torch.fft.ifft(torch.fft.fft(to_complex(y.double())) / torch.fft.fft(to_complex(found.double())))
    assert float(filters[..., TAPS:].abs().max()) < 1e-4
    variance = decay(TAPS, TAPS, 1)
    variance[0] = 0
    noise_std = PREDICTION_ERROR * y.square().mean(dim=(1, 3)).sqrt()
    wanted = filter_posterior(
        to_complex(y), to_complex(predictions[-1]), num_taps=TAPS, noise_std=noise_std, prior_variance=variance
    )
    torch.testing.assert_close(filters[..., :TAPS], wanted.mean, rtol=0, atol=1e-4)


def test_a_silent_frequency_harms_no_other() -> None:
    _, _, y = room(3, 1, 6.0)
    y[:, :, 2] = 0
    found = restore(y, torch.zeros(FREQUENCIES), [0])
    assert torch.equal(found[:, :, 2], y[:, :, 2])
    assert bool(torch.isfinite(found).all())


def test_the_same_seed_gives_the_same_audio() -> None:
    _, _, y = room(4, 2, 6.0)
    noise_std = torch.full((FREQUENCIES,), 0.05)
    together = restore(y, noise_std, [3, 8])
    assert torch.equal(together, restore(y, noise_std, [3, 8]))
    torch.testing.assert_close(together[1:], restore(y[1:], noise_std, [8]), rtol=1e-3, atol=1e-3)
    assert not torch.equal(together[1:], restore(y[1:], noise_std, [9]))
