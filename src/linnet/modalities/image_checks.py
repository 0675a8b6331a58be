"""What came out of the images is looked at: empty results and boxes in other units are told, or refused."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from linnet.data.image_files import TURNED
from linnet.data.images import IF_STORED, Crop
from linnet.data.layouts.base import ImageRecord
from linnet.data.raw import RawDataError

# Of 256 levels. Drawings and synthetic images are far inside: their few levels lie far apart.
FLAT_STD = 1.0  # at most, in every channel
FEW_LEVELS = 16  # distinct values in all channels together
CLOSE_LEVELS = 64  # from the lowest to the highest
BLANK_FRACTION = 0.995  # of all values black, or of all white
CLIPPED_FRACTION = 0.95  # of all values black or white
MAX_EMPTY_FRACTION = 0.5  # of all examples: beyond it the fault is the data set's
PARTS_FRACTION = 0.9  # of all boxes within 0..1: beyond it they are all meant so

FAR_PAST_EDGE = 0.05  # of the image's width or height
MANY_FAR_PAST_EDGE = 0.25  # of all boxes; annotators overshoot by a few pixels, and seldom
PERCENT_SIDE = 200  # pixels: in larger images boxes that end before 100 are odd


class Look(enum.StrEnum):
    """What is odd about an example. The first three show nothing that could be learnt."""

    FLAT = "of one colour"
    FEW_LEVELS = "few values close together"
    BLANK = "blank but for specks"
    CLIPPED = "mostly pure black or white"
    DRAWN = "few values far apart"

    @property
    def is_empty(self) -> bool:
        """Whether too many of them are refused; drawings, masks and prints look like the others."""
        return self in (Look.FLAT, Look.FEW_LEVELS, Look.BLANK)


def look_at(pixels: NDArray[np.uint8]) -> Look | None:
    """What is odd about an example, uint8 [H, W, 3]; None for nothing."""
    counts = np.stack([np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    levels = np.arange(256)
    variances = shares @ levels**2 - (shares @ levels) ** 2
    present = np.flatnonzero(counts.any(axis=0))
    black, white = shares[:, 0].mean(), shares[:, 255].mean()
    if variances.max() < FLAT_STD**2:
        return Look.FLAT
    if len(present) <= FEW_LEVELS and np.ptp(present) < CLOSE_LEVELS:
        return Look.FEW_LEVELS
    if max(black, white) >= BLANK_FRACTION:
        return Look.BLANK
    if black + white >= CLIPPED_FRACTION:
        return Look.CLIPPED
    return Look.DRAWN if len(present) <= FEW_LEVELS else None


def check_units(records: Sequence[ImageRecord], *, where: str) -> None:
    """Raise RawDataError if the boxes are parts of the image instead of pixels; `where` opens its message."""
    boxes = [record.box for record in records if record.box is not None]
    parts = sum(all(0 <= side <= 1 for side in (box.left, box.top, box.width, box.height)) for box in boxes)
    if boxes and parts >= PARTS_FRACTION * len(boxes):
        raise RawDataError(
            f"{where}: {parts} of {len(boxes)} boxes lie within 0..1, so they look like parts of the image, as YOLO "
            "writes them (X_CENTER Y_CENTER WIDTH HEIGHT); linnet reads LEFT TOP WIDTH HEIGHT in pixels. Write LEFT = "
            "(X_CENTER - WIDTH / 2) * image width, TOP = (Y_CENTER - HEIGHT / 2) * image height, WIDTH and HEIGHT "
            "times the image's, and ingest again"
        )


@dataclass
class BoxCounts:
    """What the boxes of a data set have in common, which tells other conventions from LEFT TOP WIDTH HEIGHT."""

    boxes: int = 0
    far_past_edge: int = 0  # on the right or below, of images that were not turned
    turned: int = 0  # images
    turned_far_past_edge: int = 0
    like_corners: int = 0  # WIDTH > LEFT and HEIGHT > TOP, as in X1 Y1 X2 Y2
    like_centres: int = 0  # LEFT >= WIDTH / 2 and TOP >= HEIGHT / 2, as in X_CENTER Y_CENTER WIDTH HEIGHT
    like_percents: int = 0  # of large images, ending before 100

    def add(self, crop: Crop) -> None:
        """Count the box of one image."""
        box, width, height = crop.box, crop.image_width, crop.image_height
        right, bottom = box.left + box.width, box.top + box.height
        self.boxes += 1
        is_far = right > (1 + FAR_PAST_EDGE) * width or bottom > (1 + FAR_PAST_EDGE) * height
        is_turned = TURNED in crop.notes
        self.far_past_edge += is_far and not is_turned
        self.turned += is_turned
        self.turned_far_past_edge += is_far and is_turned
        self.like_corners += box.width > box.left and box.height > box.top
        self.like_centres += box.left >= box.width / 2 and box.top >= box.height / 2
        self.like_percents += min(width, height) >= PERCENT_SIDE and max(right, bottom) <= 100

    def warnings(self) -> list[str]:
        """Sentences for people. What a box means cannot be told with certainty, so nothing is refused."""
        found = []
        if self.boxes and self.like_percents == self.boxes:
            found.append("all boxes end within the first 100 pixels of their images: are they per cent?")
        unturned = self.boxes - self.turned
        if self.far_past_edge > MANY_FAR_PAST_EDGE * unturned:
            found.append(
                f"{self.far_past_edge} of {unturned} boxes reach far past the right or lower edge of their image: "
                f"{self._guess()}. Boxes are LEFT TOP WIDTH HEIGHT in pixels"
            )
        if self.turned_far_past_edge > MANY_FAR_PAST_EDGE * self.turned:
            found.append(
                f"{self.turned_far_past_edge} of {self.turned} boxes reach far past the edge of images {IF_STORED[2:]}"
            )
        return found

    def _guess(self) -> str:
        if self.like_corners == self.boxes:
            return "they look like corners (X1 Y1 X2 Y2)"
        if self.like_centres == self.boxes:
            return "they look like centres (X_CENTER Y_CENTER WIDTH HEIGHT)"
        return "were they measured on images of another size?"


@dataclass(frozen=True)
class OddExample:
    """One example that looks odd, and where it lies."""

    name: str
    split: str
    row: int
    look: Look


@dataclass
class LookCounts:
    """The odd ones among all examples."""

    examples: int = 0
    odd: list[OddExample] = field(default_factory=list)

    def add(self, name: str, split: str, row: int, look: Look | None) -> None:
        """Count one example: number `row` of its split's array."""
        self.examples += 1
        if look is not None:
            self.odd.append(OddExample(name, split, row, look))

    def counts(self) -> dict[str, int]:
        """Examples by what is odd about them, the empty ones first; those that none has are left out."""
        found = {str(look): sum(example.look is look for example in self.odd) for look in Look}
        return {look: count for look, count in found.items() if count}

    def refuse_empty(self, *, where: str) -> None:
        """Raise RawDataError if most examples show nothing; `where` opens its message."""
        empty = [example for example in self.odd if example.look.is_empty]
        if len(empty) > MAX_EMPTY_FRACTION * self.examples:
            kinds = ", ".join(f"{sum(e.look is look for e in empty)} are {look}" for look in Look if look.is_empty)
            first = ", ".join(example.name for example in empty[:3])
            raise RawDataError(
                f"{where}: {len(empty)} of {self.examples} examples show nothing ({kinds}; the first are {first}). "
                f"More than {MAX_EMPTY_FRACTION:.0%} is refused: look at these files (values in a few of their bits?) "
                "and at their boxes (LEFT TOP WIDTH HEIGHT in pixels), and ingest again"
            )
