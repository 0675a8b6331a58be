"""What preprocess measures on the train split: statistics.json in a dataset folder and in a model folder.

Imports no torch.
"""

import re
from pathlib import Path
from typing import assert_never

from linnet.files import StrictTable, read_json, read_table
from linnet.recipe import Audio, DataSection, Images


def class_title(name: str, number: str) -> str:
    """The name of a class, and its number in the data set where the name does not begin with it."""
    leading = re.match(r"0*(\d+)(?!\d)", name)
    return name if leading and leading[1] == number else f"{name} (class number {number})"


class ImageStatistics(StrictTable):
    """Of a data set of images."""

    size: int  # pixels, height and width
    train_count: int
    test_count: int
    rejected_count: int
    mean: list[float]  # per channel, of pixels scaled to 0..1
    std: list[float]
    class_names: list[str]  # by label
    class_numbers: list[int]  # by label, as the data set counts its classes
    class_counts: list[int]  # training images of each class
    grey_count: int
    past_edge_count: int  # boxes that reach past the edge of their image
    padded_count: int  # squares larger than their image

    @property
    def label_names(self) -> list[str]:
        """The classes."""
        return self.class_names

    def class_title(self, label: int) -> str:
        """A class as people read it, which no other class is called like."""
        return class_title(self.class_names[label], str(self.class_numbers[label]))

    @property
    def without_training(self) -> list[str]:
        """The classes that no training example has."""
        return [self.class_title(label) for label, count in enumerate(self.class_counts) if not count]

    @property
    def example_counts(self) -> list[int]:
        """Training examples of each class, by its label in the dataset's arrays."""
        return self.class_counts

    @property
    def labels(self) -> list[tuple[str, ...]]:
        """The one label of each class: its name."""
        return [(name,) for name in self.class_names]

    @property
    def captions(self) -> list[str]:
        """Classes have none: "" for each."""
        return [""] * len(self.class_names)


class RecordingStatistics(StrictTable):
    """One recording of the raw data."""

    name: str
    labels: list[str]
    caption: str


class RoundTrip(StrictTable):
    """What the STFT and its inverse lose, in decibels of signal to error."""

    signal_to_error_db: float
    with_estimated_dc_db: float | None  # with the dropped bin of frequency 0 estimated; None where it is kept


class AudioStatistics(StrictTable):
    """Of a data set of audio; an example is a window of a recording."""

    train_count: int
    test_count: int
    rejected_count: int
    label_names: list[str]  # in alphabetical order
    recordings: list[RecordingStatistics]
    recording_counts: list[int]  # training windows of each recording
    seconds: float  # of all recordings that could be read
    silent_windows: int
    unused_seconds: float  # that no window covers
    mean: list[float]  # per frequency
    scale: list[float]
    peak: list[float]  # the largest |feature - mean| / scale
    round_trip: RoundTrip

    @property
    def without_training(self) -> list[str]:
        """The labels that no training example has."""
        pairs = zip(self.recordings, self.recording_counts, strict=True)
        trained = {label for recording, count in pairs if count for label in recording.labels}
        return [name for name in self.label_names if name not in trained]

    @property
    def example_counts(self) -> list[int]:
        """Training examples of each recording, by its number in the dataset's label arrays."""
        return self.recording_counts

    @property
    def labels(self) -> list[tuple[str, ...]]:
        """The labels of each recording, in the order of its metadata."""
        return [tuple(recording.labels) for recording in self.recordings]

    @property
    def captions(self) -> list[str]:
        """The caption of each recording, "" for none."""
        return [recording.caption for recording in self.recordings]


Statistics = ImageStatistics | AudioStatistics


def read_statistics(path: Path, *, made_by: str) -> Statistics:
    """The statistics in a file that stage `made_by` wrote.

    Raises:
        ArtifactError: it is missing, damaged or of another version of linnet; the message names the stage.
    """
    if "recordings" in read_json(path, made_by=made_by):
        return read_table(AudioStatistics, path, made_by=made_by)
    return read_table(ImageStatistics, path, made_by=made_by)


def neutral_statistics(data: DataSection) -> Statistics:
    """Statistics of an imaginary data set with one class or recording, where only shapes and times matter."""
    channels, num_bins, _ = data.shape
    counts = {"train_count": 1, "test_count": 1, "rejected_count": 0}
    match data:
        case Images():
            return ImageStatistics(
                **counts,
                size=data.image_size_pixels,
                mean=[0.5] * channels,
                std=[0.25] * channels,
                class_names=["one"],
                class_numbers=[1],
                class_counts=[1],
                grey_count=0,
                past_edge_count=0,
                padded_count=0,
            )
        case Audio():
            return AudioStatistics(
                **counts,
                label_names=["one"],
                recordings=[RecordingStatistics(name="", labels=["one"], caption="three words here")],
                recording_counts=[1],
                seconds=0.0,
                silent_windows=0,
                unused_seconds=0.0,
                mean=[0.0] * num_bins,
                scale=[1.0] * num_bins,
                peak=[10.0] * num_bins,
                round_trip=RoundTrip(signal_to_error_db=0.0, with_estimated_dc_db=None),
            )
        case _:
            assert_never(data)
