"""What came out is looked at: empty examples and boxes in other units, told from drawings and from sloppy boxes."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from linnet.data.image_files import TURNED
from linnet.data.images import Crop, read_crop
from linnet.data.layouts.base import Box, ImageRecord
from linnet.data.layouts.caltech import FOLDER, read_index
from linnet.data.raw import RawDataError
from linnet.data.synthetic.birds import make_birds
from linnet.modalities.image_checks import BoxCounts, Look, LookCounts, check_units, look_at

SIZE = 32
NOISE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def grey(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


def drawing(*, mode: str = "L", ink: int = 0) -> NDArray[np.uint8]:
    image = Image.new(mode, (SIZE, SIZE), 255)
    ImageDraw.Draw(image).line([3, 3, 28, 12, 9, 28, 3, 3], fill=ink)
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("pixels", "look"),
    [
        (np.full((SIZE, SIZE, 3), (200, 30, 90), dtype=np.uint8), Look.FLAT),
        (128 + NOISE // 128, Look.FLAT),  # two values side by side: a standard deviation of one half
        (NOISE // 16, Look.FEW_LEVELS),  # twelve bits in a file of 16
        (grey(NOISE[..., 0] // 64 * 10), Look.FEW_LEVELS),  # numbers of classes: 0, 10, 20, 30
        (grey(np.where(np.arange(SIZE**2).reshape(SIZE, SIZE) < 3, 0, 255)), Look.BLANK),
        (np.where(NOISE < 3, NOISE, np.where(NOISE < 128, 0, 255)).astype(np.uint8), Look.CLIPPED),
        (grey(NOISE[..., 0] // 64 * 60 + 20), Look.DRAWN),
        (NOISE, None),
        (NOISE // 8 + 100, None),  # fog: dull, but full of values
    ],
)
def test_what_looks_odd(pixels: NDArray[np.uint8], look: Look | None) -> None:
    assert look_at(pixels) is look


@pytest.mark.parametrize("pixels", [drawing(), drawing(mode="1"), drawing(ink=150), 255 - drawing()])
def test_drawings_are_not_empty(pixels: NDArray[np.uint8]) -> None:
    look = look_at(pixels)
    assert look is None or not look.is_empty


@pytest.mark.parametrize("size", [8, 64])
def test_synthetic_birds_are_not_odd(tmp_path: Path, size: int) -> None:
    make_birds(tmp_path, per_species=2)
    for record in read_index(tmp_path / FOLDER).records:
        assert record.path is not None
        assert look_at(read_crop(record.path, record.box, size).pixels) is None


def test_most_examples_must_show_something() -> None:
    looks = LookCounts()
    for row, look in enumerate([None, Look.FLAT, Look.CLIPPED, Look.BLANK, None, Look.FEW_LEVELS]):
        looks.add(f"{row}.png", "train", row, look)
    assert looks.counts() == {
        "of one colour": 1,
        "few values close together": 1,
        "blank but for specks": 1,
        "mostly pure black or white": 1,
    }
    looks.refuse_empty(where="mine")  # three of six: a half is let pass
    looks.add("6.png", "test", 0, Look.FLAT)
    with pytest.raises(
        RawDataError, match=r"^mine: 4 of 7 examples show nothing \(2 are of one colour, .*1\.png, 3\.p"
    ):
        looks.refuse_empty(where="mine")


def test_drawings_are_never_refused() -> None:
    looks = LookCounts()
    for row in range(9):
        looks.add("a", "train", row, (Look.CLIPPED, Look.DRAWN)[row % 2])
    looks.refuse_empty(where="mine")


def records(*boxes: Box | None) -> list[ImageRecord]:
    return [ImageRecord(number, "a", None, box, 0, "train") for number, box in enumerate(boxes)]


def test_boxes_in_parts_of_the_image_are_refused() -> None:
    parts = [Box(0.5, 0.5, 1.0, 0.25)] * 9
    with pytest.raises(
        RawDataError, match=r"^mine: 9 of 10 boxes lie within 0\.\.1, .*X_CENTER.*LEFT TOP WIDTH HEIGHT"
    ):
        check_units(records(*parts, Box(5, 5, 20, 20), None), where="mine")
    check_units(records(*parts, Box(5, 5, 20, 20), Box(5, 5, 20, 20)), where="mine")  # each is rejected by itself
    check_units(records(None, None), where="mine")


def counted(*boxes: Box, size: int = 150, notes: tuple[str, ...] = ()) -> list[str]:
    counts = BoxCounts()
    for box in boxes:
        counts.add(Crop(NOISE, box, size, size, notes))
    return counts.warnings()


def objects() -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of objects anywhere in an image of 150 pixels."""
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(5, 145, (200, 2, 2)), axis=1).reshape(200, 4)
    return [tuple(row) for row in corners[(corners[:, 2:] - corners[:, :2]).min(axis=1) > 30].tolist()]


def test_boxes_in_another_convention_are_told_by_where_they_end() -> None:
    right = [Box(left, top, right - left, bottom - top) for left, top, right, bottom in objects()]
    corners = [Box(*each) for each in objects()]
    centres = [Box(box.left + box.width / 2, box.top + box.height / 2, box.width, box.height) for box in right]
    assert counted(*right) == []
    assert "they look like corners (X1 Y1 X2 Y2)" in counted(*corners)[0]
    assert "they look like centres (X_CENTER Y_CENTER WIDTH HEIGHT)" in counted(*centres)[0]
    larger = [Box(2 * box.left, 2 * box.top, 2 * box.width, 2 * box.height) for box in right if box.left < 70]
    assert "images of another size" in counted(*larger)[0]
    assert counted(*(Box(box.left + 6, box.top + 6, box.width, box.height) for box in right)) == []  # sloppy


def test_boxes_in_per_cent() -> None:
    percents = [Box(5, 5, 90, 80), Box(20, 60, 30, 40)]
    assert "per cent" in counted(*percents, size=400)[0]
    assert counted(*percents, Box(200, 5, 50, 50), size=400) == []


def test_boxes_in_stored_pixels_of_turned_images() -> None:
    far = [Box(100, 5, 100, 40)] * 2 + [Box(5, 5, 100, 40)] * 5
    assert "exif_orientation = 'ignore'" in counted(*far, notes=(TURNED,))[-1]
    assert not any("exif" in warning for warning in counted(*far))
