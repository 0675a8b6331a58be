"""What all feature extractors have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linnet.metrics.extractors.weights import Weights, WeightsError
from linnet.recipe import Audio, DataSection, Features

BATCH_SIZE = 64
FULL_SCALE = 32768.0


class FeatureExtractor(ABC):
    """Decoded examples in, the feature vectors out that distances are taken in.

    A subclass gives `name`, `definition` and `extract`; one that forgets is refused with a TypeError. A change of what
    it computes changes its `definition`, because the numbers would no longer compare.
    """

    name: ClassVar[Features]
    modality: ClassVar[Literal["images", "audio"]]
    definition: ClassVar[str]  # which features, in which version, in a line
    weights: Weights | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        is_abstract = any(getattr(getattr(cls, name, None), "__isabstractmethod__", False) for name in dir(cls))
        forgotten = [name for name in ("name", "modality", "definition") if not hasattr(cls, name)]
        if forgotten and not is_abstract:
            raise TypeError(f"{cls.__name__}: a feature extractor needs the class attribute {' and '.join(forgotten)}")

    def __init__(self, data: DataSection, weights: Weights | None, device: torch.device) -> None:
        """Make the extractor for examples of `data`; features that need `weights` override this."""
        self.device = device

    @classmethod
    def find_weights(cls, path: Path | None, sha256: str | None) -> Weights | None:
        """The verified file of weights that these features need; None where they need none.

        Args:
            path: the file; None where the user names none.
            sha256: what it must hash to; None where the user gives no hash.

        Raises:
            WeightsError: there is no such file, or it has another hash.
        """
        return None

    @property
    def is_published(self) -> bool:
        """Whether the features are those that published numbers are measured in."""
        return self.weights is not None and self.weights.is_published

    @property
    def protocol(self) -> str:
        """How the features are made, in words that change when numbers no longer compare."""
        other = f", weights {self.weights.sha256[:8]}" if self.weights and not self.weights.is_published else ""
        return self.definition + other

    @abstractmethod
    def __call__(self, examples: NDArray[Any]) -> Tensor:
        """[B, ...] decoded examples -> float64 [B, R, d]: R rows of d features of each example."""

    def batches(self, examples: NDArray[Any]) -> Iterator[Tensor]:
        """The features of many examples, batch by batch."""
        for start in range(0, len(examples), BATCH_SIZE):
            yield self(examples[start : start + BATCH_SIZE])


class ImageExtractor(FeatureExtractor):
    """Features of images, one row of each."""

    modality = "images"

    def __call__(self, examples: NDArray[np.uint8]) -> Tensor:
        """uint8 [B, H, W, 3] -> float64 [B, 1, d]."""
        images = torch.from_numpy(np.array(examples)).to(self.device).permute(0, 3, 1, 2)
        return self.extract(images)[:, None]

    @abstractmethod
    def extract(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] on the device -> float64 [B, d]."""


class AudioExtractor(FeatureExtractor):
    """Features of waveforms, one row of each or one of each patch."""

    modality = "audio"

    def __init__(self, data: DataSection, weights: Weights | None, device: torch.device) -> None:
        super().__init__(data, weights, device)
        assert isinstance(data, Audio), "the recipe's check"
        self.sample_rate_hz = data.sample_rate_hz

    @property
    def protocol(self) -> str:
        """Also the sample rate decides the numbers."""
        return f"{super().protocol}, of audio at {self.sample_rate_hz} Hz"

    def __call__(self, examples: NDArray[np.int16]) -> Tensor:
        """int16 [B, samples] -> float64 [B, R, d]."""
        return self.extract(torch.from_numpy(np.array(examples)).to(self.device) / FULL_SCALE)

    @abstractmethod
    def extract(self, waveforms: Tensor) -> Tensor:
        """float32 [B, samples] in -1..1 on the device -> float64 [B, R, d]."""


class LearnedExtractor(FeatureExtractor):
    """Features of a network whose weights are a file. A subclass also gives `find_weights` and `load`."""

    weights: Weights

    def __init__(self, data: DataSection, weights: Weights | None, device: torch.device) -> None:
        super().__init__(data, weights, device)
        assert weights is not None, "find_weights gives them"
        self.weights = weights
        # In evaluation mode: what the network measures must not depend on the batch or on chance.
        self.network = self.load(weights.path).to(device).eval()
        for parameter in self.network.parameters():  # a ScriptModule has no requires_grad_ of its own
            parameter.requires_grad_(False)

    @staticmethod
    @abstractmethod
    def load(path: Path) -> nn.Module:
        """The network with the weights at `path`. Raises WeightsError where the file holds something else."""

    def check_finite(self, features: Tensor) -> None:
        """Raises WeightsError where the network of an audio embedding gave infinite or undefined numbers."""
        if not bool(features.isfinite().all()):
            raise WeightsError(
                f"the embedding with sha256 {self.weights.sha256[:8]}... gave numbers that are not finite; does it "
                "take waveforms in -1..1 at the recipe's sample_rate_hz, silence among them?"
            )
