"""Colours as every viewer shows them: what an embedded ICC profile means, in sRGB (ISO 15076-1; IEC 61966-2-1)."""

import functools
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

CONVERTED = "colours converted from its own profile to sRGB"
UNUSABLE = "colour profile is broken or of another kind of image: ignored"
INKS = "printing inks (CMYK) without a colour profile: colours are approximate"
GAMMA = "values converted from the gamma of its gAMA chunk to sRGB"
WILD_GAMMA = "gAMA chunk says what no screen has: ignored"
LEAST_GAMMA = 0.2
SAME_LEVELS = 2  # of 255: a profile that moves no colour further is sRGB, under whichever name and in whichever tables
SRGB_GAMMA = 1 / 2.2  # as a gAMA chunk has it for sRGB (PNG specification 11.3.2.2)
NOT_OPTIMIZED = ImageCms.Flags.NOOPTIMIZE  # LittleCMS interpolates curves coarsely where it is to be fast
KEPT_TRANSFORMS = 64  # a data set has the profiles of a few cameras
_MODES_OF_SPACE = {"RGB": ("RGB",), "GRAY": ("L",), "CMYK": ("CMYK",)}


@dataclass(frozen=True)
class _Conversion:
    """What a profile asks for: a transform of colours, a table of greys, nothing for sRGB."""

    note: str | None
    transform: ImageCms.ImageCmsTransform | None = None
    table: tuple[int, ...] | None = None

    def applied(self, image: Image.Image) -> Image.Image:
        """The image in sRGB, in RGB or L."""
        if self.table is not None:
            return image.point(self.table)
        return image if self.transform is None else self.transform.apply(image)


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
        image = conversion.applied(image)
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
            return _Conversion(UNUSABLE)
        match mode:
            case "L":
                return _of_greys(_transform(source, taken, NOT_OPTIMIZED), taken)
            case "RGB":
                return _of_colours(_transform(source, taken))
            case _:
                return _Conversion(CONVERTED, transform=_transform(source, taken))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return _Conversion(UNUSABLE)


def _transform(source: ImageCms.ImageCmsProfile, mode: str, flags: int = 0) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags(ImageCms.Flags.BLACKPOINTCOMPENSATION | flags),
    )


def _of_greys(transform: ImageCms.ImageCmsTransform, mode: str) -> _Conversion:
    """A table, so that a grey stays one to the last bit."""
    greys = np.arange(256, dtype=np.uint8)
    table = np.asarray(transform.apply(Image.fromarray(greys[None]).convert(mode)))[0, :, 1]
    return _Conversion(None) if _are_close(table, greys) else _Conversion(CONVERTED, table=tuple(table.tolist()))


def _of_colours(transform: ImageCms.ImageCmsTransform) -> _Conversion:
    """Nothing where it leaves colours from the whole cube where they are: names of profiles say little."""
    steps = np.linspace(0, 255, 16).astype(np.uint8)
    probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(64, 64, 3)
    is_srgb = _are_close(np.asarray(transform.apply(Image.fromarray(probe))), probe)
    return _Conversion(None) if is_srgb else _Conversion(CONVERTED, transform=transform)


def _are_close(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> bool:
    return bool(np.abs(found.astype(int) - expected).max() <= SAME_LEVELS)


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
