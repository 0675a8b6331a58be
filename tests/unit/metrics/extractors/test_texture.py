"""Texture against closed forms on plain and striped images."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.metrics.extractors.texture import TextureFeatures
from support.tiny import tiny_recipe

EXTRACTOR = TextureFeatures(tiny_recipe().data, None, torch.device("cpu"))
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
Images = NDArray[np.uint8]


def texture(image: Images) -> Tensor:
    """[1, 96]."""
    return EXTRACTOR(image[None])[:, 0]


def stripes(first: tuple[int, int, int], second: tuple[int, int, int], *, width: int) -> Images:
    """16 x 16, vertical stripes that change colour every `width` columns."""
    row = np.array([first if x // width % 2 == 0 else second for x in range(16)], dtype=np.uint8)
    return np.broadcast_to(row, (16, 16, 3)).copy()


def test_texture_of_a_plain_image_is_zero() -> None:
    plain = np.broadcast_to(np.array([51, 102, 250], dtype=np.uint8), (20, 20, 3)).copy()
    found = texture(plain)
    assert found.shape == (1, 96)
    assert float(found.abs().max()) < 1e-7


def test_texture_of_fine_stripes() -> None:
    """Every horizontal step is 1, no vertical one; halving the image makes it plain grey, and grey has no colour."""
    found = texture(stripes(BLACK, WHITE, width=1))[0]
    torch.testing.assert_close(found[:16], torch.ones(16).double())
    assert float(found[16:].abs().max()) < 1e-7
    turned = texture(stripes(BLACK, WHITE, width=1).transpose(1, 0, 2).copy())[0]
    torch.testing.assert_close(turned[16:32], torch.ones(16).double())
    assert float(turned[:16].abs().max()) < 1e-7


def test_texture_of_stripes_of_two() -> None:
    """15 steps of which every other is 1, in cells 0-3, 3-7, 7-11 and 11-14; halved, every step is 1."""
    found = texture(stripes(BLACK, WHITE, width=2))[0]
    row = torch.tensor([2 / 4, 3 / 5, 3 / 5, 2 / 4]).double().sqrt()
    torch.testing.assert_close(found[:16], row.repeat(4), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(found[32:48], torch.ones(16).double(), rtol=1e-7, atol=1e-7)
    assert float(found[[*range(16, 32), *range(48, 96)]].abs().max()) < 1e-7


def test_texture_of_red_and_blue_stripes_is_the_spread_of_colour_differences() -> None:
    """R - Y is 1 - 0.299 in red and -0.114 in blue, B - Y is -0.299 and 1 - 0.114; deviation is half the step."""
    found = texture(stripes((255, 0, 0), (0, 0, 255), width=1))[0]
    torch.testing.assert_close(found[64:80], torch.full((16,), (0.701 + 0.114) / 2).double())
    torch.testing.assert_close(found[80:], torch.full((16,), (0.886 + 0.299) / 2).double())
    torch.testing.assert_close(found[:16], torch.full((16,), 0.299 - 0.114).double())
