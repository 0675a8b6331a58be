"""Levels of waveforms whose loudness is known."""

import math

import numpy as np
import pytest

from linnet.audio.loudness import loudness_dbfs


def test_a_square_wave_at_full_scale_is_0_dbfs() -> None:
    assert loudness_dbfs(np.array([32767, -32767] * 8, dtype=np.int16)) == (0, 0)


def test_a_sine_is_3_db_quieter_than_its_peak() -> None:
    sine = np.round(3276.7 * np.sin(2 * np.pi * np.arange(800) / 8)).astype(np.int16)
    peak, rms = loudness_dbfs(sine)
    assert peak == pytest.approx(-20, abs=0.01)
    assert peak - rms == pytest.approx(10 * math.log10(2), abs=0.01)


def test_silence_has_no_level() -> None:
    assert loudness_dbfs(np.zeros(4, dtype=np.int16)) == (-math.inf, -math.inf)
