"""Synthetic voices in the audiofolder layout: dry syllables that every machine can make, byte for byte the same.

Source and filter: every opening of the glottis sets the formants of a vowel ringing, each a damped sine (the wave
function of a formant; Rodet, "Time-Domain Formant-Wave-Function Synthesis", Computer Music Journal 8(3), 1984), at a
pitch that falls and trembles; consonants are bursts of noise, and between the syllables there is silence.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnet.data.synthetic.waveforms import SINE, Signal, add, decay, fade, noise, tone, write_metadata, write_wav

VERSION = 1  # one more for every change of the utterances; a test knows the content of each version
NUM_UTTERANCES = 60
RATE_HZ = 16_000
NARROW_RATE_HZ = 8_000  # of every fifth utterance
LOUDNESS = (1.0, 0.5, 0.25, 0.1)  # of the formants
BANDWIDTHS_HZ = (80.0, 100.0, 140.0, 200.0)
FORMANTS_HZ = {  # of a grown man
    "a": (730.0, 1090.0, 2440.0, 3400.0),
    "e": (530.0, 1840.0, 2480.0, 3500.0),
    "i": (270.0, 2290.0, 3010.0, 3600.0),
    "o": (570.0, 840.0, 2410.0, 3300.0),
    "u": (300.0, 870.0, 2240.0, 3200.0),
}
CONSONANTS = ("s", "t", "h", "m")


@dataclass(frozen=True)
class Speaker:
    """A voice: its pitch, and how much shorter its vocal tract is than the one of FORMANTS_HZ."""

    name: str
    pitch_hz: float
    formant_scale: float


SPEAKERS = (
    Speaker("bass", 85.0, 0.95),
    Speaker("baritone", 115.0, 1.0),
    Speaker("tenor", 145.0, 1.05),
    Speaker("alto", 185.0, 1.12),
    Speaker("mezzo", 220.0, 1.16),
    Speaker("soprano", 265.0, 1.2),
)


def make_voices(folder: Path, *, num_utterances: int = NUM_UTTERANCES, seed: int = 0) -> None:
    """Write `num_utterances` WAV files of one to two seconds and metadata.csv into `folder`.

    The labels are the speaker and the vowels of the utterance, the caption says who says what.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(num_utterances):
        speaker, rng = SPEAKERS[number % len(SPEAKERS)], np.random.default_rng([seed, number])
        rate = NARROW_RATE_HZ if number % 5 == 4 else RATE_HZ
        syllables = [_syllable(rng) for _ in range(int(rng.integers(3, 6)))]
        name = f"voice_{number:03d}.wav"
        write_wav(folder / name, speak(speaker, syllables, rng, rate_hz=rate), rate)
        vowels = sorted({vowel for _, vowel in syllables})
        rows.append((name, (speaker.name, *vowels), f"{speaker.name} says {'-'.join(map(''.join, syllables))}"))
    write_metadata(folder, rows)


def _syllable(rng: np.random.Generator) -> tuple[str, str]:
    return CONSONANTS[int(rng.integers(len(CONSONANTS)))], tuple(FORMANTS_HZ)[int(rng.integers(len(FORMANTS_HZ)))]


def speak(speaker: Speaker, syllables: list[tuple[str, str]], rng: np.random.Generator, *, rate_hz: int) -> Signal:
    """An utterance [samples], silent at both ends and between the syllables."""
    silence = np.zeros(rate_hz // 10)
    segments = [silence]
    pitch_hz = speaker.pitch_hz * (1.05 + 0.1 * rng.random())
    for consonant, vowel in syllables:
        samples = int(rng.integers(rate_hz * 16 // 100, rate_hz * 28 // 100))
        segments += [_burst(consonant, speaker, rng, rate_hz), voiced(speaker, vowel, pitch_hz, samples, rate_hz)]
        segments += [silence[: int(rng.integers(rate_hz // 50, rate_hz // 15))]]
        pitch_hz *= 0.96  # sentences fall
    return np.concatenate([*segments, silence])


def voiced(speaker: Speaker, vowel: str, pitch_hz: float, samples: int, rate_hz: int) -> Signal:
    """A vowel [samples]: formant waves at the pulses of a glottis whose pitch trembles by 2 % at 5 Hz and falls."""
    ring = formant_wave(vowel, speaker.formant_scale, rate_hz)
    track = np.zeros(samples)
    pulse = 0.0  # the sample at which the glottis opens
    while pulse < samples:
        tremble = SINE[int(pulse / rate_hz * 5 * len(SINE)) % len(SINE)]
        start = int(pulse)
        fraction = pulse - start  # between two samples: without this the voice would rasp
        add(track, start, (1 - fraction) * ring)
        add(track, start + 1, fraction * ring)
        pulse += rate_hz / (pitch_hz * (1 + 0.02 * float(tremble) - 0.06 * pulse / samples))
    return fade(track, attack_samples=rate_hz // 50, release_samples=rate_hz // 25)


def formant_wave(vowel: str, scale: float, rate_hz: int) -> Signal:
    """The response to one pulse, 30 ms long [samples]: each formant is a sine that decays with its bandwidth."""
    samples = rate_hz * 3 // 100
    ring = np.zeros(samples)
    for formant, bandwidth, loudness in zip(FORMANTS_HZ[vowel], BANDWIDTHS_HZ, LOUDNESS, strict=True):
        if formant * scale < 0.45 * rate_hz:
            half_life = math.log(2) / (math.pi * bandwidth) * rate_hz
            ring += loudness * tone(formant * scale, samples, rate_hz) * decay(half_life, samples)
    return ring


def _burst(consonant: str, speaker: Speaker, rng: np.random.Generator, rate_hz: int) -> Signal:
    match consonant:
        case "s":  # high noise
            hiss = noise(rng, rate_hz // 10 + 1)
            return fade(0.5 * (hiss[1:] - hiss[:-1]), attack_samples=rate_hz // 40, release_samples=rate_hz // 40)
        case "t":  # a short click after a stop
            samples = rate_hz // 25
            stop = np.zeros(rate_hz // 40)
            return np.concatenate([stop, 1.5 * noise(rng, samples) * decay(rate_hz * 0.004, samples)])
        case "h":  # breath through the throat: low noise
            breath = noise(rng, rate_hz // 12 + 3)
            low = breath[3:] + breath[2:-1] + breath[1:-2] + breath[:-3]
            return fade(0.25 * low, attack_samples=rate_hz // 50, release_samples=rate_hz // 50)
        case "m":  # a hum behind closed lips
            return 0.5 * fade(
                tone(speaker.pitch_hz, rate_hz // 10, rate_hz),
                attack_samples=rate_hz // 50,
                release_samples=rate_hz // 50,
            )
        case _:
            raise AssertionError(consonant)
