"""The synthetic music and voices: the same bytes everywhere, and labels that can be heard."""

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from linnet.data.layouts.audio_folder import read_recordings, recording_path
from linnet.data.synthetic import music as music_module
from linnet.data.synthetic import voices as voices_module
from linnet.data.synthetic.music import INSTRUMENTS, Style, make_music, note, play, style_of
from linnet.data.synthetic.voices import FORMANTS_HZ, SPEAKERS, formant_wave, make_voices, voiced
from linnet.data.synthetic.waveforms import decay, sine, tone
from linnet.hashes import folder_hash
from support.audio_section import AUDIO

RATE_HZ = 16_000
WITH_CAPTIONS = AUDIO.model_copy(update={"caption_column": "caption"})


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    make_music(folder)
    return folder


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voices")
    make_voices(folder)
    return folder


def read_wav(path: Path) -> tuple[int, NDArray[np.float64]]:
    with wave.open(str(path), "rb") as file:
        pulses = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return file.getframerate(), pulses.reshape(-1, file.getnchannels()) / 32768


def magnitudes(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(np.fft.rfft(signal * np.hanning(len(signal))))


def loudest_hz(signal: NDArray[np.float64], rate_hz: int = RATE_HZ) -> float:
    return float(np.argmax(magnitudes(signal)) * rate_hz / len(signal))


def test_each_version_has_one_content(music: Path, voices: Path) -> None:
    """Whoever changes a waveform raises its VERSION and adds a line here."""
    known_music = {1: "3113380dea3e1c597488b4706a53e7170de90974b33c9895dd968abae1856a0e"}
    known_voices = {1: "8bd303d739182a8175077077af8f82be14f3d23d284baa9546ca770f054d3a54"}
    assert folder_hash(music) == known_music[music_module.VERSION]
    assert folder_hash(voices) == known_voices[voices_module.VERSION]


def test_a_seed_decides_everything(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("again", 1), ("other", 2)):
        make_music(tmp_path / "music" / name, num_recordings=2, seconds=0.5, seed=seed)
        make_voices(tmp_path / "voices" / name, num_utterances=2, seed=seed)
    for kind in ("music", "voices"):
        first, again, other = (folder_hash(tmp_path / kind / name) for name in ("a", "again", "other"))
        assert first == again != other


def test_music_holds_every_style_once_and_every_label_early(music: Path) -> None:
    recordings = read_recordings(music, WITH_CAPTIONS).recordings
    assert len({recording.labels for recording in recordings}) == len(recordings) == 4 * 2 * 2 * 3
    labels = {label for recording in recordings for label in recording.labels}
    assert len(labels) == 4 + 2 + 2 + 3
    assert {label for recording in recordings[:8] for label in recording.labels} == labels
    assert recordings[7].caption == "a fast minor melody on a bell"
    assert recordings[0].caption == "slow major chords on a flute"
    assert recordings[5].caption == "fast minor chords on an organ with drums"


def test_both_sets_mix_formats_and_fit_their_length(music: Path, voices: Path) -> None:
    formats: dict[str, list[tuple[int, int]]] = {"music": [], "voices": []}
    for name, folder in (("music", music), ("voices", voices)):
        index = read_recordings(folder, AUDIO)
        assert index.notes == ()
        for recording in index.recordings:
            path = recording_path(folder, recording)
            assert path is not None
            rate, signal = read_wav(path)
            seconds = len(signal) / rate
            formats[name].append((rate, signal.shape[1]))
            assert 5.99 <= seconds <= 6.0 if name == "music" else 0.9 < seconds < 2.5
            assert np.abs(signal).max() == pytest.approx(0.8, abs=1e-3)
        assert sum(path.stat().st_size for path in folder.iterdir()) < 10_000_000
    assert {kind: formats["music"].count(kind) for kind in set(formats["music"])} == {
        (16_000, 1): 37,
        (16_000, 2): 3,
        (22_050, 1): 4,
        (8_000, 1): 3,
        (8_000, 2): 1,
    }
    assert {kind: formats["voices"].count(kind) for kind in set(formats["voices"])} == {(16_000, 1): 48, (8_000, 1): 12}


def test_tones_are_what_they_are_called() -> None:
    signal = tone(440.0, RATE_HZ, RATE_HZ)
    exact = np.sin(2 * np.pi * 440 * (np.arange(RATE_HZ) + 1) / RATE_HZ)
    assert np.abs(signal - exact).max() < 2 * np.pi / 4096  # the table's step
    assert decay(100.0, 301)[[0, 100, 200, 300]] == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8], rel=1e-5)
    assert sine(np.full(4, 1 << 30)).tolist() == [1.0, 0.0, -1.0, 0.0]  # a quarter turn a sample


@pytest.mark.parametrize("timbre", INSTRUMENTS)
def test_a_note_has_its_pitch(timbre: str) -> None:
    assert loudest_hz(note(Style(timbre, "major", "slow", "melody"), 69, RATE_HZ, RATE_HZ)) == pytest.approx(440, abs=2)


def test_instruments_have_the_partials_that_make_them() -> None:
    strength = {}
    for timbre in INSTRUMENTS:
        attack = note(Style(timbre, "major", "slow", "melody"), 69, RATE_HZ, RATE_HZ)[: RATE_HZ // 8]
        spectrum = magnitudes(attack)  # a bin for 8 hertz
        strength[timbre] = {hz: spectrum[hz // 8 - 1 : hz // 8 + 3].max() / spectrum.max() for hz in (220, 1214, 1320)}
    assert strength["organ"][220] > 0.3 > max(strength[timbre][220] for timbre in ("flute", "plucked", "bell"))
    assert strength["bell"][1214] > 0.3 > max(strength[timbre][1214] for timbre in ("flute", "plucked", "organ"))
    assert strength["plucked"][1320] > 1.5 * strength["flute"][1320] > 0.05


def test_the_mode_is_heard_in_the_third() -> None:
    """Four semitones above the key note in major, three in minor; a recording holds one of them and not the other."""
    for mode, third, other in (("major", 4, 3), ("minor", 3, 4)):
        style = Style("organ", mode, "slow", "chords")
        for seed in range(3):
            spectrum = magnitudes(play(style, np.random.default_rng(seed), samples=RATE_HZ, rate_hz=RATE_HZ))
            rng = np.random.default_rng(seed)
            rng.integers(*music_module.BEATS_PER_MINUTE["slow"])
            key_hz = 440 * 2 ** ((int(rng.integers(53, 63)) - 69) / 12)
            heard, silent = (round(key_hz * 2 ** (step / 12)) for step in (third, other))
            assert spectrum[heard - 1 : heard + 2].max() > 4 * spectrum[silent - 1 : silent + 2].max()


def test_fast_recordings_have_more_onsets() -> None:
    def onsets(tempo: str) -> int:
        style = Style("plucked", "major", tempo, "melody")
        signal = play(style, np.random.default_rng(0), samples=4 * RATE_HZ, rate_hz=RATE_HZ)
        loudness = np.abs(signal).reshape(-1, RATE_HZ // 50).max(axis=1)
        return int(np.count_nonzero(loudness[1:] > 1.5 * loudness[:-1]))

    assert 3 <= onsets("slow") <= 6
    assert 8 <= onsets("fast") <= 12


def test_drums_fill_the_band_that_chords_leave_empty(music: Path) -> None:
    above_6_khz = {}
    for recording in read_recordings(music, AUDIO).recordings:
        rate, signal = read_wav(music / recording.file_name)
        if rate == RATE_HZ and signal.shape[1] == 1 and "organ" in recording.labels:
            spectrum = magnitudes(signal[:, 0])
            above_6_khz[recording.labels] = (spectrum[len(spectrum) * 3 // 4 :] ** 2).mean() / (spectrum**2).mean()
    drums = [share for labels, share in above_6_khz.items() if "drums" in labels]
    others = [share for labels, share in above_6_khz.items() if "drums" not in labels]
    assert min(drums) > 10 * max(others)


def test_stereo_channels_differ(music: Path) -> None:
    _, signal = read_wav(music / "song_002.wav")
    assert np.abs(signal[8:, 1] - signal[:-8, 0] * (0.6 / 0.9)).max() < 1e-4


@pytest.mark.parametrize("vowel", FORMANTS_HZ)
def test_a_vowel_rings_at_its_formants(vowel: str) -> None:
    spectrum = magnitudes(np.concatenate([np.zeros(500), formant_wave(vowel, 1.0, RATE_HZ), np.zeros(15_020)]))
    for formant in FORMANTS_HZ[vowel][:2]:
        place = round(formant)  # the padding makes a bin of each hertz
        near = spectrum[place - 150 : place + 150]
        assert abs(int(np.argmax(near)) - 150) < 140  # a peak inside, not the slope of another
    first, second = FORMANTS_HZ[vowel][:2]
    assert loudest_hz(formant_wave(vowel, 1.0, RATE_HZ)) == pytest.approx(first, abs=80)
    assert spectrum[round(second)] > 2 * spectrum[round(second) + 700]


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
def test_a_voice_has_its_pitch(speaker: voices_module.Speaker) -> None:
    signal = voiced(speaker, "a", speaker.pitch_hz, RATE_HZ // 4, RATE_HZ)
    loudness = np.convolve(np.abs(signal), np.ones(RATE_HZ // 500), "same")  # pulses without the formants' ringing
    loudness -= loudness.mean()
    products = np.correlate(loudness, loudness, "full")[len(signal) - 1 :]
    shortest = RATE_HZ // 300
    period = shortest + int(np.argmax(products[shortest : RATE_HZ // 70]))
    assert RATE_HZ / period == pytest.approx(speaker.pitch_hz, rel=0.06)


def test_utterances_are_dry_and_labelled_with_what_is_said(voices: Path) -> None:
    recordings = read_recordings(voices, WITH_CAPTIONS).recordings
    assert [recording.labels[0] for recording in recordings] == [SPEAKERS[place % 6].name for place in range(60)]
    for recording in recordings:
        said = recording.caption.rpartition(" ")[2]
        assert set(recording.labels[1:]) == set(said) & set(FORMANTS_HZ)
        rate, signal = read_wav(voices / recording.file_name)
        assert np.abs(signal[: rate // 10]).max() == np.abs(signal[-rate // 10 :]).max() == 0
    assert {label for recording in recordings for label in recording.labels[1:]} == set(FORMANTS_HZ)
    assert style_of(0).labels == ("flute", "major", "slow", "chords")
