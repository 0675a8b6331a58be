"""Colours as every viewer shows them: what an embedded ICC profile means, in sRGB (ISO 15076-1; IEC 61966-2-1)."""

import functools
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

CONVERTED = "colours converted from its own profile to sRGB"
UNUSABLE = "colour profile is broken or of another kind of image: ignored"
INKS = "printing inks (CMYK) without a colour profile: colours are approximate"
GAMMA = "values converted from the gamma of its gAMA chunk to sRGB"
WILD_GAMMA = "gAMA chunk says what no screen has: ignored"
LEAST_GAMMA = 0.2
SAME_LEVELS = 2  # of 255: a profile that moves no colour further is sRGB, under whichever name and in whichever tables
SRGB_GAMMA = 1 / 2.2  # as a gAMA chunk has it for sRGB (PNG specification 11.3.2.2)
KEPT_TRANSFORMS = 64  # a data set has the profiles of a few cameras
_MODES_OF_SPACE = {"RGB": ("RGB",), "GRAY": ("L",), "CMYK": ("CMYK",)}


@dataclass(frozen=True)
class _Conversion:
    """What a profile asks for: nothing for sRGB."""

    transform: ImageCms.ImageCmsTransform | None
    note: str | None


def in_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """RGB from an image of mode L, RGB or CMYK, as the profile in its `info` says; without one as sRGB.

    Colours that sRGB has stay as they look (relative colorimetric, with black on black), the others become the nearest
    that it has. sRGB in any form stays bit for bit as it is. What was done is appended to `notes`.
    """
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if profile:
        conversion = _conversion(profile, image.mode)
        if conversion.note is not None:
            notes.append(conversion.note)
        if conversion.transform is not None:
            return _applied(conversion.transform, image)
    elif image.mode == "CMYK":
        notes.append(INKS)
    elif gamma is not None and "srgb" not in image.info:
        image = _without_gamma(image, gamma, notes)
    return image if image.mode == "RGB" else image.convert("RGB")


@functools.lru_cache(maxsize=KEPT_TRANSFORMS)
def _conversion(profile: bytes, mode: str) -> _Conversion:
    """The transform to sRGB for images of one mode; cached, as most files of a data set carry the same few profiles."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        taken = "RGB" if (space, mode) == ("RGB", "L") else mode  # many programs give grey images their RGB profile
        if taken not in _MODES_OF_SPACE.get(space, ()):
            return _Conversion(None, UNUSABLE)
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            taken,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return _Conversion(None, None) if _is_srgb(transform, mode) else _Conversion(transform, CONVERTED)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return _Conversion(None, UNUSABLE)


def _is_srgb(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether it leaves colours from the whole cube, or all greys, where they are. Names of profiles say little."""
    match mode:
        case "RGB":
            steps = np.linspace(0, 255, 16).astype(np.uint8)
            probe = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(64, 64, 3))
        case "L":
            probe = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        case _:
            return False
    expected = np.asarray(probe.convert("RGB")).astype(int)
    return bool(np.abs(np.asarray(_applied(transform, probe)) - expected).max() <= SAME_LEVELS)


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    is_grey = image.mode == "L"
    if is_grey and transform.input_mode == "RGB":
        image = image.convert("RGB")
    image = transform.apply(image)
    return Image.merge("RGB", [image.getchannel("G")] * 3) if is_grey else image  # a grey stays one to the last bit


def _without_gamma(image: Image.Image, gamma: float, notes: list[str]) -> Image.Image:
    """Samples stored as light^gamma as those of sRGB."""
    if not LEAST_GAMMA <= gamma <= 1:
        notes.append(WILD_GAMMA)
        return image
    curve = (255 * (np.arange(256) / 255) ** (SRGB_GAMMA / gamma)).round().astype(int)
    if np.abs(curve - np.arange(256)).max() <= SAME_LEVELS:
        return image
    notes.append(GAMMA)
    return image.point(curve.tolist() * len(image.getbands()))
