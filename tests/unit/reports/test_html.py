"""Images and pages that stand alone."""

import base64
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import jinja2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from linnet.reports import html
from linnet.reports.html import grid, histogram_svg, inline_grid, inline_png, render, save_png

SVG = "{http://www.w3.org/2000/svg}"


def tiles(count: int, height: int = 3, width: int = 4) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, size=(count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("count", "columns", "rows", "expected_columns"),
    [(1, None, 1, 1), (4, None, 2, 2), (5, None, 2, 3), (9, None, 3, 3), (5, 2, 3, 2), (3, 3, 1, 3)],
)
def test_a_grid_holds_each_tile_in_reading_order(
    count: int, columns: int | None, rows: int, expected_columns: int
) -> None:
    images = tiles(count)
    sheet = grid(images, columns=columns, gap=2)
    assert sheet.shape == (rows * 5 - 2, expected_columns * 6 - 2, 3)
    rest = np.ones(sheet.shape[:2], dtype=bool)
    for index, image in enumerate(images):
        row, column = divmod(index, expected_columns)
        area = np.s_[row * 5 : row * 5 + 3, column * 6 : column * 6 + 4]
        np.testing.assert_array_equal(sheet[area], image)
        rest[area] = False
    assert (sheet[rest] == 255).all()


def test_a_saved_png_holds_exactly_the_pixels(tmp_path: Path) -> None:
    (pixels,) = tiles(1)
    save_png(tmp_path / "a.png", pixels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_an_inline_png_holds_each_pixel_scaled() -> None:
    (pixels,) = tiles(1)
    head, _, content = inline_png(pixels, scale=3).partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        np.testing.assert_array_equal(np.asarray(image), np.kron(pixels, np.ones((3, 3, 1), dtype=np.uint8)))


@pytest.mark.parametrize(("side", "scale"), [(16, 4), (48, 1), (200, 1)])
def test_an_inline_grid_enlarges_small_tiles(side: int, scale: int) -> None:
    images = tiles(3, height=side, width=side)
    assert inline_grid(images, columns=2) == inline_png(grid(images, columns=2), scale=scale)


def test_histogram_bars_are_as_tall_as_their_counts() -> None:
    figure = ET.fromstring(histogram_svg([0, 5, 10], title="sides", low="0", high="90 pixels"))  # noqa: S314
    bars = list(figure.iter("rect"))
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights == [0.0, 60.0, 120.0]
    assert [float(bar.attrib["y"]) + height for bar, height in zip(bars, heights, strict=True)] == [120.0] * 3
    assert [bar.findtext("title") for bar in bars] == ["0", "5", "10"]
    assert figure.findtext("figcaption") == "sides (tallest bar: 10)"
    assert [text.text for text in figure.iter("text")] == ["0", "90 pixels"]


def test_a_histogram_of_nothing_is_still_an_image() -> None:
    assert list(ET.fromstring(histogram_svg([], title="t", low="0", high="1")).iter("rect")) == []  # noqa: S314
    (bar,) = ET.fromstring(histogram_svg([0], title="t", low="0", high="1")).iter("rect")  # noqa: S314
    assert float(bar.attrib["height"]) == 0


def test_values_on_a_page_are_escaped() -> None:
    page = render("base.html", title="<script>alert('a')</script> & co")
    assert "<script>" not in page
    assert "<title>&lt;script&gt;alert(&#39;a&#39;)&lt;/script&gt; &amp; co</title>" in page


def test_a_value_that_the_page_needs_and_nobody_gives_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("base.html")


TEMPLATES = sorted((Path(html.__file__).parent / "templates").glob("*.html"))
assert TEMPLATES


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_page_refers_to_anything_outside(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<link|<iframe", text, re.IGNORECASE)
    for address in re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'\s>]+)", text):
        assert address == "{{" or address.startswith(("#", "data:")), address
