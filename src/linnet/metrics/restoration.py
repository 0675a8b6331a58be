"""How near a restored example comes to the clean one."""

import torch
from torch import Tensor

from linnet.audio.stft import Transform, as_magnitude, as_spectrum
from linnet.recipe import Audio, ComplexSpectrogram, DataSection

LIMIT_DB = 100.0  # more than 16 bits can tell: what is perfect or hopeless has a number that can be averaged
FLOOR_DB = -80.0  # of the clean peak: quieter bins are counted as this loud


def restoration_scores(data: DataSection, estimate: Tensor, clean: Tensor, mask: Tensor) -> dict[str, float]:
    """Mean scores over the examples [N, C, H, W]: pixels in 0..1 or spectrograms.

    Images have `rmse` and `psnr`; audio has `lsd`, of the bins that were missing where some were, and `si_sdr` where
    the spectrograms are complex.

    Args:
        data: what the examples are.
        estimate: what is scored.
        clean: what it should be.
        mask: bool [C, H, W], true where the observation says nothing.
    """
    if not isinstance(data, Audio):
        return {
            "rmse": float(rmse(estimate, clean).mean()),
            "psnr": float(psnr(estimate, clean, data_range=1.0).mean()),
        }
    magnitudes = _magnitude(data, estimate), _magnitude(data, clean)
    bins = mask[0].expand(clean.shape[-2:]) if bool(mask.any()) else None
    scores = {"lsd": float(log_spectral_distance(*magnitudes, bins).mean())}
    if isinstance(data.representation, ComplexSpectrogram):
        scores["si_sdr"] = float(si_sdr(_waveform(data, estimate), _waveform(data, clean)).mean())
    return scores


def _magnitude(data: Audio, spectrogram: Tensor) -> Tensor:
    """[N, C, F, T] -> [N, F, T]."""
    if isinstance(data.representation, ComplexSpectrogram):
        return as_spectrum(spectrogram).abs()
    return as_magnitude(spectrogram, data.representation)


def _waveform(data: Audio, spectrogram: Tensor) -> Tensor:
    length = (spectrogram.shape[-1] - 1) * data.stft.hop_samples
    transform, spectrum = Transform(data.stft), as_spectrum(spectrogram)
    dc = None if data.stft.keep_dc else transform.estimate_dc(spectrum, length)
    return transform.waveform(spectrum, length, dc=dc)


def si_sdr(estimate: Tensor, clean: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of waveforms [B, samples], float64 [B] in dB, through torchmetrics.

    Le Roux et al. 2019, without subtracting means. In -100..100: a perfect estimate has 100. Where silence leaves it
    undefined: 100 if both are silent, -100 if only one is, because nothing of the one is in the other.
    """
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    # Of equal peaks, because torchmetrics adds a small constant to energies: it must not matter how loud they are.
    ratio = scale_invariant_signal_distortion_ratio(_full_scale(estimate), _full_scale(clean))
    silent, should_be = ~estimate.any(dim=-1), ~clean.any(dim=-1)
    ratio = torch.where(silent | should_be, -LIMIT_DB, ratio.clamp(-LIMIT_DB, LIMIT_DB))
    return torch.where(silent & should_be, LIMIT_DB, ratio)


def _full_scale(waveforms: Tensor) -> Tensor:
    x = waveforms.double()
    return x / x.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)


def log_spectral_distance(estimate: Tensor, clean: Tensor, mask: Tensor | None = None) -> Tensor:
    """Distance of magnitude spectrograms [B, F, T], float64 [B] in dB.

    Root mean square over frequency of 20 log10(estimate / clean), then the mean over frames (Gray and Markel 1976).
    Both are first raised to at least -80 dB of the clean peak; of the estimate's where the clean one is silent, so that
    two silences are 0 apart.

    Args:
        estimate: magnitudes, not complex numbers.
        clean: as `estimate`.
        mask: boolean, broadcast to [B, F, T]: only bins where it is true count, and only frames that have some.
    """
    assert not estimate.is_complex(), "magnitudes"
    assert not clean.is_complex(), "magnitudes"
    estimate, clean = estimate.double(), clean.double()
    peak = clean.amax(dim=(-2, -1), keepdim=True)
    peak = torch.where(peak > 0, peak, estimate.amax(dim=(-2, -1), keepdim=True))
    floor = (peak * 10 ** (FLOOR_DB / 20)).clamp(min=torch.finfo(peak.dtype).tiny)
    square = (20 * torch.log10(torch.maximum(estimate, floor) / torch.maximum(clean, floor))).square()
    counted = torch.ones_like(square) if mask is None else mask.to(square).expand_as(square)
    bins = counted.sum(dim=-2)
    frames = (bins > 0).sum(dim=-1)
    assert bool((frames > 0).all()), "the mask leaves an example without bins"
    distance = ((square * counted).sum(dim=-2) / bins.clamp(min=1)).sqrt()
    return distance.sum(dim=-1) / frames


def rmse(estimate: Tensor, clean: Tensor) -> Tensor:
    """Root mean square error over all but the first dimension, float64 [B], in the unit of the examples."""
    return (estimate.double() - clean.double()).flatten(1).square().mean(dim=1).sqrt()


def psnr(estimate: Tensor, clean: Tensor, *, data_range: float) -> Tensor:
    """Peak signal-to-noise ratio of images [B, C, H, W], float64 [B] in dB, at most 100.

    20 log10(data_range / rmse); `data_range` is from the lowest to the highest possible value: 2 for -1..1.
    """
    return (20 * torch.log10(data_range / rmse(estimate, clean))).clamp(max=LIMIT_DB)
