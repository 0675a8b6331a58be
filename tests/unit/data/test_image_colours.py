"""Pixels of unusual files: values of 16 bits and of few, transparent ones, and what has no agreed range."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from linnet.data.image_colours import DARK
from linnet.data.image_files import UnreadableFile
from linnet.data.images import Crop, read_crop
from support.png import GREY, GREY_ALPHA, RGB, chunk, write_png

SIZE = 16
RAMP = np.tile(np.arange(SIZE, dtype=np.uint8) * 17, (SIZE, 1))  # 0, 17, ..., 255


def big_endian(values: NDArray[np.int64]) -> list[bytes]:
    return [row.astype(">u2").tobytes() for row in values]


def png16(folder: Path, values: NDArray[np.int64], colour_type: int = GREY, transparent: tuple[int, ...] = ()) -> Crop:
    before = chunk(b"tRNS", np.array(transparent, dtype=">u2").tobytes()) if transparent else b""
    write_png(folder / "a.png", big_endian(values), width=SIZE, bits=16, colour_type=colour_type, before=before)
    return read_crop(folder / "a.png", None, SIZE)


def wide(factor: int = 257) -> NDArray[np.int64]:
    return RAMP.astype(np.int64) * factor


@pytest.mark.parametrize("transparent", [0, 3 * 17 * 257, 65535, 12345])
def test_the_transparent_value_of_a_wide_grey_png_is_white(tmp_path: Path, transparent: int) -> None:
    found = png16(tmp_path, wide(), transparent=(transparent,)).pixels
    expected = np.where(wide() == transparent, 255, RAMP)
    np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, axis=2))


def test_the_transparent_colour_of_a_wide_png_is_white(tmp_path: Path) -> None:
    upper = np.stack([RAMP, RAMP, np.full_like(RAMP, 99)], axis=-1).astype(np.int64)
    found = png16(tmp_path, upper * 256 + 200, RGB, transparent=(34 * 256 + 200, 34 * 256 + 200, 99 * 256 + 200)).pixels
    expected = np.stack([RAMP, RAMP, np.full_like(RAMP, 99)], axis=-1)
    expected[:, 2] = 255
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("bits", "levels"), [(1, 2), (2, 4), (4, 16)])
@pytest.mark.parametrize("transparent", [0, 1])
def test_the_transparent_value_of_a_png_of_few_bits_is_white(
    tmp_path: Path, bits: int, levels: int, transparent: int
) -> None:
    values = np.tile(np.arange(SIZE) % levels, (SIZE, 1))
    packed = np.packbits((values[..., None] >> np.arange(bits)[::-1] & 1).reshape(SIZE, -1).astype(np.uint8), axis=1)
    before = chunk(b"tRNS", transparent.to_bytes(2, "big"))
    rows = [row.tobytes() for row in packed]
    write_png(tmp_path / "a.png", rows, width=SIZE, bits=bits, colour_type=GREY, before=before)
    expected = np.where(values == transparent, 255, values * 255 // (levels - 1))
    np.testing.assert_array_equal(read_crop(tmp_path / "a.png", None, SIZE).pixels[..., 0], expected)


@pytest.mark.parametrize("factor", [1, 4, 16])  # 8, 10 and 12 bits
@pytest.mark.parametrize("colour_type", [GREY, RGB, GREY_ALPHA])
def test_few_bits_in_a_wide_file_are_rejected(tmp_path: Path, factor: int, colour_type: int) -> None:
    values = wide(factor)
    match colour_type:
        case 2:
            values = np.stack([values] * 3, axis=-1)
        case 4:
            values = np.stack([values, np.full_like(values, 65535)], axis=-1)
    if colour_type != GREY and factor == 1:
        assert png16(tmp_path, values, colour_type).pixels.max() == 0  # Pillow keeps the upper half alone
        return
    bits = {1: 8, 4: 10, 16: 12}[factor]
    with pytest.raises(UnreadableFile, match=f"uses only the lowest {bits} of 16 bits and would be nearly black"):
        png16(tmp_path, values, colour_type)


@pytest.mark.parametrize(("factor", "notes"), [(60, (DARK,)), (64, (DARK,)), (65, ()), (257, ())])
def test_a_dark_image_is_kept_as_it_is_and_counted(tmp_path: Path, factor: int, notes: tuple[str, ...]) -> None:
    crop = png16(tmp_path, wide(factor))
    assert crop.notes == notes
    np.testing.assert_array_equal(crop.pixels[..., 0], wide(factor) >> 8)


def test_a_black_image_is_no_matter_of_bits(tmp_path: Path) -> None:
    assert png16(tmp_path, wide(0)).pixels.max() == 0
    assert png16(tmp_path, wide(0), transparent=(0,)).pixels.min() == 255


def test_a_transparent_value_does_not_count_among_the_bits(tmp_path: Path) -> None:
    values = wide(16)
    values[:, 0] = 65535  # "no data"
    with pytest.raises(UnreadableFile, match="lowest 12 of 16 bits"):
        png16(tmp_path, values, transparent=(65535,))


def test_a_tiff_whose_least_value_is_white(tmp_path: Path) -> None:
    """Pillow inverts those of eight bits, but not those of 16."""
    Image.fromarray(wide().astype(np.uint16)).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(read_crop(tmp_path / "a.tif", None, SIZE).pixels[..., 0], 255 - RAMP)


@pytest.mark.parametrize("highest", [15, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", [b"P5", b"P6"])
def test_a_portable_map_says_its_own_range(tmp_path: Path, highest: int, kind: bytes) -> None:
    grey = np.round(RAMP / 255 * highest)
    values = (grey if kind == b"P5" else np.stack([grey] * 3, axis=-1)).astype(">u2" if highest > 255 else np.uint8)
    (tmp_path / "a.pgm").write_bytes(kind + b" 16 16 %d\n" % highest + values.tobytes())
    np.testing.assert_allclose(read_crop(tmp_path / "a.pgm", None, SIZE).pixels[..., 0], RAMP, atol=1)


@pytest.mark.parametrize(
    ("dtype", "words"), [(np.float32, "mode F .*floating point"), (np.int32, "mode I .*32-bit integers")]
)
def test_values_without_an_agreed_range_are_rejected(tmp_path: Path, dtype: type[np.generic], words: str) -> None:
    Image.fromarray(RAMP.astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableFile, match=f"pixels of {words}.*save the image with 8 or 16 bits"):
        read_crop(tmp_path / "a.tif", None, SIZE)


def test_a_palette_with_opacities_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([0, 0, 0, 200, 100, 50, 0, 0, 0])
    image.paste(2, (0, 0, 8, SIZE))
    image.save(tmp_path / "a.png", transparency=bytes([255, 255, 51]))  # black of opacity 0.2
    found = read_crop(tmp_path / "a.png", None, SIZE).pixels
    assert (found[:, :8] == 204).all()
    assert (found[:, 8:] == (200, 100, 50)).all()


def test_a_few_white_pixels_make_no_image_of_few_bits_brighter(tmp_path: Path) -> None:
    values = np.full_like(wide(), 900)
    values[0, 0] = 65_535
    with pytest.raises(UnreadableFile, match="lowest 10 of 16 bits"):
        png16(tmp_path, values)
    values[:3, :3] = 65_535  # no specks any more
    assert png16(tmp_path, values).notes == ()
