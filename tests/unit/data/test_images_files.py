"""Kinds of image files, and what makes one unusable."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from linnet.data.image_files import UnreadableFile
from linnet.data.images import read_crop, read_image
from linnet.data.layouts.base import Box

SIZE = 32
GRADIENT = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (SIZE, 1))
WHOLE = Box(0, 0, SIZE, SIZE)


def crop_of(folder: Path, image: Image.Image, kind: str, **options: object) -> NDArray[np.uint8]:
    image.save(folder / f"image.{kind}", **options)  # type: ignore[arg-type]
    return read_crop(folder / f"image.{kind}", WHOLE, SIZE).pixels


def reason(path: Path, box: Box = WHOLE) -> str:
    with pytest.raises(UnreadableFile) as caught:
        read_crop(path, box, SIZE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["png", "bmp", "tif", "gif", "webp"])
def test_grey_images_get_three_equal_channels(tmp_path: Path, kind: str) -> None:
    options = {"lossless": True} if kind == "webp" else {}
    pixels = crop_of(tmp_path, Image.fromarray(GRADIENT), kind, **options)
    np.testing.assert_array_equal(pixels, np.repeat(GRADIENT[..., None], 3, axis=2))


def test_a_grey_jpeg_keeps_its_greys(tmp_path: Path) -> None:
    pixels = crop_of(tmp_path, Image.fromarray(GRADIENT), "jpg", quality=100)
    assert (np.ptp(pixels, axis=-1) == 0).all()
    np.testing.assert_allclose(pixels[..., 0].astype(float), GRADIENT, atol=2)


def test_sixteen_bit_greys_are_scaled_to_eight(tmp_path: Path) -> None:
    wide = GRADIENT.astype(np.uint16) * 257  # 0..65535 for 0..255
    pixels = crop_of(tmp_path, Image.fromarray(wide), "png")
    np.testing.assert_allclose(pixels.astype(float), np.repeat(GRADIENT[..., None], 3, axis=2), atol=1)


def test_one_bit_images_are_black_and_white(tmp_path: Path) -> None:
    image = GRADIENT > 100
    pixels = crop_of(tmp_path, Image.fromarray(image), "png")
    np.testing.assert_array_equal(pixels, np.repeat(image[..., None] * np.uint8(255), 3, axis=2))


def test_transparent_images_lie_on_white(tmp_path: Path) -> None:
    image = np.zeros((SIZE, SIZE, 4), dtype=np.uint8)
    image[..., 0] = 255  # red, its opacity growing from left to right
    image[..., 3] = GRADIENT
    expected = np.stack([np.full_like(GRADIENT, 255), 255 - GRADIENT, 255 - GRADIENT], axis=-1)
    pixels = crop_of(tmp_path, Image.fromarray(image), "png")
    np.testing.assert_allclose(pixels.astype(float), expected, atol=1)


def test_transparent_greys_lie_on_white(tmp_path: Path) -> None:
    image = np.stack([np.zeros_like(GRADIENT), GRADIENT], axis=-1)
    pixels = crop_of(tmp_path, Image.fromarray(image, "LA"), "png")
    np.testing.assert_allclose(pixels.astype(float), 255.0 - np.repeat(GRADIENT[..., None], 3, axis=2), atol=1)


def test_palettes_give_their_colours_and_white_where_transparent(tmp_path: Path) -> None:
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([9, 8, 7, 200, 100, 50, 0, 0, 255])
    image.paste(2, (0, 0, SIZE // 2, SIZE))
    opaque = crop_of(tmp_path, image, "png")
    assert (opaque[:, : SIZE // 2] == (0, 0, 255)).all()
    assert (opaque[:, SIZE // 2 :] == (200, 100, 50)).all()
    transparent = crop_of(tmp_path, image, "png", transparency=2)
    assert (transparent[:, : SIZE // 2] == 255).all()
    assert (transparent[:, SIZE // 2 :] == (200, 100, 50)).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
def test_a_whole_image_is_read_as_training_reads_it(tmp_path: Path, mode: str) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8)
    image = Image.fromarray(colours, "RGBA").convert(mode if mode != "I;16" else "L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    pixels = crop_of(tmp_path, image, "tif")
    image = read_image(tmp_path / "image.tif")
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_a_whole_image_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    Image.fromarray(GRADIENT.astype(np.float32)).save(tmp_path / "a.tif")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)).save(tmp_path / "b.png")
    os.truncate(tmp_path / "b.png", 500)
    (tmp_path / "c.png").write_bytes(b"<html>")
    for name, why in (
        ("a.tif", "pixels of mode F have no fixed range"),
        ("b.png", "not a whole image (image file is truncated"),
        ("c.png", "not a whole image (cannot identify image file)"),
        ("d.png", "file is missing"),
    ):
        with pytest.raises(UnreadableFile) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).startswith(why)


@pytest.mark.parametrize(("kind", "tolerance"), [("tif", 0), ("jpg", 3)])
@pytest.mark.parametrize(
    ("ink", "colour"), [((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0)), ((0, 0, 0, 0), (255, 255, 255))]
)
def test_printing_inks_become_colours(
    tmp_path: Path, kind: str, tolerance: int, ink: tuple[int, ...], colour: tuple[int, ...]
) -> None:
    pixels = crop_of(tmp_path, Image.new("CMYK", (SIZE, SIZE), ink), kind)
    np.testing.assert_allclose(pixels.astype(float), np.broadcast_to(colour, pixels.shape), atol=tolerance)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    return tmp_path / "a.jpg"


def test_the_image_used_below_is_fine(image: Path) -> None:
    assert read_crop(image, WHOLE, SIZE).pixels.std() > 10


@pytest.mark.parametrize("kind", ["jpg", "png", "gif", "bmp", "tif", "webp"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_truncated_file_is_not_a_whole_image(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / f"a.{kind}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)
    os.truncate(path, int(path.stat().st_size * share))
    assert reason(path).startswith("not a whole image (")


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"<html>not found</html>", b"\0" * 5000])
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert reason(tmp_path / "a.jpg") == "not a whole image (cannot identify image file)"


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert reason(tmp_path / "absent.jpg") == "file is missing"
    assert reason(tmp_path) == "cannot be read (Is a directory)"


def test_a_image_that_would_fill_the_memory(tmp_path: Path) -> None:
    """A few hundred bytes that claim to be 60,000 x 60,000 pixels."""
    Image.new("1", (8, 8)).save(tmp_path / "a.bmp")
    content = bytearray((tmp_path / "a.bmp").read_bytes())
    content[18:26] = (60_000).to_bytes(4, "little") * 2
    (tmp_path / "a.bmp").write_bytes(content)
    assert reason(tmp_path / "a.bmp").startswith("image of 60000 x 60000 pixels takes 16.8 GiB of memory")


@pytest.mark.parametrize(
    ("box", "text"),
    [
        (Box(0, 0, 0, 5), "box has no area (0 x 5)"),
        (Box(0, 0, 5, -1), "box has no area (5 x -1)"),
        (Box(float("nan"), 0, 5, 5), "box is not finite"),
        (Box(0, 0, float("inf"), 5), "box is not finite"),
        (Box(0, 0, 0.6, 0.6), "box of 0.6 x 0.6 pixels; boxes are LEFT TOP WIDTH HEIGHT in pixels"),
        (Box(3, 3, 20, 1.9), "box of 20 x 1.9 pixels; boxes are LEFT TOP WIDTH HEIGHT in pixels"),
        (Box(32, 0, 5, 5), "box lies outside the image of 32 x 32 pixels"),
        (Box(0, 40, 5, 5), "box lies outside the image of 32 x 32 pixels"),
        (Box(-5, 0, 5, 5), "box lies outside the image of 32 x 32 pixels"),
        (Box(0, -9, 5, 5), "box lies outside the image of 32 x 32 pixels"),
    ],
)
def test_a_box_that_covers_nothing(image: Path, box: Box, text: str) -> None:
    assert reason(image, box) == text


@pytest.mark.parametrize("box", [Box(0, 0, 1e9, 1e9), Box(-1e300, 0, 1e301, 5)])
def test_a_box_far_larger_than_the_image_is_rejected(image: Path, box: Box) -> None:
    """Padding up to it would take all the memory there is and end the whole run."""
    assert "box" in reason(image, box)


def test_a_damaged_file_is_a_reason_whatever_the_damage(tmp_path: Path) -> None:
    """Nothing but UnreadableFile may come out, or one bad file ends the whole run."""
    rng = np.random.default_rng(0)
    good = Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
    outcomes = {"read": 0, "rejected": 0}
    for kind in ("jpg", "png", "gif", "bmp", "tif", "webp"):
        good.save(tmp_path / f"a.{kind}")
        content = (tmp_path / f"a.{kind}").read_bytes()
        for _ in range(40):
            damaged = np.frombuffer(content, dtype=np.uint8).copy()
            damaged[rng.integers(len(damaged), size=5)] = rng.integers(256, size=5)
            (tmp_path / "b").write_bytes(damaged.tobytes())
            try:
                read_crop(tmp_path / "b", Box(3, 3, 9, 9), 8)
                outcomes["read"] += 1
            except UnreadableFile:
                outcomes["rejected"] += 1
    assert min(outcomes.values()) > 0
