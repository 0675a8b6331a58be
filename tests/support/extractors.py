"""Small networks in files, as feature extractors read them."""

import hashlib
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from linnet.metrics.extractors.base import FeatureExtractor, LearnedExtractor
from linnet.metrics.extractors.build import build_extractor, extractor_class
from linnet.metrics.extractors.weights import Weights
from linnet.recipe import Features
from support.audio_section import AUDIO
from support.tiny import tiny_recipe

CPU = torch.device("cpu")
PUBLISHED = {"inception": "6726825d", "vggish": "10086976"}  # the starts of their sha256


class Moments(nn.Module):
    """Mean and mean square of each waveform."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.mean(dim=1), (x * x).mean(dim=1)], dim=1)


def script(module: nn.Module, path: Path) -> Path:
    """`module` as a TorchScript file at `path`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", DeprecationWarning)
        torch.jit.script(module).save(str(path))  # type: ignore[no-untyped-call]
    return path


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def found(features: Features, path: Path | None, sha256: str | None = None) -> Weights | None:
    """What these features alone take for their weights."""
    return extractor_class(features).find_weights(path, sha256)


def audio_extractor(features: Features, weights: Weights | None = None, *, rate: int = 8000) -> FeatureExtractor:
    """An extractor of audio at `rate` samples a second, on the CPU."""
    return build_extractor(features, AUDIO.model_copy(update={"sample_rate_hz": rate}), weights, CPU)


def stand_in(features: Features, start: str) -> FeatureExtractor:
    """An extractor whose weights have a sha256 that starts so, and a network that changes nothing."""
    kind = extractor_class(features)
    weights = Weights(Path("weights.pth"), start.ljust(64, "0"), is_published=PUBLISHED.get(features) == start)
    data = tiny_recipe().data if kind.modality == "images" else AUDIO
    if issubclass(kind, LearnedExtractor):
        kind = type(kind.__name__, (kind,), {"load": staticmethod(lambda path: nn.Identity())})
    return kind(data, weights, CPU)
