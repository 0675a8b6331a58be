"""What preprocess counts for people: summary.json in a dataset folder, which nothing but its page reads.

Imports no torch.
"""

from typing import assert_never

from linnet.files import StrictTable
from linnet.modalities.statistics import AudioStatistics, ImageStatistics, Statistics

MOST_NAMES = 20  # in a sentence


class Overlap(StrictTable):
    """What the two sides of the split have in common, and what was done about it."""

    repeated_count: int  # files identical to another one listed before, of those that could be used
    repeated_held_out: int  # held-out files identical to a training file; 0 where the split is ours
    near_held_out: int  # held-out examples nearly equal (audio: equal) to a training example, identical files included
    moved_count: int  # files on another side than the seed drew for them

    def sentences(self, files: str, examples: str) -> list[str]:
        """For people, nothing where there is nothing to say.

        Args:
            files: what the files are called, in the plural.
            examples: what near copies are, such as "crops look like".
        """
        found = []
        if self.repeated_count:
            held_out = self.repeated_held_out
            where = f"{held_out} held-out ones are training {files} too" if held_out else "all equal ones on one side"
            found.append(f"{self.repeated_count} {files} are identical to another one, byte for byte: {where}")
        if self.moved_count:
            found.append(
                f"{self.moved_count} {files} changed sides of the split, because equal files stay together and a class "
                "of two or more needs one to train on"
            )
        if self.near_held_out:
            found.append(f"{self.near_held_out} held-out {examples} a training one")
        return found


class OddImage(StrictTable):
    """An example that looks odd."""

    name: str
    split: str
    row: int
    look: str


class ImageSummary(StrictTable):
    """Of all images that could be read, train and test."""

    overlap: Overlap
    class_counts: dict[int, int]  # images by label; classes without any are left out
    box_sides: dict[int, int]  # images by the longer side of their box, in whole pixels
    box_aspects: dict[int, int]  # images by log2(width / height) of their box, in eighths
    notes: dict[str, int]  # images by what was done to them when they were read, and by what is odd about their file
    looks: dict[str, int]  # examples by what is odd about what came out
    odd: list[OddImage]  # some of these, the emptiest first
    warnings: list[str]  # about all boxes together


class AudioSummary(StrictTable):
    """Of all recordings that could be read, train and test."""

    overlap: Overlap
    durations: list[float]  # seconds


Summary = ImageSummary | AudioSummary


def notes(statistics: Statistics, summary: Summary) -> list[str]:
    """What people should know of a split: classes that nothing is learnt of, and what is on both sides of it."""
    match statistics:
        case ImageStatistics():
            what, files, examples = "classes", "images", "crops look like"
        case AudioStatistics():
            what, files, examples = "labels", "recordings", "windows are equal to"
        case _:
            assert_never(statistics)
    found = summary.overlap.sentences(files, examples)
    if without := statistics.without_training:
        names = ", ".join(without[:MOST_NAMES]) + (
            f" and {len(without) - MOST_NAMES} more" * (len(without) > MOST_NAMES)
        )
        found.append(
            f"{len(without)} of {len(statistics.label_names)} {what} have no training examples, so that a model will "
            f"not know them: {names}"
        )
    return found
