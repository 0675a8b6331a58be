"""What the training side and the held-out side of a split have in common."""

from collections.abc import Sequence

from linnet.data.splits import Listed, Side, count_moved
from linnet.modalities.summary import Overlap
from linnet.recipe import Split


def measure_overlap(
    split: Split, listed: Listed, sides: Sequence[Side], unusable: set[int], *, near_held_out: int
) -> Overlap:
    """Count equal files among those that could be used.

    Args:
        sides: of each that is listed.
        unusable: the indices of the others.
        near_held_out: held-out examples that are like a training example.
    """
    usable = [index for index in range(len(sides)) if index not in unusable]
    groups = {side: {int(listed.first_equal[i]) for i in usable if sides[i] == side} for side in ("train", "test")}
    shared = groups["train"] & groups["test"]
    return Overlap(
        repeated_count=len(usable) - len(groups["train"] | groups["test"]),
        repeated_held_out=sum(sides[i] == "test" and int(listed.first_equal[i]) in shared for i in usable),
        near_held_out=near_held_out,
        moved_count=count_moved(split, sides),
    )
