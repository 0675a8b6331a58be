"""What preprocess counts for people: summary.json in a dataset folder, which nothing but its page reads.

Imports no torch.
"""

from linnet.files import StrictTable


class OddImage(StrictTable):
    """An example that looks odd."""

    name: str
    split: str
    row: int
    look: str


class ImageSummary(StrictTable):
    """Of all images that could be read, train and test."""

    class_counts: dict[int, int]  # images by label; classes without any are left out
    box_sides: dict[int, int]  # images by the longer side of their box, in whole pixels
    box_aspects: dict[int, int]  # images by log2(width / height) of their box, in eighths
    notes: dict[str, int]  # images by what was done to them when they were read, and by what is odd about their file
    looks: dict[str, int]  # examples by what is odd about what came out
    odd: list[OddImage]  # some of these, the emptiest first
    warnings: list[str]  # about all boxes together


class AudioSummary(StrictTable):
    """Of all recordings that could be read, train and test."""

    durations: list[float]  # seconds


Summary = ImageSummary | AudioSummary
