"""Spectrograms that show what is heard, and players that hold exactly the samples."""

import base64
import io

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from linnet.audio.spectrogram_image import COLOURS, image_of_decibels, inline_audio, spectrogram_image, wav

RATE_HZ = 8000
Waveform = NDArray[np.float64]


def sine(frequency_hz: float, seconds: float = 1.0, amplitude: float = 0.5) -> Waveform:
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(RATE_HZ * seconds)) / RATE_HZ)


def lightness(image: NDArray[np.floating] | NDArray[np.uint8]) -> NDArray[np.float64]:
    """L* of sRGB colours [..., 3], 0 to 100 (CIE 1976)."""
    scaled = image.astype(np.float64) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    light: NDArray[np.float64] = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    return light


def test_lightness_rises_evenly_with_loudness() -> None:
    steps = np.diff(lightness(COLOURS))
    assert steps.min() > 10
    assert steps.max() < 15


@pytest.mark.parametrize("frequency_hz", [500, 2000, 3500])
def test_a_tone_is_a_bright_line_at_its_height(frequency_hz: float) -> None:
    """Frequency 0 is at the bottom, half the sample rate at the top."""
    image = spectrogram_image(sine(frequency_hz), sample_rate_hz=RATE_HZ, height=128, width=60)
    assert image.shape == (128, 60, 3)
    assert image.dtype == np.uint8
    light = lightness(image)
    rows = light[:, 5:-5].argmax(axis=0)
    np.testing.assert_allclose(rows, 127.5 - 128 * frequency_hz / (RATE_HZ / 2), atol=1.5)
    assert light.max() > 80
    assert np.median(light) < 25


def test_time_goes_to_the_right() -> None:
    waveform = np.concatenate([np.zeros(RATE_HZ), sine(1000)])
    light = lightness(spectrogram_image(waveform, sample_rate_hz=RATE_HZ, height=64, width=100))
    assert light[:, :45].max() < 10
    assert light[:, 55:].max() > 70


def test_silence_is_dark_and_quiet_audio_is_darker() -> None:
    dark = spectrogram_image(np.zeros(RATE_HZ), sample_rate_hz=RATE_HZ)
    assert np.array_equal(np.unique(dark.reshape(-1, 3), axis=0), COLOURS[:1].astype(np.uint8))
    images = [
        lightness(spectrogram_image(sine(1000, amplitude=10 ** (level / 20)), sample_rate_hz=RATE_HZ)).max()
        for level in (0, -30, -60, -90)
    ]
    assert images[0] == pytest.approx(images[1], abs=1)
    assert images[1] > images[2] + 10 > images[3] + 20


@pytest.mark.parametrize("count", [0, 1, 100, 200_000])
def test_any_length_makes_an_image_of_the_size_asked_for(count: int) -> None:
    waveform = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)
    image = spectrogram_image(waveform, sample_rate_hz=44_100, height=32, width=40)
    assert image.shape == (32, 40, 3)


def test_levels_become_the_colours_of_the_scale() -> None:
    levels = np.linspace(-70, 0, 8)[:, None]  # the lowest bin is the quietest
    image = image_of_decibels(levels, height=8, width=1, top=0, span=70)
    np.testing.assert_array_equal(image[::-1, 0], COLOURS.astype(np.uint8))
    beyond = image_of_decibels(np.array([[-100.0], [30.0]]), height=2, width=1, top=0, span=70)
    np.testing.assert_array_equal(beyond[::-1, 0], COLOURS[[0, -1]].astype(np.uint8))
    mean = image_of_decibels(np.array([[-1000.0], [0.0]]), height=1, width=1, top=0, span=70)
    np.testing.assert_array_equal(mean[0, 0], np.rint(COLOURS[3:5].mean(axis=0)))


def decoded(address: str) -> tuple[NDArray[np.int16], int]:
    head, _, content = address.partition(",")
    assert head == "data:audio/wav;base64"
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16")
    return samples, rate_hz


def test_a_player_holds_exactly_the_samples() -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    found, rate_hz = decoded(inline_audio(samples, 44_100))
    assert rate_hz == 44_100
    np.testing.assert_array_equal(found, samples)
    assert wav(samples, 44_100) == wav(samples, 44_100)


def test_samples_beyond_full_scale_are_clipped_and_do_not_wrap() -> None:
    found, _ = decoded(inline_audio(np.array([0.0, 0.5, 1.0, 1.7, -3.0] * 10), RATE_HZ))
    assert found[:5].tolist() == [0, 16384, 32767, 32767, -32767]


def test_sixteen_bits_look_like_the_floats_they_are() -> None:
    waveform = sine(700, amplitude=0.002)
    encoded = np.rint(waveform * 32767).astype(np.int16)
    np.testing.assert_array_equal(
        spectrogram_image(encoded, sample_rate_hz=RATE_HZ),
        spectrogram_image(encoded.astype(np.float64) / 32767, sample_rate_hz=RATE_HZ),
    )
