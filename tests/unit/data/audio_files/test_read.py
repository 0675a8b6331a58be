"""Audio files of every kind, whole and damaged."""

import io
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from linnet.data.audio_files import UnreadableAudio, cut_windows, read
from linnet.data.audio_files.read import read_audio

RATE_HZ = 8000
Samples = NDArray[np.float64]


def sine(frequency_hz: float, rate_hz: int, seconds: float = 1.0, amplitude: float = 0.5) -> Samples:
    return amplitude * np.sin(2 * math.pi * frequency_hz * np.arange(round(rate_hz * seconds)) / rate_hz)


def write(path: Path, samples: Samples, rate_hz: int = RATE_HZ, subtype: str | None = None) -> Path:
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path


def reason(path: Path) -> str:
    with pytest.raises(UnreadableAudio) as caught:
        read_audio(path, sample_rate_hz=RATE_HZ)
    return str(caught.value)


def decibels(signal: Samples, found: NDArray[np.float32]) -> float:
    """Signal to error, of the middle half."""
    middle = slice(len(signal) // 4, -len(signal) // 4)
    error = (found - signal)[middle]
    return float(10 * np.log10(np.square(signal[middle]).sum() / np.square(error).sum()))


@pytest.mark.parametrize(
    ("name", "subtype", "least_decibels"),
    [
        ("a.wav", "PCM_U8", 35),
        ("a.wav", "PCM_16", 85),
        ("a.wav", "PCM_24", 125),
        ("a.wav", "FLOAT", 140),
        ("a.wav", "DOUBLE", 140),
        ("a.wav", "ULAW", 30),
        ("a.flac", "PCM_24", 125),
        ("a.aiff", "PCM_16", 85),
        ("a.ogg", "VORBIS", 20),
        ("a.mp3", "MPEG_LAYER_III", 20),
        ("no_ending", "PCM_16", 85),
        ("a.raw", "PCM_16", 85),  # by its name headerless samples, by its content a WAV file
    ],
)
def test_every_encoding_is_read(tmp_path: Path, name: str, subtype: str, least_decibels: float) -> None:
    known = name.rpartition(".")[2] in ("wav", "flac", "aiff", "ogg", "mp3")
    path = write(tmp_path / (name if known else "a.wav"), sine(440, RATE_HZ), subtype=subtype).rename(tmp_path / name)
    decoded = read_audio(path, sample_rate_hz=RATE_HZ)
    assert decoded.samples.dtype == np.float32
    assert decoded.samples.shape == (RATE_HZ,)
    assert decibels(sine(440, RATE_HZ), decoded.samples) > least_decibels
    assert decoded.notes == ()
    assert decoded.encoding.split()[1] == subtype


def test_a_long_mp3_has_no_glitches(tmp_path: Path) -> None:
    """Read in blocks by soundfile itself, an MP3 breaks at every block: 2 dB are left of this one."""
    path = write(tmp_path / "a.mp3", sine(440, 44_100, seconds=3.0), 44_100)
    assert decibels(sine(440, 44_100, seconds=3.0), read_audio(path, sample_rate_hz=44_100).samples) > 40


@pytest.mark.parametrize("num_channels", range(2, 9))
def test_channels_are_mixed_by_their_mean(tmp_path: Path, num_channels: int) -> None:
    channels = np.stack([sine(300 + 100 * k, RATE_HZ) for k in range(num_channels)], axis=1)
    decoded = read_audio(write(tmp_path / "a.wav", channels, subtype="FLOAT"), sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(decoded.samples, channels.mean(axis=1), atol=1e-7)
    assert decoded.notes == (f"mixed {num_channels} channels to 1",)
    assert decoded.num_mixed == num_channels


def test_of_a_microphone_that_is_wired_the_wrong_way_the_louder_channel_is_taken(tmp_path: Path) -> None:
    channels = np.stack([0.8 * sine(300, RATE_HZ), -sine(300, RATE_HZ)], axis=1) + 0.1  # an offset cancels nothing
    decoded = read_audio(write(tmp_path / "a.wav", channels, subtype="FLOAT"), sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(decoded.samples, channels[:, 1], atol=1e-7)
    assert decoded.notes == ("channels cancel (correlation -1.00): the louder one is taken, channel 2",)
    assert decoded.num_mixed == 1


def test_channels_that_cancel_for_a_while_are_mixed_and_it_is_said(tmp_path: Path) -> None:
    right = sine(300, RATE_HZ, seconds=8.192)
    right[: 2 * 4096] *= -1
    channels = np.stack([sine(300, RATE_HZ, seconds=8.192), right], axis=1)
    path = write(tmp_path / "a.wav", channels, subtype="FLOAT")
    decoded = read_audio(path, sample_rate_hz=RATE_HZ)
    assert decoded.notes == ("channels cancel in 1.0 of its 8.2 s", "mixed 2 channels to 1")
    assert not decoded.samples[:8192].any()


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("wanted_hz", [8000, 16_000])
def test_a_resampled_sine_is_the_same_sine(tmp_path: Path, rate_hz: int, wanted_hz: int) -> None:
    path = write(tmp_path / "a.wav", sine(1000, rate_hz), rate_hz, "FLOAT")
    decoded = read_audio(path, sample_rate_hz=wanted_hz)
    assert decoded.samples.shape == (wanted_hz,)
    assert decibels(sine(1000, wanted_hz), decoded.samples) > 100
    assert decoded.notes == (() if rate_hz == wanted_hz else (f"resampled from {rate_hz} Hz to {wanted_hz} Hz",))


def test_what_the_lower_rate_cannot_hold_is_gone(tmp_path: Path) -> None:
    """A sine of 5 kHz would come back as 3 kHz."""
    path = write(tmp_path / "a.wav", sine(5000, 44_100), 44_100, "FLOAT")
    middle = read_audio(path, sample_rate_hz=RATE_HZ).samples[1000:-1000]
    assert np.abs(middle).max() < 0.5 * 10 ** (-90 / 20)


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), [(44_101, 16_000), (11_127, 96_000)])
def test_rates_without_a_common_divisor_are_met_closely(tmp_path: Path, rate_hz: int, wanted_hz: int) -> None:
    """An exact kernel would need gigabytes; this one is off by less than a millionth."""
    decoded = read_audio(write(tmp_path / "a.wav", sine(440, rate_hz), rate_hz), sample_rate_hz=wanted_hz)
    assert decoded.samples.shape == (wanted_hz,)
    assert decibels(sine(440, wanted_hz), decoded.samples) > 50


def test_samples_beyond_full_scale_are_scaled_down(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", sine(440, RATE_HZ, amplitude=4.0) + 1, subtype="FLOAT")
    decoded = read_audio(path, sample_rate_hz=RATE_HZ)
    assert np.abs(decoded.samples).max() == 1
    np.testing.assert_allclose(decoded.samples, (sine(440, RATE_HZ, amplitude=4.0) + 1) / 5, atol=1e-3)
    assert decoded.notes == ("scaled down from a peak of 5 to 1",)
    assert decoded.gain == pytest.approx(1 / 5)


def test_one_sample_is_read_and_is_too_short(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.array([0.5]), 16_000)
    decoded = read_audio(path, sample_rate_hz=RATE_HZ)
    assert 0 < len(decoded.samples) <= 1
    with pytest.raises(UnreadableAudio, match="too short: 1 samples of the 400 of a window"):
        cut_windows(decoded.samples, window_samples=400, stride_samples=200, silence_dbfs=-60, sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.raw", "a"])
@pytest.mark.parametrize("content", ["text", "empty", "jpeg", "zeros", "random"])
def test_what_is_not_audio_is_refused(tmp_path: Path, content: str, name: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (50, 50), "red").save(stream, format="JPEG")
    contents = {
        "text": b"title,label\na recording,sad\n" * 100,
        "empty": b"",
        "jpeg": stream.getvalue(),
        "zeros": bytes(10_000),
        "random": np.random.default_rng(0).bytes(10_000),
    }
    (tmp_path / name).write_bytes(contents[content])
    assert reason(tmp_path / name) == "not an audio file (Format not recognised)"


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    assert reason(tmp_path / "none.wav") == "file is missing"
    assert reason(tmp_path) == "not a file"
    assert reason(tmp_path / "pipe.wav") == "not a file"
    assert reason(tmp_path / "loop.wav").startswith("cannot be read (Too many levels of symbolic links")


def test_values_that_are_no_audio_are_refused(tmp_path: Path) -> None:
    samples = sine(440, RATE_HZ)
    samples[[3, 700]] = np.nan, np.inf
    assert reason(write(tmp_path / "a.wav", samples, subtype="FLOAT")) == "2 of 8000 samples are not finite"
    samples[[3, 700]] = 0, 1e300  # finite as float64 only
    assert reason(write(tmp_path / "b.wav", samples, subtype="DOUBLE")) == "1 of 8000 samples are not finite"


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    assert reason(write(tmp_path / "a.wav", np.zeros(0))) == "no samples in it"
    whole = write(tmp_path / "b.flac", sine(440, RATE_HZ)).read_bytes()
    (tmp_path / "b.flac").write_bytes(whole[:100])
    assert reason(tmp_path / "b.flac") == "nothing of it can be decoded"


HEADER_FIELDS = {"channels": (22, "<H"), "rate": (24, "<I"), "data bytes": (40, "<I")}


def with_header(path: Path, field: str, value: int) -> Path:
    content = bytearray(write(path, sine(440, RATE_HZ)).read_bytes())
    place, layout = HEADER_FIELDS[field]
    struct.pack_into(layout, content, place, value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("rate", 1, "sample rate of 1 Hz (known are 1000 to 768000 Hz)"),
        ("rate", 2**31 - 1, "sample rate of 2147483647 Hz (known are 1000 to 768000 Hz)"),
        ("rate", 0, "not an audio file (Internal error : SF_INFO struct incomplete)"),
        ("channels", 1000, "1000 channels (at most 8)"),
        ("channels", 0, "not an audio file (Channel count is zero)"),
    ],
)
def test_absurd_headers_are_refused(tmp_path: Path, field: str, value: int, wanted: str) -> None:
    assert reason(with_header(tmp_path / "a.wav", field, value)) == wanted


@pytest.mark.parametrize("value", [2**32 - 1, 0x7FFFF024])
def test_a_length_that_a_pipe_left_open_is_no_damage(tmp_path: Path, value: int) -> None:
    decoded = read_audio(with_header(tmp_path / "a.wav", "data bytes", value), sample_rate_hz=RATE_HZ)
    assert len(decoded.samples) == RATE_HZ
    assert decoded.notes == ("does not say how long it is: 1.00 s could be decoded",)


def test_audio_that_is_too_long_is_refused_by_its_header_and_while_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(write(tmp_path / "a.flac", sine(440, RATE_HZ)).read_bytes())
    content[21:26] = bytes([content[21] | 0xF, 255, 255, 255, 255])  # 2^36 - 1 samples in all
    (tmp_path / "promises.flac").write_bytes(content)
    wanted = "absurdly long: more than 115200000 samples (4.0 hours); cut it into segments"
    assert reason(tmp_path / "promises.flac") == wanted
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])  # doesn't say
    (tmp_path / "open.flac").write_bytes(content)
    decoded = read_audio(tmp_path / "open.flac", sample_rate_hz=RATE_HZ)
    assert len(decoded.samples) == RATE_HZ
    assert decoded.notes == ("does not say how long it is: 1.00 s could be decoded",)
    monkeypatch.setattr(read, "MAX_SAMPLES", 1000)
    assert reason(tmp_path / "open.flac") == "absurdly long: more than 1000 samples (0.0 hours); cut it into segments"


@pytest.mark.parametrize(
    ("name", "least_seconds"), [("a.wav", 3.9), ("a.aiff", 3.9), ("a.au", 3.9), ("a.flac", 3.0), ("a.mp3", 3.5)]
)
def test_of_a_file_cut_in_half_the_rest_is_kept_with_a_note(tmp_path: Path, name: str, least_seconds: float) -> None:
    samples = 0.1 * np.random.default_rng(0).normal(size=8 * RATE_HZ).clip(-3, 3)
    path = write(tmp_path / name, samples)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    decoded = read_audio(path, sample_rate_hz=RATE_HZ)
    seconds = len(decoded.samples) / RATE_HZ
    assert least_seconds < seconds < 4.1
    assert decoded.notes == (f"ends early: {seconds:.2f} of 8.00 s could be decoded",)
    if name != "a.mp3":
        np.testing.assert_allclose(decoded.samples, samples[: len(decoded.samples)], atol=1e-4)
