"""inception: the features of the 2015 Inception network that FID and KID are defined by."""

from pathlib import Path

import torch
from torch import Tensor

from linnet.metrics.extractors.base import ImageExtractor, LearnedExtractor
from linnet.metrics.extractors.weights import INCEPTION_OPTION, PublishedWeights, Weights

FILE = "weights-inception-2015-12-05-6726825d.pth"  # its name at torch-fidelity; the end is its sha256's start
PUBLISHED = PublishedWeights(
    features="inception",
    network="Inception",
    metrics="FID and KID",
    file=FILE,
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/" + FILE,
    sha256_start="6726825d",
    option=INCEPTION_OPTION,
    is_downloaded=True,
)


class InceptionFeatures(LearnedExtractor, ImageExtractor):
    """The last pooling layer of the network, as torchmetrics and torch-fidelity take it."""

    name = "inception"
    definition = "torch-fidelity Inception 2015, 2048 features, torchmetrics"

    @classmethod
    def find_weights(cls, path: Path | None, sha256: str | None) -> Weights:
        """The published file, which is downloaded once, or another one with a known hash."""
        return PUBLISHED.find(path, sha256)

    @staticmethod
    def load(path: Path) -> torch.nn.Module:
        """The network with the weights at `path`: uint8 [B, 3, H, W] -> [B, 2048]."""
        from torchmetrics.image.fid import NoTrainInceptionV3

        return NoTrainInceptionV3(
            name="inception-v3-compat",
            features_list=["2048"],
            feature_extractor_weights_path=str(path),
            antialias=False,  # torch-fidelity's resize, which published scores use; torchmetrics 1.8 has another
        )

    def extract(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> float64 [B, 2048]."""
        with torch.inference_mode():
            features: Tensor = self.network(images)
            return features.double()
