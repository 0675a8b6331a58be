"""Examples on a page: audio as players, and all of them as images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.audio.loudness import loudness_dbfs
from linnet.audio.spectrogram_image import inline_audio, spectrogram_image
from linnet.recipe import Audio, DataSection
from linnet.reports import html


def images_of(data: DataSection, examples: NDArray[Any]) -> NDArray[np.uint8]:
    """Decoded examples as images [N, height, width, 3]: spectrograms, where they are audio."""
    if not isinstance(data, Audio):
        return np.asarray(examples, dtype=np.uint8)
    return np.stack([spectrogram_image(waveform, sample_rate_hz=data.sample_rate_hz) for waveform in examples])


def players(data: Audio, waveforms: NDArray[Any], captions: list[str]) -> list[dict[str, Any]]:
    """What the template player.html needs to show and play waveforms [N, samples]."""
    found: list[dict[str, Any]] = []
    for waveform, caption in zip(waveforms, captions, strict=True):
        peak, rms = loudness_dbfs(waveform)
        found.append(
            {
                "caption": caption,
                "spectrogram": html.inline_png(spectrogram_image(waveform, sample_rate_hz=data.sample_rate_hz)),
                "audio": inline_audio(waveform, data.sample_rate_hz),
                "peak_dbfs": peak,
                "rms_dbfs": rms,
            }
        )
    return found
