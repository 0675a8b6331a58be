"""Templates: what they show is escaped, heard and seen."""

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

from linnet.audio.spectrogram_image import inline_audio, spectrogram_image
from linnet.reports.html import inline_png, render

RATE_HZ = 8000
HOSTILE = "<script>alert('a')</script> \" onerror=x & co"
Waveform = NDArray[np.float64]


def sine(frequency_hz: float, seconds: float = 1.0) -> Waveform:
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(RATE_HZ * seconds)) / RATE_HZ)


def decoded(address: str) -> tuple[NDArray[np.int16], int]:
    head, _, content = address.partition(",")
    assert head == "data:audio/wav;base64"
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16")
    return samples, rate_hz


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
        "split_notes": [HOSTILE],
        "converted": [{"name": HOSTILE, "what was done": HOSTILE}],
        "rejected": [{"name": HOSTILE, "reason": HOSTILE}] * 51,
    }


def evaluation_values() -> dict[str, Any]:
    return {
        "lead": HOSTILE,
        "kind": "audio",
        "example": "window",
        "columns": [HOSTILE],
        "rows": [{"name": HOSTILE, "cells": [HOSTILE], "protocol": HOSTILE}],
        "caveat": HOSTILE,
        "doubts": [HOSTILE],
        "reference_split": HOSTILE,
        "other_split": HOSTILE,
        "samples": [HOSTILE_PLAYER],
        "real": [],
        "untrained": [],
        "memorization": {"sample_median": 1.0, "real_median": 2.0},
        "neighbours": [[HOSTILE_PLAYER] * 2] * 2,
        "restorations": [dict.fromkeys(["degradation", "metric", "observed", "baseline", "restored"], HOSTILE)],
    }


def audio_values() -> dict[str, Any]:
    return {"lead": HOSTILE, "players": [HOSTILE_PLAYER] * 3, "noising": ""}


@pytest.mark.parametrize(
    ("template", "values", "num_players", "num_hostile"),
    [
        ("audio_dataset.html", dataset_values(), 1, 2 + 1 + 1 + 1 + 2 + 100),
        ("audio.html", audio_values(), 3, 2 + 1 + 3),
        ("evaluation.html", evaluation_values(), 5, 2 + 1 + 4 + 4 + 5 + 5),
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


def test_audio_on_a_page_is_heard_and_seen() -> None:
    waveform = sine(500)
    values = audio_values() | {"players": [player("a", waveform)], "noising": "data:image/png;base64,AAAA"}
    page = Page(render("audio.html", title="t", **values))
    (audio,) = [attributes["src"] for tag, attributes in page.tags if tag == "audio"]
    found, rate_hz = decoded(str(audio))
    assert rate_hz == RATE_HZ
    np.testing.assert_array_equal(found, np.rint(waveform * 32767))
    spectrogram, noising = [str(attributes["src"]) for tag, attributes in page.tags if tag == "img"]
    with Image.open(io.BytesIO(base64.b64decode(spectrogram.partition(",")[2]))) as image:
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
