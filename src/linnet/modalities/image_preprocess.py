"""Images in their raw layout become arrays, a manifest and an exploratory page."""

import collections
import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linnet.artifacts import Dataset
from linnet.data.arrays import ArrayWriter, ChannelStatistics, open_array
from linnet.data.batches import split_positions
from linnet.data.images import Crop, UnreadableFile, crop_square, read_crop
from linnet.data.layouts.caltech import Index, Record, find_folder, image_path, read_index
from linnet.modalities.prepared import OrderedPool, Prepared, Rejected
from linnet.progress import ProgressBar
from linnet.recipe import Images, OfficialSplit, SeededSplit
from linnet.reports import html

CHUNK = 32  # images a task: few enough to keep all cores busy to the end, enough to hide the hand-over
SAMPLE_PICTURES = 96
SIDE_BINS = 40


@dataclass
class DatasetSummary:
    """What the exploratory page shows, counted while the images pass by."""

    class_counts: collections.Counter[int] = field(default_factory=collections.Counter)
    sides: collections.Counter[int] = field(default_factory=collections.Counter)
    aspects: collections.Counter[int] = field(default_factory=collections.Counter)
    grey: int = 0
    past_edge: int = 0
    padded: int = 0

    def add(self, record: Record, crop: Crop) -> None:
        """Count one accepted image."""
        box, (width, height) = record.box, (crop.image_width, crop.image_height)
        _, _, side = crop_square(box, width, height)
        self.class_counts[record.label] += 1
        self.sides[round(side)] += 1
        self.aspects[round(8 * np.log2(box.width / box.height))] += 1
        self.grey += bool(np.ptp(crop.pixels, axis=-1).max() == 0)
        outside = box.left < 0 or box.top < 0 or box.left + box.width > width or box.top + box.height > height
        self.past_edge += outside
        self.padded += side > min(width, height)


def prepare(data: Images, *, raw: Path, folder: Path, workers: int) -> Prepared:
    """Crop, resize and split the images below `raw` into arrays in `folder`. Raises RawDataError."""
    index = read_index(raw)
    summary, rejected, statistics = _write_arrays(data, index, find_folder(raw), folder, workers)
    return Prepared(
        statistics, rejected, len(index.records), lambda: _page(folder, data, statistics, summary, rejected)
    )


def _write_arrays(
    data: Images, index: Index, source: Path, folder: Path, workers: int
) -> tuple[DatasetSummary, list[Rejected], dict[str, Any]]:
    size = data.image_size_pixels
    split_of = _split(data, index)
    summary, channels, rejected = DatasetSummary(), ChannelStatistics(3), list[Rejected]()
    train_classes: collections.Counter[int] = collections.Counter()
    with ExitStack() as stack:
        images, labels = {}, {}
        for split in ("train", "test"):
            images[split] = stack.enter_context(ArrayWriter(folder / Dataset.images(split), (size, size, 3), np.uint8))
            labels[split] = stack.enter_context(ArrayWriter(folder / Dataset.labels(split), (), np.int64))
        manifest = stack.enter_context(_Manifest(folder / Dataset.manifest))
        tasks = [(index.records[i : i + CHUNK], source, size) for i in range(0, len(index.records), CHUNK)]
        chunks = stack.enter_context(OrderedPool(_read_chunk, tasks, workers))
        bar = stack.enter_context(ProgressBar("preprocess: images", len(index.records)))
        for record, crop in zip(index.records, itertools.chain.from_iterable(chunks), strict=True):
            bar.advance()
            if isinstance(crop, str):
                rejected.append(Rejected(record.image_id, record.name, crop))
                continue
            split = split_of[record.image_id]
            manifest.add(record, crop, split, images[split].count, index.class_names[record.label])
            images[split].append(crop.pixels)
            labels[split].append(np.array(record.label, dtype=np.int64))
            summary.add(record, crop)
            if split == "train":
                channels.add(crop.pixels)
                train_classes[record.label] += 1
        counts = {split: writer.count for split, writer in images.items()}
    statistics = {
        "size": size,
        "train_count": counts["train"],
        "test_count": counts["test"],
        "rejected_count": len(rejected),
        "mean": channels.mean() if counts["train"] else [],
        "std": channels.std() if counts["train"] else [],
        "class_names": list(index.class_names),
        "class_counts": [train_classes[label] for label in range(len(index.class_names))],
        "grey_count": summary.grey,
        "past_edge_count": summary.past_edge,
        "padded_count": summary.padded,
    }
    return summary, rejected, statistics


def _split(data: Images, index: Index) -> dict[int, str]:
    """`{image id: split}`; rejects have a place too, so that mending one file moves no other image."""
    match data.split:
        case OfficialSplit():
            return {r.image_id: "train" if r.official_train else "test" for r in index.records}
        case SeededSplit():
            is_train = split_positions(
                len(index.records), train_fraction=data.split.train_fraction, seed=data.split.seed
            )
            return {r.image_id: "train" if is_train[place] else "test" for place, r in enumerate(index.records)}
        case _:
            assert_never(data.split)


def _read_chunk(records: Sequence[Record], source: Path, size: int) -> list[Crop | str]:
    results: list[Crop | str] = []
    for record in records:
        path = image_path(source, record)
        try:
            results.append(read_crop(path, record.box, size) if path else "name points out of the images folder")
        except UnreadableFile as reason:
            results.append(str(reason))
    return results


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
        ]
    )

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, self.SCHEMA)
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> "_Manifest":
        return self

    def add(self, record: Record, crop: Crop, split: str, row: int, class_name: str) -> None:
        box = {f"box_{side}": value for side, value in asdict(record.box).items()}
        place = {"image_id": record.image_id, "name": record.name, "split": split, "row": row}
        kind = {"label": record.label, "class_name": class_name}
        self._rows.append(place | kind | box | {"image_width": crop.image_width, "image_height": crop.image_height})
        if len(self._rows) == self.BATCH:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.SCHEMA))
        self._rows.clear()

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()


def _page(
    folder: Path, data: Images, statistics: dict[str, Any], summary: DatasetSummary, rejected: Sequence[Rejected]
) -> str:
    images = open_array(folder / Dataset.images("train"))
    rows = np.linspace(0, len(images) - 1, min(SAMPLE_PICTURES, len(images))).astype(int)
    longest = max(summary.sides)
    side_bins = np.bincount(
        [min(side * SIDE_BINS // (longest + 1), SIDE_BINS - 1) for side in summary.sides.elements()]
    )
    aspects = range(min(summary.aspects), max(summary.aspects) + 1)
    figures = [
        html.histogram_svg(side_bins.tolist(), title="longer side of the box", low="0", high=f"{longest} pixels"),
        html.histogram_svg(
            [summary.aspects[value] for value in aspects],
            title="width to height of the box",
            low=f"1 : {2 ** (-aspects[0] / 8):.1f}",
            high=f"{2 ** (aspects[-1] / 8):.1f} : 1",
        ),
        html.histogram_svg(
            [summary.class_counts[label] for label in sorted(summary.class_counts)],
            title="images of each class present",
            low=f"class {min(summary.class_counts) + 1}",
            high=f"class {max(summary.class_counts) + 1}",
        ),
    ]
    return html.render(
        "dataset.html",
        title=f"Data set {data.folder}",
        statistics=statistics,
        rejected=rejected,
        figures=figures,
        sample=html.inline_png(
            html.grid(np.asarray(images[rows], dtype=np.uint8), columns=16), scale=max(1, 64 // data.image_size_pixels)
        ),
    )
