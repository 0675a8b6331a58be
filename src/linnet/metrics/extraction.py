"""From decoded examples to the feature vectors that distances are taken in."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, assert_never

import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.metrics import audio_features, image_features
from linnet.metrics.audio_features import Embedding, load_embedding
from linnet.metrics.image_features import Inception, load_inception
from linnet.recipe import Audio, DataSection, Features, metric_names

FeatureNetwork = Inception | Embedding
BATCH = 64


def load_feature_network(
    features: Sequence[Features], weights: Path | None, sha256: str | None, device: torch.device
) -> FeatureNetwork | None:
    """The network that one of `features` needs; None where none does. Raises WeightsError."""
    for name in features:
        match name:
            case "inception":
                return load_inception(weights, sha256, device)
            case "vggish" | "scripted":
                return load_embedding(name, weights, sha256, device)
            case "thumbnail" | "texture" | "log_mel":
                pass
            case _:
                assert_never(name)
    return None


def find_feature_weights(features: Sequence[Features], weights: Path | None, sha256: str | None) -> str:
    """The sha256 of the weights that `features` need, without loading them; "" for none. Raises WeightsError."""
    for name in features:
        match name:
            case "inception":
                return image_features.find_inception(weights, sha256)[1]
            case "vggish" | "scripted":
                return audio_features.find_embedding(name, weights, sha256)[1]
            case "thumbnail" | "texture" | "log_mel":
                pass
            case _:
                assert_never(name)
    return ""


def extract_features(
    features: Features,
    data: DataSection,
    examples: NDArray[Any],
    *,
    device: torch.device,
    network: FeatureNetwork | None,
) -> Iterator[Tensor]:
    """Batches float64 [<= 64, R, d] of uint8 images [N, H, W, 3] or int16 waveforms [N, samples].

    R rows of each example: 1, but for VGGish one for each patch. Raises WeightsError.
    """
    match features:
        case "inception" | "thumbnail" | "texture":
            inception = network if isinstance(network, Inception) else None
            batches = image_features.extract(features, examples, batch_size=BATCH, device=device, inception=inception)
            return (batch[:, None] for batch in batches)
        case "log_mel" | "vggish" | "scripted":
            assert isinstance(data, Audio), "the recipe's check"
            return audio_features.extract(
                features,
                examples,
                sample_rate_hz=data.sample_rate_hz,
                batch_size=BATCH,
                device=device,
                embedding=network if isinstance(network, Embedding) else None,
            )
        case _:
            assert_never(features)


def distance_names(features: Features, network: FeatureNetwork | None) -> tuple[str, str]:
    """With other weights than the published ones the distances must not be called FID, KID, FAD or KAD.

    Which weights those were stands in the protocol: a name that a recipe's gate can ask for holds no hash.
    """
    return metric_names(features, is_published=network is None or network.is_published)


def protocol(features: Features, data: DataSection, network: FeatureNetwork | None) -> str:
    """How the features were made, in words that change when numbers would no longer compare."""
    match features:
        case "log_mel" | "vggish" | "scripted":
            assert isinstance(data, Audio), "the recipe's check"
            embedding = network if isinstance(network, Embedding) else None
            return audio_features.protocol(features, sample_rate_hz=data.sample_rate_hz, embedding=embedding)
        case "inception" if network is not None and not network.is_published:
            return f"{image_features.PROTOCOL[features]}, weights {network.sha256[:8]}"
        case "inception" | "thumbnail" | "texture":
            return image_features.PROTOCOL[features]
        case _:
            assert_never(features)
