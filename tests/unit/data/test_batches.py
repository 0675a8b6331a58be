"""Batches are a pure function of (seed, step)."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from linnet.data.batches import batch_indices, split_positions


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


@pytest.mark.parametrize(
    ("count", "fraction", "train"), [(11788, 0.8, 9430), (10, 0.5, 5), (10, 0.19, 1), (3, 0.99, 2), (1, 0.5, 0)]
)
def test_a_split_has_the_share_that_was_asked_for(count: int, fraction: float, train: int) -> None:
    is_train = split_positions(count, train_fraction=fraction, seed=0)
    assert (is_train.shape, int(is_train.sum())) == ((count,), train)


def test_a_split_is_random_and_its_seed_decides() -> None:
    first = split_positions(1000, train_fraction=0.8, seed=0)
    np.testing.assert_array_equal(first, split_positions(1000, train_fraction=0.8, seed=0))
    assert not np.array_equal(first, split_positions(1000, train_fraction=0.8, seed=1))
    assert abs(int(first[:500].sum()) - 400) < 40  # not simply the first 800


def test_a_larger_share_keeps_those_already_in_training() -> None:
    small, large = (split_positions(100, train_fraction=fraction, seed=0) for fraction in (0.3, 0.6))
    assert (large >= small).all()
