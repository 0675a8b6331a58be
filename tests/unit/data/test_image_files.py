"""Turned, huge and odd image files: a picture as people see it, a note, or a reason, and nothing on the terminal."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from linnet.data import image_files
from linnet.data.image_files import DAMAGED_EXIF, FIRST_FRAME, TURNED, UnreadableFile
from linnet.data.images import read_crop, read_image
from linnet.data.layouts.base import Box
from support.png import GREY, RGB, chunk, write_png

WIDTH, HEIGHT = 24, 16
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
STORED = np.stack([COLUMNS * 10, ROWS * 15, np.full_like(ROWS, 9)], axis=-1).astype(np.uint8)
UPRIGHT = {  # by EXIF's definition of where the stored first row and column lie (top left, top right, ...)
    1: STORED,
    2: STORED[:, ::-1],
    3: STORED[::-1, ::-1],
    4: STORED[::-1],
    5: STORED.swapaxes(0, 1),
    6: STORED[::-1].swapaxes(0, 1),
    7: STORED[::-1, ::-1].swapaxes(0, 1),
    8: STORED.swapaxes(0, 1)[::-1],
}


def turned(folder: Path, orientation: int, kind: str) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}
    Image.fromarray(STORED).save(folder / f"a.{kind}", exif=exif, **options.get(kind, {}))  # type: ignore[arg-type]
    return folder / f"a.{kind}"


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_is_turned_as_its_exif_data_says(tmp_path: Path, kind: str, orientation: int) -> None:
    path, expected = turned(tmp_path, orientation, kind), UPRIGHT[orientation].astype(int)
    height, width, _ = expected.shape
    crop = read_crop(path, Box(width - 8, height - 8, 8, 8), 8)
    assert (crop.image_width, crop.image_height) == (width, height)
    assert crop.notes == ((TURNED,) if orientation > 1 else ())
    np.testing.assert_allclose(crop.pixels, expected[-8:, -8:], atol=4)
    np.testing.assert_allclose(np.asarray(read_image(path)), expected, atol=4)


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_boxes_may_be_given_in_stored_pixels(tmp_path: Path, kind: str, orientation: int) -> None:
    crop = read_crop(turned(tmp_path, orientation, kind), Box(WIDTH - 8, 2, 8, 8), 8, "ignore")
    assert (crop.image_width, crop.image_height, crop.notes) == (WIDTH, HEIGHT, ())
    np.testing.assert_allclose(crop.pixels, STORED[2:10, -8:].astype(int), atol=4)


def test_a_turned_jpeg_is_decoded_at_a_smaller_scale_like_any_other(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    large = Image.fromarray(STORED).resize((801, 603))
    large.save(tmp_path / "a.jpg", exif=exif, quality=95)
    ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")).save(tmp_path / "upright.png")
    found, expected = (read_crop(tmp_path / name, Box(10, 300, 500, 400), 24) for name in ("a.jpg", "upright.png"))
    np.testing.assert_allclose(found.pixels.astype(int), expected.pixels, atol=4)
    assert (found.image_width, found.image_height) == (603, 801)


def test_a_box_for_stored_pixels_outside_the_turned_image_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"outside the image of 16 x 24 pixels, turned .* exif_orientation = 'ign"):
        read_crop(turned(tmp_path, 6, "jpg"), Box(18, 2, 6, 6), 8)


def test_exif_data_may_follow_the_pixels_of_a_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    after = chunk(b"eXIf", exif.tobytes()[6:])
    rows = [row.tobytes() for row in STORED]
    write_png(tmp_path / "a.png", rows, width=WIDTH, bits=8, colour_type=RGB, after=after)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png")), UPRIGHT[8])


@pytest.mark.parametrize(
    ("exif", "note"),
    [
        (b"Exif\0\0garbage, and no table", DAMAGED_EXIF),
        (
            b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12\0\x03\0\0",
            "Pillow warns: Corrupt EXIF data. Expecting to read N bytes but only got N.",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_damaged_exif_data_are_a_note(tmp_path: Path, exif: bytes, note: str, kind: str) -> None:
    options = {"lossless": True} if kind == "webp" else {}
    Image.fromarray(STORED).save(tmp_path / f"a.{kind}", exif=exif, **options)  # type: ignore[arg-type]
    crop = read_crop(tmp_path / f"a.{kind}", None, 16)
    assert note in [found.replace("  ", " ") for found in crop.notes]
    assert (crop.image_width, crop.image_height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", ["gif", "tif", "webp", "png"])
def test_the_first_of_several_frames_is_used_and_counted(tmp_path: Path, kind: str) -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("white", "black"))
    options = {"lossless": True} if kind == "webp" else {}
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=[second], **options)  # type: ignore[arg-type]
    crop = read_crop(tmp_path / f"a.{kind}", None, 16)
    assert crop.notes == (FIRST_FRAME,)
    assert (crop.pixels == 255).all()


@pytest.mark.parametrize("colour_type", [GREY, RGB])
def test_a_huge_image_is_rejected_before_it_is_decoded(tmp_path: Path, colour_type: int) -> None:
    """Valid to the last row, which nobody reads here: the header alone is enough."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, colour_type, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)
    with pytest.raises(UnreadableFile, match=r"image of 30000 x 30000 pixels takes [46]\.\d GiB .*the limit is 2 GiB"):
        read_crop(tmp_path / "a.png", None, 16)


def test_a_jpeg_takes_what_its_smaller_scale_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_DECODE_BYTES", 400 * 400 * 8)
    for kind, progressive in (("jpg", False), ("jpg", True), ("png", False)):
        Image.new("RGB", (800, 800), "red").save(tmp_path / f"a.{kind}", progressive=progressive)
        fits = kind == "jpg" and not progressive  # of a progressive one, all coefficients are held
        if fits:
            assert read_crop(tmp_path / "a.jpg", None, 64).pixels[0, 0, 0] > 250
        with pytest.raises(UnreadableFile, match="image of 800 x 800 pixels takes"):
            read_crop(tmp_path / f"a.{kind}", None, 400 if fits else 64)


def test_images_past_the_limit_of_pillow_are_read_without_a_word(tmp_path: Path) -> None:
    Image.new("1", (9500, 9500), 1).save(tmp_path / "a.png")
    assert (read_crop(tmp_path / "a.png", Box(9000, 9000, 500, 500), 8).pixels == 255).all()


def test_a_square_that_needs_endless_padding_is_rejected(tmp_path: Path) -> None:
    Image.new("L", (60_000, 4)).save(tmp_path / "a.png")
    with pytest.raises(UnreadableFile, match="60000 x 60000 pixels with padding, is too large"):
        read_crop(tmp_path / "a.png", Box(0, 0, 60_000, 4), 16)


@pytest.mark.parametrize(("kind", "text"), [(b"zTXt", zlib.compress(b"a" * 5_000_000)), (b"tEXt", b"a" * 5_000_000)])
def test_long_texts_in_a_png_do_no_harm(tmp_path: Path, kind: bytes, text: bytes) -> None:
    before = chunk(kind, b"workflow\0" + (b"\0" if kind == b"zTXt" else b"") + text)
    rows = [row.tobytes() for row in STORED]
    write_png(tmp_path / "a.png", rows, width=WIDTH, bits=8, colour_type=RGB, before=before)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png")), STORED)


def test_a_text_that_unpacks_without_end_is_a_reason(tmp_path: Path) -> None:
    before = chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(70 << 20)))
    write_png(tmp_path / "a.png", [bytes(3)], width=1, bits=8, colour_type=RGB, before=before)
    with pytest.raises(UnreadableFile, match=r"not a whole image .*MAX_TEXT_CHUNK"):
        read_image(tmp_path / "a.png")


def test_libtiff_says_nothing_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.tif", compression="tiff_lzw")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[20:200] = b"\xff" * 180
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(UnreadableFile, match="not a whole image"):
        read_image(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")
