"""How loud a waveform is."""

import math

import numpy as np
from numpy.typing import NDArray

from linnet.audio.pcm import FULL_SCALE


def loudness_dbfs(waveform: NDArray[np.int16]) -> tuple[float, float]:
    """(peak, root mean square) of int16 samples in decibels below full scale; -inf for silence."""
    x = waveform.astype(np.float64) / FULL_SCALE
    levels = (float(np.abs(x).max()), float(np.sqrt((x**2).mean())))
    peak, rms = (20 * math.log10(level) if level else -math.inf for level in levels)
    return peak, rms
