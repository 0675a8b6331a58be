"""Features of TorchScript files, and files that are none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linnet.metrics.extractors.weights import WeightsError
from support.extractors import Moments, audio_extractor, found, script, sha256

Waveforms = NDArray[np.int16]


def noise(count: int, *, samples: int = 4000, seed: int = 0) -> Waveforms:
    return np.random.default_rng(seed).integers(-9000, 9000, (count, samples), dtype=np.int16)


class Whole(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class One(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:1]


class Hollow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] / 0


def vectors(path: Path, waveforms: Waveforms) -> Tensor:
    return audio_extractor("scripted", found("scripted", path))(waveforms).squeeze(1)


def test_a_scripted_embedding_sees_waveforms_in_full_scale_units(tmp_path: Path) -> None:
    path = script(Moments(), tmp_path / "moments.pt")
    waveforms = noise(3)
    features = vectors(path, waveforms)
    assert features.dtype == torch.float64
    x = waveforms / 32768.0
    np.testing.assert_allclose(features.numpy(), np.stack([x.mean(axis=1), (x**2).mean(axis=1)], axis=1), atol=1e-6)
    extractor = audio_extractor("scripted", found("scripted", path))
    assert not extractor.is_published
    assert sha256(path)[:8] in extractor.protocol


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        (Whole(), r"gave shape \(\) for 2 waveforms instead of .* \[2, d\]"),
        (One(), r"gave shape \(1, 4000\) for 2 waveforms"),
        (Hollow(), "not finite"),
    ],
)
def test_a_scripted_embedding_that_gives_something_else_is_refused(
    tmp_path: Path, module: nn.Module, complaint: str
) -> None:
    path = script(module, tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match=complaint):
        vectors(path, noise(2))


def test_embeddings_are_in_evaluation_mode(tmp_path: Path) -> None:
    """Dropout would make the numbers random."""
    path = script(nn.Sequential(Moments(), nn.Dropout(0.5)).train(), tmp_path / "dropout.pt")
    assert bool((vectors(path, noise(4)) != 0).all())
