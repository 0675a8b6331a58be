"""What people do without a trained prior: the restorations that it has to beat."""

from collections.abc import Callable
from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.audio.stft import as_channels, as_magnitude, as_spectrum
from linnet.diffusion.dereverberation import wpe
from linnet.metrics.restoration import interpolate_bins, interpolate_frames
from linnet.recipe import (
    Audio,
    BandwidthExtension,
    BlindDereverberation,
    ComplexSpectrogram,
    DataSection,
    Denoise,
    InpaintBins,
    InpaintFrames,
    InpaintPixels,
    KnownReverb,
    MagnitudeSpectrogram,
    RestorationTask,
    SuperResolution,
)

WPE_TAPS, WPE_ITERATIONS = 10, 3


def baseline(task: RestorationTask, data: DataSection, observed: Tensor, missing: Tensor) -> Tensor:
    """The usual answer to `task`, from the pseudo-inverse [N, C, H, W] of the observation in natural units.

    Linear interpolation of magnitudes across missing frequencies or frames; the mean of known neighbours for missing
    pixels; bicubic upsampling; weighted prediction error for an unknown room; the observation itself where there is
    only noise, and the pseudo-inverse for a known room.
    """
    match task:
        case Denoise() | KnownReverb():
            return observed
        case InpaintBins() | BandwidthExtension():
            return _interpolate(data, observed, missing, interpolate_bins)
        case InpaintFrames():
            return _interpolate(data, observed, missing, interpolate_frames)
        case InpaintPixels():
            return _mean_of_neighbours(observed, missing)
        case SuperResolution(factor=factor):
            small = F.avg_pool2d(observed, factor)
            return F.interpolate(small, scale_factor=float(factor), mode="bicubic", align_corners=False)
        case BlindDereverberation():
            dry = wpe(as_spectrum(observed), taps=WPE_TAPS, delay=wpe_delay(data), iterations=WPE_ITERATIONS)
            return as_channels(dry, ComplexSpectrogram(kind="complex"))
        case _:
            assert_never(task)


def wpe_delay(data: DataSection) -> int:
    """Frames over which dry audio is correlated with itself, because their windows overlap."""
    assert isinstance(data, Audio), "the recipe's check"
    return max(1, data.stft.window_samples // data.stft.hop_samples - 1)


def _interpolate(
    data: DataSection, observed: Tensor, missing: Tensor, interpolate: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Magnitudes drawn straight across what is missing; with phase 0 there, because nobody knows it."""
    assert isinstance(data, Audio), "the recipe's check"
    if isinstance(data.representation, MagnitudeSpectrogram):
        magnitude = interpolate(as_magnitude(observed, data.representation), missing.reshape(-1))
        return as_channels(torch.complex(magnitude, torch.zeros_like(magnitude)), data.representation)
    magnitude = interpolate(as_spectrum(observed).abs(), missing.reshape(-1))
    guess = torch.stack([magnitude, torch.zeros_like(magnitude)], dim=1)
    return torch.where(missing.to(observed.device), guess, observed)


def _mean_of_neighbours(observed: Tensor, missing: Tensor) -> Tensor:
    """Known pixels stay; the others get the mean of the known ones around them, in growing circles."""
    known = (~missing).expand_as(observed).to(observed.dtype)
    filled = observed * known
    while not bool(known.all()):
        weight = F.avg_pool2d(known, 3, stride=1, padding=1)
        mean = F.avg_pool2d(filled, 3, stride=1, padding=1) / weight.clamp(min=1e-12)
        reached = (known == 0) & (weight > 0)
        filled = torch.where(reached, mean, filled)
        known = torch.where(reached, torch.ones_like(known), known)
    return filled
