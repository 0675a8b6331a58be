"""Audio files as windows of samples: one channel, one sample rate, -1..1, and a note of all that was changed."""

import math
import os
import re
import stat
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

MAX_CHANNELS = 8
MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768_000
MAX_DURATION_SECONDS = 4 * 3600
MAX_SAMPLES = 2**28  # 1 GiB as float32: 100 minutes at 44100 Hz
UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's value for a stream whose header doesn't say
UNKNOWN_BYTES = 0x7FFFF000  # and above: put by programs that write to a pipe for a size they don't know yet
BLOCK = 4096  # samples; where a decoder fails, the block it fails in is lost
MAX_RATIO_TERM = 2000  # of the sample rates; a resampling kernel for 44101 : 16000 would take gigabytes
MAX_PADDING = 4  # a recording of a quarter of a window or more is padded, a shorter one rejected
# What libsndfile's log says of a file whose header is wrong.
DECLARED_BYTES = re.compile(
    r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)  # libsndfile's log


class UnreadableAudio(ValueError):
    """One recording cannot be used; its text is the reason written to rejected.csv."""


class _Stream(soundfile.SoundFile):  # type: ignore[misc]  # soundfile comes without types
    """A file read from its start to its end.

    soundfile seeks after each read, to where it already is. MP3 decoders can't seek without a glitch, so what is read
    in blocks is noise, and in a FLAC file of unknown or wrong length the seek fails.
    """

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True)
class DecodedAudio:
    """One recording as the pipeline uses it, and what was changed for that."""

    samples: NDArray[np.float32]  # [n], finite, in -1..1
    notes: tuple[str, ...]  # what was changed or is missing
    encoding: str  # such as "WAV PCM_16"


@dataclass(frozen=True)
class Windows:
    """The windows of one recording that are loud enough."""

    starts: tuple[int, ...]  # in samples of the recording; negative where silence was put before it
    samples: NDArray[np.float32]  # [len(starts), window_samples]
    num_silent: int
    notes: tuple[str, ...]


def read_audio(path: Path, *, sample_rate_hz: int) -> DecodedAudio:
    """Any file that libsndfile decodes (wav, flac, ogg, mp3, aiff, ...) as one channel at `sample_rate_hz`.

    Up to 8 channels are mixed by their mean, other sample rates resampled, and what then peaks above 1 is scaled to
    peak at 1. Of a file that ends early or is damaged, the samples before that are kept. Each change gets a note.

    Raises:
        UnreadableAudio: missing, not audio, empty, more than 4 hours or 2^28 samples, values that are not finite.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for its writer
    except FileNotFoundError:
        raise UnreadableAudio("file is missing") from None
    except OSError as reason:
        raise UnreadableAudio(f"cannot be read ({reason.strerror})") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnreadableAudio("not a file")
        # By descriptor: soundfile takes a name that ends in .raw for headerless samples.
        with _Stream(descriptor, closefd=False) as file:
            return _convert(file, sample_rate_hz)
    except soundfile.LibsndfileError as reason:
        raise UnreadableAudio(f"not an audio file ({reason.error_string.rstrip('.')})") from None
    finally:
        os.close(descriptor)


def cut_windows(
    samples: NDArray[np.float32], *, window_samples: int, stride_samples: int, silence_dbfs: float
) -> Windows:
    """Windows of one recording from its start on; what is left over at its end is not used.

    A recording shorter than a window, but not shorter than a quarter of it, becomes one window with silence around it.
    Silence is a root mean square below `silence_dbfs`, where 0 is that of a constant 1 (a full sine has -3).

    Raises:
        UnreadableAudio: the recording is too short.
    """
    count = len(samples)
    if count * MAX_PADDING < window_samples:
        raise UnreadableAudio(f"too short: {count} samples of the {window_samples} of a window")
    notes: tuple[str, ...] = ()
    starts = list(range(0, count - window_samples + 1, stride_samples))
    before = 0
    if count < window_samples:
        before = (window_samples - count) // 2
        samples = np.pad(samples, (before, window_samples - count - before))
        starts, notes = [0], (f"padded with silence from {count} to {window_samples} samples",)
    loud = [start for start in starts if _rms(samples[start : start + window_samples]) >= 10 ** (silence_dbfs / 20)]
    windows = np.empty((len(loud), window_samples), dtype=np.float32)
    for row, start in zip(windows, loud, strict=True):
        row[:] = samples[start : start + window_samples]
    return Windows(tuple(start - before for start in loud), windows, len(starts) - len(loud), notes)


def _rms(samples: NDArray[np.float32]) -> float:
    return math.sqrt(np.square(samples, dtype=np.float64).mean())


def _convert(file: soundfile.SoundFile, sample_rate_hz: int) -> DecodedAudio:
    rate, channels = int(file.samplerate), int(file.channels)
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise UnreadableAudio(f"sample rate of {rate} Hz (known are {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz)")
    if channels > MAX_CHANNELS:
        raise UnreadableAudio(f"{channels} channels (at most {MAX_CHANNELS})")
    samples, notes = _decode(file)
    if not np.isfinite(samples).all():
        raise UnreadableAudio(f"{int((~np.isfinite(samples)).sum())} of {len(samples)} samples are not finite")
    if channels > 1:
        notes.append(f"mixed {channels} channels to 1")
    if rate != sample_rate_hz:
        samples = _resample(samples, rate, sample_rate_hz)
        notes.append(f"resampled from {rate} Hz to {sample_rate_hz} Hz")
    peak = float(np.abs(samples).max())
    if peak > 1:
        samples = np.clip(samples / np.float32(peak), -1, 1)
        notes.append(f"scaled down from a peak of {peak:.3g} to 1")
    return DecodedAudio(samples, tuple(notes), f"{file.format} {file.subtype}")


def _decode(file: soundfile.SoundFile) -> tuple[NDArray[np.float32], list[str]]:
    """The mean of the channels, float32 [n], and notes. Reading is limited whatever length the header declares."""
    declared = None if file.frames == UNKNOWN_FRAMES else int(file.frames)
    _check_length(declared or 0, file.samplerate)
    blocks: list[NDArray[np.float32]] = []
    count, is_damaged = 0, False
    try:
        while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
            blocks.append(block.mean(axis=1, dtype=np.float64).astype(np.float32))
            count += len(block)
            _check_length(count, file.samplerate)
    except soundfile.LibsndfileError:
        is_damaged = True
    if not count:
        raise UnreadableAudio("nothing of it can be decoded" if is_damaged or declared else "no samples in it")
    if match := DECLARED_BYTES.search(file.extra_info):  # of these formats libsndfile corrects `frames` silently
        said, actual = int(match[1]), int(match[2])
        declared = round(count * said / actual) if actual and said < UNKNOWN_BYTES else declared
    samples, seconds = np.concatenate(blocks), f"{count / file.samplerate:.2f}"
    if declared is None:
        return samples, [f"does not say how long it is: {seconds} s could be decoded"]
    if count < declared:
        return samples, [f"ends early: {seconds} of {declared / file.samplerate:.2f} s could be decoded"]
    return samples, []


def _check_length(num_samples: int, rate_hz: int) -> None:
    limit = min(MAX_SAMPLES, MAX_DURATION_SECONDS * rate_hz)
    if num_samples > limit:
        raise UnreadableAudio(
            f"absurdly long: more than {limit} samples ({limit / rate_hz / 3600:.1f} hours); cut it into segments"
        )


def _resample(samples: NDArray[np.float32], rate_hz: int, target_hz: int) -> NDArray[np.float32]:
    """Resample by a windowed sinc with the settings known as kaiser_best: aliases are 90 dB down or more."""
    import torch
    import torchaudio

    # A ratio of large terms is approximated to 1 in 10^6, far below what can be heard.
    if target_hz < rate_hz:
        ratio = Fraction(target_hz, rate_hz).limit_denominator(MAX_RATIO_TERM)
    else:
        ratio = 1 / Fraction(rate_hz, target_hz).limit_denominator(MAX_RATIO_TERM)
    resampled: torch.Tensor = torchaudio.functional.resample(
        torch.from_numpy(samples),
        orig_freq=ratio.denominator,
        new_freq=ratio.numerator,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )
    return resampled.numpy()
