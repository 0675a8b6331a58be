"""Embedded profiles: the colours that they mean, by their definition."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from linnet.data import colour_profiles
from linnet.data.images import read_crop, read_image
from support.png import RGB, chunk, write_png
from support.profiles import (
    ADOBE,
    SRGB,
    grey_profile,
    ink_profile,
    lab_to_srgb,
    rgb_profile,
    srgb_curve,
    to_srgb,
)

SIZE = 16
WIDE = rgb_profile(ADOBE, 2.2)
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def colours(mode: str = "RGB") -> Image.Image:
    """Of moderate saturation, so that sRGB has them all."""
    values = np.random.default_rng(0).integers(90, 170, (SIZE, SIZE, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def read(folder: Path, image: Image.Image, kind: str = "png", **options: object) -> tuple[NDArray[np.int64], str]:
    image.save(folder / f"a.{kind}", **options)  # type: ignore[arg-type]
    crop = read_crop(folder / f"a.{kind}", None, SIZE)
    return crop.pixels.astype(np.int64), "; ".join(crop.notes)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize(("primaries", "gamma"), [(ADOBE, 2.2), (ADOBE, 1.8), (SRGB, 1.8)])
def test_colours_become_those_of_srgb(
    tmp_path: Path, mode: str, primaries: tuple[tuple[float, ...], ...], gamma: float
) -> None:
    image = colours(mode)
    found, notes = read(tmp_path, image, icc_profile=rgb_profile(primaries, gamma))
    expected = to_srgb(np.asarray(image.convert("RGB")).astype(float), primaries, gamma)
    assert notes == colour_profiles.CONVERTED
    np.testing.assert_allclose(found, expected, atol=1.5)
    assert np.abs(expected - np.asarray(image.convert("RGB"))).max() > 8


def test_a_whole_image_is_converted_too(tmp_path: Path) -> None:
    found, _ = read(tmp_path, colours(), icc_profile=WIDE)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png")), found)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_greys_stay_greys(tmp_path: Path, mode: str) -> None:
    ramp = Image.fromarray(np.arange(0, 256, dtype=np.uint8).reshape(SIZE, SIZE)).convert(mode)
    found, notes = read(tmp_path, ramp, icc_profile=grey_profile(1.0))
    assert notes == colour_profiles.CONVERTED
    assert (np.ptp(found, axis=-1) == 0).all()
    np.testing.assert_allclose(found[..., 0], srgb_curve(np.asarray(ramp.convert("L")) / 255.0), atol=1)


def test_greys_with_the_profile_of_a_colour_camera(tmp_path: Path) -> None:
    ramp = Image.fromarray(np.arange(0, 256, dtype=np.uint8).reshape(SIZE, SIZE))
    found, notes = read(tmp_path, ramp, icc_profile=rgb_profile(ADOBE, 1.8))
    assert notes == colour_profiles.CONVERTED
    assert (np.ptp(found, axis=-1) == 0).all()
    np.testing.assert_allclose(found[..., 0], srgb_curve((np.asarray(ramp) / 255.0) ** 1.8), atol=1)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_srgb_stays_bit_for_bit_whatever_it_is_called(tmp_path: Path, mode: str) -> None:
    image = colours(mode)
    steps = np.linspace(0, 1, 1024)
    table = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    other = rgb_profile(SRGB, 1.0)
    curve = b"curv\0\0\0\0" + len(table).to_bytes(4, "big") + (table * 65535).round().astype(">u2").tobytes()
    start = len(other)
    for name in (b"rTRC", b"gTRC", b"bTRC"):  # sRGB's own curve in place of a gamma
        place = other.index(name) + 4
        other = other[:place] + start.to_bytes(4, "big") + len(curve).to_bytes(4, "big") + other[place + 8 :]
    other = (start + len(curve)).to_bytes(4, "big") + other[4:] + curve
    for profile in (SRGB_PROFILE, other):
        found, notes = read(tmp_path, image, icc_profile=profile)
        assert notes == ""
        np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def test_a_transform_is_built_once_for_a_profile(tmp_path: Path) -> None:
    colours().save(tmp_path / "a.png", icc_profile=rgb_profile(ADOBE, 2.3))
    before = colour_profiles._conversion.cache_info().misses
    for _ in range(5):
        read_crop(tmp_path / "a.png", None, SIZE)
    assert colour_profiles._conversion.cache_info().misses == before + 1


@pytest.mark.parametrize("ink", [(255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 0), (255, 255, 0, 0)])
@pytest.mark.parametrize("kind", ["tif", "jpg"])
def test_printing_inks_are_those_of_their_profile(tmp_path: Path, ink: tuple[int, ...], kind: str) -> None:
    corners = np.zeros((2, 2, 2, 2, 3))
    corners[:, :, :, 0] = (60, 0, 0)
    corners[0, 0, 0, 0] = (100, 0, 0)
    corners[1, 0, 0, 0], corners[0, 1, 0, 0], corners[0, 0, 1, 0] = (65, -20, -25), (55, 40, 5), (85, 0, 50)
    found, notes = read(tmp_path, Image.new("CMYK", (SIZE, SIZE), ink), kind, icc_profile=ink_profile(corners))
    expected = lab_to_srgb(tuple(corners[tuple(int(part == 255) for part in ink)]))
    assert notes == colour_profiles.CONVERTED
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=3)


def test_inks_without_a_profile_are_counted(tmp_path: Path) -> None:
    found, notes = read(tmp_path, Image.new("CMYK", (SIZE, SIZE), (255, 0, 0, 0)), "tif")
    assert notes == colour_profiles.INKS
    assert (found == (0, 255, 255)).all()


@pytest.mark.parametrize(
    ("mode", "profile"),
    [("RGB", b"no profile" * 20), ("RGB", WIDE[:200]), ("RGB", grey_profile(1.0)), ("RGB", WIDE[:-60] + bytes(60))],
)
def test_a_profile_that_makes_no_sense_is_ignored_and_counted(tmp_path: Path, mode: str, profile: bytes) -> None:
    found, notes = read(tmp_path, colours(mode), icc_profile=profile)
    assert notes == colour_profiles.UNUSABLE
    np.testing.assert_array_equal(found, np.asarray(colours(mode)))


@pytest.mark.parametrize(
    ("gamma", "srgb", "note"),
    [
        (1.0, False, colour_profiles.GAMMA),
        (1 / 1.8, False, colour_profiles.GAMMA),
        (0.45455, False, ""),
        (1.0, True, ""),  # an sRGB chunk wins
        (0.00001, False, colour_profiles.WILD_GAMMA),
    ],
)
def test_the_gamma_of_a_png(tmp_path: Path, gamma: float, srgb: bool, note: str) -> None:
    image = np.asarray(colours())
    before = chunk(b"gAMA", round(gamma * 100_000).to_bytes(4, "big")) + (chunk(b"sRGB", b"\0") if srgb else b"")
    path = write_png(
        tmp_path / "a.png", [row.tobytes() for row in image], width=SIZE, bits=8, colour_type=RGB, before=before
    )
    crop = read_crop(path, None, SIZE)
    assert "; ".join(crop.notes) == note
    power = 1 / 2.2 / gamma if note == colour_profiles.GAMMA else 1
    np.testing.assert_allclose(crop.pixels, 255 * (image / 255) ** power, atol=0.51)
