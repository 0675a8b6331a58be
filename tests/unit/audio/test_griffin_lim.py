"""Phases found for magnitudes, beside torchaudio's version of the same algorithm."""

import math

import numpy as np
import pytest
import torch
import torchaudio
from torch import Tensor

from linnet.audio.griffin_lim import KnownBins, griffin_lim
from linnet.audio.stft import Transform
from linnet.recipe import STFT

SAMPLE_RATE_HZ, FRAMES = 8000, 96
LENGTH = (FRAMES - 1) * 64


def transform(*, keep_dc: bool) -> Transform:
    return Transform(STFT(window_samples=256, hop_samples=64, keep_dc=keep_dc))


def voice(pitch_hz: float = 140.0) -> Tensor:
    """Harmonics of a pitch that wavers, each with a loudness of its own."""
    time = np.arange(LENGTH) / SAMPLE_RATE_HZ
    phase = 2 * math.pi * np.cumsum(pitch_hz * (1 + 0.03 * np.sin(20 * time))) / SAMPLE_RATE_HZ
    harmonics = [(0.6 + 0.4 * np.sin((6 + k) * time)) * np.sin(k * phase) / k for k in range(1, 20)]
    return torch.from_numpy(0.2 * np.sum(harmonics, axis=0)).float()


def misfit_decibels(found: Tensor, expected: Tensor, stft: Transform) -> float:
    """Spectral convergence: of the magnitudes, relative to their size."""
    return 20 * math.log10(float((stft.spectrum(found).abs() - expected).norm() / expected.norm()))


@pytest.mark.parametrize("keep_dc", [True, False])
def test_magnitudes_are_met_as_well_as_torchaudio_meets_them(keep_dc: bool) -> None:
    """-15 dB is what Griffin and Lim's own algorithm reaches here in 64 iterations."""
    stft, whole = transform(keep_dc=keep_dc), transform(keep_dc=True)
    magnitude = stft.spectrum(voice()).abs()
    misfits = [
        misfit_decibels(griffin_lim(stft, magnitude, LENGTH, iterations=iterations, seed=1), magnitude, stft)
        for iterations in (0, 64)
    ]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        full = whole.spectrum(voice()).abs()
        window = torch.hann_window(256)
        theirs = torchaudio.functional.griffinlim(full, window, 256, 64, 256, 1.0, 64, 0.99, LENGTH, rand_init=True)
    assert misfits[0] > -5
    assert misfits[1] < min(-22, misfit_decibels(theirs, full, whole) + 2)


def test_a_audio_depends_on_the_seed_and_not_on_the_batch() -> None:
    stft = transform(keep_dc=False)
    magnitudes = stft.spectrum(torch.stack([voice(), voice(200), voice(90)])).abs()[:, None]
    together = griffin_lim(stft, magnitudes, LENGTH, iterations=4, seed=1)
    assert together.shape == (3, 1, LENGTH)
    assert torch.equal(together[1, 0], griffin_lim(stft, magnitudes[1, 0], LENGTH, iterations=4, seed=1))
    assert not torch.equal(together[1, 0], griffin_lim(stft, magnitudes[1, 0], LENGTH, iterations=4, seed=2))


def test_known_bins_keep_their_phase() -> None:
    """The foot of the spectrum is given, as in bandwidth extension: there the waveform itself must come back."""
    stft, waveforms = transform(keep_dc=False), torch.stack([voice(), voice(200)])
    spectrum = stft.spectrum(waveforms)
    mask = torch.zeros(stft.stft.num_bins, 1, dtype=torch.bool)
    mask[:64] = True
    magnitude = torch.where(mask, torch.nan, spectrum.abs())  # not looked at where more is known
    found = griffin_lim(stft, magnitude, LENGTH, iterations=32, seed=1, known=KnownBins(spectrum, mask))
    errors = (stft.spectrum(found) - spectrum)[:, :60]
    assert float(errors.norm()) < 10 ** (-45 / 20) * float(spectrum[:, :60].norm())
    assert misfit_decibels(found, spectrum.abs(), stft) < -30


def test_when_all_is_known_the_waveform_comes_back() -> None:
    stft, waveform = transform(keep_dc=True), voice()
    spectrum = stft.spectrum(waveform)
    known = KnownBins(spectrum, torch.ones(stft.stft.num_bins, FRAMES, dtype=torch.bool))
    found = griffin_lim(stft, spectrum.abs(), LENGTH, iterations=3, seed=1, known=known)
    torch.testing.assert_close(found, waveform, rtol=0, atol=1e-6)


def test_a_dropped_row_of_frequency_0_is_free() -> None:
    """A hum that shows in the first bin: with the row held at 0 more than -10 dB is never reached."""
    stft = transform(keep_dc=False)
    hum = 0.3 * torch.sin(2 * math.pi * 20 * torch.arange(LENGTH, dtype=torch.float64) / SAMPLE_RATE_HZ).float()
    magnitude = stft.spectrum(hum).abs()
    found = griffin_lim(stft, magnitude, LENGTH, iterations=64, seed=1)
    assert misfit_decibels(found, magnitude, stft) < -18


def test_silence_stays_silent() -> None:
    stft = transform(keep_dc=False)
    found = griffin_lim(stft, torch.zeros(stft.stft.num_bins, FRAMES), LENGTH, iterations=2, seed=0)
    assert torch.equal(found, torch.zeros(LENGTH))
