"""Synthetic rooms: a filter over frames for each frequency."""

import math

import torch
from torch import Tensor


def exponential_filter(
    frequencies: int, taps: int, reverberation_seconds: float, frame_seconds: float, generator: torch.Generator
) -> Tensor:
    """Complex64 [F, K] of a room: 1 at tap 0, then noise that decays by 60 dB in `reverberation_seconds`.

    Polack's model of late reverberation (Polack 1988), at each frequency apart: later taps are circular complex
    Gaussian, with E|h_k|^2 = `decay(...)[k]`.
    """
    parts = torch.randn(frequencies, taps, 2, dtype=torch.float64, generator=generator)
    filters = torch.view_as_complex(parts / math.sqrt(2)) * decay(taps, reverberation_seconds, frame_seconds).sqrt()
    filters[:, 0] = 1
    return filters.to(torch.complex64)


def decay(taps: int, reverberation_seconds: float, frame_seconds: float) -> Tensor:
    """Power of each tap, float64 [K]: 1 at tap 0, 60 dB less after `reverberation_seconds`."""
    return 10 ** (-6 * torch.arange(taps, dtype=torch.float64) * frame_seconds / reverberation_seconds)
