"""An audio file of any format as one channel of samples, whole, with a note of all that was changed."""

import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from linnet.data.audio_files.bytes import FileBytes, Part, PartFile
from linnet.data.audio_files.channels import (
    PARTLY_CANCELLING,
    ChannelStatistics,
    channels_to_mix,
    describe_cancelling,
)
from linnet.data.audio_files.chunks import UNKNOWN_BYTES
from linnet.data.audio_files.errors import TooLongAudio, UnreadableAudio
from linnet.data.audio_files.parts import find_parts

MAX_CHANNELS = 8
SIXTEEN_BITS_HOLD = ("PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "VORBIS", "OPUS", "MPEG_LAYER_III")
MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768_000
MAX_DURATION_SECONDS = 4 * 3600
MAX_SAMPLES = 2**28  # 1 GiB as float32: 100 minutes at 44100 Hz
UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's value for a stream whose header doesn't say
BLOCK = 4096  # samples; where a decoder fails, the block it fails in is lost
MAX_RATIO_TERM = 2000  # of the sample rates; a resampling kernel for 44101 : 16000 would take gigabytes
MP3_SLACK_SECONDS = 0.25  # without a header of lengths libsndfile estimates them
MOST_NOTED_PARTS = 3  # of many that are joined
# What libsndfile's log says of a file whose header is wrong.
DECLARED_BYTES = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)


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
    gain: float  # what the file's own values were multiplied by
    rates_hz: tuple[int, ...]  # the file's own; several where recordings of different rates are joined
    num_mixed: int  # channels whose mean this is; 1 also where one of several was taken

    @property
    def fits_16_bits(self) -> bool:
        """Whether 16 bits hold what its encoding holds."""
        return self.encoding.endswith(SIXTEEN_BITS_HOLD)


@dataclass(frozen=True)
class _Decoded:
    """One of the recordings in a file, at its own level."""

    samples: NDArray[np.float32]
    notes: tuple[str, ...]
    encoding: str
    rate_hz: int
    num_mixed: int
    seconds: float


def read_audio(path: Path, *, sample_rate_hz: int) -> DecodedAudio:
    """Any file that libsndfile decodes (wav, flac, ogg, mp3, aiff, ...) as one channel at `sample_rate_hz`.

    Recordings that are joined end to end in one file are decoded one after the other. Up to 8 channels are mixed by
    their mean, but for those that cancel others in it. Other sample rates are resampled, and what then peaks above 1 is
    scaled to peak at 1. A header that says less than there is is mended. Of a file that ends early or is damaged, the
    samples before that are kept. Each change gets a note.

    Raises:
        UnreadableAudio: missing, not audio, empty, more than 4 hours or 2^28 samples, values that are not finite.
    """
    with _opened(path) as descriptor:
        data = FileBytes(descriptor)
        parts, num_left = find_parts(data)
        decoded: list[_Decoded] = []
        faults: list[str] = []
        for number, part in enumerate(parts or [Part(0, data.size)], start=1):
            try:
                before = sum(len(one.samples) for one in decoded)
                decoded.append(_decode_part(descriptor, data, part, sample_rate_hz, before))
            except UnreadableAudio as reason:
                if len(parts) <= 1 or isinstance(reason, TooLongAudio):
                    raise
                faults.append(f"part {number} of {len(parts)}: {reason}")
    return _joined(decoded, faults, num_left)


def _joined(decoded: list[_Decoded], faults: list[str], num_left: int) -> DecodedAudio:
    """The recordings of one file one after the other, never beyond full scale; `num_left` bytes come after them."""
    if not decoded:
        raise UnreadableAudio(faults[0])
    samples = decoded[0].samples if len(decoded) == 1 else np.concatenate([one.samples for one in decoded])
    is_joined = len(decoded) + len(faults) > 1
    notes = _joined_notes(decoded, faults) if is_joined else list(decoded[0].notes)
    if num_left:
        notes.append(f"{num_left} bytes after its end are no audio that is known")
    peak, gain = float(np.abs(samples).max()), 1.0
    if peak > 1:
        samples, gain = np.clip(samples / np.float32(peak), -1, 1), 1 / peak
        notes.append(f"scaled down from a peak of {peak:.3g} to 1")
    rates = tuple(dict.fromkeys(one.rate_hz for one in decoded))
    num_mixed = max(one.num_mixed for one in decoded)
    return DecodedAudio(samples, tuple(notes), decoded[0].encoding, gain, rates, num_mixed)


def _joined_notes(decoded: list[_Decoded], faults: list[str]) -> list[str]:
    """What is said of several recordings in one file: how long each is, and each thing that was changed once."""
    seconds = [one.seconds for one in decoded]
    lengths = " + ".join(f"{length:.2f}" for length in seconds[:MOST_NOTED_PARTS])
    more = " + ..." if len(seconds) > MOST_NOTED_PARTS else ""
    count = f"{len(decoded)} of {len(decoded) + len(faults)}" if faults else f"{len(decoded)}"
    total = f" = {sum(seconds):.2f}" if len(seconds) > 1 else ""
    return [
        f"{count} recordings joined end to end: {lengths}{more}{total} s",
        *faults,
        *dict.fromkeys(note for one in decoded for note in one.notes),
    ]


@np.errstate(invalid="ignore", over="ignore")  # values that are not finite are counted and refused
def _decode_part(descriptor: int, data: FileBytes, part: Part, sample_rate_hz: int, before: int) -> _Decoded:
    """One recording in the file, after `before` samples of others."""
    is_whole = part.start == 0 and part.stop >= data.size and not part.patches and not part.prefix

    def opened() -> soundfile.SoundFile:
        # By descriptor: soundfile takes a name that ends in .raw for headerless samples.
        os.lseek(descriptor, 0, os.SEEK_SET)
        return _Stream(descriptor, closefd=False) if is_whole else _Stream(PartFile(data, part))

    try:
        with opened() as file:
            rate, channels = _check_format(file)
            samples, statistics, notes = _decode(file, part, before * file.samplerate // sample_rate_hz)
            encoding = f"{file.format} {file.subtype}"
        num_mixed = channels
        if statistics is not None:
            kept = channels_to_mix(covariance := statistics.covariance())
            num_mixed = len(kept)
            if num_mixed < channels:
                with opened() as file:
                    samples = np.concatenate([_mean(block[list(kept)]) for block in _blocks(file)])
                notes.append(describe_cancelling(covariance, kept))
            elif (fraction := statistics.cancelling_fraction()) >= PARTLY_CANCELLING:
                seconds = len(samples) / rate
                notes.append(f"channels cancel in {fraction * seconds:.1f} of its {seconds:.1f} s")
    except soundfile.LibsndfileError as reason:
        raise UnreadableAudio(f"not an audio file ({reason.error_string.rstrip('.')})") from None
    if not np.isfinite(samples).all():
        raise UnreadableAudio(f"{int((~np.isfinite(samples)).sum())} of {len(samples)} samples are not finite")
    seconds = len(samples) / rate
    if num_mixed > 1:
        notes.append(f"mixed {num_mixed} channels to 1")
    if rate != sample_rate_hz:
        samples = _resample(samples, rate, sample_rate_hz)
        notes.append(f"resampled from {rate} Hz to {sample_rate_hz} Hz")
    return _Decoded(samples, tuple(notes), encoding, rate, num_mixed, seconds)


def _check_format(file: soundfile.SoundFile) -> tuple[int, int]:
    """Sample rate and number of channels."""
    rate, channels = int(file.samplerate), int(file.channels)
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise UnreadableAudio(f"sample rate of {rate} Hz (known are {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz)")
    if channels > MAX_CHANNELS:
        raise UnreadableAudio(f"{channels} channels (at most {MAX_CHANNELS})")
    return rate, channels


def _decode(
    file: soundfile.SoundFile, part: Part, before: int
) -> tuple[NDArray[np.float32], ChannelStatistics | None, list[str]]:
    """The mean of the channels, float32 [n], how they go together, and notes.

    Reading is limited whatever length the header declares.
    """
    declared = None if file.frames == UNKNOWN_FRAMES else int(file.frames)
    _check_length((declared or 0) + before, file.samplerate)
    statistics = ChannelStatistics() if file.channels > 1 else None
    blocks: list[NDArray[np.float32]] = []
    count, is_damaged = 0, False
    try:
        for block in _blocks(file):
            blocks.append(_mean(block))
            if statistics is not None:
                statistics.add(block)
            count += block.shape[1]
            _check_length(count + before, file.samplerate)
    except soundfile.LibsndfileError:
        is_damaged = True
    if not count:
        raise UnreadableAudio("nothing of it can be decoded" if is_damaged or declared else "no samples in it")
    samples, rate = np.concatenate(blocks), file.samplerate
    return samples, statistics, [*part.notes, *_length_notes(file, part, declared, count / rate)]


def _length_notes(file: soundfile.SoundFile, part: Part, declared: int | None, seconds: float) -> list[str]:
    """What to say where the header gave another length than the `seconds` that were decoded."""
    said: float | None = None if declared is None else declared / file.samplerate
    if match := DECLARED_BYTES.search(file.extra_info):  # of these formats libsndfile corrects `frames` silently
        stated, actual = int(match[1]), int(match[2])
        if stated >= UNKNOWN_BYTES:
            said = None
        elif actual:
            said = seconds * stated / actual
    if part.declared_fraction is None or said is None:
        return [f"does not say how long it is: {seconds:.2f} s could be decoded"]
    if part.declared_fraction < 1:
        return [
            f"header says {seconds * part.declared_fraction:.2f} s: all {seconds:.2f} s that are there were decoded"
        ]
    slack = MP3_SLACK_SECONDS if file.format == "MP3" else 0.0
    if seconds < said - slack:
        return [f"ends early: {seconds:.2f} of {said:.2f} s could be decoded"]
    return []


def _blocks(file: soundfile.SoundFile) -> Iterator[NDArray[np.float64]]:
    """The samples [channels, n] of a file up to its end."""
    # A FLAC decoder takes what follows the last frame, such as a tag, for damage: it must not look there.
    left = file.frames if file.format == "FLAC" and file.frames != UNKNOWN_FRAMES else math.inf
    while left and len(block := file.read(int(min(BLOCK, left)), dtype="float32", always_2d=True)):
        yield np.array(block.T, dtype=np.float64, order="C")  # sums along short rows are slow
        left -= len(block)


def _mean(block: NDArray[np.float64]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = block.mean(axis=0).astype(np.float32)
    return mean


def _check_length(num_samples: int, rate_hz: int) -> None:
    limit = min(MAX_SAMPLES, MAX_DURATION_SECONDS * rate_hz)
    if num_samples > limit:
        raise TooLongAudio(
            f"absurdly long: more than {limit} samples ({limit / rate_hz / 3600:.1f} hours); cut it into segments"
        )


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The descriptor of a regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for its writer
    except FileNotFoundError:
        raise UnreadableAudio("file is missing") from None
    except OSError as reason:
        raise UnreadableAudio(f"cannot be read ({reason.strerror})") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnreadableAudio("not a file")
        yield descriptor
    except OSError as reason:
        raise UnreadableAudio(f"cannot be read ({reason.strerror})") from None
    finally:
        os.close(descriptor)


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
