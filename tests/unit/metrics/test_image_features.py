"""Features against closed forms on drawn images, and Inception against torch-fidelity's own extractor."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # type: ignore[import-untyped]

from linnet.metrics import image_features
from linnet.metrics.extraction import distance_names
from linnet.metrics.image_features import (
    INCEPTION_FILE,
    Inception,
    WeightsError,
    extract,
    load_inception,
    texture,
    thumbnail,
)
from linnet.recipe import ImageFeatures

CPU = torch.device("cpu")
UNREACHABLE = "http://127.0.0.1:9/" + INCEPTION_FILE
Images = NDArray[np.uint8]


def images(count: int, *, size: int = 24, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def tensor(image: Images) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def stripes(first: tuple[int, int, int], second: tuple[int, int, int], *, width: int) -> Images:
    """16 x 16, vertical stripes that change colour every `width` columns."""
    row = np.array([first if x // width % 2 == 0 else second for x in range(16)], dtype=np.uint8)
    return np.broadcast_to(row, (16, 16, 3)).copy()


BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def test_thumbnail_of_a_plain_image_is_its_colour() -> None:
    plain = np.broadcast_to(np.array([51, 102, 255], dtype=np.uint8), (20, 20, 3)).copy()
    found = thumbnail(tensor(plain))
    assert found.dtype == torch.float64
    wanted = torch.tensor([0.2, 0.4, 1.0], dtype=torch.float64).repeat_interleave(36)[None]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)


def test_thumbnail_is_area_means_in_rows() -> None:
    """12 x 12 in 2 x 2 areas; channel, then row, then column."""
    image = images(1, size=12)[0]
    wanted = (image / 255.0).reshape(6, 2, 6, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1).ravel()
    np.testing.assert_allclose(thumbnail(tensor(image))[0].numpy(), wanted, rtol=1e-12)


def test_texture_of_a_plain_image_is_zero() -> None:
    plain = np.broadcast_to(np.array([51, 102, 250], dtype=np.uint8), (20, 20, 3)).copy()
    found = texture(tensor(plain))
    assert found.shape == (1, 96)
    assert float(found.abs().max()) < 1e-7


def test_texture_of_fine_stripes() -> None:
    """Every horizontal step is 1, no vertical one; halving the image makes it plain grey, and grey has no colour."""
    found = texture(tensor(stripes(BLACK, WHITE, width=1)))[0]
    torch.testing.assert_close(found[:16], torch.ones(16).double())
    assert float(found[16:].abs().max()) < 1e-7
    turned = texture(tensor(stripes(BLACK, WHITE, width=1).transpose(1, 0, 2).copy()))[0]
    torch.testing.assert_close(turned[16:32], torch.ones(16).double())
    assert float(turned[:16].abs().max()) < 1e-7


def test_texture_of_stripes_of_two() -> None:
    """15 steps of which every other is 1, in cells 0-3, 3-7, 7-11 and 11-14; halved, every step is 1."""
    found = texture(tensor(stripes(BLACK, WHITE, width=2)))[0]
    row = torch.tensor([2 / 4, 3 / 5, 3 / 5, 2 / 4]).double().sqrt()
    torch.testing.assert_close(found[:16], row.repeat(4), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(found[32:48], torch.ones(16).double(), rtol=1e-7, atol=1e-7)
    assert float(found[[*range(16, 32), *range(48, 96)]].abs().max()) < 1e-7


def test_texture_of_red_and_blue_stripes_is_the_spread_of_colour_differences() -> None:
    """R - Y is 1 - 0.299 in red and -0.114 in blue, B - Y is -0.299 and 1 - 0.114; deviation is half the step."""
    found = texture(tensor(stripes((255, 0, 0), (0, 0, 255), width=1)))[0]
    torch.testing.assert_close(found[64:80], torch.full((16,), (0.701 + 0.114) / 2).double())
    torch.testing.assert_close(found[80:], torch.full((16,), (0.886 + 0.299) / 2).double())
    torch.testing.assert_close(found[:16], torch.full((16,), 0.299 - 0.114).double())


@pytest.mark.parametrize(("kind", "dims"), [("thumbnail", 108), ("texture", 96)])
def test_batches_change_no_bit(kind: ImageFeatures, dims: int) -> None:
    whole = torch.cat(list(extract(kind, images(13), batch_size=13, device=CPU, inception=None)))
    assert whole.shape == (13, dims)
    assert whole.dtype == torch.float64
    for size in (1, 4, 100):
        parts = list(extract(kind, images(13), batch_size=size, device=CPU, inception=None))
        assert [len(part) for part in parts] == [min(size, 13 - start) for start in range(0, 13, size)]
        assert torch.equal(torch.cat(parts), whole)


# --- Inception --------------------------------------------------------------------------------------------------------


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


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_inception_features_are_torch_fidelitys(weights: Path) -> None:
    """Also its way of resizing, which FID's numbers depend on."""
    two = images(2, size=64)
    network = load_inception(weights, sha256(weights), CPU)
    (found,) = extract("inception", two, batch_size=2, device=CPU, inception=network)
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights))
    (wanted,) = theirs(torch.from_numpy(two).permute(0, 3, 1, 2))
    assert found.shape == (2, 2048)
    assert found.dtype == torch.float64
    assert float((found[0] - found[1]).abs().max()) > 1e-3
    torch.testing.assert_close(found, wanted.double(), rtol=1e-4, atol=1e-4)


def test_only_published_weights_make_fid_and_kid(weights: Path) -> None:
    network = load_inception(weights, sha256(weights), CPU)
    assert not network.is_published
    assert distance_names("inception", network) == ("frechet_inception", "kernel_inception")
    published = Inception(network, "6726825d" + "0" * 56)
    assert distance_names("inception", published) == ("fid", "kid")


def test_inception_stays_in_evaluation_mode_and_untrained(weights: Path) -> None:
    network = load_inception(weights, sha256(weights), CPU)
    assert not any(module.training for module in network.train(True).modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_weights_with_another_hash_are_refused(weights: Path) -> None:
    with pytest.raises(WeightsError, match=rf"random\.pth: sha256 is {sha256(weights)}, wanted abc; fetch .* again"):
        load_inception(weights, "abc", CPU)
    with pytest.raises(WeightsError, match=r"wanted 6726825d\.\.\.; .*--inception-sha256"):
        load_inception(weights, None, CPU)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=rf"nowhere\.pth: no such file; give the Inception weights \({INCEPTION_FILE}"
    ):
        load_inception(tmp_path / "nowhere.pth", None, CPU)


def test_without_network_the_message_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(image_features, "INCEPTION_URL", UNREACHABLE)
    with pytest.raises(WeightsError) as caught:
        load_inception(None, None, CPU)
    place = tmp_path / "hub" / "checkpoints" / INCEPTION_FILE
    for part in (INCEPTION_FILE, UNREACHABLE, f"at {place},", "--inception-weights", "'inception' out of [evaluate]"):
        assert part in str(caught.value)
    assert not list(tmp_path.rglob("*.pth*"))


def test_weights_are_downloaded_once(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(image_features, "INCEPTION_URL", weights.as_uri())
    with pytest.raises(WeightsError, match=r"cannot be downloaded here \(invalid hash value"):
        load_inception(None, None, CPU)
    monkeypatch.setattr(image_features, "INCEPTION_SHA256_START", sha256(weights)[:8])
    load_inception(None, None, CPU)
    assert sha256(tmp_path / "hub" / "checkpoints" / INCEPTION_FILE) == sha256(weights)
    monkeypatch.setattr(image_features, "INCEPTION_URL", UNREACHABLE)
    load_inception(None, None, CPU)
