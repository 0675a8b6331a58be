"""Inception against torch-fidelity's own extractor, and the file of its weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # type: ignore[import-untyped]

from linnet.metrics.extractors import inception
from linnet.metrics.extractors.inception import FILE, InceptionFeatures
from linnet.metrics.extractors.weights import WeightsError
from support.extractors import CPU, sha256
from support.tiny import tiny_recipe

UNREACHABLE = "http://127.0.0.1:9/" + FILE


def build(path: Path | None, sha256: str | None) -> InceptionFeatures:
    return InceptionFeatures(tiny_recipe().data, InceptionFeatures.find_weights(path, sha256), CPU)


class Unloaded(FeatureExtractorInceptionV3):  # type: ignore[misc]
    """torch-fidelity's network as it is before it loads its weights."""

    def load_state_dict(self, *_: Any, **__: Any) -> None:
        """Keep the random ones."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights in torch-fidelity's format."""
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save({}, path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Unloaded("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
        for name, value in network.state_dict().items():
            if name.endswith("conv.weight"):
                torch.nn.init.kaiming_normal_(value)  # keeps the signal alive through all layers
    torch.save(network.state_dict(), path)
    return path


def test_inception_features_are_torch_fidelitys(weights: Path) -> None:
    """Also its way of resizing, which FID's numbers depend on."""
    two = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    found = build(weights, sha256(weights))(two)[:, 0]
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights))
    (expected,) = theirs(torch.from_numpy(two).permute(0, 3, 1, 2))
    assert found.shape == (2, 2048)
    assert found.dtype == torch.float64
    assert float((found[0] - found[1]).abs().max()) > 1e-3
    torch.testing.assert_close(found, expected.double(), rtol=1e-4, atol=1e-4)


def test_inception_stays_in_evaluation_mode_and_untrained(weights: Path) -> None:
    network = build(weights, sha256(weights)).network
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_weights_with_another_hash_are_refused(weights: Path) -> None:
    with pytest.raises(WeightsError, match=rf"random\.pth: sha256 is {sha256(weights)}, expected abc; fetch .* again"):
        build(weights, "abc")
    with pytest.raises(WeightsError, match=r"expected 6726825d\.\.\.; .*--inception-sha256"):
        build(weights, None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"nowhere\.pth: no such file; give Inception's weights \({FILE}"):
        build(tmp_path / "nowhere.pth", None)


def test_without_network_the_message_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(inception, "PUBLISHED", replace(inception.PUBLISHED, url=UNREACHABLE))
    with pytest.raises(WeightsError) as caught:
        build(None, None)
    location = tmp_path / "hub" / "checkpoints" / FILE
    for part in (FILE, UNREACHABLE, f"at {location},", "--inception-weights", "'inception' out of [evaluate]"):
        assert part in str(caught.value)
    assert not list(tmp_path.rglob("*.pth*"))


def test_weights_are_downloaded_once(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(inception, "PUBLISHED", replace(inception.PUBLISHED, url=weights.as_uri()))
    with pytest.raises(WeightsError, match=r"cannot be downloaded here \(invalid hash value"):
        build(None, None)
    monkeypatch.setattr(inception, "PUBLISHED", replace(inception.PUBLISHED, sha256_start=sha256(weights)[:8]))
    build(None, None)
    assert sha256(tmp_path / "hub" / "checkpoints" / FILE) == sha256(weights)
    monkeypatch.setattr(inception, "PUBLISHED", replace(inception.PUBLISHED, url=UNREACHABLE))
    build(None, None)
