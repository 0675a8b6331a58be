"""Audio from magnitudes: a phase that fits them, by the fast Griffin-Lim algorithm."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linnet.audio.stft import Transform

ACCELERATION = 0.99  # Perraudin et al.'s choice; 0 is Griffin and Lim's own algorithm


@dataclass(frozen=True)
class KnownBins:
    """What is known of spectra with its phase, as restoration knows the part that was not damaged."""

    spectrum: Tensor  # complex [..., bins, frames], as the magnitudes
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

    Alternates between the nearest spectrum with these magnitudes (P_C2) and the nearest spectrum that a waveform has
    (P_C1), with a step ahead of each: c_n = P_C1 P_C2 t_(n-1), t_n = c_n + 0.99 (c_n - c_(n-1)) (Perraudin, Balazs and
    Sondergaard 2013, algorithm 2). A row of frequency 0 that was dropped is free.

    Args:
        transform: of the spectra that the magnitudes belong to.
        magnitude: not negative; where `known` holds, it is not looked at.
        length: in samples; 1 + length // hop_samples must be the number of frames.
        iterations: 30 to 100 are usual.
        seed: of the random phases at the start. All rows start with the same, so that none depends on its batch.
        known: bins that keep magnitude and phase.
    """
    frames = magnitude.shape[-2:]
    phases = np.random.default_rng(seed).uniform(-math.pi, math.pi, size=tuple(frames))
    start = torch.polar(torch.ones(tuple(frames), dtype=torch.float64), torch.from_numpy(phases))
    start = start.to(device=magnitude.device, dtype=torch.complex64)
    rows = magnitude.reshape(-1, *frames)
    givens = [None] * len(rows) if known is None else list(_given_by_row(known, rows))
    found = [
        _one(transform, row, start, length, iterations, given) for row, given in zip(rows, givens, strict=True)
    ]  # one by one: a last bit that depended on the batch would grow to another phase
    return torch.stack(found).reshape(*magnitude.shape[:-2], length)


def _given_by_row(known: KnownBins, rows: Tensor) -> list[KnownBins]:
    return [KnownBins(spectrum, known.mask) for spectrum in known.spectrum.reshape(rows.shape)]


def _one(
    transform: Transform, magnitude: Tensor, start: Tensor, length: int, iterations: int, known: KnownBins | None
) -> Tensor:
    whole = Transform(transform.stft.model_copy(update={"keep_dc": True}))
    first = 0 if transform.stft.keep_dc else 1

    def fitting(t: Tensor) -> Tensor:
        """P_C2, on spectra with their row of frequency 0."""
        bins = magnitude * torch.sgn(t[first:])
        if known is not None:
            bins = torch.where(known.mask, known.spectrum, bins)
        return torch.cat([t[:first], bins])

    ahead = torch.cat([torch.zeros_like(start[:first]), start])
    previous = fitting(ahead)
    for _ in range(iterations):
        consistent = whole.spectrum(whole.waveform(fitting(ahead), length))
        ahead = consistent + ACCELERATION * (consistent - previous)
        previous = consistent
    return whole.waveform(fitting(ahead), length)
