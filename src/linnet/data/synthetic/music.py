"""Synthetic music in the audiofolder layout: a small data set that every machine can make, byte for byte the same.

Every recording has four labels that can be heard: what plays, in which mode, how fast, and in which texture. As in
collections of real music, a few recordings are stereo, a few have other sample rates, and several labels hold at once.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnet.data.synthetic.waveforms import (
    Signal,
    add,
    decay,
    fade,
    noise,
    phase_step,
    sine,
    tone,
    write_metadata,
    write_wav,
)

VERSION = 1  # one more for every change of what is played; a test knows the content of each version
NUM_RECORDINGS = 48
SECONDS = 6.0
RATE_HZ = 16_000
OTHER_RATES_HZ = {5: 22_050, 8: 8_000}  # of a few recordings, by their number modulo 11
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}  # semitones above the key note
BEATS_PER_MINUTE = {"slow": (66, 84), "fast": (150, 180)}
TEXTURES = ("chords", "melody", "drums")  # drums: chords with a beat below them
PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3))  # steps of the scale; four chords of two beats, repeated


@dataclass(frozen=True)
class Instrument:
    """How its notes sound."""

    name: str  # as captions say it
    attack_seconds: float
    partials: tuple[tuple[float, float, float], ...]  # multiple of the pitch, loudness, half life in seconds


INSTRUMENTS = {
    "flute": Instrument("a flute", 0.06, ((1.0, 1.0, 9.0), (2.0, 0.2, 9.0), (3.0, 0.06, 9.0))),
    "organ": Instrument(
        "an organ", 0.015, ((0.5, 0.5, 9.0), (1.0, 0.8, 9.0), (2.0, 0.6, 9.0), (3.0, 0.4, 9.0), (4.0, 0.4, 9.0))
    ),
    "plucked": Instrument(
        "a plucked string", 0.002, tuple((float(number), 1 / number, 0.25 / number) for number in range(1, 10))
    ),
    "bell": Instrument(  # its partials are no integer multiples: that is what makes it a bell
        "a bell", 0.001, ((1.0, 0.8, 0.6), (2.76, 0.6, 0.35), (5.4, 0.4, 0.2), (8.93, 0.2, 0.1))
    ),
}


@dataclass(frozen=True)
class Style:
    """The labels of a recording."""

    timbre: str
    mode: str
    tempo: str
    texture: str

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of metadata.csv."""
        return self.timbre, self.mode, self.tempo, self.texture

    @property
    def caption(self) -> str:
        """One sentence that says the same."""
        where = INSTRUMENTS[self.timbre].name
        match self.texture:
            case "melody":
                return f"a {self.tempo} {self.mode} melody on {where}"
            case "drums":
                return f"{self.tempo} {self.mode} chords on {where} with drums"
            case _:
                return f"{self.tempo} {self.mode} chords on {where}"


def make_music(folder: Path, *, num_recordings: int = NUM_RECORDINGS, seconds: float = SECONDS, seed: int = 0) -> None:
    """Write `num_recordings` WAV files of `seconds` each, and metadata.csv with labels and captions, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(num_recordings):
        style, rng = style_of(number), np.random.default_rng([seed, number])
        rate = OTHER_RATES_HZ.get(number % 11, RATE_HZ)  # a prime, so that it does not go with a label
        signal = play(style, rng, samples=int(seconds * rate), rate_hz=rate)
        if number % 13 == 2:
            signal = _stereo(signal)
        name = f"song_{number:03d}.wav"
        write_wav(folder / name, signal, rate)
        rows.append((name, style.labels, style.caption))
    write_metadata(folder, rows)


def style_of(number: int) -> Style:
    """The style of a recording: each of the 48 once in 48 recordings, every label among any eight in a row."""
    tempo = ("slow", "fast")[(number // 8 + number) % 2]
    return Style(tuple(INSTRUMENTS)[number % 4], ("major", "minor")[number // 4 % 2], tempo, TEXTURES[number % 3])


def play(style: Style, rng: np.random.Generator, *, samples: int, rate_hz: int) -> Signal:
    """A recording [samples] in this style; key, speed and notes come from `rng`."""
    low, high = BEATS_PER_MINUTE[style.tempo]
    beat = round(60 * rate_hz / int(rng.integers(low, high)))
    key = int(rng.integers(53, 63))  # MIDI number of the key note
    progression = PROGRESSIONS[int(rng.integers(len(PROGRESSIONS)))]
    track = np.zeros(samples)
    step = int(rng.integers(7))
    for number in range(-(-samples // beat)):
        chord = progression[number // 2 % len(progression)]
        if style.texture == "melody":
            step = int(np.clip(step + rng.integers(-2, 3), -2, 9))
            add(track, number * beat, note(style, _pitch(style, key + 12, step), beat, rate_hz))
        elif number % 2 == 0:
            for degree in (chord, chord + 2, chord + 4):
                add(track, number * beat, 0.5 * note(style, _pitch(style, key, degree), 2 * beat, rate_hz))
        if style.texture == "drums":
            add(track, number * beat, _drum(number, rng, rate_hz))
            add(track, number * beat + beat // 2, 0.3 * _hat(rng, rate_hz))
    return fade(track, attack_samples=0, release_samples=rate_hz // 20)


def note(style: Style, midi: int, samples: int, rate_hz: int) -> Signal:
    """One note [samples] of the style's instrument; partials above 0.45 of the sample rate are left out."""
    pitch_hz = 440.0 * float(2 ** ((midi - 69) / 12))
    instrument = INSTRUMENTS[style.timbre]
    signal = np.zeros(samples)
    for multiple, loudness, half_life in instrument.partials:
        if multiple * pitch_hz < 0.45 * rate_hz:
            signal += loudness * tone(multiple * pitch_hz, samples, rate_hz) * decay(half_life * rate_hz, samples)
    attack = round(instrument.attack_seconds * rate_hz)
    return fade(signal, attack_samples=attack, release_samples=round(0.02 * rate_hz))


def _pitch(style: Style, key: int, step: int) -> int:
    octave, degree = divmod(step, 7)
    return key + 12 * octave + SCALES[style.mode][degree]


def _drum(beat: int, rng: np.random.Generator, rate_hz: int) -> Signal:
    """A kick on the even beats, a snare on the odd ones."""
    samples = rate_hz // 6
    if beat % 2:
        return 0.8 * noise(rng, samples) * decay(rate_hz * 0.025, samples)
    fall = decay(rate_hz * 0.02, samples)
    steps = phase_step(45, rate_hz) + np.rint(phase_step(110, rate_hz) * fall).astype(np.int64)
    return 1.6 * sine(steps) * decay(rate_hz * 0.05, samples)


def _hat(rng: np.random.Generator, rate_hz: int) -> Signal:
    hiss = noise(rng, rate_hz // 20 + 1)
    return (hiss[1:] - hiss[:-1]) * decay(rate_hz * 0.01, len(hiss) - 1)


def _stereo(signal: Signal) -> Signal:
    """Two channels [samples, 2], the right one quieter and half a millisecond later."""
    late = np.concatenate([np.zeros(8), signal[:-8]])
    return np.stack([0.9 * signal, 0.6 * late], axis=1)
