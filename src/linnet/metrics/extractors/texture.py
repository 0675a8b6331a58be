"""texture: how rough and how colourful an image is. Needs no weights; its distances are no FID and KID."""

import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.metrics.extractors.base import ImageExtractor

CELLS = 4  # a side
LUMINANCE = (0.299, 0.587, 0.114)


class TextureFeatures(ImageExtractor):
    """Gradients at two scales and the spread of colour, in 4 x 4 cells."""

    name = "texture"
    definition = "linnet texture-1: gradients at 2 scales and colour spread in 4 x 4 cells"

    def extract(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> float64 [B, 96].

        Root mean square of horizontal and vertical luminance differences, of full and of halved images, and the
        standard deviation of two colour differences, each in 4 x 4 cells.
        """
        x = images.double() / 255
        weights = torch.tensor(LUMINANCE, dtype=x.dtype, device=x.device)[:, None, None]
        luminance = (x * weights).sum(dim=1, keepdim=True)
        colour = torch.cat([x[:, :1] - luminance, x[:, 2:] - luminance], dim=1)
        features = []
        for scale in (1, 2):
            scaled = F.avg_pool2d(luminance, scale)
            features += [_cell_rms(scaled.diff(dim=-1)), _cell_rms(scaled.diff(dim=-2))]
        mean = F.adaptive_avg_pool2d(colour, CELLS)
        square = F.adaptive_avg_pool2d(colour**2, CELLS)
        features.append((square - mean**2).clamp(min=0).sqrt().flatten(1))
        return torch.cat(features, dim=1)


def _cell_rms(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x**2, CELLS).sqrt().flatten(1)
