"""From an image and a box to a square array: cropped without distortion, antialiased, eight bits."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from linnet.data.image_colours import decode
from linnet.data.image_files import (
    MAX_DECODE_BYTES,
    TURNED,
    UnreadableFile,
    check_memory,
    note_frames,
    opened,
    turn_of,
)
from linnet.data.layouts.base import Box
from linnet.recipe.data import ExifOrientation

REDUCING_GAP = 3.0  # Pillow: above 3 a two-step reduction is indistinguishable from the exact filter
MAX_SIDE_RATIO = 4  # a box that is larger was measured on another image
MIN_SIDE = 2  # pixels of a box or an image; less holds no content, and is no number of pixels
DECODE_OVERSAMPLING = 2  # a JPEG is decoded at the smallest scale that still gives twice the pixels needed
BYTES_OF_PADDING = 7  # a pixel of an image and of the array it is made from
IF_STORED = f", {TURNED}; for boxes in stored pixels set exif_orientation = 'ignore' in the layout in [data]"
QUARTER_TURNS = (
    *(Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270, Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE),
)


@dataclass(frozen=True)
class Crop:
    """A square cut out of an image and resized."""

    pixels: NDArray[np.uint8]  # [size, size, 3]
    box: Box  # around which it was cut, in pixels of the image
    image_width: int  # as the image is seen, after any turn
    image_height: int
    notes: tuple[str, ...]  # what was done to the image beyond that, and what is odd about its file


def read_crop(path: Path, box: Box | None, size: int, exif_orientation: ExifOrientation = "apply") -> Crop:
    """The square around `box` (None: the largest square in the middle of the image), resized to `size` pixels.

    Args:
        path: of the image.
        box: in pixels of the image as it is seen, or as it is stored where `exif_orientation` is "ignore".
        size: of the square.
        exif_orientation: whether the image is turned as its EXIF data says.

    Raises:
        UnreadableFile: missing, damaged, truncated or huge image, or a box that covers none of it.
    """
    if box is not None:
        _check_box(box)
    notes: list[str] = []
    with opened(path, notes) as image:
        width, height = image.size
        side = min(width, height) if box is None else max(box.width, box.height)
        _check_sides(side, width, height)
        scale = DECODE_OVERSAMPLING * size / side
        if scale < 1:
            image.draft("RGB", (math.ceil(width * scale), math.ceil(height * scale)))
        upright, is_quarter_turned = _decode(image, width, height, exif_orientation, notes)
        if is_quarter_turned:
            width, height = height, width
        box = box or central_box(width, height)
        if not _overlap(box, width, height):
            remedy = IF_STORED if TURNED in notes else ""
            raise UnreadableFile(f"box lies outside the image of {width} x {height} pixels{remedy}")
        square = _crop(upright, box, width, height, size)
    return Crop(np.asarray(square), box, width, height, tuple(notes))


def read_image(path: Path) -> Image.Image:
    """A whole image in RGB as people see it: on white where transparent, in sRGB, turned as its EXIF data says.

    Raises:
        UnreadableFile: missing, damaged, truncated or huge image.
    """
    notes: list[str] = []
    with opened(path, notes) as image:
        return _decode(image, *image.size, "apply", notes)[0]


def central_box(width: int, height: int) -> Box:
    """The largest square in the middle of an image, on whole pixels."""
    side = min(width, height)
    return Box((width - side) // 2, (height - side) // 2, side, side)


def _decode(
    image: Image.Image, width: int, height: int, exif_orientation: ExifOrientation, notes: list[str]
) -> tuple[Image.Image, bool]:
    """The image in RGB, turned; and whether a turn has changed its sides. `width` and `height` are of full scale."""
    check_memory(image, width=width, height=height)
    note_frames(image, notes)
    if image.format == "TIFF":
        turn = turn_of(image, exif_orientation, notes)
        decoded = decode(image, notes)
    else:
        decoded = decode(image, notes)
        turn = turn_of(image, exif_orientation, notes)
    return (decoded if turn is None else decoded.transpose(turn)), turn in QUARTER_TURNS


def _check_box(box: Box) -> None:
    if not all(map(math.isfinite, (box.left, box.top, box.width, box.height))):
        raise UnreadableFile("box is not finite")
    if box.width <= 0 or box.height <= 0:
        raise UnreadableFile(f"box has no area ({box.width:g} x {box.height:g})")
    if min(box.width, box.height) < MIN_SIDE:
        raise UnreadableFile(f"box of {box.width:g} x {box.height:g} pixels; boxes are LEFT TOP WIDTH HEIGHT in pixels")


def _overlap(box: Box, width: int, height: int) -> bool:
    """Whether the box covers any of the image."""
    return max(box.left, 0) < min(box.left + box.width, width) and max(box.top, 0) < min(box.top + box.height, height)


def _check_sides(side: float, width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise UnreadableFile(f"image of {width} x {height} pixels")
    if side > MAX_SIDE_RATIO * max(width, height):
        raise UnreadableFile(f"box is far larger than the image of {width} x {height} pixels")


def crop_square(box: Box, width: int, height: int) -> tuple[float, float, float]:
    """(left, top, side) of the square to cut, in pixels: around the box, shifted into the image where it fits.

    Only along an axis that is shorter than the square does it still reach past the edge; that part is padded.
    """
    side = max(box.width, box.height)
    left = box.left + box.width / 2 - side / 2
    top = box.top + box.height / 2 - side / 2
    return _shift(left, side, width), _shift(top, side, height), side


def _shift(start: float, side: float, limit: int) -> float:
    return (limit - side) / 2 if side > limit else min(max(start, 0.0), limit - side)


def _crop(image: Image.Image, box: Box, full_width: int, full_height: int, size: int) -> Image.Image:
    """The square from an image that may be decoded at a smaller scale than full."""
    left, top, side = crop_square(box, full_width, full_height)
    reduction = round(max(full_width, full_height) / max(image.size))  # whole; decoders round odd sizes up
    left, right = left / reduction, (left + side) / reduction
    top, bottom = top / reduction, (top + side) / reduction
    image, left, top, right, bottom = _pad(image, left, top, right, bottom)
    return image.resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, right, bottom), reducing_gap=REDUCING_GAP
    )


def _pad(
    image: Image.Image, left: float, top: float, right: float, bottom: float
) -> tuple[Image.Image, float, float, float, float]:
    """Repeat the edge pixels where the square reaches past the image."""
    before_x, before_y = max(0, math.ceil(-left)), max(0, math.ceil(-top))
    after_x, after_y = max(0, math.ceil(right - image.width)), max(0, math.ceil(bottom - image.height))
    if before_x or before_y or after_x or after_y:
        width, height = image.width + before_x + after_x, image.height + before_y + after_y
        if width * height * BYTES_OF_PADDING > MAX_DECODE_BYTES:
            raise UnreadableFile(f"the square around its box, {width} x {height} pixels with padding, is too large")
        padding = ((before_y, after_y), (before_x, after_x), (0, 0))
        image = Image.fromarray(np.pad(np.asarray(image), padding, mode="edge"))
    limit_x, limit_y = image.width, image.height  # rounding may put the edge a hair outside
    return image, left + before_x, top + before_y, min(right + before_x, limit_x), min(bottom + before_y, limit_y)
