"""Thumbnails of images whose area means are known."""

import numpy as np
import torch
from numpy.typing import NDArray

from linnet.metrics.extractors.thumbnail import ThumbnailFeatures
from support.tiny import tiny_recipe

EXTRACTOR = ThumbnailFeatures(tiny_recipe().data, None, torch.device("cpu"))
Images = NDArray[np.uint8]


def thumbnail(image: Images) -> NDArray[np.float64]:
    return EXTRACTOR(image[None])[0, 0].numpy()


def test_thumbnail_of_a_plain_image_is_its_colour() -> None:
    plain = np.broadcast_to(np.array([51, 102, 255], dtype=np.uint8), (20, 20, 3)).copy()
    found = thumbnail(plain)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.repeat([0.2, 0.4, 1.0], 36), rtol=1e-9)


def test_thumbnail_is_area_means_in_rows() -> None:
    """12 x 12 in 2 x 2 areas; channel, then row, then column."""
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    expected = (image / 255.0).reshape(6, 2, 6, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1).ravel()
    np.testing.assert_allclose(thumbnail(image), expected, rtol=1e-12)
