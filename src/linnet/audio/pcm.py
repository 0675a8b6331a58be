"""Waveforms as 16 bits, as all stored audio is. Imports no torch: the workers that read recordings need none."""

import numpy as np
from numpy.typing import NDArray

FULL_SCALE = 32767  # the int16 of 1.0; -32768 is never used


def encode_waveform(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    """Samples in -1..1 as 16 bits, rounded to the nearest; what is beyond is clipped."""
    assert bool(np.isfinite(samples).all()), "readers reject what is not finite"
    encoded: NDArray[np.int16] = np.rint(np.clip(samples, -1, 1) * np.float32(FULL_SCALE)).astype(np.int16)
    return encoded


def decode_waveform(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """16 bits as samples in -1..1; encoding them again gives the same bits."""
    return np.divide(samples, np.float32(FULL_SCALE), dtype=np.float32)
