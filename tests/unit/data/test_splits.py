"""Splits depend on the seed, on the number of files, on which of them are equal, and on their classes."""

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from linnet.data.layouts.base import SplitName
from linnet.data.raw import RawDataError
from linnet.data.splits import Listed, assign_splits, count_moved, moves_usable, split_positions
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


def listed(
    count: int, *, official: Sequence[SplitName] = (), equal: dict[int, int] | None = None, classes: Sequence[str] = ()
) -> Listed:
    """`count` files; `equal` names the first one with the same content, `classes` has the classes as letters."""
    first = np.arange(count)
    for index, before in (equal or {}).items():
        first[index] = before
    return Listed([str(n) for n in range(count)], official or [""] * count, first, classes or [""] * count)


def seeded(fraction: float, seed: int = 0) -> SeededSplit:
    return SeededSplit(kind="seeded", train_fraction=fraction, seed=seed)


def sides(split: SeededSplit, files: Listed, unusable: Iterable[int] = ()) -> list[bool]:
    return [side == "train" for side in assign_splits(split, files, unusable)]


def test_the_official_split_is_taken_as_it_is() -> None:
    """Even where equal files lie on both sides, or a class on one: it is only said."""
    files = listed(3, official=["test", "train", "test"], equal={1: 0}, classes=["a", "b", "a"])
    found = assign_splits(OfficialSplit(kind="official"), files)
    assert found == ["test", "train", "test"]
    assert count_moved(OfficialSplit(kind="official"), found) == 0


def test_a_data_set_without_an_official_split_has_none_to_take() -> None:
    with pytest.raises(RawDataError, match="gives no split for 1 and 1 more; use kind = 'seeded'"):
        assign_splits(OfficialSplit(kind="official"), listed(3, official=["test", "", ""]))


def test_a_seeded_split_does_not_look_at_the_official_one() -> None:
    split, expected = seeded(0.5, 3), split_positions(10, train_fraction=0.5, seed=3).tolist()
    assert sides(split, listed(10)) == sides(split, listed(10, official=["train"] * 10)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_where_nothing_is_equal_and_no_class_is_left_out_the_split_is_the_drawn_one(seed: int) -> None:
    split, drawn = seeded(0.8, seed), split_positions(60, train_fraction=0.8, seed=seed)
    classes = ["ab"[index % 2] for index in range(60)]
    found = assign_splits(split, listed(60, classes=classes))
    assert [side == "train" for side in found] == drawn.tolist()
    assert count_moved(split, found) == 0


@pytest.mark.parametrize("seed", range(20))
def test_equal_files_follow_the_first_of_them(seed: int) -> None:
    split, drawn = seeded(0.5, seed), split_positions(12, train_fraction=0.5, seed=seed)
    found = assign_splits(split, listed(12, equal={5: 2, 9: 2, 11: 10}))
    expected = drawn.copy()
    expected[[5, 9]], expected[11] = drawn[2], drawn[10]
    assert [side == "train" for side in found] == expected.tolist()
    assert count_moved(split, found) == int((expected != drawn).sum())


@pytest.mark.parametrize("seed", range(20))
def test_every_class_of_two_or_more_is_on_the_training_side(seed: int) -> None:
    """One file more changes sides for each class that needs it, the class's first; a class of one stays."""
    split, drawn = seeded(0.3, seed), split_positions(21, train_fraction=0.3, seed=seed)
    classes = [*"aabbccddeeffgghhiijj", "k"]
    expected = drawn.copy()
    for first in range(0, 20, 2):
        expected[first] |= not drawn[first + 1]
    assert sides(split, listed(21, classes=classes)) == expected.tolist()


def test_a_class_of_equal_files_only_goes_to_the_training_side_whole() -> None:
    drawn = split_positions(10, train_fraction=0.5, seed=0)
    first, second = np.flatnonzero(~drawn)[:2].tolist()
    classes = ["b" if index in (first, second) else "" for index in range(10)]
    found = sides(seeded(0.5), listed(10, equal={second: first}, classes=classes))
    assert (found[first], found[second]) == (True, True)
    assert sum(found) == drawn.sum() + 2


def test_what_cannot_be_used_serves_no_class() -> None:
    """A damaged file on the training side leaves its class without an example there; a missing one may not be moved."""
    drawn = split_positions(10, train_fraction=0.5, seed=0)
    train, (first, second) = int(np.flatnonzero(drawn)[0]), np.flatnonzero(~drawn)[:2].tolist()
    classes = ["b" if index in (train, first, second) else "" for index in range(10)]
    assert sides(seeded(0.5), listed(10, classes=classes)) == drawn.tolist()
    settled = sides(seeded(0.5), listed(10, classes=classes), unusable=[train])
    assert settled == [bool(is_train) or index == first for index, is_train in enumerate(drawn)]
    assert sides(seeded(0.5), listed(10, classes=classes), unusable=[train, first]) == drawn.tolist()


def test_only_examples_count_as_moved_from_a_split_to_another() -> None:
    assert moves_usable(["train", "test"], ["train", "train"], set())
    assert not moves_usable(["train", "test"], ["train", "train"], {1})


def test_recordings_have_several_labels_and_each_is_kept() -> None:
    drawn = split_positions(8, train_fraction=0.5, seed=1)
    first, second = np.flatnonzero(~drawn)[:2].tolist()
    labels = ["xy" if index == first else "yx" if index == second else "z" for index in range(8)]
    found = sides(seeded(0.5, 1), listed(8, classes=labels))
    assert found == [bool(is_train) or index == first for index, is_train in enumerate(drawn)], "one serves both"
