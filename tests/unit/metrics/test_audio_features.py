"""Audio features against direct computations and audio whose features are known, and files that hold an embedding."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linnet.audio.mel import hz_to_mel
from linnet.metrics.audio_features import (
    VGGISH_FILE,
    VGGISH_URL,
    Embedding,
    LearnedFeatures,
    extract,
    find_embedding,
    load_embedding,
    log_mel,
    protocol,
)
from linnet.metrics.image_features import WeightsError
from linnet.metrics.vggish import VGGish

CPU = torch.device("cpu")
RATE = 8000
Waveforms = NDArray[np.int16]


def noise(count: int, *, samples: int = 4000, seed: int = 0) -> Waveforms:
    return np.random.default_rng(seed).integers(-9000, 9000, (count, samples), dtype=np.int16)


def descriptor(waveforms: Waveforms, rate: int = RATE) -> Tensor:
    batches = extract("log_mel", waveforms, sample_rate_hz=rate, batch_size=64, device=CPU, embedding=None)
    return torch.cat(list(batches)).squeeze(1)  # one vector an audio


def sine(hz: float, *, rate: int = RATE, seconds: float = 0.5, amplitude: float = 1.0) -> Tensor:
    """Float64 [1, samples]."""
    return amplitude * torch.sin(2 * np.pi * hz * torch.arange(round(rate * seconds), dtype=torch.float64) / rate)[None]


# --- the weight-free descriptor ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [4000, 22_050, 44_100, 96_000])
def test_a_sine_is_loudest_in_the_band_around_it(rate: int) -> None:
    """Band k has its peak k + 1 steps above 30 Hz, of 33 evenly long steps in mel to half the sample rate."""
    step = (hz_to_mel(rate / 2) - hz_to_mel(30)) / 33
    for band in (3, 12, 30):
        hz = 700 * (np.exp((hz_to_mel(30) + (band + 1) * step) / 1127) - 1)
        found = log_mel(sine(hz, rate=rate, seconds=0.25), rate)[0]
        assert found.shape == (96,)
        assert int(found[:32].argmax()) == band
        assert float(found[band]) == pytest.approx(np.log10(0.375), abs=0.25)  # less where the triangle falls off
        assert float(found[32 + band]) < 0.05  # and steady
        assert float(found[64 + band]) < 0.05


@pytest.mark.parametrize("rate", [4000, 8000, 22_050, 44_100, 96_000])
def test_a_sine_is_as_loud_at_any_rate(rate: int) -> None:
    """Wherever it falls, the triangles of two neighbours add up to one: 3/8 of its squared amplitude."""
    for hz in (400.0, 1234.0):
        found = log_mel(sine(hz, rate=rate, amplitude=0.5), rate)[0, :32]
        assert float((10**found).sum()) == pytest.approx(0.375 * 0.25, rel=1e-3)


def test_silence_is_the_floor_and_nothing_moves() -> None:
    found = descriptor(np.zeros((2, 2000), dtype=np.int16))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found[:, :32], torch.full((2, 32), -8.0).double(), rtol=0, atol=1e-12)
    assert float(found[:, 32:].abs().max()) < 1e-12


def test_rounding_to_16_bits_is_silence() -> None:
    """Half a step of noise has -101 dB, the floor is at -80: by less than a fiftieth of a bel."""
    dither = np.random.default_rng(0).integers(0, 2, (1, RATE), dtype=np.int16)
    assert float((descriptor(dither)[:, :32] + 8).abs().max()) < 0.02


def test_the_descriptor_is_what_it_says() -> None:
    """A direct computation: frames, power spectra, triangles, logarithms, moments."""
    audio = noise(1, samples=3001)[0]
    x = audio / 32768.0
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    frames = [x[start : start + 512] * hann for start in range(0, len(x) - 511, 128)]
    power = [np.abs(np.fft.rfft(frame)) ** 2 / hann.sum() ** 2 for frame in frames]
    mel = 1127 * np.log(1 + np.arange(257) * (RATE / 512) / 700)
    corners = np.linspace(1127 * np.log(1 + 30 / 700), 1127 * np.log(1 + 4000 / 700), 34)
    levels = np.zeros((len(power), 32))
    for t, spectrum in enumerate(power):
        for band in range(32):
            triangle = np.interp(mel, corners[band : band + 3], [0, 1, 0])
            levels[t, band] = np.log10((triangle * spectrum)[1:].sum() + 1e-8)
    steps = np.sqrt((np.diff(levels, axis=0) ** 2).mean(axis=0))
    wanted = np.concatenate([levels.mean(axis=0), levels.std(axis=0), steps])
    np.testing.assert_allclose(
        descriptor(audio[None])[0].numpy(), wanted, rtol=1e-6, atol=1e-6
    )  # int16 / 2^15 is exact


def test_gain_moves_the_means_only_and_direction_nothing() -> None:
    loud = torch.from_numpy(noise(2, samples=512 + 128 * 20) / 32768.0)
    found = log_mel(loud, RATE)
    tenth = log_mel(loud / 10, RATE)
    torch.testing.assert_close(tenth[:, :32], found[:, :32] - 2, rtol=0, atol=0.02)
    torch.testing.assert_close(tenth[:, 32:], found[:, 32:], rtol=0, atol=0.02)
    torch.testing.assert_close(log_mel(-loud, RATE), found)
    backwards = torch.cat([loud[:, :1] * 0, loud[:, 1:].flip(1)], dim=1)  # a periodic window turns around its sample 0
    forwards = torch.cat([loud[:, :1] * 0, loud[:, 1:]], dim=1)
    torch.testing.assert_close(log_mel(backwards, RATE), log_mel(forwards, RATE), rtol=0, atol=1e-9)


def test_a_beat_is_a_step_from_frame_to_frame() -> None:
    """Half a second on, half off: the level has two values, a step of theirs and a deviation of half of that."""
    tone = sine(1000, seconds=1.0)
    tone[:, RATE // 2 :] = 0
    found, band = log_mel(tone, RATE)[0], int(log_mel(sine(1000), RATE)[0, :32].argmax())
    span = float(log_mel(sine(1000), RATE)[0, band]) + 8
    assert float(found[32 + band]) == pytest.approx(span / 2, rel=0.05)
    assert 0.3 * span < float(found[64 + band]) * 58**0.5 < span  # one fall in 58 steps, spread over a few frames


@pytest.mark.parametrize(
    ("rate", "samples"), [(4000, 1000), (96_000, 24_000), (8000, 40), (8000, 639), (44_101, 12_000)]
)
def test_any_rate_and_length_is_finite(rate: int, samples: int) -> None:
    found = descriptor(noise(2, samples=samples), rate)
    assert found.shape == (2, 96)
    assert bool(found.isfinite().all())
    assert float(found[:, :32].max()) > -8


def test_batches_change_no_bit() -> None:
    whole = descriptor(noise(7))
    for size in (1, 3):
        parts = list(extract("log_mel", noise(7), sample_rate_hz=RATE, batch_size=size, device=CPU, embedding=None))
        assert [len(part) for part in parts] == [min(size, 7 - start) for start in range(0, 7, size)]
        assert torch.equal(torch.cat(parts), whole[:, None])


# --- embeddings from files --------------------------------------------------------------------------------------------


class Moments(nn.Module):
    """Mean and mean square of each audio."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.mean(dim=1), (x * x).mean(dim=1)], dim=1)


class Whole(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class One(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:1]


class Hollow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] / 0


def script(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", DeprecationWarning)
        torch.jit.script(module).save(str(path))  # type: ignore[no-untyped-call]
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def vectors(embedding: Embedding, waveforms: Waveforms) -> Tensor:
    batches = extract(embedding.features, waveforms, sample_rate_hz=RATE, batch_size=2, device=CPU, embedding=embedding)
    return torch.cat(list(batches)).squeeze(1)


def test_a_scripted_embedding_sees_waveforms_in_full_scale_units(tmp_path: Path) -> None:
    path = script(Moments(), tmp_path / "moments.pt")
    embedding = load_embedding("scripted", path, None, CPU)
    audio = noise(3)
    found = vectors(embedding, audio)
    assert found.dtype == torch.float64
    x = audio / 32768.0
    np.testing.assert_allclose(found.numpy(), np.stack([x.mean(axis=1), (x**2).mean(axis=1)], axis=1), atol=1e-6)
    assert not embedding.is_published
    assert embedding.sha256 == sha256(path)
    assert sha256(path)[:8] in protocol("scripted", sample_rate_hz=RATE, embedding=embedding)


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        (Whole(), r"gave shape \(\) for 2 audio, wanted .* \[2, d\]"),
        (One(), r"gave shape \(1, 4000\) for 2 audio"),
        (Hollow(), "not finite"),
    ],
)
def test_a_scripted_embedding_that_gives_something_else_is_refused(
    tmp_path: Path, module: nn.Module, complaint: str
) -> None:
    embedding = load_embedding("scripted", script(module, tmp_path / "odd.pt"), None, CPU)
    with pytest.raises(WeightsError, match=complaint):
        vectors(embedding, noise(4))


def test_embeddings_stay_in_evaluation_mode(tmp_path: Path) -> None:
    """Dropout would make the numbers random."""
    path = script(nn.Sequential(Moments(), nn.Dropout(0.5)).train(), tmp_path / "dropout.pt")
    embedding = load_embedding("scripted", path, None, CPU)
    embedding.train(True)
    assert bool((vectors(embedding, noise(4)) != 0).all())


def test_protocols_name_what_was_measured() -> None:
    assert protocol("log_mel", sample_rate_hz=22_050, embedding=None).startswith("linnet log-mel-1: ")
    assert protocol("log_mel", sample_rate_hz=22_050, embedding=None).endswith(" at 22050 Hz")
    published = Embedding(nn.Identity(), "vggish", "10086976" + "0" * 56)
    other = Embedding(nn.Identity(), "vggish", "deadbeef" + "0" * 56)
    assert published.is_published
    assert not other.is_published
    assert not Embedding(nn.Identity(), "scripted", published.sha256).is_published
    assert "deadbeef" in protocol("vggish", sample_rate_hz=RATE, embedding=other)
    assert "10086976" not in protocol("vggish", sample_rate_hz=RATE, embedding=published)
    without = protocol("log_mel", sample_rate_hz=RATE, embedding=None)
    assert protocol("log_mel", sample_rate_hz=RATE, embedding=other) == without, "no weights are in it"


FLAG = r"--embedding-weights \(LINNET_EMBEDDING_WEIGHTS\)"


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    nowhere = tmp_path / "nowhere.pth"
    with pytest.raises(WeightsError, match=rf"nowhere\.pth: no such file; give VGGish's weights .* with {FLAG}"):
        find_embedding("vggish", nowhere, None)
    with pytest.raises(WeightsError, match=rf"nowhere\.pth: no such file; give a TorchScript file with {FLAG}"):
        find_embedding("scripted", nowhere, None)
    with pytest.raises(WeightsError, match=rf"'scripted' .* TorchScript file .* {FLAG}, or take 'scripted' out"):
        find_embedding("scripted", None, None)
    with pytest.raises(WeightsError) as caught:
        find_embedding("vggish", None, None)
    place = tmp_path / "hub" / "checkpoints" / VGGISH_FILE
    for part in (VGGISH_URL, f"at {place},", "--embedding-weights", "take 'vggish' out of [evaluate] features"):
        assert part in str(caught.value)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"vggish-10086976\.pth: sha256 is .*, wanted 10086976\.\.\.; .*-sha256"):
        find_embedding("vggish", None, None)
    assert find_embedding("vggish", None, sha256(place)) == (place, sha256(place))
    with pytest.raises(WeightsError, match="'scripted' features need a TorchScript file"):
        find_embedding("scripted", None, None)


@pytest.mark.parametrize("features", ["vggish", "scripted"])
def test_another_hash_is_refused(features: LearnedFeatures, tmp_path: Path) -> None:
    path = script(Moments(), tmp_path / "moments.pt")
    with pytest.raises(WeightsError, match=rf"moments\.pt: sha256 is {sha256(path)}, wanted abc; fetch .* again"):
        load_embedding(features, path, "abc", CPU)


class Surprise:
    """Unpickled by an unguarded torch.load, it would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


def refusal(features: LearnedFeatures, path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_embedding(features, path, sha256(path), CPU)
    assert "--" not in str(caught.value)  # the hash is right, no flag will help
    return str(caught.value).removeprefix(f"{path}: not a ").partition(";")[0]


def test_a_file_of_something_else_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    mark, path = tmp_path / "it ran", tmp_path / "odd.pth"
    torch.save(Surprise(mark), path)
    strange = "state dict of VGGish: it holds something else than tensors, or is damaged"
    assert refusal("vggish", path) == strange
    assert refusal("scripted", path) == "TorchScript file, or a damaged one"
    for text in (b"", b"PK", b"hello"):
        path.write_bytes(text)
        assert refusal("vggish", path) == strange
        assert refusal("scripted", path) == "TorchScript file, or a damaged one"
    script(Moments(), path)
    assert refusal("vggish", path) == strange
    assert not mark.exists()


def test_a_state_dict_of_something_else_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in VGGish().state_dict().items()}
    whole = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    wrong = torch.zeros(64, 3, 3, 3)
    for content, complaint in (
        (torch.ones(3), "it holds a Tensor"),
        ({1: torch.ones(3)}, "features.0.weight is not in it"),
        ({"epoch": 3, "state_dict": whole}, "features.0.weight is not in it"),
        (whole | {"features.0.weight": 5}, "features.0.weight is not in it"),
        (whole | {"features.0.weight": wrong}, "features.0.weight has shape (64, 3, 3, 3), wanted (64, 1, 3, 3)"),
        (whole | {"pproc.pca_means": torch.ones(3)}, "pproc.pca_means is also in it"),
    ):
        torch.save(content, path)
        assert refusal("vggish", path) == f"state dict of VGGish: {complaint}"
