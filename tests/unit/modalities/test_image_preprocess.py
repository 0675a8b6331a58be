"""preprocess of images works from an index alone, whichever layout it was read from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from linnet.artifacts import Dataset
from linnet.data.image_files import TURNED
from linnet.data.layouts.base import Box, ImageIndex, ImageRecord, SplitName
from linnet.data.raw import RawDataError
from linnet.modalities.image_preprocess import preprocess_index
from linnet.modalities.statistics import ImageStatistics
from linnet.modalities.summary import ImageSummary, notes
from linnet.recipe import CaltechLayout, Images, OfficialSplit, SeededSplit, Split

SIZE = 8
SEEDED = SeededSplit(kind="seeded", train_fraction=0.5, seed=1)


def section(split: Split) -> Images:
    return Images(
        kind="images",
        folder="squares",
        layout=CaltechLayout(kind="caltech"),
        image_size_pixels=SIZE,
        split=split,
        max_rejected_fraction=0.0,
    )


def index_of(folder: Path, *images: Image.Image, box: Box | None = None, **options: object) -> ImageIndex:
    records = []
    for number, image in enumerate(images):
        path = folder / f"{number}.png"
        image.save(path, **options)  # type: ignore[arg-type]
        records.append(ImageRecord(number, path.name, path, box, label=number % 2, official_split=""))
    return ImageIndex(tuple(records), ("even", "odd"), (1, 2))


def bar(number: int = 0) -> Image.Image:
    """16 pixels high and 40 wide: black, but for a bar in the middle that grows brighter from top to bottom."""
    pixels = np.zeros((16, 40, 3), dtype=np.uint8)
    pixels[:, 8:32] = np.arange(100, 180, 5)[:, None, None]  # wider than the square, as resizing looks beyond it
    pixels[0, 0] = number  # outside of the square
    return Image.fromarray(pixels)


@pytest.fixture
def index(tmp_path: Path) -> ImageIndex:
    """Four images without boxes, no two files of which are equal."""
    return index_of(tmp_path, *(bar(number) for number in range(4)))


def test_an_image_without_a_box_gives_the_square_in_its_middle(index: ImageIndex, tmp_path: Path) -> None:
    result = preprocess_index(section(SEEDED), index, folder=tmp_path, workers=1)
    assert (result.num_listed, result.train_count, result.test_count, result.rejected) == (4, 2, 2, [])
    for split in ("train", "test"):
        images = np.load(tmp_path / Dataset.images(split))
        assert images.min() >= 100
        assert (np.ptp(images, axis=2) == 0).all()
    statistics, summary = result.measure()
    assert statistics.label_names == ["even", "odd"]
    overlap = {"repeated_count": 0, "repeated_held_out": 0, "near_held_out": 2, "moved_count": 0}
    assert summary.model_dump() == {
        "overlap": overlap,
        "class_counts": {0: 2, 1: 2},
        "box_sides": {16: 4},
        "box_aspects": {0: 4},
        "notes": {},
        "looks": {"few values far apart": 4},
        "odd": [
            {"name": name, "split": split, "row": row, "look": "few values far apart"}
            for name, split, row in sorted(manifest_rows(tmp_path))
        ],
        "warnings": [],
    }


def manifest_rows(folder: Path) -> list[tuple[str, str, int]]:
    rows = pq.read_table(folder / Dataset.manifest).to_pylist()
    return [(row["name"], row["split"], row["row"]) for row in rows]


def test_what_was_done_to_an_image_is_counted_said_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    index = index_of(tmp_path, *(bar(number) for number in range(4)), exif=exif)
    result = preprocess_index(section(SEEDED), index, folder=tmp_path, workers=1)
    _, summary = result.measure()
    assert isinstance(summary, ImageSummary)
    assert summary.notes == {TURNED: 4}
    assert f"4 images: {TURNED}\n4 examples are few values far apart\n" in capsys.readouterr().err
    rows = pq.read_table(tmp_path / Dataset.manifest).to_pylist()
    assert [(row["notes"], row["image_width"], row["image_height"]) for row in rows] == [([TURNED], 16, 40)] * 4


def test_the_layout_says_whether_boxes_are_in_stored_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    index = index_of(tmp_path, *(bar(number) for number in range(4)), box=Box(0, 0, 40, 16), exif=exif)
    as_stored = CaltechLayout(kind="caltech", exif_orientation="ignore")
    data = section(SEEDED).model_copy(update={"layout": as_stored})
    preprocess_index(data, index, folder=tmp_path, workers=1)
    rows = pq.read_table(tmp_path / Dataset.manifest).to_pylist()
    assert [(row["notes"], row["image_width"], row["image_height"]) for row in rows] == [([], 40, 16)] * 4


def test_a_set_of_empty_images_is_refused(tmp_path: Path) -> None:
    flat = [Image.new("RGB", (16, 16), (number, 80, 9)) for number in range(3)]
    result = preprocess_index(section(SEEDED), index_of(tmp_path, *flat, bar()), folder=tmp_path, workers=1)
    with pytest.raises(
        RawDataError, match=r"\[data\] folder = 'squares': 3 of 4 examples show nothing .*0\.png, 1\.png"
    ):
        result.measure()


def test_a_layout_without_an_official_split_has_none(index: ImageIndex, tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match=r"gives no split for 0\.png and 3 more; use kind = 'seeded'"):
        preprocess_index(section(OfficialSplit(kind="official")), index, folder=tmp_path, workers=1)


def noise_index(
    folder: Path, seeds: Sequence[int], labels: Sequence[int], *, damaged: Sequence[int] = ()
) -> ImageIndex:
    """Images of noise, equal where the seeds are; those that are `damaged` are no images. The first half trains."""
    records = []
    for number, (seed, label) in enumerate(zip(seeds, labels, strict=True)):
        path = folder / f"{number}.png"
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        if number in damaged:
            path.write_bytes(path.read_bytes()[:-40])
        side: SplitName = "train" if number < len(seeds) / 2 else "test"
        records.append(ImageRecord(number + 1, path.name, path, None, label, side))
    classes = max(labels) + 1
    return ImageIndex(tuple(records), tuple("abcdefghijklmnopqrst"[:classes]), tuple(range(7, 7 + classes)))


def made(index: ImageIndex, folder: Path, split: Split) -> tuple[ImageStatistics, ImageSummary]:
    folder.mkdir()
    statistics, summary = preprocess_index(section(split), index, folder=folder, workers=1).measure()
    assert isinstance(statistics, ImageStatistics)
    assert isinstance(summary, ImageSummary)
    return statistics, summary


def rows_of(folder: Path, split: str) -> set[bytes]:
    return {row.tobytes() for row in np.load(folder / Dataset.images(split))}


def test_equal_files_are_on_one_side_of_a_seeded_split(tmp_path: Path) -> None:
    index = noise_index(tmp_path, [number // 2 for number in range(30)], [0] * 30)
    statistics, summary = made(index, tmp_path / "dataset", SEEDED)
    assert rows_of(tmp_path / "dataset", "train").isdisjoint(rows_of(tmp_path / "dataset", "test"))
    assert statistics.train_count + statistics.test_count == 30
    overlap = summary.overlap
    assert (overlap.repeated_count, overlap.repeated_held_out, overlap.near_held_out) == (15, 0, 0)
    assert overlap.moved_count > 0


def test_equal_files_stay_where_the_official_split_puts_them_and_are_counted(tmp_path: Path) -> None:
    """Files 0 to 3 train, 4 to 7 are held out: two of these are training files, and two are equal to one another."""
    index = noise_index(tmp_path, [0, 1, 2, 3, 1, 0, 9, 9], [0] * 8)
    statistics, summary = made(index, tmp_path / "dataset", OfficialSplit(kind="official"))
    assert (statistics.train_count, statistics.test_count) == (4, 4)
    assert summary.overlap.model_dump() == {
        "repeated_count": 3,
        "repeated_held_out": 2,
        "near_held_out": 2,
        "moved_count": 0,
    }


def test_files_that_cannot_be_used_are_no_copies_of_one_another(tmp_path: Path) -> None:
    index = noise_index(tmp_path, [0, 1, 5, 5, 2, 3, 4, 6], [0] * 8, damaged=[2, 3])
    (tmp_path / "7.png").unlink()
    _, summary = made(index, tmp_path / "dataset", OfficialSplit(kind="official"))
    assert summary.overlap.repeated_count == 0


@pytest.mark.parametrize("seed", range(4))
def test_every_class_of_two_or_more_trains_even_where_files_are_damaged(tmp_path: Path, seed: int) -> None:
    """Of each class the first file is damaged, and of the last one a second too: it has one example, wherever it is."""
    labels = [number // 4 for number in range(40)]
    index = noise_index(tmp_path, range(40), labels, damaged=[*range(0, 40, 4), 37, 38])
    split = SeededSplit(kind="seeded", train_fraction=0.3, seed=seed)
    statistics, _ = made(index, tmp_path / "dataset", split)
    assert all(statistics.class_counts[:9]), statistics.class_counts
    assert statistics.train_count + statistics.test_count == 28
    held_out = np.load(tmp_path / "dataset" / Dataset.labels("test"))
    counts = np.bincount(held_out, minlength=10) + statistics.class_counts
    assert counts.tolist() == [3] * 9 + [1]


def test_classes_without_training_examples_are_named(tmp_path: Path) -> None:
    index = noise_index(tmp_path, range(8), [0, 0, 1, 1, 0, 1, 2, 4])
    statistics, summary = made(index, tmp_path / "dataset", OfficialSplit(kind="official"))
    assert (statistics.class_numbers, statistics.class_counts) == ([7, 8, 9, 10, 11], [2, 2, 0, 0, 0])
    assert notes(statistics, summary) == [
        "3 of 5 classes have no training examples, so that a model will not know them: c (class number 9), d (class "
        "number 10), e (class number 11)"
    ]
