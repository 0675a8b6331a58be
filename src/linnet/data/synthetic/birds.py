"""Synthetic birds in exactly the Caltech layout: a small data set that every machine can make, byte for byte the same.

It holds what makes the real set hard: grey images, boxes that reach past the edge, boxes that are not square, and
several poses, sizes and backgrounds for each species.
"""

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from linnet.data.layouts.base import Box, ImageIndex, ImageRecord
from linnet.data.layouts.caltech import FOLDER, write_index

SPECIES = (
    "Ruby_Linnet",
    "Sapphire_Wren",
    "Golden_Warbler",
    "Emerald_Finch",
    "Violet_Swallow",
    "Coral_Bunting",
    "Azure_Kingfisher",
    "Amber_Oriole",
)
LAYOUT = "caltech"  # data.layout of recipes for them
VERSION = 1  # one more for every change of the images; a test knows the content of each version
IMAGES_PER_SPECIES = 100
GREY_EVERY = 47  # about as rare as in the original
OVERSAMPLING = 3

Colour = tuple[int, int, int]


def make_birds(folder: Path, *, per_species: int = IMAGES_PER_SPECIES, seed: int = 0) -> None:
    """Write `CUB_200_2011/` below `folder`: the index, and `per_species` JPEG images of each species."""
    base = folder / FOLDER
    class_names = tuple(f"{number:03d}.{name}" for number, name in enumerate(SPECIES, start=1))
    records = []
    for label, class_name in enumerate(class_names):
        (base / "images" / class_name).mkdir(parents=True)
        for number in range(per_species):
            image_id = label * per_species + number + 1
            rng = np.random.default_rng([seed, label, number])
            image, box = draw_bird(rng, label)
            if image_id % GREY_EVERY == 0:
                image = image.convert("L")
            name = f"{class_name}/{SPECIES[label]}_{number + 1:04d}.jpg"
            path = base / "images" / name
            image.save(path, quality=90)
            records.append(ImageRecord(image_id, name, path, box, label, "train" if number % 2 else "test"))
    write_index(base, ImageIndex(tuple(records), class_names, tuple(range(1, len(class_names) + 1))))


def draw_bird(rng: np.random.Generator, label: int) -> tuple[Image.Image, Box]:
    """An image of one bird of species `label` and the bird's bounding box in pixels."""
    width, height = (int(value) for value in rng.integers(110, 190, size=2))
    scale = float(rng.uniform(0.13, 0.2)) * min(width, height)
    aspect = 1.15 + 0.12 * (label % 4)
    centre = (float(rng.uniform(0.33, 0.67)) * width, float(rng.uniform(0.3, 0.65)) * height)
    facing = 1 if rng.random() < 0.5 else -1
    tilt = float(rng.uniform(-0.25, 0.25))

    canvas = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING))
    _draw_background(canvas, rng)
    pen = _Pen(canvas, centre, scale, facing, tilt)
    _draw_perch(pen, rng)
    _draw_body(pen, _palette(label, rng), aspect, label)
    image = canvas.resize((width, height), Image.Resampling.BOX)

    lows, highs = np.min(pen.extent, axis=0), np.max(pen.extent, axis=0)
    left, top, right, bottom = (round(float(value), 1) for value in (*lows, *highs))
    return image, Box(left, top, round(right - left, 1), round(bottom - top, 1))


class _Pen:
    """Draws in bird coordinates: origin at the body's centre, one unit is the body's half height, x to the beak."""

    def __init__(
        self, canvas: Image.Image, centre: tuple[float, float], scale: float, facing: int, tilt: float
    ) -> None:
        self._draw = ImageDraw.Draw(canvas)
        self._centre, self._scale, self._facing = np.array(centre), scale, facing
        self._turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        self.extent: list[np.ndarray] = []

    def polygon(self, points: np.ndarray, colour: Colour, *, of_bird: bool = True) -> None:
        turned = points @ self._turn.T * np.array([self._facing, 1.0]) * self._scale + self._centre
        if of_bird:
            self.extent.extend(turned)
        self._draw.polygon(
            [tuple(point) for point in np.round(turned * OVERSAMPLING).astype(int).tolist()], fill=colour
        )

    def ellipse(self, x: float, y: float, half_width: float, half_height: float, colour: Colour) -> None:
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        self.polygon(np.stack([x + half_width * np.cos(angles), y + half_height * np.sin(angles)], axis=1), colour)


def _palette(label: int, rng: np.random.Generator) -> dict[str, Colour]:
    hue = label / len(SPECIES) + float(rng.normal(0, 0.012))

    def shade(turn: float, saturation: float, value: float) -> Colour:
        light = float(np.clip(value + rng.normal(0, 0.04), 0, 1))
        red, green, blue = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, light)
        return round(red * 255), round(green * 255), round(blue * 255)

    return {
        "body": shade(0.0, 0.8, 0.8),
        "wing": shade(0.04, 0.75, 0.45),
        "belly": shade(0.08, 0.3, 0.92),
        "head": shade(0.5 if label % 2 else -0.06, 0.7, 0.6),
        "beak": shade(0.11, 0.25, 0.25),
    }


def _draw_background(canvas: Image.Image, rng: np.random.Generator) -> None:
    """A vertical gradient (sky, water or leaves) with soft spots."""
    width, height = canvas.size
    tops = np.array([[150, 190, 225], [120, 150, 120], [190, 185, 165], [95, 130, 150]])
    top = tops[rng.integers(len(tops))] + rng.normal(0, 12, 3)
    bottom = top * rng.uniform(0.6, 1.0) + rng.normal(0, 10, 3)
    rows = np.linspace(0, 1, height)[:, None] * (bottom - top) + top
    gradient = np.clip(rows, 0, 255).astype(np.uint8)[:, None, :].repeat(width, axis=1)
    canvas.paste(Image.fromarray(gradient))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(2, 7))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        radius = float(rng.uniform(0.04, 0.16)) * width
        red, green, blue = (int(value) for value in np.clip(bottom * rng.uniform(0.75, 1.15), 0, 255))
        pen.ellipse([int(x - radius), int(y - radius), int(x + radius), int(y + radius)], fill=(red, green, blue))


def _draw_perch(pen: _Pen, rng: np.random.Generator) -> None:
    dark = int(rng.integers(55, 95))
    slope = float(rng.uniform(-0.2, 0.2))
    branch = np.array([[-6, 1.25 - 6 * slope], [6, 1.25 + 6 * slope], [6, 1.5 + 6 * slope], [-6, 1.5 - 6 * slope]])
    pen.polygon(branch, (dark, dark * 3 // 4, dark // 2), of_bird=False)


def _draw_body(pen: _Pen, palette: dict[str, Colour], aspect: float, label: int) -> None:
    tail = 2.2 + 0.3 * (label % 3)
    pen.polygon(np.array([[-0.8 * aspect, -0.2], [-tail, 0.2], [-tail, 0.75], [-0.7 * aspect, 0.4]]), palette["wing"])
    for foot in (-0.15, 0.2):
        pen.polygon(np.array([[foot, 0.8], [foot + 0.08, 0.8], [foot + 0.08, 1.3], [foot, 1.3]]), palette["beak"])
    pen.ellipse(0, 0, aspect, 0.95, palette["body"])
    pen.ellipse(0.2, 0.35, aspect * 0.65, 0.5, palette["belly"])
    pen.ellipse(-0.3, -0.1, aspect * 0.62, 0.42, palette["wing"])
    head = aspect * 0.78
    beak = 0.5 + 0.25 * (label % 3)
    pen.polygon(np.array([[head + 0.4, -1.05], [head + 0.45 + beak, -0.8], [head + 0.4, -0.65]]), palette["beak"])
    pen.ellipse(head, -0.85, 0.58, 0.54, palette["head"])
    pen.ellipse(head + 0.2, -0.95, 0.11, 0.11, (15, 15, 15))
    pen.ellipse(head + 0.23, -0.98, 0.04, 0.04, (245, 245, 245))
