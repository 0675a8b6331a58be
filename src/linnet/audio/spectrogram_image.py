"""Audio on a page: spectrogram images, and players that need no file beside the page."""

import base64
import io

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from linnet.audio.pcm import FULL_SCALE

DYNAMIC_RANGE_DB = 80  # from the brightest colour to the darkest
MIN_TOP_DBFS = -40.0  # the brightest colour is never for less than this, so that silence is dark
SILENCE_DBFS = -200.0  # for the logarithm of 0
WINDOW_SECONDS = 0.032
# The lightness rises in even steps, so that equal steps of loudness look equal.
COLOURS = np.array(
    [
        (13, 14, 28),
        (40, 36, 86),
        (98, 44, 110),
        (158, 54, 92),
        (202, 84, 62),
        (226, 130, 54),
        (240, 178, 84),
        (252, 228, 170),
    ],
    dtype=np.float64,
)


def spectrogram_image(
    waveform: NDArray[np.floating] | NDArray[np.int16], *, sample_rate_hz: int, height: int = 128, width: int = 320
) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]: time to the right, frequency upwards to half the sample rate, brighter is louder.

    The colours span 80 dB below the loudest bin, or below -40 dBFS where that is louder.
    """
    levels = _spectrum_dbfs(_as_float(waveform), sample_rate_hz, max_frames=4 * width)
    return image_of_decibels(levels, height=height, width=width, top=max(float(levels.max()), MIN_TOP_DBFS))


def image_of_decibels(
    levels: NDArray[np.floating], *, height: int, width: int, top: float, span: float = DYNAMIC_RANGE_DB
) -> NDArray[np.uint8]:
    """Levels in dB [bins, frames] as uint8 [height, width, 3], lowest bin at the bottom; `top` is the brightest."""
    image = Image.fromarray(np.clip(levels, top - span, top)[::-1].astype(np.float32))
    resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64)
    positions = np.clip((resized - top) / span + 1, 0, 1) * (len(COLOURS) - 1)
    channels = [np.interp(positions, np.arange(len(COLOURS)), COLOURS[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def wav(waveform: NDArray[np.floating] | NDArray[np.int16], sample_rate_hz: int) -> bytes:
    """The bytes of a 16-bit WAV file with these samples [n]; what lies beyond -1 and 1 is clipped."""
    is_pcm = waveform.dtype == np.int16
    samples = waveform if is_pcm else np.rint(np.clip(waveform, -1, 1) * FULL_SCALE).astype(np.int16)
    stream = io.BytesIO()
    soundfile.write(stream, samples, sample_rate_hz, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def inline_audio(waveform: NDArray[np.floating] | NDArray[np.int16], sample_rate_hz: int) -> str:
    """A `data:` URL of the audio for an <audio> element; WAV, because Chromium does not play short FLAC."""
    return "data:audio/wav;base64," + base64.b64encode(wav(waveform, sample_rate_hz)).decode("ascii")


def _as_float(waveform: NDArray[np.floating] | NDArray[np.int16]) -> NDArray[np.float64]:
    return waveform.astype(np.float64) / (FULL_SCALE if waveform.dtype == np.int16 else 1)


def _spectrum_dbfs(waveform: NDArray[np.float64], sample_rate_hz: int, *, max_frames: int) -> NDArray[np.float64]:
    """The spectrogram [bins, frames] in dBFS: a sine of full scale has 0."""
    size = 2 ** max(4, round(np.log2(sample_rate_hz * WINDOW_SECONDS)))
    hop = max(size // 4, -(-len(waveform) // max_frames))  # an hour has more frames than the image has columns
    padded = np.pad(waveform, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = np.hanning(size + 1)[:-1]
    amplitude = np.abs(np.fft.rfft(frames * window, axis=-1)).T / (window.sum() / 2)
    levels: NDArray[np.float64] = 20 * np.log10(np.maximum(amplitude, 10 ** (SILENCE_DBFS / 20)))
    return levels
