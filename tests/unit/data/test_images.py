"""From image and box to a square: where the square lies, what its pixels are."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from linnet.data.images import crop_square, read_crop
from linnet.data.layouts.base import Box

Pixels = NDArray[np.uint8]


def save(folder: Path, image: Pixels | Image.Image, kind: str = "png", **options: object) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(folder / f"image.{kind}", **options)  # type: ignore[arg-type]
    return folder / f"image.{kind}"


def whole(image: Pixels | Image.Image) -> Box:
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else image.size[::-1]
    return Box(0, 0, width, height)


def coordinates(width: int, height: int) -> Pixels:
    """An image whose red is x, whose green is y."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.full_like(rows, 7)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(40, 30, 20, 20), (40, 30, 20)),  # already square
        (Box(40, 30, 40, 20), (40, 20, 40)),  # wide: more above and below
        (Box(40, 30, 20, 40), (30, 30, 40)),  # tall: more on both sides
        (Box(0, 30, 20, 60), (0, 30, 60)),  # would reach past the left edge: moved right
        (Box(180, 30, 20, 60), (140, 30, 60)),  # past the right edge: moved left
        (Box(60, 0, 60, 20), (60, 0, 60)),  # past the top
        (Box(60, 80, 60, 20), (60, 40, 60)),  # past the bottom
        (Box(-10, -10, 50, 50), (0, 0, 50)),  # the box itself is past the edge
        (Box(20, 0, 150, 100), (20, -25, 150)),  # higher than the image: padded evenly
        (Box(-50, -50, 300, 300), (-50, -100, 300)),  # larger in both
        (Box(10.5, 20.25, 30.5, 20.5), (10.5, 15.25, 30.5)),
    ],
)
def test_the_square_lies_around_the_box_inside_the_image(box: Box, expected: tuple[float, float, float]) -> None:
    assert crop_square(box, 200, 100) == expected


@pytest.mark.parametrize(
    ("box", "left", "top"), [(Box(2, 10, 20, 60), 0, 10), (Box(95, 10, 20, 60), 60, 10), (Box(30, 70, 60, 9), 30, 20)]
)
def test_a_square_of_the_wanted_size_is_cut_out_bit_for_bit(tmp_path: Path, box: Box, left: int, top: int) -> None:
    image = coordinates(120, 80)
    crop = read_crop(save(tmp_path, image), box, 60)
    np.testing.assert_array_equal(crop.pixels, image[top : top + 60, left : left + 60])
    assert (crop.image_width, crop.image_height) == (120, 80)


def test_a_square_larger_than_the_image_repeats_its_edges(tmp_path: Path) -> None:
    image = coordinates(40, 100)
    crop = read_crop(save(tmp_path, image), Box(-5, 10, 50, 80), 80)
    np.testing.assert_array_equal(crop.pixels, np.pad(image, ((0, 0), (20, 20), (0, 0)), mode="edge")[10:90])


@pytest.mark.parametrize("box", [Box(110, 75, 80, 50), Box(125, 60, 50, 80), Box(110, 60, 80, 80)])
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_circle_stays_a_circle(tmp_path: Path, box: Box, kind: str) -> None:
    image = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(image).ellipse([125, 75, 174, 124], fill="black")  # 50 pixels across, its middle at (150, 100)
    dark = read_crop(save(tmp_path, image, kind), box, 64).pixels.mean(axis=-1) < 128
    rows, columns = np.nonzero(dark)
    assert np.ptp(columns) + 1 == pytest.approx(50 * 64 / 80, abs=1)
    assert np.ptp(rows) == np.ptp(columns)
    assert (rows.mean(), columns.mean()) == (pytest.approx(31.5, abs=0.3), pytest.approx(31.5, abs=0.3))


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("period", [1, 3])
def test_fine_patterns_become_their_mean(tmp_path: Path, kind: str, period: int) -> None:
    """Taking single pixels would give black and white noise."""
    rows, columns = np.indices((256, 256)) // period
    image = ((rows + columns) % 2 * 255).astype(np.uint8)
    pixels = read_crop(save(tmp_path, image, kind), whole(image), 16).pixels
    np.testing.assert_allclose(pixels.astype(float), 127.5, atol=6)


def test_a_image_is_enlarged_smoothly(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 252, 8).astype(np.uint8), (8, 1))
    row = read_crop(save(tmp_path, ramp), whole(ramp), 64).pixels[32, :, 0].astype(int)
    assert (np.diff(row) >= 0).all()
    assert len(set(row.tolist())) > 40  # not eight steps


@pytest.mark.parametrize(("width", "height"), [(1600, 1200), (1601, 1203)])  # a decoder rounds odd sizes up
@pytest.mark.parametrize("box", [Box(0, 0, 1600, 1200), Box(200, 0, 1200, 1200), Box(901.5, 733.25, 600, 410)])
def test_a_reduced_decode_agrees_with_a_full_one(tmp_path: Path, width: int, height: int, box: Box) -> None:
    image = Image.fromarray(np.tile(np.linspace(0, 255, width), (height, 1)).astype(np.uint8)).convert("RGB")
    pen = ImageDraw.Draw(image)
    for place in range(40):
        x, y = place * 397 % width, place * 211 % height
        pen.ellipse([x, y, x + 170, y + 110], fill=(place * 6, 255 - place * 6, place * 53 % 256))
    jpeg = save(tmp_path, image, "jpg", quality=95)
    with Image.open(jpeg) as decoded:
        full = save(tmp_path, decoded.convert("RGB"), "png")
    reduced, expected = read_crop(jpeg, box, 32), read_crop(full, box, 32)
    assert (reduced.image_width, reduced.image_height) == (width, height)
    rows = slice(5, 27) if box.width > height else slice(None)  # padding repeats one row of either decode
    difference = np.abs(reduced.pixels[rows].astype(int) - expected.pixels[rows].astype(int))
    assert difference.mean() < 1
    assert difference.max() <= 12


def test_any_box_gives_a_square_of_the_right_size(tmp_path: Path) -> None:
    path = save(tmp_path, coordinates(61, 47))
    rng = np.random.default_rng(0)
    for left, top, width, height in rng.uniform([-20, -20, 2, 2], [60, 46, 90, 90], size=(150, 4)):
        if min(left + width, 61) > max(left, 0) and min(top + height, 47) > max(top, 0):
            pixels = read_crop(path, Box(left, top, width, height), 24).pixels
            assert (pixels.shape, pixels.dtype) == ((24, 24, 3), np.dtype(np.uint8))
            assert (pixels[..., 2] == 7).all()  # constant stays constant: no black border creeps in


def test_a_crop_is_centred_to_a_fraction_of_a_pixel(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(0, 250, 2, dtype=np.uint8), (125, 1))
    path = save(tmp_path, ramp)
    for left in (30.0, 30.25, 30.5):
        pixels = read_crop(path, Box(left, 30, 60, 60), 20).pixels[..., 0]
        expected = 2 * (left + 3 * (np.arange(20) + 0.5) - 0.5)  # the ramp's value at each output pixel's middle
        np.testing.assert_allclose(pixels, np.tile(expected, (20, 1)), atol=0.8)
    assert math.isclose(crop_square(Box(30.25, 30, 60, 60), 125, 125)[0], 30.25)
