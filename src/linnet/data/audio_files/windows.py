"""A recording's samples as windows of one length, without those that nobody would hear."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linnet.data.audio_files.errors import UnreadableAudio

MAX_PADDING = 4  # a recording of a quarter of a window or more is padded, a shorter one rejected
LOWEST_AUDIBLE_HZ = 20  # an offset, drift or rumble below it makes nothing loud
MEANS_PER_SECOND = 20 * LOWEST_AUDIBLE_HZ  # enough to tell what lies below


@dataclass(frozen=True)
class Windows:
    """The windows of one recording that are loud enough."""

    starts: tuple[int, ...]  # in samples of the recording; negative where silence was put before it
    samples: NDArray[np.float32]  # [len(starts), window_samples]
    num_silent: int
    notes: tuple[str, ...]


def cut_windows(
    samples: NDArray[np.float32], *, window_samples: int, stride_samples: int, silence_dbfs: float, sample_rate_hz: int
) -> Windows:
    """Windows of one recording from its start on; what is left over at its end is not used.

    A recording shorter than a window, but not shorter than a quarter of it, becomes one window with silence around it.
    Silence is an audible level (see `audible_level`) below `silence_dbfs`, where a full sine has -3. The samples of
    the windows are those of the recording: an offset stays in them.

    Raises:
        UnreadableAudio: the recording is too short.
    """
    count = len(samples)
    if count * MAX_PADDING < window_samples:
        raise UnreadableAudio(f"too short: {count} samples of the {window_samples} of a window")
    notes: tuple[str, ...] = ()
    least = 10 ** (silence_dbfs / 20)
    if count < window_samples:
        before = (window_samples - count) // 2
        # Judged before it is padded: the silence around an offset would have edges.
        is_loud = audible_level(samples, sample_rate_hz) * math.sqrt(count / window_samples) >= least
        samples = np.pad(samples, (before, window_samples - count - before))
        num_windows, loud = 1, [0] if is_loud else []
        notes = (f"padded with silence from {count} to {window_samples} samples",)
    else:
        before, starts = 0, range(0, count - window_samples + 1, stride_samples)
        num_windows = len(starts)
        loud = [
            start
            for start in starts
            if audible_level(samples[start : start + window_samples], sample_rate_hz, enough=least) >= least
        ]
    windows = np.empty((len(loud), window_samples), dtype=np.float32)
    for row, start in zip(windows, loud, strict=True):
        row[:] = samples[start : start + window_samples]
    return Windows(tuple(start - before for start in loud), windows, num_windows - len(loud), notes)


def audible_level(samples: NDArray[np.float32], sample_rate_hz: int, *, enough: float = 0.0) -> float:
    """The root mean square of `samples` [n] without what varies more slowly than 20 Hz: its mean, drift, rumble.

    A slow part is a sum of the cosines of the type 2 cosine transform of the samples, whose energies add. It is found
    in the means of short stretches. Where all of the samples are below `enough`, their root mean square is returned.
    What is left over after the last whole stretch (up to 2.5 ms) is not heard: without it both sums are of one signal.
    """
    stretch = min(max(1, sample_rate_hz // MEANS_PER_SECOND), len(samples))
    num_stretches = len(samples) // stretch
    samples = samples[: num_stretches * stretch]
    power = float(np.square(samples, dtype=np.float64).mean())
    if math.sqrt(power) < enough:
        return math.sqrt(power)
    means = samples.reshape(num_stretches, stretch).mean(axis=1, dtype=np.float64)
    num_slow = 1 + int(2 * LOWEST_AUDIBLE_HZ * len(samples) / sample_rate_hz)  # cosine k has k / 2 periods
    slow = _slow_cosines(min(num_slow, num_stretches), num_stretches) @ means
    return math.sqrt(max(power - float(np.square(slow).sum()) / num_stretches, 0.0))


@functools.lru_cache(maxsize=4)
def _slow_cosines(count: int, num_stretches: int) -> NDArray[np.float64]:
    """[count, num_stretches]: the first rows of an orthonormal cosine transform of samples, applied to their means."""
    periods = np.arange(count)[:, None] / (2 * num_stretches)  # in a stretch
    rows = np.cos(2 * np.pi * periods * (np.arange(num_stretches) + 0.5)) * math.sqrt(2 / num_stretches)
    rows[0] = math.sqrt(1 / num_stretches)
    cosines: NDArray[np.float64] = rows / np.sinc(periods)  # what the mean over a stretch takes from it
    return cosines
