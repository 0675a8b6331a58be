"""Chooses among the feature extractors."""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

import torch

from linnet.metrics.extractors.base import FeatureExtractor
from linnet.metrics.extractors.inception import InceptionFeatures
from linnet.metrics.extractors.log_mel import LogMelFeatures
from linnet.metrics.extractors.scripted import ScriptedFeatures
from linnet.metrics.extractors.texture import TextureFeatures
from linnet.metrics.extractors.thumbnail import ThumbnailFeatures
from linnet.metrics.extractors.vggish import VGGishFeatures
from linnet.metrics.extractors.weights import Weights
from linnet.recipe import DataSection, Features


def extractor_class(name: Features) -> type[FeatureExtractor]:
    """The class whose `name` it is."""
    match name:
        case "inception":
            return InceptionFeatures
        case "thumbnail":
            return ThumbnailFeatures
        case "texture":
            return TextureFeatures
        case "log_mel":
            return LogMelFeatures
        case "vggish":
            return VGGishFeatures
        case "scripted":
            return ScriptedFeatures
        case _:
            assert_never(name)


def build_extractor(
    name: Features, data: DataSection, weights: Weights | None, device: torch.device
) -> FeatureExtractor:
    """The extractor of `name`, with the weights that `find_weights` gave.

    Raises:
        WeightsError: the file of weights holds something else.
    """
    return extractor_class(name)(data, weights, device)


def find_weights(features: Sequence[Features], path: Path | None, sha256: str | None) -> Weights | None:
    """The verified weights that one of `features` needs; None where none does. A recipe has one that does at most.

    Args:
        path: the file that the user names, if any.
        sha256: what it must hash to; None accepts the published file only, or any TorchScript file.

    Raises:
        WeightsError: there is no such file, or it has another hash.
    """
    for name in features:
        if (weights := extractor_class(name).find_weights(path, sha256)) is not None:
            return weights
    return None
