"""Opening the image files that people bring: what is wrong with one is a reason or a note, never a raw message."""

import contextlib
import logging
import os
import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image, PngImagePlugin

from linnet.errors import first_line
from linnet.recipe.data import ExifOrientation

MAX_DECODE_BYTES = 2 << 30  # of memory for one image: beyond it, several readers at once would fill a machine
PROGRESSIVE_BYTES = 2  # of each coefficient of a progressive JPEG, all of which are held before the first pixel
ONE_BYTE_MODES = ("1", "L", "P")  # a pixel; others take four, or two and arrays beside them
STDERR = 2
TURNED = "turned as EXIF says"
DAMAGED_EXIF = "EXIF data that cannot be read: not turned"
FIRST_FRAME = "several frames or pages: the first is used"

# Pillow guards against small files that unpack to huge ones; its limits are too low for scans, and it prints them.
# `check_memory` says what a decoded image takes.
Image.MAX_IMAGE_PIXELS = None
# Programs that generate images write their whole workflow into a text chunk; Pillow refuses more than 1 MiB.
PngImagePlugin.MAX_TEXT_CHUNK = 64 << 20
PngImagePlugin.MAX_TEXT_MEMORY = 256 << 20
# Where nothing else listens, Python's logging prints warnings to the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_UPRIGHT = {  # by EXIF's Orientation (TIFF 6.0, tag 274): what makes the stored image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STORED = _UPRIGHT | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # what undoes it
_BROKEN = (OSError, SyntaxError, ValueError, RuntimeError, LookupError, TypeError, ArithmeticError, EOFError)


class UnreadableFile(ValueError):
    """One image cannot be used; its text is the reason written to rejected.csv."""


@contextlib.contextmanager
def opened(path: Path, notes: list[str]) -> Iterator[Image.Image]:
    """The image, not decoded yet. All that Pillow raises while it is open becomes UnreadableFile, its warnings notes.

    Args:
        notes: what is odd about the file is appended to it.
    """
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            with Image.open(path) as image:
                yield image
        except UnreadableFile:
            raise
        except FileNotFoundError:
            raise UnreadableFile("file is missing") from None
        except (*_BROKEN, struct.error) as reason:
            if isinstance(reason, OSError) and reason.errno is not None:
                raise UnreadableFile(f"cannot be read ({reason.strerror})") from None
            raise UnreadableFile(f"not a whole image ({_without_path(reason)})") from None
    notes.extend(dict.fromkeys(f"Pillow warns: {_general(warning.message)}" for warning in heard))


def check_memory(image: Image.Image, *, width: int, height: int) -> None:
    """Raise UnreadableFile if the image takes too much memory at the scale at which it is about to be decoded.

    Args:
        width: of the image at its full scale, in pixels.
        height: likewise.
    """
    bytes_of_pixel = 1 if image.mode in ONE_BYTE_MODES else 4
    bytes_of_pixel += 12 if image.has_transparency_data else 4  # RGB beside it; with alpha also white and the sum
    bytes_of_pixel += 4 if "icc_profile" in image.info else 0
    needed = image.size[0] * image.size[1] * bytes_of_pixel
    if "progressive" in image.info:  # a JPEG: whatever the scale
        needed += width * height * PROGRESSIVE_BYTES * len(image.getbands())
    if needed > MAX_DECODE_BYTES:
        raise UnreadableFile(
            f"image of {width} x {height} pixels takes {needed / 2**30:.1f} GiB of memory, the limit is "
            f"{MAX_DECODE_BYTES / 2**30:g} GiB: save it smaller, or cut it into parts"
        )


def turn_of(image: Image.Image, exif_orientation: ExifOrientation, notes: list[str]) -> Image.Transpose | None:
    """What must be done to the image after it is decoded, so that it lies as `exif_orientation` asks.

    A TIFF knows it only before, a PNG only after it is decoded. A turn is appended to `notes`, also where Pillow does
    it; EXIF data that make no sense turn nothing.
    """
    try:
        exif = image.getexif()
    except (*_BROKEN, struct.error):
        exif = Image.Exif()
    if "exif" in image.info and not exif:  # Pillow has looked into that of a JPEG already, and kept the fault to itself
        notes.append(DAMAGED_EXIF)
    orientation = exif.get(ExifTags.Base.Orientation)
    if orientation not in _UPRIGHT:
        return None
    is_turned_by_pillow = image.format == "TIFF"  # and by no other reader
    match exif_orientation:
        case "apply":
            notes.append(TURNED)
            return None if is_turned_by_pillow else _UPRIGHT[orientation]
        case "ignore":
            return _STORED[orientation] if is_turned_by_pillow else None


def note_frames(image: Image.Image, notes: list[str]) -> None:
    """Append to `notes` that an image has several frames; the further images of a camera's JPEG are previews."""
    if image.format not in ("JPEG", "MPO") and getattr(image, "is_animated", False):
        notes.append(FIRST_FRAME)


@contextlib.contextmanager
def silent_libtiff() -> Iterator[None]:
    """Nothing that libtiff prints from C about a damaged file reaches the terminal; the reason comes from Pillow."""
    terminal = os.dup(STDERR)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), STDERR)
        yield
    finally:
        os.dup2(terminal, STDERR)
        os.close(terminal)


def _without_path(reason: BaseException) -> str:
    """The first line of what Pillow says, which names the file last."""
    return first_line(reason).split(" '")[0]


def _general(warning: Warning | str) -> str:
    """What a warning has in common with those about other files: without numbers and names."""
    return re.sub(r"\d+", "N", _without_path(Exception(str(warning)))).strip()
