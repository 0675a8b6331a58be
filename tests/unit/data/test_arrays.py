"""Arrays written row by row are ordinary .npy files; statistics are those of float64 numpy."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from linnet.data.arrays import ArrayWriter, ChannelStatistics, open_array, random_rows, write_array


def images(count: int, height: int = 5, width: int = 7) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, size=(count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
@pytest.mark.parametrize(("shape", "dtype"), [((4, 4, 3), np.uint8), ((), np.int64), ((3,), np.float32)])
def test_numpy_reads_what_was_written(
    tmp_path: Path, count: int, shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    expected = np.random.default_rng(0).integers(0, 200, size=(count, *shape)).astype(dtype)
    with ArrayWriter(tmp_path / "a.npy", shape, dtype) as writer:
        for row in expected:
            writer.append(np.asarray(row))
        assert writer.count == count
    for read in (
        np.load(tmp_path / "a.npy", allow_pickle=False),
        open_array(tmp_path / "a.npy") if count else expected,
    ):
        assert read.dtype == expected.dtype
        np.testing.assert_array_equal(read, expected)
    np.save(tmp_path / "b.npy", expected)
    assert (tmp_path / "a.npy").stat().st_size == (tmp_path / "b.npy").stat().st_size


def test_rows_in_another_memory_order_are_written_by_their_values(tmp_path: Path) -> None:
    row = np.arange(12, dtype=np.uint8).reshape(3, 4).T
    with ArrayWriter(tmp_path / "a.npy", (4, 3), np.uint8) as writer:
        writer.append(row)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), row[None])


@pytest.mark.parametrize("row", [np.zeros((4, 3), np.uint8), np.zeros((3, 4), np.float32)])
def test_a_row_of_another_shape_or_type_is_our_own_bug(tmp_path: Path, row: NDArray[np.generic]) -> None:
    with ArrayWriter(tmp_path / "a.npy", (3, 4), np.uint8) as writer, pytest.raises(AssertionError):
        writer.append(row)


def test_an_interrupted_file_is_no_array(tmp_path: Path) -> None:
    def write() -> None:
        with ArrayWriter(tmp_path / "a.npy", (2,), np.uint8) as writer:
            writer.append(np.zeros(2, np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    with pytest.raises(ValueError, match=r"pickled|magic"):
        np.load(tmp_path / "a.npy", allow_pickle=False)


def test_an_opened_array_is_mapped_and_read_only(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    array = open_array(tmp_path / "a.npy")
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable


def test_a_whole_array_is_written_as_numpy_would(tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", images(4)[:, :, ::2])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), images(4)[:, :, ::2])


def test_random_rows_are_seeded_different_and_in_order() -> None:
    array = np.arange(100) * 3
    rows = random_rows(array, 10, seed=0)
    assert len(set(rows.tolist())) == 10
    assert (np.diff(rows) > 0).all()
    assert set(rows.tolist()) <= set(array.tolist())
    np.testing.assert_array_equal(rows, random_rows(array, 10, seed=0))
    assert not np.array_equal(rows, random_rows(array, 10, seed=1))
    np.testing.assert_array_equal(random_rows(array, 1000, seed=0), array)


def test_statistics_are_those_of_numpy_in_float64() -> None:
    examples = images(200)
    statistics = ChannelStatistics(3)
    for image in examples:
        statistics.add(image)
    scaled = examples.astype(np.float64) / 255
    np.testing.assert_allclose(statistics.mean(), scaled.mean(axis=(0, 1, 2)), rtol=1e-13)
    np.testing.assert_allclose(statistics.std(), scaled.std(axis=(0, 1, 2)), rtol=1e-11)


def test_statistics_have_known_answers_and_a_floor() -> None:
    statistics = ChannelStatistics(3)
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    image[0, :, 0] = 255  # half black, half white: mean 1/2, standard deviation 1/2
    image[..., 1] = 51
    statistics.add(image)
    assert statistics.mean() == [0.5, 0.2, 0.0]
    assert statistics.std() == [0.5, 0.5 / 255, 0.5 / 255]


def test_statistics_do_not_depend_on_the_order_or_the_shape_of_images() -> None:
    examples = images(50)
    one, other = ChannelStatistics(3), ChannelStatistics(3)
    for image in examples:
        one.add(image)
    other.add(examples[::-1].reshape(-1, 7, 3))
    assert (one.mean(), one.std()) == (other.mean(), other.std())
