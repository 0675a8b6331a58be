"""The page about a dataset: what preprocess found in the raw data and made of it."""

import collections
import csv
from pathlib import Path
from typing import assert_never

import numpy as np

from linnet.artifacts import Dataset
from linnet.data.arrays import open_array
from linnet.files import read_table
from linnet.modalities.statistics import AudioStatistics, ImageStatistics
from linnet.modalities.summary import AudioSummary, ImageSummary, notes
from linnet.recipe import Audio, DataSection, Images
from linnet.reports import html
from linnet.reports.previews import players

SAMPLE_IMAGES = 96
SAMPLE_PLAYERS = 12
COLUMNS = 16
SIDE_BINS = 40
DURATION_BINS = 30
ASPECT_STEPS = 8  # histogram bars from 1 : 1 to 2 : 1


def dataset_page(data: DataSection, dataset: Path) -> str:
    """The page of a dataset folder. Raises ArtifactError if the folder is not whole."""
    match data:
        case Images():
            return _image_page(data, dataset)
        case Audio():
            return _audio_page(data, dataset)
        case _:
            assert_never(data)


def _image_page(data: Images, dataset: Path) -> str:
    images = open_array(dataset / Dataset.images("train"))
    rows = np.linspace(0, len(images) - 1, min(SAMPLE_IMAGES, len(images))).astype(int)
    statistics = read_table(ImageStatistics, dataset / Dataset.statistics, made_by="preprocess")
    summary = read_table(ImageSummary, dataset / Dataset.summary, made_by="preprocess")
    return html.render(
        "dataset.html",
        title=f"Data set {data.folder}",
        statistics=statistics,
        rejected=_rows(dataset / Dataset.rejected),
        figures=_image_figures(summary, statistics.class_numbers),
        summary=summary,
        odd=_odd_images(summary, dataset),
        split_notes=notes(statistics, summary),
        sample=html.inline_grid(np.asarray(images[rows], dtype=np.uint8), columns=COLUMNS),
    )


def _odd_images(summary: ImageSummary, dataset: Path) -> str:
    """A grid of the examples that look odd, "" for none."""
    arrays = {split: open_array(dataset / Dataset.images(split)) for split in ("train", "test")}
    images = [np.asarray(arrays[odd.split][odd.row], dtype=np.uint8) for odd in summary.odd]
    return html.inline_grid(np.stack(images), columns=COLUMNS) if images else ""


def _image_figures(summary: ImageSummary, class_numbers: list[int]) -> list[str]:
    sides, aspects, classes = summary.box_sides, summary.box_aspects, summary.class_counts
    longest = max(sides)
    side_counts = [0] * SIDE_BINS
    for side, count in sides.items():
        side_counts[side * SIDE_BINS // (longest + 1)] += count
    steps = range(min(aspects), max(aspects) + 1)
    return [
        html.histogram_svg(side_counts, title="longer side of the box", low="0", high=f"{longest} pixels"),
        html.histogram_svg(
            [aspects.get(step, 0) for step in steps],
            title="width to height of the box",
            low=f"1 : {2 ** (-steps[0] / ASPECT_STEPS):.1f}",
            high=f"{2 ** (steps[-1] / ASPECT_STEPS):.1f} : 1",
        ),
        html.histogram_svg(
            [classes[label] for label in sorted(classes)],
            title="images of each class present",
            low=f"class {class_numbers[min(classes)]}",
            high=f"class {class_numbers[max(classes)]}",
        ),
    ]


def _audio_page(data: Audio, dataset: Path) -> str:
    statistics = read_table(AudioStatistics, dataset / Dataset.statistics, made_by="preprocess")
    summary = read_table(AudioSummary, dataset / Dataset.summary, made_by="preprocess")
    waveforms, recordings = (open_array(dataset / name("train")) for name in (Dataset.waveforms, Dataset.labels))
    rows = np.linspace(0, len(waveforms) - 1, min(SAMPLE_PLAYERS, len(waveforms))).astype(int)
    captions = [", ".join(statistics.recordings[int(recordings[row])].labels) for row in rows]
    labels = collections.Counter(label for recording in statistics.recordings for label in recording.labels)
    longest = max(summary.durations)
    bins = [min(int(s * DURATION_BINS / longest), DURATION_BINS - 1) for s in summary.durations]
    durations = np.bincount(bins).tolist()
    return html.render(
        "audio_dataset.html",
        title=f"Data set {data.folder}",
        statistics=statistics,
        sample_rate_hz=data.sample_rate_hz,
        window_seconds=data.window_samples / data.sample_rate_hz,
        labels=labels.most_common(),
        caption_count=sum(bool(caption) for caption in statistics.captions),
        figures=[html.histogram_svg(durations, title="length of the recordings", low="0", high=f"{longest:.0f} s")],
        players=players(data, np.asarray(waveforms[rows]), captions),
        split_notes=notes(statistics, summary),
        converted=_rows(dataset / Dataset.converted),
        rejected=_rows(dataset / Dataset.rejected),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
