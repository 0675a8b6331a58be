"""preprocess of images works from an index alone, whichever layout it was read from."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnet.artifacts import Dataset
from linnet.data.layouts.base import ImageIndex, ImageRecord
from linnet.data.raw import RawDataError
from linnet.modalities.image_preprocess import preprocess_index
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


@pytest.fixture
def index(tmp_path: Path) -> ImageIndex:
    """Four images without boxes, 16 pixels high and 40 wide: black, but for a white bar in the middle."""
    records = []
    for number in range(4):
        pixels = np.zeros((16, 40, 3), dtype=np.uint8)
        pixels[:, 8:32] = 255  # wider than the square of 16, because resizing looks at its neighbours
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        records.append(ImageRecord(number, path.name, path, None, label=number % 2, official_split=""))
    return ImageIndex(tuple(records), ("even", "odd"))


def test_an_image_without_a_box_gives_the_square_in_its_middle(index: ImageIndex, tmp_path: Path) -> None:
    result = preprocess_index(section(SEEDED), index, folder=tmp_path, workers=1)
    assert (result.num_listed, result.train_count, result.test_count, result.rejected) == (4, 2, 2, [])
    for split in ("train", "test"):
        assert (np.load(tmp_path / Dataset.images(split)) == 255).all()
    statistics, summary = result.measure()
    assert statistics.label_names == ["even", "odd"]
    assert summary.model_dump() == {"class_counts": {0: 2, 1: 2}, "box_sides": {16: 4}, "box_aspects": {0: 4}}


def test_a_layout_without_an_official_split_has_none(index: ImageIndex, tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match=r"gives no split for 0\.png and 3 more; use kind = 'seeded'"):
        preprocess_index(section(OfficialSplit(kind="official")), index, folder=tmp_path, workers=1)
