"""Files with the same bytes, equal windows and nearly equal pictures."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from linnet.data.duplicates import (
    PROBE_BYTES,
    count_equal_rows,
    count_near_copies,
    fingerprint,
    first_of_equal_files,
)

LARGE = bytes(range(256)) * 200  # more than is looked at before a file is read whole


def changed(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_equal_files_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    contents = [b"a", LARGE, b"b", LARGE, changed(LARGE, 3 * PROBE_BYTES), b"a", changed(LARGE, 7), LARGE]
    paths = [tmp_path / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    assert first_of_equal_files(paths).tolist() == [0, 1, 2, 1, 4, 0, 6, 1]


def test_what_is_no_file_is_like_no_other(tmp_path: Path) -> None:
    """Nor is an empty one: they would all be equal, and none is an example. A pipe is not opened: nobody writes."""
    for name in ("empty", "hollow"):
        (tmp_path / name).touch()
    for name in ("pipe", "other pipe"):
        os.mkfifo(tmp_path / name)
    for name in ("folder", "other folder"):
        (tmp_path / name).mkdir()
    names = ("empty", "hollow", "pipe", "other pipe", "folder", "other folder", "missing", "missing too")
    assert first_of_equal_files([*(tmp_path / name for name in names), None, None]).tolist() == list(range(10))


def test_a_file_that_is_listed_twice_is_equal_to_itself(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    assert first_of_equal_files([tmp_path / "a", None, tmp_path / "a"]).tolist() == [0, 1, 0]
    assert first_of_equal_files([]).tolist() == []


def test_equal_windows_are_counted_sample_by_sample() -> None:
    """Also where fingerprints agree and windows don't."""
    rng = np.random.default_rng(0)
    train = rng.integers(-9000, 9000, (40, 640), dtype=np.int16)
    held_out = np.stack([train[7], train[7], train[31], rng.integers(-9000, 9000, 640, dtype=np.int16), train[3]])
    held_out[4, 5] += 1  # between the samples of a fingerprint
    prints = [[fingerprint(row) for row in rows] for rows in (held_out, train)]
    assert prints[0][4] == prints[1][3]
    assert count_equal_rows(held_out, prints[0], train, prints[1]) == 3


def pictures(count: int, side: int) -> NDArray[np.uint8]:
    """Soft spots of colour, as photographs have them."""
    rng = np.random.default_rng(0)
    spots = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    return np.stack([resized(each, side) for each in spots])


def resized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def saved_again(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="JPEG", quality=quality)
    return np.asarray(Image.open(stream))


@pytest.mark.parametrize("side", [8, 24, 64])
def test_near_copies_are_found_and_nothing_else(side: int) -> None:
    images = pictures(300, side)
    assert count_near_copies(images[:100], images[100:]) == 0
    assert count_near_copies(images[:100], images) == 100
    assert count_near_copies(images[:7], images[:0]) == count_near_copies(images[:0], images) == 0


def test_another_quality_or_size_makes_a_near_copy() -> None:
    images = pictures(120, 64)
    worse = np.stack([saved_again(image, 50) for image in images[:40]])
    smaller = np.stack([resized(resized(image, 37), 64) for image in images[:40]])
    brighter = np.clip(images[:40].astype(int) + 2, 0, 255).astype(np.uint8)
    for copies in (worse, smaller, brighter):
        assert count_near_copies(copies, images) >= 38
    assert count_near_copies(images[:40, :, ::-1], images) == 0, "mirrored"


def test_plain_pictures_are_like_those_of_their_colour_alone() -> None:
    plain = np.stack([np.full((8, 8, 3), level, dtype=np.uint8) for level in (0, 3, 100, 255)])
    assert count_near_copies(plain, plain[:1]) == 2
