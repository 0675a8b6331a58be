"""The distances of several sets of examples from the reference, with their intervals and protocols."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.metrics.distances import build_distances, jackknife
from linnet.metrics.extractors.base import FeatureExtractor
from linnet.metrics.results import Context, Interval
from linnet.progress import ProgressBar
from linnet.recipe import EvaluateSection

Segments = NDArray[Any]  # [N, P, ...]: P images or waveforms of each of N examples


class Measurement(NamedTuple):
    """One distance of the model's samples."""

    name: str
    score: float
    interval: Interval
    context: Context  # the same distance of the other sets
    protocol: str


def measure(
    extractor: FeatureExtractor, section: EvaluateSection, sets: Mapping[str, Segments], *, comparison: str
) -> Iterator[Measurement]:
    """Measure `sets` by each distance in the extractor's features.

    Args:
        sets: reference, model, untrained, noise and real.
        comparison: for the protocol: how many examples of which kind are compared.
    """
    features = extract_features(extractor, sets)
    real = features.pop("reference")
    for distance in build_distances(extractor, section):
        from_reference = distance.from_real(real)
        values = {name: from_reference(generated) for name, generated in features.items()}
        score = values.pop("model")
        interval = jackknife(from_reference, score, features["model"])
        details = (extractor.protocol, comparison, distance.protocol(real, features["model"]))
        yield Measurement(distance.name, score, interval, Context(**values), "; ".join(filter(None, details)))


def extract_features(extractor: FeatureExtractor, sets: Mapping[str, Segments]) -> dict[str, Tensor]:
    """float64 [N, R, d] of each set: R rows of all segments of an example."""
    flat = {name: segments.reshape(-1, *segments.shape[2:]) for name, segments in sets.items()}
    features = {}
    with ProgressBar(f"evaluate: {extractor.name} of examples", sum(map(len, flat.values()))) as bar:
        for name, examples in flat.items():
            batches = []
            for batch in extractor.batches(examples):
                batches.append(batch.cpu())
                bar.advance(len(batch))
            features[name] = torch.cat(batches).reshape(len(sets[name]), -1, batches[0].shape[-1])
    return features
