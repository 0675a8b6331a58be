"""thumbnail: what is where in an image, coarsely. Needs no weights; its distances are no FID and KID."""

import torch.nn.functional as F
from torch import Tensor

from linnet.metrics.extractors.base import ImageExtractor

SIDE = 6  # pixels


class ThumbnailFeatures(ImageExtractor):
    """The image at 6 x 6 pixels."""

    name = "thumbnail"
    definition = "linnet thumbnail-1: 6 x 6 area means, RGB in 0..1"

    def extract(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> float64 [B, 108]: channel, then row, then column."""
        return F.adaptive_avg_pool2d(images.double() / 255, SIDE).flatten(1)
