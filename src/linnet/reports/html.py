"""Images and self-contained HTML pages: nothing in them points outside, so they open anywhere, sandboxes included."""

import base64
import io
import math
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

LEAST_TILE_PIXELS = 64

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def grid(images: NDArray[np.uint8], *, columns: int | None = None, gap: int = 2) -> NDArray[np.uint8]:
    """[N, height, width, 3] -> one image with N tiles, near square unless `columns` is given; white between."""
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def png(image: NDArray[np.uint8]) -> bytes:
    """uint8 [height, width, 3] as the bytes of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def save_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 [height, width, 3] as PNG."""
    path.write_bytes(png(image))


def inline_png(image: NDArray[np.uint8], *, scale: int = 1) -> str:
    """A `data:` address of the image, each pixel `scale` wide."""
    stream = io.BytesIO()
    large = image.repeat(scale, axis=0).repeat(scale, axis=1)
    Image.fromarray(large).save(stream, format="PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def inline_file(path: Path) -> str:
    """A `data:` address of a PNG file."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def inline_grid(images: NDArray[np.uint8], *, columns: int | None = None) -> str:
    """`grid` as a `data:` address, small images enlarged to about `LEAST_TILE_PIXELS` a side."""
    return inline_png(grid(images, columns=columns), scale=max(1, LEAST_TILE_PIXELS // images.shape[1]))


def histogram_svg(counts: list[int], *, title: str, low: str, high: str) -> str:
    """Bars as inline SVG, with the largest count and the two ends of the axis."""
    width, height, top = 460, 120, max(max(counts, default=0), 1)
    step = width / max(len(counts), 1)
    bars = "".join(
        f'<rect x="{index * step:.1f}" y="{height - height * count / top:.1f}" width="{max(step - 1, 0.5):.1f}" '
        f'height="{height * count / top:.1f}"><title>{count}</title></rect>'
        for index, count in enumerate(counts)
    )
    return (
        f'<figure><figcaption>{title} (tallest bar: {top})</figcaption><svg viewBox="0 0 {width} {height + 18}" '
        f'role="img" aria-label="{title}"><g class="bars">{bars}</g><text x="0" y="{height + 14}">{low}</text>'
        f'<text x="{width}" y="{height + 14}" text-anchor="end">{high}</text></svg></figure>'
    )


def line_svg(xs: list[float], ys: list[float], *, title: str, unit: str) -> str:
    """A line through (x, y) as inline SVG: both axes from 0, y to its largest value, x with its end and `unit`."""
    width, height = 460, 120
    right, top = max(xs, default=0) or 1, max(ys, default=0) or 1
    points = " ".join(f"{width * x / right:.1f},{height - height * y / top:.1f}" for x, y in zip(xs, ys, strict=True))
    return (
        f'<figure><figcaption>{title} (at most {top:.3g})</figcaption><svg viewBox="0 -2 {width} {height + 20}" '
        f'role="img" aria-label="{title}"><polyline class="line" points="{points}"/>'
        f'<text x="0" y="{height + 14}">0</text>'
        f'<text x="{width}" y="{height + 14}" text-anchor="end">{right:,.0f} {unit}</text></svg></figure>'
    )


def render(template: str, **values: Any) -> str:
    """A page from the folder `templates`; every value is escaped unless the template marks it safe."""
    return _TEMPLATES.get_template(template).render(**values)
