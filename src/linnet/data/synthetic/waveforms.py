"""Synthesis of waveforms, byte for byte the same on every machine.

NumPy's sine, exponential and sums differ in the last bit between processors. So frequencies are integer phase steps,
the sine is a table rounded far above that bit, decays are repeated products, all else is additions and products.
"""

import csv
import math
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linnet.audio.pcm import FULL_SCALE
from linnet.data.layouts.metadata import FILE_NAME, METADATA

Signal = NDArray[np.float64]  # [samples], or [samples, channels] in a file
TABLE_BITS, PHASE_BITS = 12, 32
PEAK = 0.8  # of full scale


def _rounded(value: float) -> float:
    return round(value * (1 << 24)) / (1 << 24)


SINE = np.array([_rounded(math.sin(2 * math.pi * index / (1 << TABLE_BITS))) for index in range(1 << TABLE_BITS)])


def phase_step(frequency_hz: float, rate_hz: int) -> int:
    """How far the phase of a tone moves in one sample, in 2^-32 turns."""
    return round(frequency_hz / rate_hz * (1 << PHASE_BITS))


def sine(steps: NDArray[np.int64]) -> Signal:
    """A sine tone [samples] whose phase moves by `steps` [samples] (of 2^-32 turns) a sample."""
    phases = np.cumsum(steps) & ((1 << PHASE_BITS) - 1)
    indices: NDArray[np.int64] = phases >> (PHASE_BITS - TABLE_BITS)
    return SINE[indices]


def tone(frequency_hz: float, samples: int, rate_hz: int) -> Signal:
    """A steady sine tone [samples]."""
    return sine(np.full(samples, phase_step(frequency_hz, rate_hz), dtype=np.int64))


def decay(half_life_samples: float, samples: int) -> Signal:
    """1, falling to one half in every half life [samples]."""
    factors = np.full(samples, _rounded(0.5 ** (1 / half_life_samples)))
    factors[:1] = 1.0
    return np.multiply.accumulate(factors)


def fade(signal: Signal, *, attack_samples: int, release_samples: int) -> Signal:
    """`signal` [samples] with a linear rise and fall, so that it begins and ends without a click."""
    indices = np.arange(len(signal), dtype=np.float64)
    rise = np.minimum(1.0, indices / max(attack_samples, 1))
    fall = np.minimum(1.0, indices[::-1] / max(release_samples, 1))
    return signal * rise * fall


def noise(rng: np.random.Generator, samples: int) -> Signal:
    """White noise [samples] between -1 and 1."""
    return rng.random(samples) * 2.0 - 1.0


def add(track: Signal, start: int, signal: Signal) -> None:
    """Mix `signal` into `track` from sample `start` on; what reaches past the end is cut off."""
    end = min(start + len(signal), len(track))
    track[start:end] += signal[: max(end - start, 0)]


def write_wav(path: Path, signal: Signal, rate_hz: int) -> None:
    """Write `signal` [samples] or [samples, channels] as 16-bit WAV, its peak at 0.8 of full scale."""
    scale = PEAK * FULL_SCALE / max(float(np.abs(signal).max()), 1e-9)
    pulses = np.rint(signal * scale).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if signal.ndim == 1 else signal.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pulses.tobytes())


def write_metadata(folder: Path, rows: Iterable[tuple[str, Sequence[str], str]]) -> None:
    """Write metadata.csv of (file name, labels, caption); labels are joined by a bar."""
    with (folder / METADATA).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([FILE_NAME, "labels", "caption"])
        writer.writerows([name, "|".join(labels), caption] for name, labels, caption in rows)
