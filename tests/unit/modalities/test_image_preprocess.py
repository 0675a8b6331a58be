"""preprocess of images works from an index alone, whichever layout it was read from."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from linnet.artifacts import Dataset
from linnet.data.image_files import TURNED
from linnet.data.layouts.base import Box, ImageIndex, ImageRecord
from linnet.data.raw import RawDataError
from linnet.modalities.image_preprocess import preprocess_index
from linnet.modalities.summary import ImageSummary
from linnet.recipe import CaltechLayout, Images, OfficialSplit, SeededSplit, Split

SIZE = 8
SEEDED = SeededSplit(kind="seeded", train_fraction=0.5, seed=0)


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
    return ImageIndex(tuple(records), ("even", "odd"))


def bar() -> Image.Image:
    """16 pixels high and 40 wide: black, but for a bar in the middle that grows brighter from top to bottom."""
    pixels = np.zeros((16, 40, 3), dtype=np.uint8)
    pixels[:, 8:32] = np.arange(100, 180, 5)[:, None, None]  # wider than the square, as resizing looks beyond it
    return Image.fromarray(pixels)


@pytest.fixture
def index(tmp_path: Path) -> ImageIndex:
    """Four images without boxes."""
    return index_of(tmp_path, *(bar() for _ in range(4)))


def test_an_image_without_a_box_gives_the_square_in_its_middle(index: ImageIndex, tmp_path: Path) -> None:
    result = preprocess_index(section(SEEDED), index, folder=tmp_path, workers=1)
    assert (result.num_listed, result.train_count, result.test_count, result.rejected) == (4, 2, 2, [])
    for split in ("train", "test"):
        images = np.load(tmp_path / Dataset.images(split))
        assert images.min() >= 100
        assert (np.ptp(images, axis=2) == 0).all()
    statistics, summary = result.measure()
    assert statistics.label_names == ["even", "odd"]
    assert summary.model_dump() == {
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
    index = index_of(tmp_path, *(bar() for _ in range(4)), exif=exif)
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
    index = index_of(tmp_path, *(bar() for _ in range(4)), box=Box(0, 0, 40, 16), exif=exif)
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
