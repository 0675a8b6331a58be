"""Pixels <-> standardized tensors."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.modalities.base import Examples, check_finite
from linnet.modalities.statistics import ImageStatistics


@dataclass(frozen=True)
class ImageCodec:
    """uint8 images <-> mean 0 and standard deviation 1 per channel."""

    mean: Tensor  # [3, 1, 1], of pixels scaled to 0..1
    std: Tensor

    @classmethod
    def of(cls, statistics: ImageStatistics, device: torch.device) -> Self:
        """From the statistics that preprocess computed on the train split."""
        mean, std = (torch.tensor(each, device=device)[:, None, None] for each in (statistics.mean, statistics.std))
        return cls(mean, std)

    def encode(self, stored: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float32 [B, 3, H, W], laid out channels last."""
        return (stored.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std

    def decode(self, x: Tensor) -> NDArray[np.uint8]:
        """float32 [B, 3, H, W] -> uint8 [B, H, W, 3], rounded and clipped.

        Raises:
            NotFiniteError: `x` holds infinite or undefined values.
        """
        check_finite(x, "images")
        pixels = ((x * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()

    def clip(self, x: Tensor) -> Tensor:
        """Clamp `x` to the range of pixels."""
        return torch.clamp(x, -self.mean / self.std, (1 - self.mean) / self.std)

    def standardize(self, features: Tensor) -> Tensor:
        """Pixels in 0..1 -> x."""
        return (features - self.mean) / self.std

    def unstandardize(self, x: Tensor) -> Tensor:
        """X -> pixels in 0..1."""
        return x * self.std + self.mean

    def average(self, samples: Tensor) -> Tensor:
        """The mean, which has the least squared error."""
        return samples.mean(dim=0)

    def preview(self, examples: Examples) -> NDArray[np.uint8]:
        """Images need no rendering."""
        return np.asarray(examples, dtype=np.uint8)

    def thumbnails(self, examples: Examples) -> NDArray[np.uint8]:
        """Images at the training resolution are small enough."""
        return self.preview(examples)
