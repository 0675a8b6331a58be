"""Which examples are for training and which for testing."""

from collections.abc import Sequence
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from linnet.data.layouts.base import SplitName
from linnet.data.raw import RawDataError
from linnet.recipe import OfficialSplit, SeededSplit, Split


def assign_splits(split: Split, official: Sequence[SplitName], names: Sequence[str]) -> list[Literal["train", "test"]]:
    """The split of each image or recording, rejected ones included: mending one file moves no other.

    Args:
        official: of the data set itself, in the same order; "" where it does not say.
        names: for the message.

    Raises:
        RawDataError: the recipe takes the official split, and the data set does not give it for all.
    """
    match split:
        case OfficialSplit():
            if missing := [name for name, given in zip(names, official, strict=True) if not given]:
                raise RawDataError(
                    f"[data.split] kind = 'official', but the data set gives no split for {missing[0]} and "
                    f"{len(missing) - 1} more; use kind = 'seeded'"
                )
            return ["train" if given == "train" else "test" for given in official]
        case SeededSplit(train_fraction=fraction, seed=seed):
            is_train = split_positions(len(names), train_fraction=fraction, seed=seed)
            return ["train" if each else "test" for each in is_train]
        case _:
            assert_never(split)


def split_positions(count: int, *, train_fraction: float, seed: int) -> NDArray[np.bool_]:
    """Bool [count]: whether each position belongs to the train split, floor(count * train_fraction) of them."""
    is_train = np.zeros(count, dtype=np.bool_)
    is_train[np.random.default_rng(seed).permutation(count)[: int(count * train_fraction)]] = True
    return is_train
