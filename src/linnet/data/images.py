"""From an image and a box to a square array: cropped without distortion, antialiased, eight bits."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from linnet.data.layouts.base import Box
from linnet.errors import first_line

REDUCING_GAP = 3.0  # Pillow: above 3 a two-step reduction is indistinguishable from the exact filter
MAX_SIDE_RATIO = 4  # a box that is larger was measured on another image
DECODE_OVERSAMPLING = 2  # a JPEG is decoded at the smallest scale that still gives twice the pixels needed


class UnreadableFile(ValueError):
    """One image cannot be used; its text is the reason written to rejected.csv."""


@dataclass(frozen=True)
class Crop:
    """A square cut out of an image and resized."""

    pixels: NDArray[np.uint8]  # [size, size, 3]
    box: Box  # around which it was cut, in pixels of the image
    image_width: int
    image_height: int


def read_crop(path: Path, box: Box | None, size: int) -> Crop:
    """The square around `box` (None: the largest square in the middle of the image), resized to `size` pixels.

    Raises:
        UnreadableFile: missing, damaged or truncated image, or a box that covers none of it.
    """
    if box is not None:
        _check_box(box)
    with _opened(path) as image:
        return _crop(image, box or central_box(*image.size), size)


def central_box(width: int, height: int) -> Box:
    """The largest square in the middle of an image, on whole pixels."""
    side = min(width, height)
    return Box((width - side) // 2, (height - side) // 2, side, side)


def _check_box(box: Box) -> None:
    if not all(map(math.isfinite, (box.left, box.top, box.width, box.height))):
        raise UnreadableFile("box is not finite")
    if box.width <= 0 or box.height <= 0:
        raise UnreadableFile(f"box has no area ({box.width:g} x {box.height:g})")


def read_image(path: Path) -> Image.Image:
    """A whole image in RGB as training sees it: on white where transparent, not turned as EXIF says.

    Raises:
        UnreadableFile: missing, damaged or truncated image.
    """
    with _opened(path) as image:
        image.load()
        return _to_rgb(image)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, and all that Pillow raises while it is open as UnreadableFile."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise UnreadableFile("file is missing") from None
    except Image.DecompressionBombError:
        raise UnreadableFile("image is absurdly large") from None
    except (OSError, SyntaxError, ValueError, RuntimeError) as reason:
        if isinstance(reason, UnreadableFile):
            raise
        if isinstance(reason, OSError) and reason.errno is not None:
            raise UnreadableFile(f"cannot be read ({reason.strerror})") from None
        raise UnreadableFile(f"not a whole image ({_without_path(reason)})") from None


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


def _crop(image: Image.Image, box: Box, size: int) -> Crop:
    full_width, full_height = image.size
    overlap_x = min(box.left + box.width, full_width) - max(box.left, 0)
    overlap_y = min(box.top + box.height, full_height) - max(box.top, 0)
    if overlap_x <= 0 or overlap_y <= 0:
        raise UnreadableFile(f"box lies outside the image of {full_width} x {full_height} pixels")
    left, top, side = crop_square(box, full_width, full_height)
    if side > MAX_SIDE_RATIO * max(full_width, full_height):
        raise UnreadableFile(f"box is far larger than the image of {full_width} x {full_height} pixels")
    scale = DECODE_OVERSAMPLING * size / side
    if scale < 1:
        image.draft("RGB", (math.ceil(full_width * scale), math.ceil(full_height * scale)))
    image.load()
    reduction = round(max(full_width, full_height) / max(image.size))  # whole; decoders round odd sizes up
    image = _to_rgb(image)
    left, right = left / reduction, (left + side) / reduction
    top, bottom = top / reduction, (top + side) / reduction
    image, left, top, right, bottom = _pad(image, left, top, right, bottom)
    square = image.resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, right, bottom), reducing_gap=REDUCING_GAP
    )
    return Crop(np.asarray(square), box, full_width, full_height)


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB without alpha. Boxes are given in stored pixels, so an EXIF rotation is not applied."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableFile(f"pixels of mode {image.mode} have no fixed range")
    return image.convert("RGB")


def _pad(
    image: Image.Image, left: float, top: float, right: float, bottom: float
) -> tuple[Image.Image, float, float, float, float]:
    """Repeat the edge pixels where the square reaches past the image."""
    before_x, before_y = max(0, math.ceil(-left)), max(0, math.ceil(-top))
    after_x, after_y = max(0, math.ceil(right - image.width)), max(0, math.ceil(bottom - image.height))
    if before_x or before_y or after_x or after_y:
        padding = ((before_y, after_y), (before_x, after_x), (0, 0))
        image = Image.fromarray(np.pad(np.asarray(image), padding, mode="edge"))
    limit_x, limit_y = image.width, image.height  # rounding may put the edge a hair outside
    return image, left + before_x, top + before_y, min(right + before_x, limit_x), min(bottom + before_y, limit_y)


def _without_path(reason: Exception) -> str:
    return first_line(reason).split(" '")[0]
