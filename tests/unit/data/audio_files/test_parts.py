"""Several recordings in one file, and headers that do not say how much there is: all is decoded, and it is said."""

import contextlib
import io
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from linnet.data.audio_files import UnreadableAudio, parts, read_audio

RATE_HZ = 8000
TAG = b"TAG" + bytes(125)


def tone(frequency_hz: float, seconds: float, rate_hz: int = RATE_HZ) -> NDArray[np.float64]:
    return 0.3 * np.sin(2 * math.pi * frequency_hz * np.arange(round(rate_hz * seconds)) / rate_hz)


def encoded(form: str, frequency_hz: float, seconds: float, rate_hz: int = RATE_HZ, subtype: str = "PCM_16") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, tone(frequency_hz, seconds, rate_hz), rate_hz, format=form, subtype=subtype)
    return stream.getvalue()


def read(path: Path, content: bytes) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    path.write_bytes(content)
    decoded = read_audio(path, sample_rate_hz=RATE_HZ)
    return decoded.samples, decoded.notes


FORMATS = [
    ("WAV", "PCM_16"),
    ("WAVEX", "PCM_16"),
    ("WAV", "FLOAT"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("CAF", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize("tag", [b"", TAG], ids=["bare", "tagged"])
@pytest.mark.parametrize(("form", "subtype"), FORMATS)
def test_files_joined_end_to_end_are_read_to_the_end(tmp_path: Path, form: str, subtype: str, tag: bytes) -> None:
    first, second = encoded(form, 440, 1.0, subtype=subtype), encoded(form, 880, 1.5, subtype=subtype)
    samples, notes = read(tmp_path / "a", first + tag + second + tag)
    assert notes == ("2 recordings joined end to end: 1.00 + 1.50 = 2.50 s",)
    assert len(samples) == 2.5 * RATE_HZ
    alone = [read(tmp_path / "b", content)[0] for content in (first, second)]
    np.testing.assert_array_equal(samples, np.concatenate(alone))


def test_formats_may_be_mixed(tmp_path: Path) -> None:
    kinds = [("FLAC", "PCM_16"), ("WAV", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]
    samples, notes = read(tmp_path / "a", b"".join(encoded(form, 440, 1.0, subtype=sub) for form, sub in kinds))
    assert len(samples) == 5 * RATE_HZ
    assert notes == ("5 recordings joined end to end: 1.00 + 1.00 + 1.00 + ... = 5.00 s",)


def test_streams_of_different_rates_and_channels_are_converted_each(tmp_path: Path) -> None:
    stereo = io.BytesIO()
    both = np.stack([tone(880, 1.0, 16_000)] * 2, axis=1)
    soundfile.write(stereo, both, 16_000, format="OGG", subtype="VORBIS")
    samples, notes = read(tmp_path / "a.ogg", encoded("OGG", 440, 1.0, subtype="VORBIS") + stereo.getvalue())
    assert len(samples) == 2 * RATE_HZ
    assert notes[1:] == ("mixed 2 channels to 1", "resampled from 16000 Hz to 8000 Hz")
    wanted = tone(880, 1.0)
    error = (samples[RATE_HZ:] - wanted)[500:-500]
    assert 10 * np.log10(np.square(wanted).mean() / np.square(error).mean()) > 15


def test_a_part_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    whole = encoded("OGG", 440, 1.0, subtype="VORBIS")
    samples, notes = read(tmp_path / "a.ogg", whole + whole[:200])
    assert len(samples) == RATE_HZ
    assert notes[0] == "1 of 2 recordings joined end to end: 1.00 s"
    assert notes[1].startswith("part 2 of 2: ")


def test_what_is_no_recording_after_the_end_is_said(tmp_path: Path) -> None:
    rest = np.random.default_rng(0).bytes(10_000)
    _, notes = read(tmp_path / "a.ogg", encoded("OGG", 440, 1.0, subtype="VORBIS") + rest)
    assert notes == ("10000 bytes after its end are no audio that is known",)


def test_absurdly_many_parts_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_PARTS", 3)
    with pytest.raises(UnreadableAudio, match="more than 3 recordings joined end to end; cut it into files"):
        read(tmp_path / "a.wav", 4 * encoded("WAV", 440, 0.1))


def sizes(form: str) -> dict[str, tuple[int, str]]:
    """Where the header of one second has the size of its samples, and how it is written."""
    content = encoded(form, 440, 1.0)
    match form:
        case "RF64":
            return {"ds64": (content.index(b"ds64") + 16, "<Q")}
        case "W64":
            return {"data": (content.index(b"data") + 16, "<Q")}
        case "AIFF":
            return {"SSND": (content.index(b"SSND") + 4, ">I")}
        case "AU":
            return {"header": (8, ">I")}
        case "CAF":
            return {"data": (content.index(b"data") + 4, ">Q")}
        case _:
            return {"RIFF": (4, "<I"), "data": (content.index(b"data") + 4, "<I")}


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"])
@pytest.mark.parametrize("said", ["nothing", "unknown", "a quarter"])
def test_a_header_that_says_less_than_there_is_is_mended(tmp_path: Path, form: str, said: str) -> None:
    """A recorder that died leaves 0, a pipe all ones, a recorder that writes sizes now and then an earlier one."""
    content = bytearray(encoded(form, 440, 1.0))
    if said == "unknown" and form in ("RF64", "W64"):
        pytest.skip("both are of 64 bits, so that nobody has to")
    for place, layout in sizes(form).values():
        ones = 2 ** (8 * struct.calcsize(layout)) - 1
        value = {"nothing": 0, "unknown": ones, "a quarter": 4000}[said]
        struct.pack_into(layout, content, place, value)
    samples, notes = read(tmp_path / "a", bytes(content))
    np.testing.assert_allclose(samples, tone(440, 1.0), atol=1e-4)
    if said == "unknown":
        assert notes == ("does not say how long it is: 1.00 s could be decoded",)
    else:
        (note,) = notes
        assert note.endswith("s: all 1.00 s that are there were decoded")
        assert float(note.split()[2]) == pytest.approx(0.25 if said == "a quarter" else 0, abs=0.01)


def test_a_header_without_samples_or_cut_off_is_refused(tmp_path: Path) -> None:
    whole = encoded("WAV", 440, 1.0)
    for count in (20, 40, 44):
        with pytest.raises(UnreadableAudio, match=r"not an audio file|no samples in it"):
            read(tmp_path / "a.wav", whole[:count])
    empty = encoded("WAV", 440, 0.0) + b"LIST" + struct.pack("<I", 8000) + bytes(8000)
    with pytest.raises(UnreadableAudio, match="no samples in it"):
        read(tmp_path / "a.wav", empty)


@pytest.mark.parametrize("tail", [b"\0" * 10_000, TAG, b"LIST" + struct.pack("<I", 8000) + b"x" * 8000])
def test_what_programs_put_after_the_samples_is_no_part_of_them(tmp_path: Path, tail: bytes) -> None:
    samples, notes = read(tmp_path / "a.wav", encoded("WAV", 440, 1.0) + tail)
    assert (len(samples), notes) == (RATE_HZ, ())


def test_mp3_frames_after_the_number_that_the_header_gives_are_read(tmp_path: Path) -> None:
    """Joined with a file that has no header of lengths of its own."""
    first, second = (encoded("MP3", hertz, 1.0, subtype="MPEG_LAYER_III") for hertz in (440, 880))
    size = second.index(second[:2], second.index(b"Xing"))  # of the frame that holds it
    samples, notes = read(tmp_path / "a.mp3", first + second[size:])
    assert 2 * RATE_HZ <= len(samples) < 2.2 * RATE_HZ
    assert notes[0].startswith("2 recordings joined end to end: 1.00 + 1.")


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
def test_damage_anywhere_ends_in_samples_or_a_reason(tmp_path: Path, form: str, subtype: str) -> None:
    rng = np.random.default_rng(0)
    whole = 2 * encoded(form, 440, 0.3, subtype=subtype)
    for _ in range(60):
        content = bytearray(whole[: int(rng.integers(1, len(whole)))])
        for place in rng.integers(min(len(content), 200), size=4):
            content[place] = int(rng.integers(256))
        with contextlib.suppress(UnreadableAudio):
            assert len(read(tmp_path / "a", bytes(content))[0]) > 0
