"""VGGish against its published sizes, a front end written as loops, and its layers applied one by one."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.audio.mel import mel_filters
from linnet.metrics.extractors import vggish
from linnet.metrics.extractors.vggish import PATCH_SAMPLES, VGGish, VGGishFeatures, log_mel_patches
from linnet.metrics.extractors.weights import Weights
from support.extractors import audio_extractor, sha256

CHANNELS = (1, 64, 128, 256, 256, 512, 512)
SIZES = (6 * 4 * 512, 4096, 4096, 128)
NAMES = (0, 3, 6, 8, 11, 13)  # of the published state dict: features.0.weight, ...


def waveforms(count: int, samples: int, *, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-0.5, 0.5, (count, samples))).float()


def test_parameters_are_the_published_ones() -> None:
    with torch.device("meta"):
        state = VGGish().state_dict()
    names = [f"features.{n}.{kind}" for n in NAMES for kind in ("weight", "bias")]
    names += [f"embeddings.{n}.{kind}" for n in (0, 2, 4) for kind in ("weight", "bias")]
    assert list(state) == names
    convolutions = sum(9 * a * b + b for a, b in itertools.pairwise(CHANNELS))
    dense = sum(a * b + b for a, b in itertools.pairwise(SIZES))
    assert sum(value.numel() for value in state.values()) == convolutions + dense == 72_141_184


def test_filters_are_htks() -> None:
    """Against each triangle drawn through its three corners, on the mel scale."""
    found = mel_filters(num_bins=257, sample_rate_hz=16_000, num_bands=64, low_hz=125, high_hz=7500).numpy()
    mel = 1127 * np.log(1 + np.linspace(0, 8000, 257) / 700)
    corners = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    for band in range(64):
        np.testing.assert_allclose(found[:, band], np.interp(mel, corners[band : band + 3], [0, 1, 0]), atol=1e-9)
    assert (found.sum(axis=0) > 0).all()


def test_filters_leave_out_a_constant() -> None:
    """Also where the first triangle would reach below 0 Hz."""
    assert float(mel_filters(num_bins=9, sample_rate_hz=8000, num_bands=2, low_hz=-200, high_hz=4000)[0].max()) == 0


def test_front_end_is_the_published_one() -> None:
    """25 ms every 10 ms, 512 points, log(mel of magnitudes + 0.01), in patches of 96 x 64."""
    audio = waveforms(1, 2 * 96 * 160 + 1000)
    found = log_mel_patches(audio)
    assert found.shape == (1, 2, 96, 64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    filters = mel_filters(num_bins=257, sample_rate_hz=16_000, num_bands=64, low_hz=125, high_hz=7500).numpy()
    for patch, frame in ((0, 0), (0, 95), (1, 0), (1, 50)):
        start = 160 * (96 * patch + frame)
        magnitude = np.abs(np.fft.rfft(audio[0, start : start + 400].double().numpy() * hann, 512))
        expected = np.log(magnitude @ filters + 0.01)
        np.testing.assert_allclose(found[0, patch, frame].numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "patches"),
    [
        (1, 1),
        (PATCH_SAMPLES - 1, 1),
        (PATCH_SAMPLES, 1),
        (PATCH_SAMPLES + 96 * 160 - 1, 1),
        (PATCH_SAMPLES + 15_360, 2),
    ],
)
def test_patches_fill_or_are_padded(samples: int, patches: int) -> None:
    assert PATCH_SAMPLES == 15_600
    found = log_mel_patches(waveforms(1, samples))
    assert found.shape == (1, patches, 96, 64)
    assert bool(found.isfinite().all())


def test_short_audio_ends_in_silence() -> None:
    found = log_mel_patches(waveforms(1, 1600))
    torch.testing.assert_close(found[0, 0, 10:], torch.full((86, 64), float(np.log(0.01))))
    assert float(found[0, 0, :10].max()) > 0


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights in the published format; of rank 1 where they are many, so that it is small."""
    path = tmp_path_factory.mktemp("vggish") / "random.pth"
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in VGGish().state_dict().items()}
    state = {}
    for name, shape in shapes.items():
        stored = (1, shape[1]) if name in ("embeddings.0.weight", "embeddings.2.weight") else shape
        fan_in = shape[1:].numel()  # 1 for a bias
        state[name] = (torch.randn(stored, generator=generator) * (2 / fan_in) ** 0.5).expand(shape)
    torch.save(state, path)
    assert path.stat().st_size < 30e6
    return path


@pytest.fixture(scope="module")
def found_weights(weights: Path) -> Weights:
    return VGGishFeatures.find_weights(weights, sha256(weights))


@pytest.fixture(scope="module")
def network(weights: Path) -> nn.Module:
    return VGGishFeatures.load(weights).eval()


def test_only_published_weights_make_fad(found_weights: Weights) -> None:
    extractor = audio_extractor("vggish", found_weights)
    assert not extractor.is_published
    assert isinstance(extractor, VGGishFeatures)
    assert not any(parameter.requires_grad for parameter in extractor.network.parameters())


def test_embedding_is_the_layers_one_by_one(weights: Path, network: nn.Module) -> None:
    """With the loop over pooled places written out: row by row, column by column, channel last."""
    state = torch.load(weights, weights_only=True)
    audio = waveforms(1, PATCH_SAMPLES)
    x = log_mel_patches(audio)[:, 0][:, None]
    for name in NAMES:
        x = F.relu(F.conv2d(x, state[f"features.{name}.weight"], state[f"features.{name}.bias"], padding=1))
        x = x if name in (6, 11) else F.max_pool2d(x, 2)
    flat = torch.stack([x[0, :, row, column] for row in range(6) for column in range(4)]).flatten()
    for name in (0, 2, 4):
        flat = state[f"embeddings.{name}.weight"] @ flat + state[f"embeddings.{name}.bias"]
        flat = F.relu(flat) if name < 4 else flat
    with torch.no_grad():
        found = network(audio)
    assert found.shape == (1, 1, 128)
    assert float(found.min()) < 0  # no ReLU after the last layer
    torch.testing.assert_close(found[0, 0], flat, rtol=1e-3, atol=1e-3)


def test_each_patch_is_a_row(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two waveforms of two patches each, however many go through the network at once: as each patch alone."""
    both = waveforms(2, PATCH_SAMPLES + 15_360)
    with torch.no_grad():
        found = network(both)
        single = [network(both[:, start : start + PATCH_SAMPLES]) for start in (0, 15_360)]
        monkeypatch.setattr(vggish, "PATCHES_AT_ONCE", 3)
        again = network(both)
    assert found.shape == (2, 2, 128)
    torch.testing.assert_close(found, torch.cat(single, dim=1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(again, found, rtol=1e-4, atol=1e-4)
    assert float(torch.pdist(found.flatten(0, 1)).min()) > 1e-2


def test_other_rates_are_resampled(found_weights: Weights) -> None:
    """The same tone at 16 and at 8 kHz: nearly the same features, unlike those of another tone."""

    def features(hz: float, rate: int) -> Tensor:
        tone = np.sin(2 * np.pi * hz * np.arange(rate) / rate)
        audio = np.rint(tone * 9000).astype(np.int16)[None]
        found = audio_extractor("vggish", found_weights, rate=rate)(audio)[0]
        assert found.dtype == torch.float64
        return found

    same = float((features(1000, 8000) - features(1000, 16_000)).norm())
    other = float((features(1000, 16_000) - features(1500, 16_000)).norm())
    assert same < other / 5
