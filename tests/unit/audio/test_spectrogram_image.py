"""Spectrograms that show what is heard, players that hold what was given, pages that escape what they show."""

import base64
import io
import math
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from linnet.audio.spectrogram_image import COLOURS, image_of_decibels, inline_audio, spectrogram_image, wav
from linnet.reports.html import inline_png, render

RATE_HZ = 8000
HOSTILE = "<script>alert('a')</script> \" onerror=x & co"
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
def test_any_length_makes_a_image_of_the_wanted_size(count: int) -> None:
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


class Page(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def player(caption: str, waveform: Waveform) -> dict[str, Any]:
    image = spectrogram_image(waveform, sample_rate_hz=RATE_HZ)
    audio = inline_audio(waveform, RATE_HZ)
    return {
        "caption": caption,
        "spectrogram": inline_png(image),
        "audio": audio,
        "peak_dbfs": -6.02,
        "rms_dbfs": -math.inf,
    }


HOSTILE_PLAYER = player(HOSTILE, sine(500, seconds=0.1))


def dataset_values() -> dict[str, Any]:
    return {
        "statistics": {
            "train_count": 30,
            "test_count": 8,
            "recordings": [HOSTILE] * 7,
            "seconds": 90.0,
            "unused_seconds": 1.5,
            "silent_windows": 2,
            "round_trip": {"signal_to_error_db": 41.26, "with_estimated_dc_db": 98.16},
        },
        "sample_rate_hz": RATE_HZ,
        "window_seconds": 1.016,
        "labels": [(HOSTILE, 4)],
        "caption_count": 2,
        "figures": [],
        "players": [HOSTILE_PLAYER],
        "converted": [(HOSTILE, HOSTILE)],
        "rejected": [{"name": HOSTILE, "reason": HOSTILE}] * 51,
    }


def evaluation_values() -> dict[str, Any]:
    return {
        "lead": HOSTILE,
        "columns": [HOSTILE],
        "rows": [{"name": HOSTILE, "cells": [HOSTILE], "protocol": HOSTILE}],
        "caveat": HOSTILE,
        "reference_split": HOSTILE,
        "other_split": HOSTILE,
        "samples": [HOSTILE_PLAYER],
        "real": [],
        "untrained": [],
        "memory": {"sample_median": 1.0, "real_median": 2.0},
        "neighbours": [HOSTILE_PLAYER] * 4,
        "restorations": [dict.fromkeys(["task", "metric", "observed", "baseline", "restored"], HOSTILE)],
    }


def audio_values() -> dict[str, Any]:
    return {"lead": HOSTILE, "players": [HOSTILE_PLAYER] * 3, "noising": ""}


@pytest.mark.parametrize(
    ("template", "values", "num_players", "num_hostile"),
    [
        ("audio_dataset.html", dataset_values(), 1, 2 + 1 + 1 + 2 + 100),
        ("audio.html", audio_values(), 3, 2 + 1 + 3),
        ("audio_evaluation.html", evaluation_values(), 5, 2 + 1 + 4 + 3 + 5 + 5),
    ],
    ids=["dataset", "audio", "evaluation"],
)
def test_pages_show_hostile_names_as_text(
    template: str, values: dict[str, Any], num_players: int, num_hostile: int
) -> None:
    page = Page(render(template, title=HOSTILE, **values))
    assert page.count("script") == 0
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert page.count("audio") == num_players
    assert " ".join(page.text.split()).count(HOSTILE) == num_hostile
    sources = [attributes["src"] for tag, attributes in page.tags if tag in ("img", "audio")]
    assert all(source is not None and source.startswith("data:") for source in sources)


def test_a_audio_on_a_page_is_heard_and_seen() -> None:
    waveform = sine(500)
    values = audio_values() | {"players": [player("a", waveform)], "noising": "data:image/png;base64,AAAA"}
    page = Page(render("audio.html", title="t", **values))
    (audio,) = [attributes["src"] for tag, attributes in page.tags if tag == "audio"]
    found, rate_hz = decoded(str(audio))
    assert rate_hz == RATE_HZ
    np.testing.assert_array_equal(found, np.rint(waveform * 32767))
    drawn, noising = [str(attributes["src"]) for tag, attributes in page.tags if tag == "img"]
    with Image.open(io.BytesIO(base64.b64decode(drawn.partition(",")[2]))) as image:
        np.testing.assert_array_equal(np.asarray(image), spectrogram_image(waveform, sample_rate_hz=RATE_HZ))
    assert noising.endswith("AAAA")
    assert "(peak -6.0 dBFS, loudness -inf dBFS)" in " ".join(page.text.split())


def test_silence_is_called_so() -> None:
    values = audio_values() | {"players": [HOSTILE_PLAYER | {"peak_dbfs": -math.inf}]}
    assert "(silent)" in render("audio.html", title="t", **values)


def test_the_dataset_page_says_what_is_lost_and_where_the_rest_is() -> None:
    values = dataset_values()
    page = " ".join(Page(render("audio_dataset.html", title="t", **values)).text.split())
    assert "from 7 recordings (1.5 minutes), 51 of them rejected" in page
    assert "and 1 more in rejected.csv" in page
    assert "STFT and back 41.3 dB" in page
    assert "estimated from the others 98.2 dB" in page
    values["statistics"]["round_trip"]["with_estimated_dc_db"] = None
    empty = values | {"labels": [], "converted": [], "rejected": []}
    page = Page(render("audio_dataset.html", title="t", **empty)).text
    assert page.count("None.") == 3
    assert "estimated" not in page
