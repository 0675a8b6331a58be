"""Mel filter banks, and the windowed frames of a waveform whose spectra they filter."""

import math

import torch
from torch import Tensor


def hz_to_mel(hz: float) -> float:
    """A frequency in Hz on HTK's mel scale."""
    return 1127 * math.log1p(hz / 700)


def mel_filters(*, num_bins: int, sample_rate_hz: int, num_bands: int, low_hz: float, high_hz: float) -> Tensor:
    """Triangular filters of height 1, float64 [num_bins, num_bands]; a spectrum [..., num_bins] times them gives bands.

    Their corners are spaced evenly on the mel scale from `low_hz` to `high_hz`, and their sides are straight on that
    scale, as in HTK and VGGish (Hershey et al. 2017); torchaudio's are straight in Hz. No filter has the bin of 0 Hz.
    """
    bins = 1127 * torch.log1p(torch.linspace(0, sample_rate_hz / 2, num_bins, dtype=torch.float64) / 700)
    corners = torch.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), num_bands + 2, dtype=torch.float64)
    low, centre, high = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins[:, None] - low) / (centre - low)
    falling = (high - bins[:, None]) / (high - centre)
    filters = torch.minimum(rising, falling).clamp(min=0)
    filters[0] = 0
    return filters


def windowed_frames(waveforms: Tensor, *, window_samples: int, hop_samples: int) -> Tensor:
    """Frames of waveforms times a periodic Hann window: [..., samples] -> [..., frames, window_samples].

    The first frame starts at the first sample and the last one ends within the waveform: nothing is padded.
    """
    window = torch.hann_window(window_samples, dtype=waveforms.dtype, device=waveforms.device)
    return waveforms.unfold(-1, window_samples, hop_samples) * window
