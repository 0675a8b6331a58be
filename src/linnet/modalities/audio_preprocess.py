"""Recordings in their raw layout become windows, per-frequency statistics, a manifest and an exploratory page."""

import collections
import csv
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from linnet.artifacts import Dataset
from linnet.audio.pcm import decode_waveform, encode_waveform
from linnet.data.arrays import ArrayWriter, open_array
from linnet.data.audio_files import UnreadableAudio, cut_windows, read_audio
from linnet.data.batches import split_positions
from linnet.data.layouts.audio_folder import Recording, RecordingIndex, find_folder, read_recordings, recording_path
from linnet.data.raw import RawDataError
from linnet.modalities.prepared import OrderedPool, Prepared, Rejected
from linnet.progress import ProgressBar
from linnet.recipe import Audio, OfficialSplit, SeededSplit
from linnet.reports import html

STATISTICS_BATCH = 64  # windows
ROUND_TRIP_WINDOWS = 32
SHOWN_SOUNDS = 12
DURATION_BINS = 30
SIXTEEN_BITS_HOLD = ("PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "VORBIS", "OPUS", "MPEG_LAYER_III")
CONVERTED = "converted.csv"  # what was changed on the way, recording by recording
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
    """What is left of one recording."""

    samples: NDArray[np.int16]  # [n, window_samples]
    starts: NDArray[np.int64]
    num_silent: int
    seconds: float
    notes: tuple[str, ...]
    unused_seconds: float  # that no window reaches: at its end, and between windows


@dataclass
class DatasetSummary:
    """What the exploratory page shows, counted while the recordings pass by."""

    seconds: dict[int, float] = field(default_factory=dict)  # by number of the recording
    num_silent: int = 0
    unused_seconds: float = 0.0
    converted: list[tuple[str, str]] = field(default_factory=list)


def prepare(data: Audio, *, raw: Path, folder: Path, workers: int) -> Prepared:
    """Resample, mix down, cut and split the recordings below `raw` into arrays in `folder`. Raises RawDataError."""
    index = read_recordings(raw, data)
    split_of = _split(data, index)
    summary, rejected = DatasetSummary(converted=list(index.notes)), list[Rejected]()
    recording_counts = _write_windows(data, index, split_of, find_folder(raw), folder, workers, summary, rejected)
    counts = {split: len(open_array(folder / Dataset.waveforms(split))) for split in ("train", "test")}
    statistics: dict[str, Any] = {
        "train_count": counts["train"],
        "test_count": counts["test"],
        "rejected_count": len(rejected),
        "label_names": sorted({label for recording in index.recordings for label in recording.labels}),
        "recordings": [{"name": s.file_name, "labels": list(s.labels), "caption": s.caption} for s in index.recordings],
        "recording_counts": [recording_counts[recording.number] for recording in index.recordings],
        "seconds": sum(summary.seconds.values()),
        "silent_windows": summary.num_silent,
        "unused_seconds": summary.unused_seconds,
    }
    if counts["train"]:
        statistics |= _measure(data, folder)
    _write_converted(folder / CONVERTED, summary.converted)
    return Prepared(
        statistics, rejected, len(index.recordings), lambda: _page(folder, data, statistics, summary, rejected)
    )


def _split(data: Audio, index: RecordingIndex) -> dict[int, str]:
    """`{number of the recording: split}`: all windows of a recording go where the recording goes, and rejects have a place too."""
    match data.split:
        case OfficialSplit():
            if missing := [recording.file_name for recording in index.recordings if not recording.split]:
                raise RawDataError(
                    f"[data.split] kind = 'official', but {missing[0]} and {len(missing) - 1} more recordings say no split "
                    "in metadata.csv; give a column 'split' with train or test, or use kind = 'seeded'"
                )
            return {recording.number: recording.split for recording in index.recordings}
        case SeededSplit(train_fraction=fraction, seed=seed):
            is_train = split_positions(len(index.recordings), train_fraction=fraction, seed=seed)
            return {s.number: "train" if is_train[place] else "test" for place, s in enumerate(index.recordings)}
        case _:
            assert_never(data.split)


def _write_windows(
    data: Audio,
    index: RecordingIndex,
    split_of: dict[int, str],
    source: Path,
    folder: Path,
    workers: int,
    summary: DatasetSummary,
    rejected: list[Rejected],
) -> collections.Counter[int]:
    """Windows, their recordings and the manifest; training windows of each recording."""
    counts: collections.Counter[int] = collections.Counter()
    with ExitStack() as stack:
        waveforms, labels = {}, {}
        for split in ("train", "test"):
            path = folder / Dataset.waveforms(split)
            waveforms[split] = stack.enter_context(ArrayWriter(path, (data.window_samples,), np.int16))
            labels[split] = stack.enter_context(ArrayWriter(folder / Dataset.labels(split), (), np.int64))
        manifest = stack.enter_context(pq.ParquetWriter(folder / Dataset.manifest, SCHEMA))
        results = stack.enter_context(
            OrderedPool(_read_recording, [(source, recording, data) for recording in index.recordings], workers)
        )
        bar = stack.enter_context(ProgressBar("preprocess: recordings", len(index.recordings)))
        for recording, windows in zip(index.recordings, results, strict=True):
            bar.advance()
            if isinstance(windows, str):
                rejected.append(Rejected(recording.number, recording.file_name, windows))
                continue
            split = split_of[recording.number]
            manifest.write_table(_manifest_rows(recording, split, waveforms[split].count, windows))
            for window in windows.samples:
                waveforms[split].append(window)
                labels[split].append(np.array(recording.number, dtype=np.int64))
            counts[recording.number] += len(windows.samples) if split == "train" else 0
            summary.seconds[recording.number] = windows.seconds
            summary.num_silent += windows.num_silent
            summary.unused_seconds += windows.unused_seconds
            summary.converted += [(recording.file_name, note) for note in windows.notes]
    return counts


def _read_recording(source: Path, recording: Recording, data: Audio) -> RecordingWindows | str:
    """The windows of one recording, or why there are none."""
    path = recording_path(source, recording)
    if path is None:
        return "its name points out of the folder"
    try:
        decoded = read_audio(path, sample_rate_hz=data.sample_rate_hz)
        cut = cut_windows(
            decoded.samples,
            window_samples=data.window_samples,
            stride_samples=data.stride_frames * data.stft.hop_samples,
            silence_dbfs=data.silence_dbfs,
        )
    except UnreadableAudio as reason:
        return str(reason)
    if not cut.starts:
        return f"silent: nothing in it is louder than silence_dbfs = {data.silence_dbfs:g}"
    holds = decoded.encoding.endswith(SIXTEEN_BITS_HOLD)
    rounded = () if holds else (f"{decoded.encoding} rounded to 16 bits",)
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
            "row": first_row + place,
            "start_sample": int(start),
            "labels": list(recording.labels),
            "caption": recording.caption,
        }
        for place, start in enumerate(windows.starts)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _measure(data: Audio, folder: Path) -> dict[str, Any]:
    """Per-frequency statistics of the train split; also writes its spectrograms where the recipe stores them."""
    import torch

    from linnet.audio.normalization import FrequencyStatistics
    from linnet.audio.stft import Transform, as_channels

    waveforms = open_array(folder / Dataset.waveforms("train"))
    transform, gathered = Transform(data.stft), FrequencyStatistics(data.stft, data.representation)
    with ExitStack() as stack:
        writer = None
        if data.storage == "spectrogram":
            path = folder / Dataset.training_examples(data)
            writer = stack.enter_context(ArrayWriter(path, data.shape, np.float32))
        bar = stack.enter_context(ProgressBar("preprocess: spectrograms", len(waveforms)))
        for start in range(0, len(waveforms), STATISTICS_BATCH):
            batch = torch.from_numpy(decode_waveform(np.array(waveforms[start : start + STATISTICS_BATCH])))
            channels = as_channels(transform.spectrum(batch), data.representation)
            gathered.add(channels)
            for example in channels.numpy() if writer else ():
                assert writer is not None
                writer.append(example)
            bar.advance(len(batch))
    scales = gathered.scales()
    return vars(scales) | {"round_trip": round_trip(data, waveforms)}


def round_trip(data: Audio, waveforms: NDArray[Any]) -> dict[str, float | None]:
    """What the STFT and back loses: decibels of signal to error on the interior of some windows.

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
        signal, error = (part[..., inside].double().square().sum() for part in (x, back - x))
        return float(10 * torch.log10(signal / error.clamp(min=1e-30)))

    found: dict[str, float | None] = {
        "signal_to_error_db": signal_to_error_db(transform.waveform(spectrum, length)),
        "with_estimated_dc_db": None,
    }
    if not data.stft.keep_dc:
        dc = transform.estimate_dc(spectrum, length)
        found["with_estimated_dc_db"] = signal_to_error_db(transform.waveform(spectrum, length, dc=dc))
    return found


def _write_converted(path: Path, converted: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "what was done"])
        writer.writerows(converted)


def _page(
    folder: Path,
    data: Audio,
    statistics: dict[str, Any],
    summary: DatasetSummary,
    rejected: list[Rejected],
) -> str:
    from linnet.reports.previews import players

    waveforms, recordings = (open_array(folder / name("train")) for name in (Dataset.waveforms, Dataset.labels))
    rows = np.linspace(0, len(waveforms) - 1, min(SHOWN_SOUNDS, len(waveforms))).astype(int)
    counted = collections.Counter(label for recording in statistics["recordings"] for label in recording["labels"])
    captions = [", ".join(statistics["recordings"][int(recordings[row])]["labels"]) for row in rows]
    lengths = list(summary.seconds.values())
    longest = max(lengths)
    bins = np.bincount([min(int(s * DURATION_BINS / longest), DURATION_BINS - 1) for s in lengths])
    return html.render(
        "audio_dataset.html",
        title=f"Data set {data.folder}",
        statistics=statistics,
        sample_rate_hz=data.sample_rate_hz,
        window_seconds=data.window_samples / data.sample_rate_hz,
        labels=counted.most_common(),
        caption_count=sum(bool(recording["caption"]) for recording in statistics["recordings"]),
        figures=[html.histogram_svg(bins.tolist(), title="length of the recordings", low="0", high=f"{longest:.0f} s")],
        players=players(data, np.asarray(waveforms[rows]), captions),
        converted=summary.converted,
        rejected=rejected,
    )
