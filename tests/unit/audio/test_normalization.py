"""Scales per frequency against numpy on all values at once, and the noise floor against real rounding."""

import numpy as np
import pytest
import torch

from linnet.audio.normalization import FrequencyStatistics, noise_floor
from linnet.audio.pcm import decode_waveform, encode_waveform
from linnet.audio.stft import Transform, as_channels
from linnet.recipe import STFT, ComplexSpectrogram, MagnitudeSpectrogram

TINY = STFT(window_samples=8, hop_samples=2, keep_dc=False)
COMPLEX = ComplexSpectrogram(kind="complex")


def magnitude(exponent: float) -> MagnitudeSpectrogram:
    return MagnitudeSpectrogram(kind="magnitude", exponent=exponent, phase_iterations=1)


def test_complex_scales_are_root_mean_squares() -> None:
    values = np.random.default_rng(0).normal(0.5, [[1.0], [2.0], [3.0], [4.0]], size=(6, 2, 4, 5)).astype(np.float32)
    statistics = FrequencyStatistics(TINY, COMPLEX)
    statistics.add(torch.from_numpy(values))
    found = statistics.normalization()
    assert found.mean == [0.0] * 4
    rms = np.sqrt(np.square(values.astype(np.float64)).mean(axis=(0, 1, 3)))
    np.testing.assert_allclose(found.scale, rms, rtol=1e-13)
    np.testing.assert_allclose(found.peak, np.abs(values).max(axis=(0, 1, 3)) / rms, rtol=1e-13)


def test_magnitude_scales_are_means_and_deviations() -> None:
    values = np.random.default_rng(1).gamma(2, [[1.0], [2.0], [3.0], [4.0]], size=(6, 1, 4, 5)).astype(np.float32)
    values[:, :, 2] = 30 - values[:, :, 2]  # its far end is the low one
    statistics = FrequencyStatistics(TINY, magnitude(0.5))
    statistics.add(torch.from_numpy(values))
    found = statistics.normalization()
    mean, deviation = values.mean(axis=(0, 1, 3), dtype=np.float64), values.std(axis=(0, 1, 3), dtype=np.float64)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(found.scale, deviation, rtol=1e-12)
    farthest = values.max(axis=(0, 1, 3)) - mean
    farthest[2] = mean[2] - values[:, :, 2].min()
    np.testing.assert_allclose(found.peak, farthest / deviation, rtol=1e-12)


def test_batches_do_not_matter() -> None:
    values = torch.from_numpy(np.random.default_rng(2).normal(size=(7, 2, 4, 33)).astype(np.float32))
    together, alone = FrequencyStatistics(TINY, COMPLEX), FrequencyStatistics(TINY, COMPLEX)
    together.add(values)
    for value in values:
        alone.add(value)
    assert together.normalization() == alone.normalization()


@pytest.mark.parametrize("representation", [COMPLEX, magnitude(1.0), magnitude(0.3)], ids=["complex", "1", "0.3"])
def test_silence_has_the_scale_of_the_noise_floor(representation: ComplexSpectrogram | MagnitudeSpectrogram) -> None:
    statistics = FrequencyStatistics(TINY, representation)
    statistics.add(torch.zeros(2 if representation is COMPLEX else 1, 4, 5))
    found = statistics.normalization()
    assert found.scale == [noise_floor(TINY, representation)] * 4
    assert found.scale[0] > 0
    assert found.peak == [0.0] * 4


@pytest.mark.parametrize(
    "representation", [COMPLEX, magnitude(1.0), magnitude(0.5), magnitude(0.3)], ids=["complex", "1", "0.5", "0.3"]
)
def test_the_noise_floor_is_what_rounding_to_sixteen_bits_makes(
    representation: ComplexSpectrogram | MagnitudeSpectrogram,
) -> None:
    """Complex scales are taken around 0, a magnitude's around its mean; edges, DC and the top bin follow other laws."""
    stft = STFT(window_samples=64, hop_samples=16, keep_dc=False)
    waveform = np.random.default_rng(3).normal(0, 0.1, size=160_000).astype(np.float32)
    rounding = decode_waveform(encode_waveform(waveform)) - waveform
    channels = as_channels(Transform(stft).spectrum(torch.from_numpy(rounding)), representation)
    inside = channels[:, 2:-2, 4:-4].double()
    found = inside.square().mean().sqrt() if representation is COMPLEX else inside.std()
    assert float(found) == pytest.approx(noise_floor(stft, representation), rel=0.01)
