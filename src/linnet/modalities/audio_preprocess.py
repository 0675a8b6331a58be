"""Recordings in their raw layout become arrays of windows, a manifest, per-frequency statistics and a summary."""

import collections
import csv
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from linnet.artifacts import Dataset
from linnet.audio.pcm import decode_waveform, encode_waveform
from linnet.data.arrays import ArrayWriter, open_array
from linnet.data.audio_files import UnreadableAudio, cut_windows, read_audio
from linnet.data.duplicates import count_equal_rows, fingerprint, first_of_equal_files
from linnet.data.layouts.audio_folder import (
    NO_BYTES,
    Recording,
    RecordingIndex,
    find_folder,
    read_recordings,
    recording_path,
)
from linnet.data.splits import Listed, Side, assign_splits, moves_usable
from linnet.modalities.base import Preprocessed, Rejected
from linnet.modalities.overlap import measure_overlap
from linnet.modalities.pool import OrderedPool
from linnet.modalities.statistics import AudioStatistics, RecordingStatistics, RoundTrip
from linnet.modalities.summary import AudioSummary
from linnet.progress import ProgressBar, log
from linnet.recipe import Audio

if TYPE_CHECKING:
    from linnet.audio.normalization import FrequencyNormalization

STATISTICS_BATCH = 64  # windows
ROUND_TRIP_WINDOWS = 32
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("file_name", pa.string()),
        ("split", pa.string()),
        ("row", pa.int64()),
        ("start_sample", pa.int64()),
        ("labels", pa.list_(pa.string())),
        ("caption", pa.string()),
    ]
)


@dataclass(frozen=True)
class RecordingWindows:
    """The windows of one recording, and what was done to get them."""

    samples: NDArray[np.int16]  # [n, window_samples]
    starts: NDArray[np.int64]
    num_silent: int
    seconds: float
    notes: tuple[str, ...]  # what was changed
    unused_seconds: float  # that no window reaches: at its end, and between windows


@dataclass
class Counts:
    """What is counted while the recordings pass by."""

    train_windows: collections.Counter[int] = field(default_factory=collections.Counter)  # by number of the recording
    durations: list[float] = field(default_factory=list)  # seconds, of each recording that could be read
    num_silent: int = 0
    unused_seconds: float = 0.0
    converted: list[tuple[str, str]] = field(default_factory=list)  # file name, what was changed
    fingerprints: dict[Side, list[int]] = field(default_factory=lambda: {"train": [], "test": []})  # of windows

    def add(self, recording: Recording, windows: RecordingWindows, side: Side) -> None:
        """Count one recording."""
        self.train_windows[recording.number] += len(windows.samples) if side == "train" else 0
        self.fingerprints[side] += map(fingerprint, windows.samples)
        self.durations.append(windows.seconds)
        self.num_silent += windows.num_silent
        self.unused_seconds += windows.unused_seconds
        self.converted += [(recording.file_name, note) for note in windows.notes]


def preprocess(data: Audio, *, raw: Path, folder: Path, workers: int) -> Preprocessed:
    """Resample, mix down, cut and split the recordings below `raw` into arrays in `folder`. Raises RawDataError."""
    index = read_recordings(raw, data)
    base = find_folder(raw)
    paths = [recording_path(base, recording) for recording in index.recordings]
    listed, missing = _listed(index, paths), {i for i, path in enumerate(paths) if path is None or not path.is_file()}
    sides = assign_splits(data.split, listed, missing)
    counts, rejected, sizes = _write_windows(data, index, sides, base, folder, workers)
    unusable = {row.number for row in rejected}
    settled = assign_splits(data.split, listed, unusable)
    if moves_usable(sides, settled, unusable):
        log("preprocess: damaged recordings left a label without training examples; reading all again, split otherwise")
        sides = settled
        counts, rejected, sizes = _write_windows(data, index, sides, base, folder, workers)
    _write_converted(folder / Dataset.converted, counts.converted)

    def measure() -> tuple[AudioStatistics, AudioSummary]:
        normalization = _measure_frequencies(data, folder)
        recordings = index.recordings
        statistics = AudioStatistics(
            train_count=sizes["train"],
            test_count=sizes["test"],
            rejected_count=len(rejected),
            label_names=sorted({label for recording in recordings for label in recording.labels}),
            recordings=[
                RecordingStatistics(name=r.file_name, labels=list(r.labels), caption=r.caption) for r in recordings
            ],
            recording_counts=[counts.train_windows[recording.number] for recording in recordings],
            seconds=sum(counts.durations),
            silent_windows=counts.num_silent,
            unused_seconds=counts.unused_seconds,
            mean=normalization.mean,
            scale=normalization.scale,
            peak=normalization.peak,
            round_trip=round_trip(data, open_array(folder / Dataset.waveforms("train"))),
        )
        overlap = measure_overlap(data.split, listed, sides, unusable, near_held_out=_count_equal(folder, counts))
        return statistics, AudioSummary(overlap=overlap, durations=counts.durations)

    return Preprocessed(len(index.recordings), sizes["train"], sizes["test"], rejected, measure)


def _listed(index: RecordingIndex, paths: Sequence[Path | None]) -> Listed:
    return Listed(
        names=[recording.file_name for recording in index.recordings],
        official=[recording.split for recording in index.recordings],
        first_equal=first_of_equal_files(paths),
        classes=[recording.labels for recording in index.recordings],
    )


def _count_equal(folder: Path, counts: Counts) -> int:
    """Held-out windows that are equal to a training window."""
    held_out, train = (open_array(folder / Dataset.waveforms(split)) for split in ("test", "train"))
    return count_equal_rows(held_out, counts.fingerprints["test"], train, counts.fingerprints["train"])


def _write_windows(
    data: Audio, index: RecordingIndex, sides: Sequence[Side], source: Path, folder: Path, workers: int
) -> tuple[Counts, list[Rejected], dict[str, int]]:
    """Write windows, their recordings and the manifest; returns also the number of windows in each split.

    All windows of a recording go to the same split.
    """
    recordings = index.recordings
    counts, rejected = Counts(converted=list(index.notes)), list[Rejected]()
    with ExitStack() as stack:
        waveforms, labels = {}, {}
        for split in ("train", "test"):
            path = folder / Dataset.waveforms(split)
            waveforms[split] = stack.enter_context(ArrayWriter(path, (data.window_samples,), np.int16))
            labels[split] = stack.enter_context(ArrayWriter(folder / Dataset.labels(split), (), np.int64))
        manifest = stack.enter_context(pq.ParquetWriter(folder / Dataset.manifest, SCHEMA))
        tasks = [(source, recording, data) for recording in recordings]
        results = stack.enter_context(OrderedPool(_read_recording, tasks, workers))
        bar = stack.enter_context(ProgressBar("preprocess: recordings", len(recordings)))
        for recording, split, windows in zip(recordings, sides, results, strict=True):
            bar.advance()
            if isinstance(windows, str):
                rejected.append(Rejected(recording.number, recording.file_name, windows))
                continue
            manifest.write_table(_manifest_rows(recording, split, waveforms[split].count, windows))
            for window in windows.samples:
                waveforms[split].append(window)
                labels[split].append(np.array(recording.number, dtype=np.int64))
            counts.add(recording, windows, split)
        return counts, rejected, {split: writer.count for split, writer in waveforms.items()}


def _read_recording(source: Path, recording: Recording, data: Audio) -> RecordingWindows | str:
    """The windows of one recording, or why there are none."""
    path = recording_path(source, recording)
    if path is None:
        return "its name points out of the folder, or is a hidden file's"
    if NO_BYTES in recording.file_name and not path.exists():
        return "its row of the parquet file holds no bytes"
    try:
        decoded = read_audio(path, sample_rate_hz=data.sample_rate_hz)
        cut = cut_windows(
            decoded.samples,
            window_samples=data.window_samples,
            stride_samples=data.stride_frames * data.stft.hop_samples,
            silence_dbfs=data.silence_dbfs,
            sample_rate_hz=data.sample_rate_hz,
        )
    except UnreadableAudio as reason:
        return str(reason)
    if not cut.starts:
        return f"silent: nothing in it is louder than silence_dbfs = {data.silence_dbfs:g}"
    rounded = () if decoded.fits_16_bits else (f"{decoded.encoding} rounded to 16 bits",)
    return RecordingWindows(
        samples=encode_waveform(cut.samples),
        starts=np.asarray(cut.starts, dtype=np.int64),
        num_silent=cut.num_silent,
        seconds=len(decoded.samples) / data.sample_rate_hz,
        notes=(*decoded.notes, *rounded, *cut.notes),
        unused_seconds=_unused_samples(data, len(decoded.samples)) / data.sample_rate_hz,
    )


def _unused_samples(data: Audio, count: int) -> int:
    """Samples of a recording of `count` that no window reaches: at its end, and between windows."""
    if count < data.window_samples:
        return 0
    stride = data.stride_frames * data.stft.hop_samples
    further_windows = (count - data.window_samples) // stride
    return count - data.window_samples - further_windows * min(stride, data.window_samples)


def _manifest_rows(recording: Recording, split: str, first_row: int, windows: RecordingWindows) -> pa.Table:
    rows = [
        {
            "number": recording.number,
            "file_name": recording.file_name,
            "split": split,
            "row": first_row + window,
            "start_sample": int(start),
            "labels": list(recording.labels),
            "caption": recording.caption,
        }
        for window, start in enumerate(windows.starts)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _measure_frequencies(data: Audio, folder: Path) -> "FrequencyNormalization":
    """Mean and scale per frequency of the train split; also writes its spectrograms where the recipe stores them."""
    import torch

    from linnet.audio.normalization import FrequencyStatistics
    from linnet.audio.stft import Transform, as_channels

    waveforms = open_array(folder / Dataset.waveforms("train"))
    transform, statistics = Transform(data.stft), FrequencyStatistics(data.stft, data.representation)
    with ExitStack() as stack:
        writer = None
        if data.storage == "spectrogram":
            path = folder / Dataset.training_examples(data)
            writer = stack.enter_context(ArrayWriter(path, data.shape, np.float32))
        bar = stack.enter_context(ProgressBar("preprocess: spectrograms", len(waveforms)))
        for start in range(0, len(waveforms), STATISTICS_BATCH):
            batch = torch.from_numpy(decode_waveform(np.array(waveforms[start : start + STATISTICS_BATCH])))
            channels = as_channels(transform.spectrum(batch), data.representation)
            statistics.add(channels)
            if writer is not None:
                for example in channels.numpy():
                    writer.append(example)
            bar.advance(len(batch))
    return statistics.normalization()


def round_trip(data: Audio, waveforms: NDArray[Any]) -> RoundTrip:
    """What the STFT and its inverse lose on the interior of some windows.

    With the bin of frequency 0 dropped, `signal_to_error_db` takes it as 0 and `with_estimated_dc_db` estimates it from
    its neighbours, as linnet does wherever it makes audio.
    """
    import torch

    from linnet.audio.stft import Transform

    rows = np.linspace(0, len(waveforms) - 1, min(ROUND_TRIP_WINDOWS, len(waveforms))).astype(int)
    x = torch.from_numpy(decode_waveform(np.array(waveforms[rows])))
    transform, length, edge = Transform(data.stft), x.shape[-1], data.stft.window_samples
    inside = slice(edge, max(length - edge, edge + 1))
    spectrum = transform.spectrum(x)

    def signal_to_error_db(back: torch.Tensor) -> float:
        signal, error = (waveform[..., inside].double().square().sum() for waveform in (x, back - x))
        return float(10 * torch.log10(signal / error.clamp(min=1e-30)))

    without_dc = signal_to_error_db(transform.waveform(spectrum, length))
    if data.stft.keep_dc:
        return RoundTrip(signal_to_error_db=without_dc, with_estimated_dc_db=None)
    dc = transform.estimate_dc(spectrum, length)
    with_dc = signal_to_error_db(transform.waveform(spectrum, length, dc=dc))
    return RoundTrip(signal_to_error_db=without_dc, with_estimated_dc_db=with_dc)


def _write_converted(path: Path, converted: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "what was done"])
        writer.writerows(converted)
