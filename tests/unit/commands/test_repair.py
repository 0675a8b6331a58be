"""repair: a file of one's own, longer than anything the model has seen, at its own loudness."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from linnet.commands import repair
from linnet.inference.degradations import RestorationError, RestorationInput
from linnet.recipe import DegradationSection
from linnet.recipe.restore import (
    BandwidthExtension,
    BlindDereverberation,
    Denoise,
    InpaintBins,
    InpaintFrames,
    KnownReverb,
)
from support.audio_models import CPU, Made, made
from support.rooms import reverberant, room_response

RATE = 8000
LENGTH = 5 * 240 + 7  # five training examples and a bit that is no whole frame
BAND = InpaintBins(name="band", kind="inpaint_bins", low_hz=1500.0, high_hz=2000.0, noise_std=0.0)
GAP = InpaintFrames(name="gap", kind="inpaint_frames", start_seconds=0.05, gap_seconds=0.01, noise_std=0.0)
ROOM = KnownReverb(name="room", kind="known_reverb", reverberation_seconds=0.1, noise_std=0.0)


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made("voices", tmp_path_factory)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made("music", tmp_path_factory)


@pytest.fixture(params=["voices", "music"])
def either(request: pytest.FixtureRequest, voices: Made, music: Made) -> Made:
    return voices if request.param == "voices" else music


def tones(samples: int = LENGTH, *, peak: float = 0.3) -> NDArray[np.float64]:
    times = np.arange(samples) / RATE
    signal = sum(np.sin(2 * np.pi * hz * times + hz) for hz in (310.0, 620.0, 1040.0, 2900.0))
    return np.asarray(peak * signal / np.abs(signal).max())


def write(path: Path, samples: NDArray[np.float64]) -> Path:
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


def repaired(
    one: Made, degradation: DegradationSection, file: Path, out: Path, *, room: Path | None = None
) -> NDArray[np.float64]:
    section = one.recipe.restore
    repair.run(
        section, degradation, RestorationInput(file, impulse_response=room), model=one.model, out=out, device=CPU
    )
    samples, rate = soundfile.read(out / f"{file.stem}.flac")
    assert rate == RATE
    return np.asarray(samples)


def level_db(signal: NDArray[np.float64]) -> float:
    return float(10 * np.log10(np.square(signal).mean()))


def test_samples_away_from_a_gap_stay(either: Made, tmp_path: Path) -> None:
    """To the bit, but for 10 ms beside the gap, where the recording fades into what fills it."""
    given = tones()
    found = repaired(either, GAP, write(tmp_path / "mine.wav", given), tmp_path / "out")
    assert len(found) == LENGTH
    for kept in (slice(0, 400 - 80), slice(480 + 80, LENGTH)):
        assert np.abs(found[kept] - given[kept]).max() <= 1 / 32768
    nearer = np.arange(80) / 80  # the share of what fills the gap, which is within -1..1 as the recording is
    assert bool((np.abs(found[320:400] - given[320:400]) <= 2 * nearer + 1e-4).all())
    assert level_db(found[400:480] - given[400:480]) > level_db(given) - 20, "the prior does not know these tones"


def test_what_lies_in_a_gap_does_not_matter(either: Made, tmp_path: Path) -> None:
    """Not even to the frames beside it, whose windows reach into it."""
    silent, loud = tones(), tones()
    silent[400:480] = 0
    loud[400:480] = 0.9 * (-1.0) ** np.arange(80)
    results = [
        repaired(either, GAP, write(tmp_path / f"{name}.wav", given), tmp_path / name)
        for name, given in (("silent", silent), ("loud", loud))
    ]
    assert np.abs(results[0] - results[1]).max() <= 1 / 32768
    assert np.abs(results[0][400:480]).max() > 0


def test_frequencies_away_from_a_band_stay(voices: Made, tmp_path: Path) -> None:
    """The spectrum of a Hann window is four bins wide: two beside the band may change with it."""
    given = tones()
    found = repaired(voices, BAND, write(tmp_path / "mine.wav", given), tmp_path / "out")
    transform = voices.codec.transform
    spectra = [transform.spectrum(torch.from_numpy(np.pad(rows, (0, 9)))).abs() for rows in (given, found)]
    hertz = torch.arange(1, 33) * 125.0
    kept = (hertz < 1500 - 300) | (hertz > 2000 + 300)
    inside = slice(4, -6)
    difference = (spectra[0] - spectra[1])[kept, inside].norm() / spectra[0][kept, inside].norm()
    assert difference < 0.05


@pytest.mark.parametrize("degradation", [BAND, GAP], ids=lambda degradation: degradation.name)
@pytest.mark.parametrize("kind", ["voices", "music"])
def test_a_softer_file_gives_the_same_restoration_softer(
    request: pytest.FixtureRequest, kind: str, degradation: DegradationSection, tmp_path: Path
) -> None:
    one: Made = request.getfixturevalue(kind)
    loud = repaired(one, degradation, write(tmp_path / "loud.wav", tones()), tmp_path / "loud")
    soft = repaired(one, degradation, write(tmp_path / "soft.wav", tones() / 10), tmp_path / "soft")
    assert np.abs(soft * 10 - loud).max() < 12 / 32768, "20 dB, and the rounding of both files"
    assert np.abs(loud).max() > 0.1


def test_a_short_file_is_restored_in_a_whole_window(voices: Made, tmp_path: Path) -> None:
    found = repaired(voices, BAND, write(tmp_path / "short.wav", tones(100)), tmp_path / "out")
    assert len(found) == 100


def test_another_sample_rate_and_two_channels_are_converted_and_said(
    voices: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "cd.wav", np.stack([tones(4410), tones(4410)], axis=1), 44100)
    found = repaired(voices, BAND, tmp_path / "cd.wav", tmp_path / "out")
    assert len(found) == 800
    said = capsys.readouterr().err
    assert "cd.wav: mixed 2 channels to 1" in said
    assert "cd.wav: resampled from 44100 Hz to 8000 Hz" in said


def test_silence_stays_nearly_silent(voices: Made, tmp_path: Path) -> None:
    found = repaired(voices, GAP, write(tmp_path / "silent.wav", np.zeros(LENGTH)), tmp_path / "out")
    assert np.abs(found[:300]).max() < 1e-3
    assert np.abs(found[600:]).max() < 1e-3


@pytest.mark.parametrize(
    "degradation",
    [
        Denoise(name="noisy", kind="denoise", noise_std=0.01),
        BandwidthExtension(name="narrow", kind="bandwidth_extension", cutoff_hz=2000.0, noise_std=0.001),
        BlindDereverberation(
            name="blind", kind="blind_dereverberation", reverberation_seconds=0.1, filter_frames=4, noise_std=0.0
        ),
    ],
    ids=lambda degradation: degradation.kind,
)
def test_other_degradations_make_as_much_audio(voices: Made, degradation: DegradationSection, tmp_path: Path) -> None:
    given = tones()
    found = repaired(voices, degradation, write(tmp_path / "mine.wav", given), tmp_path / "out")
    assert len(found) == LENGTH
    assert level_db(found) == pytest.approx(level_db(given), abs=10)


# --- rooms ------------------------------------------------------------------------------------------------------------


def test_a_known_room_comes_off(voices: Made, tmp_path: Path) -> None:
    """Silence after the audio, as long as the room responds: the model of the room wraps around."""
    dry = np.pad(tones(), (0, 600))
    wet = reverberant(torch.from_numpy(dry).float(), room_response()).double().numpy()
    room = write(tmp_path / "room.wav", room_response().double().numpy())
    found = repaired(voices, ROOM, write(tmp_path / "wet.wav", wet), tmp_path / "out", room=room)
    assert level_db(found - dry) < level_db(wet - dry) - 6


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degradation", "words"),
    [
        (ROOM, "known_reverb needs --impulse-response"),
        (
            GAP.model_copy(update={"start_seconds": 3.0}),
            "inpaint_frames would restore nothing of it. Padded to whole frames it is 0.152 s",
        ),
        (GAP.model_copy(update={"start_seconds": 0.0, "gap_seconds": 9.0}), "inpaint_frames would restore all of it"),
        (BAND.model_copy(update={"low_hz": 5000.0, "high_hz": 6000.0}), "nothing of it.*frequencies up to 4000 Hz"),
    ],
)
def test_a_degradation_that_makes_no_sense_is_refused(
    voices: Made, tmp_path: Path, degradation: DegradationSection, words: str
) -> None:
    with pytest.raises(RestorationError, match=words):
        repaired(voices, degradation, write(tmp_path / "mine.wav", tones()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("content", "words"), [(None, "file is missing"), (b"no audio", "not an audio file")])
def test_a_file_that_is_no_audio_is_named(voices: Made, tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "mine.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RestorationError, match=rf"mine\.wav: {words}"):
        repaired(voices, BAND, path, tmp_path / "out")


def test_a_folder_that_is_not_ours_is_left_alone(voices: Made, tmp_path: Path) -> None:
    """--out may be mistyped, or be the folder of the recording itself."""
    given = write(tmp_path / "mine.wav", tones())
    with pytest.raises(RestorationError, match="is there already, and was not made by linnet repair"):
        repaired(voices, BAND, given, tmp_path)
    assert given.is_file()
    for _ in range(2):
        repaired(voices, BAND, given, tmp_path / "out")
    result = json.loads((tmp_path / "out" / "repair.json").read_text())
    assert result["file"] == str(given)
    assert result["degradation"] == BAND.model_dump()
