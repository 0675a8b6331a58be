"""Which pixels are missing."""

import pytest
import torch

from linnet.recipe.restore import InpaintPixels
from support.degradations import IMAGES, mask_of, problem_of


def test_pixels_are_missing_as_many_as_said() -> None:
    shape = (3, 64, 64)
    random = InpaintPixels(name="r", kind="inpaint_pixels", pattern="random", missing_fraction=0.25, noise_std=0.0)
    found = mask_of(random, IMAGES, shape)
    assert found.shape == (1, 64, 64), "all colours of a pixel"
    assert float(found.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(found, problem_of(random, IMAGES, shape, seed=1).mask)
    assert torch.equal(found, problem_of(random, IMAGES, shape).mask)
    square = random.model_copy(update={"pattern": "square"})
    expected = torch.zeros(1, 64, 64, dtype=torch.bool)
    expected[:, 16:48, 16:48] = True
    assert torch.equal(mask_of(square, IMAGES, shape), expected)
