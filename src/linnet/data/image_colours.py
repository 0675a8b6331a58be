"""From the pixels of any kind of image file to RGB of eight bits on white."""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from linnet.data.colour_profiles import in_srgb
from linnet.data.image_files import UnreadableFile, silent_libtiff

NO_SPECKS = 0.995  # of the values; a few white pixels make a dark image no brighter
WIDE_BITS = 16  # of a sample; its upper eight are kept
BLACK_BITS = 12  # an image that uses no more of 16 would have 16 levels left, all of them nearly black
DARK_BITS = 14  # one that uses no more has at most a quarter of the range: perhaps as meant, so it is counted
DARK = f"dark: uses at most the lowest {DARK_BITS} of {WIDE_BITS} bits (if all do, multiply all by one factor)"
MIN_IS_WHITE, PHOTOMETRIC = 0, 262  # of TIFF
_SCALES = {"1": 255, "L;2": 85, "L;4": 17}  # by which Pillow multiplies samples of few bits, but not a tRNS value


def decode(image: Image.Image, notes: list[str]) -> Image.Image:
    """Decode the image and return it in RGB, on white where it is transparent, in sRGB.

    Args:
        notes: what was done to it, and what is odd about it, is appended.

    Raises:
        UnreadableFile: its values have no range that everybody agrees on.
    """
    if image.format == "JPEG" and image.mode == "RGB":  # most files
        image.load()
        return in_srgb(image, notes)
    layouts = [str(tile.args) for tile in getattr(image, "tile", ())]  # of samples in the file; gone once loaded
    with silent_libtiff() if image.format == "TIFF" else contextlib.nullcontext():
        image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return in_srgb(_upper_bits(image, notes), notes)
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating point numbers"
        raise UnreadableFile(
            f"pixels of mode {image.mode} have no fixed range ({kind}); save the image with 8 or 16 bits a channel"
        )
    if layouts:
        _mend_transparency(image, layouts[0])
    if any(";16" in layout for layout in layouts):  # Pillow has kept the upper half
        num_colours = len(image.getbands()) - image.getbands().count("A")
        _check_bits(_highest(np.asarray(image)[..., :num_colours]), WIDE_BITS // 2, notes)
    if image.has_transparency_data:
        return _on_white(image, notes)
    match image.mode:
        case "L" | "RGB" | "CMYK":
            return in_srgb(image, notes)
        case "LAB":  # a profile in it is of no image that is seen
            return image.convert("RGB")
        case mode:
            return in_srgb(_with_info(image.convert("L" if mode == "1" else "RGB"), image), notes)


def _on_white(image: Image.Image, notes: list[str]) -> Image.Image:
    rgba = image.convert("RGBA")
    is_grey = image.mode in ("1", "L", "LA", "La")
    opaque = rgba.convert("L" if is_grey else "RGB")  # R = G = B gives that value back
    colours = in_srgb(_with_info(opaque, image), notes)
    colours.putalpha(rgba.getchannel("A"))
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")


def _with_info(image: Image.Image, original: Image.Image) -> Image.Image:
    """The image with what the file says about its colours, and nothing about transparency."""
    image.info = {key: original.info[key] for key in ("icc_profile", "gamma", "srgb") if key in original.info}
    return image


def _upper_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """Grey of 16 bits as grey of eight: white where it has the value that stands for transparent."""
    wide = np.asarray(image).astype(np.uint16, copy=False)
    transparent = wide == image.info["transparency"] if "transparency" in image.info else None
    if transparent is not None:
        opaque = wide[~transparent]
        highest = _highest(opaque) if opaque.size else 0
    else:
        highest = _highest(wide)
    _check_bits(highest, WIDE_BITS, notes)
    grey = (wide >> (WIDE_BITS // 2)).astype(np.uint8)
    tags = getattr(image, "tag_v2", None)
    if tags is not None and tags.get(PHOTOMETRIC) == MIN_IS_WHITE:
        grey = 255 - grey  # Pillow inverts such images of eight bits, but not of 16
    if transparent is not None:
        grey[transparent] = 255
    return _with_info(Image.fromarray(grey), image)


def _highest(values: NDArray[Any]) -> int:
    """The largest value but for specks, such as pixels that a sensor always shows white."""
    return int(np.quantile(values, NO_SPECKS, method="higher"))


def _check_bits(highest: int, kept: int, notes: list[str]) -> None:
    """Reject or note an image that uses few bits of 16, `highest` being its largest value in `kept` bits.

    Cameras and scanners write 10 to 14 bits into files of 16. How many is written nowhere, and a scale of each image's
    own would make dark images bright.
    """
    bits = highest.bit_length() + WIDE_BITS - kept
    if highest > 0 and bits <= BLACK_BITS:
        raise UnreadableFile(
            f"uses only the lowest {bits} of {WIDE_BITS} bits and would be nearly black; multiply the values of all "
            "images by one factor, so that they use the whole range"
        )
    if highest > 0 and bits <= DARK_BITS:
        notes.append(DARK)


def _mend_transparency(image: Image.Image, layout: str) -> None:
    """Give the transparent value of a PNG in the units of the decoded pixels, which Pillow leaves in the file's."""
    value = image.info.get("transparency")
    if image.format != "PNG" or value is None:
        return
    if isinstance(value, tuple) and ";16" in layout:
        image.info["transparency"] = tuple(part >> (WIDE_BITS // 2) for part in value)
    elif isinstance(value, int) and image.mode == "L" and layout in _SCALES:
        image.info["transparency"] = value * _SCALES[layout]
