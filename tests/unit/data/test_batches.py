"""Batches are a pure function of (seed, step)."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from linnet.data.batches import batch_indices


def batches(size: int, batch: int, count: int, *, seed: int = 3, start: int = 0) -> NDArray[np.int64]:
    return np.stack(list(itertools.islice(batch_indices(size, batch, seed=seed, start_step=start), count)))


@pytest.mark.parametrize(("size", "batch"), [(10, 5), (10, 3), (10, 10), (3, 10), (1, 4), (7, 1)])
def test_batches_cut_an_endless_line_of_shuffled_epochs(size: int, batch: int) -> None:
    epochs = [np.random.default_rng([3, epoch]).permutation(size) for epoch in range(12 * batch // size + 1)]
    expected = np.concatenate(epochs)[: 12 * batch].reshape(12, batch)
    np.testing.assert_array_equal(batches(size, batch, 12), expected)


@pytest.mark.parametrize(("size", "batch"), [(12, 4), (12, 5), (4, 12), (5, 12)])
def test_every_epoch_visits_each_example_once_in_an_order_of_its_own(size: int, batch: int) -> None:
    line = batches(size, batch, 5 * size).ravel()
    epochs = line[: len(line) // size * size].reshape(-1, size)
    assert len(epochs) >= 5
    assert (np.sort(epochs, axis=1) == np.arange(size)).all()
    assert len({tuple(epoch) for epoch in epochs[:5]}) > 1


@pytest.mark.parametrize("start", [1, 2, 7, 30])
@pytest.mark.parametrize("batch", [4, 5, 23])
def test_a_batch_does_not_depend_on_where_the_run_started(start: int, batch: int) -> None:
    np.testing.assert_array_equal(batches(11, batch, 10, start=start), batches(11, batch, 10 + start)[start:])


def test_seeds_differ() -> None:
    assert not np.array_equal(batches(50, 10, 5, seed=0), batches(50, 10, 5, seed=1))
