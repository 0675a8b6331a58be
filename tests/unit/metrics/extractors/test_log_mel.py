"""log_mel against a direct computation and audio whose features are known."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.audio.mel import hz_to_mel
from linnet.metrics.extractors.log_mel import log_mel
from support.extractors import audio_extractor

RATE = 8000
Waveforms = NDArray[np.int16]


def noise(count: int, *, samples: int = 4000, seed: int = 0) -> Waveforms:
    return np.random.default_rng(seed).integers(-9000, 9000, (count, samples), dtype=np.int16)


def descriptor(waveforms: Waveforms, rate: int = RATE) -> Tensor:
    return audio_extractor("log_mel", rate=rate)(waveforms).squeeze(1)  # one vector of each


def sine(hz: float, *, rate: int = RATE, seconds: float = 0.5, amplitude: float = 1.0) -> Tensor:
    """Float64 [1, samples]."""
    return amplitude * torch.sin(2 * np.pi * hz * torch.arange(round(rate * seconds), dtype=torch.float64) / rate)[None]


@pytest.mark.parametrize("rate", [4000, 22_050, 44_100, 96_000])
def test_a_sine_is_loudest_in_the_band_around_it(rate: int) -> None:
    """Band k has its peak k + 1 steps above 30 Hz, of 33 evenly long steps in mel to half the sample rate."""
    step = (hz_to_mel(rate / 2) - hz_to_mel(30)) / 33
    for band in (3, 12, 30):
        hz = 700 * (np.exp((hz_to_mel(30) + (band + 1) * step) / 1127) - 1)
        found = log_mel(sine(hz, rate=rate, seconds=0.25), rate)[0]
        assert found.shape == (96,)
        assert int(found[:32].argmax()) == band
        assert float(found[band]) == pytest.approx(np.log10(0.375), abs=0.25)  # less where the triangle falls off
        assert float(found[32 + band]) < 0.05  # and steady
        assert float(found[64 + band]) < 0.05


@pytest.mark.parametrize("rate", [4000, 8000, 22_050, 44_100, 96_000])
def test_a_sine_is_as_loud_at_any_rate(rate: int) -> None:
    """Wherever it falls, the triangles of two neighbours add up to one: 3/8 of its squared amplitude."""
    for hz in (400.0, 1234.0):
        found = log_mel(sine(hz, rate=rate, amplitude=0.5), rate)[0, :32]
        assert float((10**found).sum()) == pytest.approx(0.375 * 0.25, rel=1e-3)


def test_silence_is_the_floor_and_nothing_moves() -> None:
    found = descriptor(np.zeros((2, 2000), dtype=np.int16))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found[:, :32], torch.full((2, 32), -8.0).double(), rtol=0, atol=1e-12)
    assert float(found[:, 32:].abs().max()) < 1e-12


def test_rounding_to_16_bits_is_silence() -> None:
    """Half a step of noise has -101 dB, the floor is at -80: by less than a fiftieth of a bel."""
    dither = np.random.default_rng(0).integers(0, 2, (1, RATE), dtype=np.int16)
    assert float((descriptor(dither)[:, :32] + 8).abs().max()) < 0.02


def test_the_descriptor_is_what_it_says() -> None:
    """A direct computation: frames, power spectra, triangles, logarithms, moments."""
    audio = noise(1, samples=3001)[0]
    x = audio / 32768.0
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    frames = [x[start : start + 512] * hann for start in range(0, len(x) - 511, 128)]
    power = [np.abs(np.fft.rfft(frame)) ** 2 / hann.sum() ** 2 for frame in frames]
    mel = 1127 * np.log(1 + np.arange(257) * (RATE / 512) / 700)
    corners = np.linspace(1127 * np.log(1 + 30 / 700), 1127 * np.log(1 + 4000 / 700), 34)
    levels = np.zeros((len(power), 32))
    for t, spectrum in enumerate(power):
        for band in range(32):
            triangle = np.interp(mel, corners[band : band + 3], [0, 1, 0])
            levels[t, band] = np.log10((triangle * spectrum)[1:].sum() + 1e-8)
    steps = np.sqrt((np.diff(levels, axis=0) ** 2).mean(axis=0))
    expected = np.concatenate([levels.mean(axis=0), levels.std(axis=0), steps])
    np.testing.assert_allclose(
        descriptor(audio[None])[0].numpy(), expected, rtol=1e-6, atol=1e-6
    )  # int16 / 2^15 is exact


def test_gain_moves_the_means_only_and_direction_nothing() -> None:
    loud = torch.from_numpy(noise(2, samples=512 + 128 * 20) / 32768.0)
    found = log_mel(loud, RATE)
    tenth = log_mel(loud / 10, RATE)
    torch.testing.assert_close(tenth[:, :32], found[:, :32] - 2, rtol=0, atol=0.02)
    torch.testing.assert_close(tenth[:, 32:], found[:, 32:], rtol=0, atol=0.02)
    torch.testing.assert_close(log_mel(-loud, RATE), found)
    backwards = torch.cat([loud[:, :1] * 0, loud[:, 1:].flip(1)], dim=1)  # a periodic window turns around its sample 0
    forwards = torch.cat([loud[:, :1] * 0, loud[:, 1:]], dim=1)
    torch.testing.assert_close(log_mel(backwards, RATE), log_mel(forwards, RATE), rtol=0, atol=1e-9)


def test_a_beat_is_a_step_from_frame_to_frame() -> None:
    """Half a second on, half off: the level has two values, a step of theirs and a deviation of half of that."""
    tone = sine(1000, seconds=1.0)
    tone[:, RATE // 2 :] = 0
    found, band = log_mel(tone, RATE)[0], int(log_mel(sine(1000), RATE)[0, :32].argmax())
    span = float(log_mel(sine(1000), RATE)[0, band]) + 8
    assert float(found[32 + band]) == pytest.approx(span / 2, rel=0.05)
    assert 0.3 * span < float(found[64 + band]) * 58**0.5 < span  # one fall in 58 steps, spread over a few frames


@pytest.mark.parametrize(
    ("rate", "samples"), [(4000, 1000), (96_000, 24_000), (8000, 40), (8000, 639), (44_101, 12_000)]
)
def test_any_rate_and_length_is_finite(rate: int, samples: int) -> None:
    found = descriptor(noise(2, samples=samples), rate)
    assert found.shape == (2, 96)
    assert bool(found.isfinite().all())
    assert float(found[:, :32].max()) > -8
