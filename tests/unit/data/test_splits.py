"""Splits depend on the seed and the number of examples alone."""

import numpy as np
import pytest

from linnet.data.raw import RawDataError
from linnet.data.splits import assign_splits, split_positions
from linnet.recipe import OfficialSplit, SeededSplit


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


def test_the_official_split_is_taken_as_it_is() -> None:
    assert assign_splits(OfficialSplit(kind="official"), ["test", "train"], ["a", "b"]) == ["test", "train"]


def test_a_data_set_without_an_official_split_has_none_to_take() -> None:
    with pytest.raises(RawDataError, match="gives no split for b and 1 more; use kind = 'seeded'"):
        assign_splits(OfficialSplit(kind="official"), ["test", "", ""], ["a", "b", "c"])


def test_a_seeded_split_does_not_look_at_the_official_one() -> None:
    split = SeededSplit(kind="seeded", train_fraction=0.5, seed=3)
    names = [str(number) for number in range(10)]
    found = assign_splits(split, [""] * 10, names)
    assert found == assign_splits(split, ["train"] * 10, names)
    assert [each == "train" for each in found] == split_positions(10, train_fraction=0.5, seed=3).tolist()
