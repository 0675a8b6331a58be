"""Waveforms from magnitude spectrograms: phases by the fast Griffin-Lim algorithm."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linnet.audio.stft import Transform

ACCELERATION = 0.99  # the choice of Perraudin et al.; 0 gives the original Griffin-Lim algorithm


@dataclass(frozen=True)
class KnownBins:
    """The bins of spectra whose phase is known: in restoration, those that are not damaged."""

    spectrum: Tensor  # complex [..., bins, frames], like the magnitudes
    mask: Tensor  # bool [bins, frames] or [bins, 1]: True where `spectrum` holds


def griffin_lim(
    transform: Transform,
    magnitude: Tensor,
    length: int,
    *,
    iterations: int,
    seed: int,
    known: KnownBins | None = None,
) -> Tensor:
    """Waveforms with nearly these magnitudes: float [..., bins, frames] -> float [..., length].

    The algorithm alternates between the nearest spectrum with these magnitudes (P_C2) and the nearest spectrum that a
    waveform has (P_C1), with momentum: c_n = P_C1 P_C2 t_(n-1), t_n = c_n + 0.99 (c_n - c_(n-1)) (Perraudin, Balazs and
    Sondergaard 2013, algorithm 2). A row of frequency 0 that was dropped is free.

    Args:
        transform: the STFT that the magnitudes come from.
        magnitude: not negative; ignored in known bins.
        length: in samples; 1 + length // hop_samples must be the number of frames.
        iterations: 30 to 100 are usual.
        seed: of the initial random phases. All rows have the same ones, so that none depends on its batch.
        known: bins that keep their magnitude and phase.
    """
    frames = magnitude.shape[-2:]
    phases = np.random.default_rng(seed).uniform(-math.pi, math.pi, size=tuple(frames))
    start = torch.polar(torch.ones(tuple(frames), dtype=torch.float64), torch.from_numpy(phases))
    start = start.to(device=magnitude.device, dtype=torch.complex64)
    rows = magnitude.reshape(-1, *frames)
    known_by_row = [None] * len(rows) if known is None else _known_by_row(known, rows)
    waveforms = [
        _one(transform, row, start, length, iterations, known_row)
        for row, known_row in zip(rows, known_by_row, strict=True)
    ]  # one by one: a last bit that depended on the batch would grow to another phase
    return torch.stack(waveforms).reshape(*magnitude.shape[:-2], length)


def _known_by_row(known: KnownBins, rows: Tensor) -> list[KnownBins]:
    return [KnownBins(spectrum, known.mask) for spectrum in known.spectrum.reshape(rows.shape)]


def _one(
    transform: Transform, magnitude: Tensor, start: Tensor, length: int, iterations: int, known: KnownBins | None
) -> Tensor:
    with_dc = Transform(transform.stft.model_copy(update={"keep_dc": True}))
    first = 0 if transform.stft.keep_dc else 1

    def with_magnitude(t: Tensor) -> Tensor:
        """P_C2, on spectra with their row of frequency 0."""
        bins = magnitude * torch.sgn(t[first:])
        if known is not None:
            bins = torch.where(known.mask, known.spectrum, bins)
        return torch.cat([t[:first], bins])

    ahead = torch.cat([torch.zeros_like(start[:first]), start])
    previous = with_magnitude(ahead)
    for _ in range(iterations):
        consistent = with_dc.spectrum(with_dc.waveform(with_magnitude(ahead), length))
        ahead = consistent + ACCELERATION * (consistent - previous)
        previous = consistent
    return with_dc.waveform(with_magnitude(ahead), length)
