"""Which examples are for training and which for testing."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from linnet.data.layouts.base import SplitName
from linnet.data.raw import RawDataError
from linnet.recipe import OfficialSplit, SeededSplit, Split

Side = Literal["train", "test"]


@dataclass(frozen=True)
class Listed:
    """All images or recordings that a data set lists, in their order: those that turn out to be unusable too."""

    names: Sequence[str]  # for messages
    official: Sequence[SplitName]  # the side that the data set itself gives; "" where it does not say
    first_equal: NDArray[np.int64]  # the index of the first file with the same content, see `first_of_equal_files`
    classes: Sequence[Iterable[Hashable]]  # of each: its one class, or its labels


def assign_splits(split: Split, listed: Listed, unusable: Iterable[int] = ()) -> list[Side]:
    """The side of each image or recording, rejected ones included: mending one file moves no other.

    A seeded split draws a side for each. Then files of equal content go to the side of the first of them, and of a
    class that has two or more and lies wholly on the test side the first one goes to the training side.

    Args:
        unusable: indices of those that cannot be an example: they serve no class.

    Raises:
        RawDataError: the recipe takes the official split, and the data set does not give it for all.
    """
    match split:
        case OfficialSplit():
            return _official(listed)
        case SeededSplit(train_fraction=fraction, seed=seed):
            is_train = split_positions(len(listed.names), train_fraction=fraction, seed=seed)[listed.first_equal]
            for members in _members(listed.classes, without=set(unusable)):
                if len(members) > 1 and not is_train[members].any():
                    is_train[listed.first_equal == listed.first_equal[members[0]]] = True
            return ["train" if each else "test" for each in is_train]
        case _:
            assert_never(split)


def moves_usable(sides: Sequence[Side], settled: Sequence[Side], unusable: set[int]) -> bool:
    """Whether an example has another side in `settled` than in `sides`."""
    pairs = enumerate(zip(sides, settled, strict=True))
    return any(before != after and index not in unusable for index, (before, after) in pairs)


def count_moved(split: Split, sides: Sequence[Side]) -> int:
    """How many lie on another side than they were drawn for."""
    match split:
        case OfficialSplit():
            return 0
        case SeededSplit(train_fraction=fraction, seed=seed):
            drawn = split_positions(len(sides), train_fraction=fraction, seed=seed)
            return int((drawn != np.array([side == "train" for side in sides])).sum())
        case _:
            assert_never(split)


def _official(listed: Listed) -> list[Side]:
    if missing := [name for name, given in zip(listed.names, listed.official, strict=True) if not given]:
        raise RawDataError(
            f"[data.split] kind = 'official', but the data set gives no split for {missing[0]} and "
            f"{len(missing) - 1} more; use kind = 'seeded'"
        )
    return ["train" if given == "train" else "test" for given in listed.official]


def _members(classes: Sequence[Iterable[Hashable]], *, without: set[int]) -> list[list[int]]:
    """The indices of the examples of each class, classes in the order in which they first appear."""
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index, names in enumerate(classes):
        if index not in without:
            for name in names:
                members[name].append(index)
    return list(members.values())


def split_positions(count: int, *, train_fraction: float, seed: int) -> NDArray[np.bool_]:
    """Bool [count]: whether each position belongs to the train split, floor(count * train_fraction) of them."""
    is_train = np.zeros(count, dtype=np.bool_)
    is_train[np.random.default_rng(seed).permutation(count)[: int(count * train_fraction)]] = True
    return is_train
