"""The modality of images. Imports no torch before it makes a codec."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.modalities.base import Codec, Modality, Preprocessed
from linnet.modalities.image_preprocess import preprocess
from linnet.modalities.statistics import ImageStatistics, Statistics
from linnet.recipe import Images

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ImageModality(Modality):
    """Images are stored as pixels and seen by the network with mean 0 and standard deviation 1 per channel."""

    data: Images

    @property
    def stored(self) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
        """uint8 [H, W, 3]."""
        channels, height, width = self.data.shape
        return (height, width, channels), np.dtype(np.uint8)

    def preprocess(self, *, raw: Path, folder: Path, workers: int) -> Preprocessed:
        """Write images, labels and manifest."""
        return preprocess(self.data, raw=raw, folder=folder, workers=workers)

    def codec(self, statistics: Statistics, device: "torch.device") -> Codec:
        """An ImageCodec."""
        from linnet.modalities.image_codec import ImageCodec

        assert isinstance(statistics, ImageStatistics)
        return ImageCodec.of(statistics, device)
