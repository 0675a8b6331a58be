"""The page about samples holds what it shows, and speaks of noise only where there is some to show."""

import base64
import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from linnet.reports.samples import describe_sampling, render_samples
from support.audio_section import AUDIO
from support.tiny import tiny_recipe

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
SCALE = 4  # 16 pixels are shown as 64
WAVEFORMS = np.random.default_rng(0).integers(-9000, 9000, (30, 240), dtype=np.int16)


def images_in(page: str) -> list[NDArray[np.uint8]]:
    """The images of a page in their own pixels, which are enlarged there."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    large = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]
    small = [image[::SCALE, ::SCALE] for image in large]
    assert all(np.array_equal(a, b.repeat(SCALE, 0).repeat(SCALE, 1)) for a, b in zip(large, small, strict=True))
    return small


def test_images_are_one_grid() -> None:
    page = render_samples(tiny_recipe().data, IMAGES, [""] * 4, title="T", lead="L")
    (grid,) = images_in(page)
    assert np.array_equal(grid[:16, :16], IMAGES[0])
    assert np.array_equal(grid[18:, 18:], IMAGES[3])
    assert "Noise becomes" not in page


def test_snapshots_are_rows_of_a_sheet() -> None:
    noising = np.stack([IMAGES, IMAGES[::-1]])
    page = render_samples(tiny_recipe().data, IMAGES, [""] * 4, title="T", lead="L", noising=noising)
    _, sheet = images_in(page)
    assert sheet.shape == (2 * 18 - 2, 4 * 18 - 2, 3)
    assert np.array_equal(sheet[18:, :16], IMAGES[3])


def test_audio_has_players_with_its_prompts() -> None:
    prompts = [f"prompt {number}" for number in range(30)]
    page = render_samples(AUDIO, WAVEFORMS, prompts, title="T", lead="L", noising=WAVEFORMS[:4].reshape(2, 2, 240))
    assert page.count("data:audio/wav;base64,") == 24, "the first"
    assert "prompt 23" in page
    assert "prompt 24" not in page
    assert "Noise becomes audio" in page


def test_the_settings_are_a_line() -> None:
    section = tiny_recipe("sample.seed=7", "sample.guidance_scale=1.5").sample
    assert describe_sampling(section) == "5 steps of dpm_solver_pp_2m, seed 7, guidance 1.5"
