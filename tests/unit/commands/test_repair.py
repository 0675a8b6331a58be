"""repair: a file of one's own, longer than anything the model has seen, at its own loudness."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from linnet.commands import repair
from linnet.inference.degradations import RestorationError, RestorationInput
from linnet.inference.degradations.files import noise_as_read, read_waveform
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
    gain = json.loads((tmp_path / "soft" / "repair.json").read_text())["gain"]  # 16 bits would be coarse for it
    assert np.abs(soft).max() == pytest.approx(0.5, abs=1e-3)
    assert np.abs(soft / gain * 10 - loud).max() < 12 / 32768, "20 dB, and the rounding of both files"
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


# --- the file's own units ---------------------------------------------------------------------------------------------


def noisy(one: Made, file: Path, out: Path, noise_std: float) -> NDArray[np.float64]:
    return repaired(one, Denoise(name="noisy", kind="denoise", noise_std=noise_std), file, out)


def test_noise_is_in_the_units_of_the_file(voices: Made, tmp_path: Path) -> None:
    """A recording in units in which it peaks at 40 is restored as the same one that peaks at 1 is."""
    given = tones(peak=1.0)
    unit = noisy(voices, write(tmp_path / "unit.wav", given), tmp_path / "unit", 0.05)
    loud = noisy(voices, write(tmp_path / "loud.wav", 40 * given), tmp_path / "loud", 2.0)
    np.testing.assert_allclose(loud, unit, atol=2 / 32768)
    result = json.loads((tmp_path / "loud" / "repair.json").read_text())
    assert result["gain"] <= 1 / 40
    assert "noise_std = 2 in the file's own samples is 0.05 once it is read" in result["notes"]
    assert f"the result is {result['gain']:.3g} times what the file's own values say" in result["notes"][-1]
    assert np.abs(loud).max() / result["gain"] > 20


def test_noise_of_another_sample_rate_is_as_strong_at_each_frequency(voices: Made, tmp_path: Path) -> None:
    """White noise at 32 kHz has a quarter of its power below 4 kHz: measured, and as it is taken."""
    noise = 0.1 * np.random.default_rng(0).normal(size=20 * 32_000)
    soundfile.write(tmp_path / "noise.wav", noise, 32_000, subtype="FLOAT")
    audio = read_waveform(tmp_path / "noise.wav", voices.audio)
    spectrum = np.abs(np.fft.rfft(audio.samples)) ** 2 / len(audio.samples)
    measured = np.sqrt(spectrum[: len(spectrum) // 2].mean())  # well below the edge of the filter
    found, notes = noise_as_read(0.1, audio, tmp_path / "noise.wav", voices.audio)
    assert found == pytest.approx(0.1 / 2)
    assert found == pytest.approx(measured, rel=0.02)
    assert notes == ("noise_std = 0.1 in the file's own samples is 0.05 once it is read",)


def test_noise_of_several_channels_is_that_of_their_mean_and_it_is_said(voices: Made, tmp_path: Path) -> None:
    both = np.stack([tones(), tones()], axis=1)
    noisy(voices, write(tmp_path / "both.wav", both), tmp_path / "out", 0.01)
    notes = json.loads((tmp_path / "out" / "repair.json").read_text())["notes"]
    assert any("noise_std is taken as that of the mean of 2 channels" in note for note in notes)


def test_noise_in_recordings_of_several_rates_is_refused(voices: Made, tmp_path: Path) -> None:
    for rate in (8000, 16_000):
        soundfile.write(tmp_path / f"{rate}.wav", tones(), rate)
    path = tmp_path / "joined.wav"
    path.write_bytes(b"".join((tmp_path / f"{rate}.wav").read_bytes() for rate in (8000, 16_000)))
    with pytest.raises(RestorationError, match="joined recordings of 8000 Hz and 16000 Hz; cut it into files"):
        noisy(voices, path, tmp_path / "out", 0.01)
    assert len(repaired(voices, BAND, path, tmp_path / "out")) == LENGTH + (LENGTH + 1) // 2


# --- results stay -----------------------------------------------------------------------------------------------------


def ask(one: Made, degradation: DegradationSection, file: Path, model: Path, *, out: Path | None = None) -> None:
    section = one.recipe.restore
    repair.run(section, degradation, RestorationInput(file), model=model, out=out, device=CPU)


def results(folder: Path) -> dict[str, str]:
    """Whose result lies in each folder."""
    return {path.parent.name: json.loads(path.read_text())["file"] for path in sorted(folder.glob("*/repair.json"))}


def test_no_result_replaces_that_of_another_request(
    voices: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(voices.model, model)
    days = []
    for day, peak in (("day1", 0.3), ("day2", 0.2)):
        (tmp_path / day).mkdir()
        days.append(write(tmp_path / day / "track.wav", tones(600, peak=peak)))
    for _ in range(2):  # the same requests again find their own folders
        for file in days:
            ask(voices, BAND, file, model)
        ask(voices, BAND.model_copy(update={"name": "repair"}), days[0], model)
        ask(voices, BAND.model_copy(update={"name": "repair", "low_hz": 1250.0}), days[0], model)
    first, second = map(str, days)
    assert results(tmp_path / "repaired") == {
        "track": first,
        "track-band": second,
        "track-inpaint_bins": first,
        "track-inpaint_bins-2": first,
    }
    said = capsys.readouterr().err
    assert f"track holds the result of another request (inpaint_bins of {first}), and stays" in said
    assert str(tmp_path / "repaired" / "track-band" / "track.flac") in said
    write(days[0], tones(600, peak=0.1))  # another recording of that name
    ask(voices, BAND, days[0], model)
    assert results(tmp_path / "repaired")["track-band-2"] == first


def test_a_given_folder_with_another_result_is_refused(voices: Made, tmp_path: Path) -> None:
    mine, yours = (write(tmp_path / f"{name}.wav", tones(600)) for name in ("mine", "yours"))
    for _ in range(2):
        ask(voices, BAND, mine, voices.model, out=tmp_path / "out")
    with pytest.raises(RestorationError, match=rf"another request \(inpaint_bins of {mine}\); give a new folder"):
        ask(voices, BAND, yours, voices.model, out=tmp_path / "out")
    with pytest.raises(RestorationError, match="another request"):
        ask(voices, GAP, mine, voices.model, out=tmp_path / "out")
    (tmp_path / "out" / "repair.json").write_text("no JSON")
    with pytest.raises(RestorationError, match=r"its repair\.json does not say which"):
        ask(voices, BAND, mine, voices.model, out=tmp_path / "out")


@pytest.mark.parametrize("count", [1, 2, 33])
@pytest.mark.parametrize("peak", [0.0, 0.3])
@pytest.mark.parametrize("degradation", [BAND, Denoise(name="noisy", kind="denoise", noise_std=0.01)])
def test_very_short_and_silent_files_are_restored(
    voices: Made, tmp_path: Path, degradation: DegradationSection, count: int, peak: float
) -> None:
    found = repaired(voices, degradation, write(tmp_path / "a.wav", np.full(count, peak)), tmp_path / "out")
    assert len(found) == count


def test_a_file_with_values_that_are_no_audio_is_refused_in_one_sentence(voices: Made, tmp_path: Path) -> None:
    with pytest.raises(RestorationError, match=r"a\.wav: 600 of 600 samples are not finite"):
        repaired(voices, BAND, write(tmp_path / "a.wav", np.full(600, np.nan)), tmp_path / "out")


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
