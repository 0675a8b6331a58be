"""Nearest training images: copies are found, mirrored or not, wherever they lie."""

import numpy as np
import pytest
from numpy.typing import NDArray

from linnet.metrics import memorization
from linnet.metrics.memorization import memorization as measure
from linnet.metrics.memorization import nearest

Images = NDArray[np.uint8]
ROUNDING = 1e-7  # torch.cdist takes differences of squares, so a copy is not at 0 to the last bit


def images(count: int, *, size: int = 16, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("count", [5, 60])
def test_copies_are_at_distance_zero_in_their_row(size: int, count: int) -> None:
    train = images(count, size=size)
    rows = np.array([4, 0, 2])
    distance, row = nearest(train[rows], train, mirrored=True)
    assert distance == pytest.approx(0, abs=ROUNDING)
    assert row.tolist() == rows.tolist()
    assert row.dtype == np.int64
    assert distance.dtype == np.float64


def test_mirrored_copies_are_copies_and_upside_down_ones_are_not() -> None:
    train = images(40)
    mirrored, row = nearest(train[[7, 31], :, ::-1], train, mirrored=True)
    assert mirrored == pytest.approx(0, abs=ROUNDING)
    assert row.tolist() == [7, 31]
    flipped, _ = nearest(train[[7, 31], ::-1], train, mirrored=True)
    assert flipped.min() > 0.1


def test_a_spectrogram_played_backwards_is_no_copy() -> None:
    train = images(40)
    mirrored, _ = nearest(train[[7, 31], :, ::-1], train, mirrored=False)
    assert mirrored.min() > 0.1
    same, row = nearest(train[[7, 31]], train, mirrored=False)
    assert same == pytest.approx(0, abs=ROUNDING)
    assert row.tolist() == [7, 31]


def test_distance_is_the_root_mean_square_of_16_by_16_area_means() -> None:
    """By loops over 2 x 2 areas of 32 x 32 images."""
    queries, train = images(3, size=32), images(9, size=32, seed=1)

    def small(image: Images) -> NDArray[np.float64]:
        means: NDArray[np.float64] = (image / 255.0).reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
        return means

    distance, row = nearest(queries, train, mirrored=True)
    for query, found, index in zip(queries, distance, row, strict=True):
        each = [
            min(np.sqrt(((small(query) - small(other)) ** 2).mean()) for other in (image, image[:, ::-1]))
            for image in train
        ]
        assert found == pytest.approx(min(each), rel=1e-9)
        assert index == int(np.argmin(each))


def test_a_constant_offset_is_its_own_distance() -> None:
    grey, lighter = np.full((1, 16, 16, 3), 100, np.uint8), np.full((1, 16, 16, 3), 151, np.uint8)
    distance, _ = nearest(grey, lighter, mirrored=True)
    assert float(distance[0]) == pytest.approx(51 / 255, rel=1e-9)


@pytest.mark.parametrize("chunk", [1, 7, 39, 40])
def test_chunks_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train, queries = images(40), np.concatenate([images(30, seed=1), images(40)[[0, 39]]])
    distance, row = nearest(queries, train, mirrored=True)
    monkeypatch.setattr(memorization, "CHUNK", chunk)
    in_chunks, same_row = nearest(queries, train, mirrored=True)
    assert same_row.tolist() == row.tolist()
    np.testing.assert_allclose(in_chunks, distance, rtol=1e-9, atol=ROUNDING)


def test_the_first_of_equal_images_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memorization, "CHUNK", 2)
    train = np.concatenate([images(1, seed=3), *[images(1, seed=4)] * 4])
    _, row = nearest(images(1, seed=4), train, mirrored=True)
    assert row.tolist() == [1]


def test_samples_that_copy_lie_below_held_out_examples_and_are_named_first() -> None:
    train, samples = images(20), images(5, seed=1)
    samples[3] = train[11]
    medians, pairs = measure(samples, images(7, seed=2), train, mirrored=True, num_pairs=2)
    distance, rows = nearest(samples, train, mirrored=True)
    assert medians.sample_median == np.median(distance)
    assert medians.real_median == np.median(nearest(images(7, seed=2), train, mirrored=True)[0])
    second = int(np.argsort(distance)[1])
    assert pairs == [(3, 11), (second, int(rows[second]))]
