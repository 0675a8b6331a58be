"""Waveforms as 16-bit PCM, in which all audio is stored. No torch: the workers that read recordings need none."""

import numpy as np
from numpy.typing import NDArray

FULL_SCALE = 32767  # the int16 value of 1.0; -32768 is never used


def encode_waveform(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    """Samples between -1 and 1 as 16-bit integers, rounded to the nearest; what lies beyond is clipped."""
    assert bool(np.isfinite(samples).all()), "readers reject samples that are not finite"
    encoded: NDArray[np.int16] = np.rint(np.clip(samples, -1, 1) * np.float32(FULL_SCALE)).astype(np.int16)
    return encoded


def decode_waveform(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """16-bit integers as samples between -1 and 1; encoding them again gives the same integers."""
    return np.divide(samples, np.float32(FULL_SCALE), dtype=np.float32)
