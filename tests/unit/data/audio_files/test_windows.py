"""Windows that are cut from a recording, and which of them somebody would hear."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from linnet.data.audio_files import UnreadableAudio, cut_windows
from linnet.data.audio_files.windows import audible_level

RATE_HZ = 8000
SECONDS = np.arange(RATE_HZ) / RATE_HZ


def sine(frequency_hz: float, amplitude: float) -> NDArray[np.float32]:
    return (amplitude * np.sin(2 * math.pi * frequency_hz * SECONDS)).astype(np.float32)


def test_windows_start_where_they_should_and_silence_is_left_out() -> None:
    samples = np.linspace(0.01, 1, 1000, dtype=np.float32) * (-1) ** np.arange(1000, dtype=np.float32)
    samples[300:600] = 0
    windows = cut_windows(samples, window_samples=200, stride_samples=100, silence_dbfs=-60, sample_rate_hz=RATE_HZ)
    assert windows.starts == (0, 100, 200, 500, 600, 700, 800)
    assert windows.num_silent == 2
    assert windows.notes == ()
    assert windows.samples.dtype == np.float32
    for start, window in zip(windows.starts, windows.samples, strict=True):
        np.testing.assert_array_equal(window, samples[start : start + 200])


def test_what_is_left_over_at_the_end_is_not_used() -> None:
    windows = cut_windows(
        sine(500, 0.5)[:399], window_samples=200, stride_samples=200, silence_dbfs=-60, sample_rate_hz=RATE_HZ
    )
    assert windows.starts == (0,)


@pytest.mark.parametrize(("level_dbfs", "kept"), [(-39.99, 1), (-40.01, 0)])
def test_loudness_is_the_root_mean_square(level_dbfs: float, kept: int) -> None:
    """Of a sine 3.01 dB below its peak."""
    samples = sine(500, math.sqrt(2) * 10 ** (level_dbfs / 20))
    windows = cut_windows(samples, window_samples=8000, stride_samples=8000, silence_dbfs=-40, sample_rate_hz=RATE_HZ)
    assert (len(windows.starts), windows.num_silent) == (kept, 1 - kept)
    assert windows.samples.shape == (kept, 8000)


def test_a_recording_shorter_than_a_window_lies_in_its_middle() -> None:
    samples = sine(500, 0.5)[:51]
    windows = cut_windows(samples, window_samples=200, stride_samples=10, silence_dbfs=-60, sample_rate_hz=RATE_HZ)
    assert windows.starts == (-74,)
    np.testing.assert_array_equal(windows.samples, np.pad(samples, (74, 75))[None])
    assert windows.notes == ("padded with silence from 51 to 200 samples",)


@pytest.mark.parametrize("count", [50, 49, 1, 0])
def test_a_quarter_of_a_window_is_the_least(count: int) -> None:
    samples = sine(500, 0.5)[:count]
    if count == 50:
        assert cut_windows(
            samples, window_samples=200, stride_samples=10, silence_dbfs=-60, sample_rate_hz=RATE_HZ
        ).starts == (-75,)
        return
    with pytest.raises(UnreadableAudio, match=f"too short: {count} samples of the 200 of a window"):
        cut_windows(samples, window_samples=200, stride_samples=10, silence_dbfs=-60, sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize(
    "slow",
    [
        np.full(RATE_HZ, 0.02),
        np.linspace(-0.1, 0.1, RATE_HZ),
        0.1 * np.sin(2 * math.pi * 0.4 * SECONDS + 1),
        0.02 * np.sin(2 * math.pi * 5 * SECONDS + 1),
    ],
    ids=["offset", "drift", "slow wave", "rumble"],
)
@pytest.mark.parametrize("window_samples", [1984, 6000, RATE_HZ])
def test_what_nobody_hears_makes_no_window_loud(slow: NDArray[np.float64], window_samples: int) -> None:
    """A tone is as loud with it as without, and silence stays silence."""
    tone = sine(500, 0.1)
    tone[4000:] = 0
    counts = [
        cut_windows(
            (tone + added).astype(np.float32),
            window_samples=window_samples,
            stride_samples=500,
            silence_dbfs=-50,
            sample_rate_hz=RATE_HZ,
        ).starts
        for added in (0, slow)
    ]
    assert counts[0] == counts[1]
    assert len(counts[0]) > 0


@pytest.mark.parametrize("frequency_hz", [50, 100, 440, 3000])
@pytest.mark.parametrize("rate_hz", [8000, 44_100])
def test_what_is_heard_has_its_root_mean_square(frequency_hz: float, rate_hz: int) -> None:
    tone = 0.3 * np.sin(2 * math.pi * frequency_hz * np.arange(rate_hz) / rate_hz)
    level = audible_level(tone.astype(np.float32), rate_hz)
    assert 20 * math.log10(level) == pytest.approx(20 * math.log10(0.3 / math.sqrt(2)), abs=0.1)


def test_a_short_recording_with_an_offset_is_judged_before_it_is_padded() -> None:
    samples = np.full(100, 0.3, dtype=np.float32)
    windows = cut_windows(samples, window_samples=200, stride_samples=10, silence_dbfs=-60, sample_rate_hz=RATE_HZ)
    assert (windows.starts, windows.num_silent) == ((), 1)


@pytest.mark.parametrize("count", [1984, 2000, 2020, 2047, 2048])
def test_a_ramp_is_not_heard_whatever_the_length(count: int) -> None:
    """Lengths that are no multiple of the stretches of which the means are taken (20 samples here)."""
    ramp = 0.4 + 0.15 * np.arange(count) / RATE_HZ
    assert audible_level(ramp.astype(np.float32), RATE_HZ) < 10 ** (-70 / 20)
