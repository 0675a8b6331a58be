"""Images in their raw layout become arrays of squares, a manifest, statistics and a summary."""

import collections
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linnet.artifacts import Dataset
from linnet.data.arrays import ArrayWriter, ChannelStatistics, open_array
from linnet.data.duplicates import count_near_copies, first_of_equal_files
from linnet.data.image_files import UnreadableFile
from linnet.data.images import Crop, crop_square, read_crop
from linnet.data.layouts.base import ImageIndex, ImageRecord
from linnet.data.layouts.dispatch import image_layout_reader
from linnet.data.splits import Listed, Side, assign_splits, moves_usable
from linnet.modalities.base import Preprocessed, Rejected
from linnet.modalities.image_checks import BoxCounts, Look, LookCounts, check_units, look_at
from linnet.modalities.overlap import measure_overlap
from linnet.modalities.pool import OrderedPool
from linnet.modalities.statistics import ImageStatistics
from linnet.modalities.summary import ImageSummary, OddImage, Overlap
from linnet.progress import ProgressBar, log
from linnet.recipe import ExifOrientation, Images

MAX_ODD_SHOWN = 32
CHUNK = 32  # images a task: few enough to keep all cores busy to the end, enough to hide the hand-over


@dataclass
class Counts:
    """What is counted while the images pass by."""

    channels: ChannelStatistics = field(default_factory=lambda: ChannelStatistics(3))  # of training images
    train_classes: collections.Counter[int] = field(default_factory=collections.Counter)
    classes: collections.Counter[int] = field(default_factory=collections.Counter)
    sides: collections.Counter[int] = field(default_factory=collections.Counter)
    aspects: collections.Counter[int] = field(default_factory=collections.Counter)
    grey: int = 0
    past_edge: int = 0
    padded: int = 0
    notes: collections.Counter[str] = field(default_factory=collections.Counter)
    boxes: BoxCounts = field(default_factory=BoxCounts)
    looks: LookCounts = field(default_factory=LookCounts)

    def add(self, record: ImageRecord, crop: Crop, *, is_train: bool) -> None:
        """Count one image."""
        box, (width, height) = crop.box, (crop.image_width, crop.image_height)
        _, _, side = crop_square(box, width, height)
        self.classes[record.label] += 1
        self.sides[round(side)] += 1
        self.aspects[round(8 * np.log2(box.width / box.height))] += 1
        self.grey += bool(np.ptp(crop.pixels, axis=-1).max() == 0)
        outside = box.left < 0 or box.top < 0 or box.left + box.width > width or box.top + box.height > height
        self.past_edge += outside
        self.padded += side > min(width, height)
        self.notes.update(crop.notes)
        self.boxes.add(crop)
        if is_train:
            self.channels.add(crop.pixels)
            self.train_classes[record.label] += 1


def preprocess(data: Images, *, raw: Path, folder: Path, workers: int) -> Preprocessed:
    """Crop, resize and split the images below `raw` into arrays in `folder`. Raises RawDataError."""
    index = image_layout_reader(data.layout).read_index(raw)
    check_units(index.records, where=str(raw))
    return preprocess_index(data, index, folder=folder, workers=workers)


def preprocess_index(data: Images, index: ImageIndex, *, folder: Path, workers: int) -> Preprocessed:
    """Do the same for an index of any layout. `measure` raises RawDataError if most of what came out is empty."""
    listed = _listed(index)
    missing = {i for i, record in enumerate(index.records) if record.path is None or not record.path.is_file()}
    sides = assign_splits(data.split, listed, missing)
    counts, rejected, sizes = _write_arrays(data, index, sides, folder, workers)
    unusable = _indices(index, rejected)
    settled = assign_splits(data.split, listed, unusable)
    if moves_usable(sides, settled, unusable):
        log("preprocess: damaged images left a class without training examples; reading all again, split otherwise")
        sides = settled
        counts, rejected, sizes = _write_arrays(data, index, sides, folder, workers)

    def measure() -> tuple[ImageStatistics, ImageSummary]:
        _log_findings(counts)
        counts.looks.refuse_empty(where=f"[data] folder = {data.folder!r}")
        statistics = ImageStatistics(
            size=data.image_size_pixels,
            train_count=sizes["train"],
            test_count=sizes["test"],
            rejected_count=len(rejected),
            mean=counts.channels.mean(),
            std=counts.channels.std(),
            class_names=list(index.class_names),
            class_numbers=list(index.class_numbers),
            class_counts=[counts.train_classes[label] for label in range(len(index.class_names))],
            grey_count=counts.grey,
            past_edge_count=counts.past_edge,
            padded_count=counts.padded,
        )
        held_out, train = (
            np.asarray(open_array(folder / Dataset.images(side)), np.uint8) for side in ("test", "train")
        )
        near = count_near_copies(held_out, train)
        overlap = measure_overlap(data.split, listed, sides, unusable, near_held_out=near)
        return statistics, _summary(counts, overlap)

    return Preprocessed(len(index.records), sizes["train"], sizes["test"], rejected, measure)


def _listed(index: ImageIndex) -> Listed:
    records = index.records
    return Listed(
        names=[record.name for record in records],
        official=[record.official_split for record in records],
        first_equal=first_of_equal_files([record.path for record in records]),
        classes=[(record.label,) for record in records],
    )


def _indices(index: ImageIndex, rejected: Sequence[Rejected]) -> set[int]:
    numbers = {row.number for row in rejected}
    return {place for place, record in enumerate(index.records) if record.image_id in numbers}


def _summary(counts: Counts, overlap: Overlap) -> ImageSummary:
    order = list(Look)
    odd = sorted(counts.looks.odd, key=lambda example: order.index(example.look))
    return ImageSummary(
        overlap=overlap,
        class_counts=dict(counts.classes),
        box_sides=dict(counts.sides),
        box_aspects=dict(counts.aspects),
        notes=dict(counts.notes.most_common()),
        looks=counts.looks.counts(),
        odd=[OddImage.model_validate(asdict(example)) for example in odd[:MAX_ODD_SHOWN]],
        warnings=counts.boxes.warnings(),
    )


def _log_findings(counts: Counts) -> None:
    """Say what was done to images, what is odd about their files and boxes, and what looks odd in what came out."""
    for note, count in counts.notes.most_common():
        log(f"{count} images: {note}")
    for look, count in counts.looks.counts().items():
        log(f"{count} examples are {look}")
    for warning in counts.boxes.warnings():
        log(f"warning: {warning}")


def _write_arrays(
    data: Images, index: ImageIndex, sides: Sequence[Side], folder: Path, workers: int
) -> tuple[Counts, list[Rejected], dict[str, int]]:
    """Write images, labels and manifest; returns also the number of examples in each split."""
    size, records = data.image_size_pixels, index.records
    counts, rejected = Counts(), list[Rejected]()
    with ExitStack() as stack:
        images, labels = {}, {}
        for split in ("train", "test"):
            images[split] = stack.enter_context(ArrayWriter(folder / Dataset.images(split), (size, size, 3), np.uint8))
            labels[split] = stack.enter_context(ArrayWriter(folder / Dataset.labels(split), (), np.int64))
        manifest = stack.enter_context(_Manifest(folder / Dataset.manifest))
        tasks = [(record, size, data.layout.exif_orientation) for record in records]
        results = stack.enter_context(OrderedPool(_read_one, tasks, workers, chunk_size=CHUNK))
        bar = stack.enter_context(ProgressBar("preprocess: images", len(records)))
        for record, split, result in zip(records, sides, results, strict=True):
            bar.advance()
            if isinstance(result, str):
                rejected.append(Rejected(record.image_id, record.name, result))
                continue
            crop, look = result
            counts.looks.add(record.name, split, images[split].count, look)
            manifest.add(record, crop, split, images[split].count, index.class_names[record.label])
            images[split].append(crop.pixels)
            labels[split].append(np.array(record.label, dtype=np.int64))
            counts.add(record, crop, is_train=split == "train")
        return counts, rejected, {split: writer.count for split, writer in images.items()}


def _read_one(record: ImageRecord, size: int, orientation: ExifOrientation) -> tuple[Crop, Look | None] | str:
    """The crop of an image and what is odd about it, or why there is none."""
    if record.path is None:
        return "name points out of the images folder, or is a hidden file's"
    try:
        crop = read_crop(record.path, record.box, size, orientation)
    except UnreadableFile as reason:
        return str(reason)
    return crop, look_at(crop.pixels)


class _Manifest:
    """manifest.parquet, written in batches."""

    BATCH = 4096
    SCHEMA = pa.schema(
        [
            ("image_id", pa.int64()),
            ("name", pa.string()),
            ("split", pa.string()),
            ("row", pa.int64()),
            ("label", pa.int64()),
            ("class_name", pa.string()),
            *((f"box_{side}", pa.float64()) for side in ("left", "top", "width", "height")),
            ("image_width", pa.int64()),
            ("image_height", pa.int64()),
            ("notes", pa.list_(pa.string())),
        ]
    )

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, self.SCHEMA)
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def add(self, record: ImageRecord, crop: Crop, split: str, row: int, class_name: str) -> None:
        """Add one image, which is number `row` of its split's array."""
        self._rows.append(
            {"image_id": record.image_id, "name": record.name, "split": split, "row": row, "label": record.label}
            | {"class_name": class_name, "image_width": crop.image_width, "image_height": crop.image_height}
            | {"notes": list(crop.notes)}
            | {f"box_{side}": value for side, value in asdict(crop.box).items()}
        )
        if len(self._rows) == self.BATCH:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.SCHEMA))
        self._rows.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        self._writer.close()
