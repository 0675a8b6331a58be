"""The codec of audio: waveforms into spectrograms and back, at the same level."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.artifacts import Dataset
from linnet.audio.griffin_lim import KnownBins
from linnet.data.arrays import open_array
from linnet.modalities.audio_codec import AudioCodec, to_int16
from linnet.modalities.base import NotFiniteError
from linnet.recipe import Audio, ComplexSpectrogram, MagnitudeSpectrogram, Representation
from support.audio_models import Made, made
from support.audio_section import AUDIO
from support.statistics import audio_statistics

CPU = torch.device("cpu")
COMPLEX = ComplexSpectrogram(kind="complex")
ROOT = MagnitudeSpectrogram(kind="magnitude", exponent=0.5, phase_iterations=200)
BINS = AUDIO.stft.num_bins


@pytest.fixture(scope="module", params=["voices", "music"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Complex spectrograms and magnitudes."""
    return made(request.param, tmp_path_factory)


def codec_of(representation: Representation, *, mean: float = 0.0, keep_dc: bool = False) -> AudioCodec:
    """One whose scale grows with frequency, so that a row in the wrong place shows."""
    stft = AUDIO.stft.model_copy(update={"keep_dc": keep_dc})
    data: Audio = AUDIO.model_copy(update={"representation": representation, "stft": stft})
    scale = np.geomspace(0.01, 3, stft.num_bins)
    statistics = audio_statistics(data, mean=[mean] * stft.num_bins, scale=scale.tolist(), peak=[9.0] * stft.num_bins)
    return AudioCodec(data, statistics, CPU)


def tones(count: int, samples: int, *, peak: float = 0.5) -> NDArray[np.int16]:
    rng = np.random.default_rng(1)
    times = np.arange(samples) / 8000
    rows = [
        sum(np.sin(2 * np.pi * hz * times + rng.random()) for hz in rng.uniform(300, 3500, 4)) for _ in range(count)
    ]
    return np.stack([np.rint(row / np.abs(row).max() * peak * 32767) for row in rows]).astype(np.int16)


def signal_to_error_db(signal: NDArray[np.generic], back: NDArray[np.generic]) -> float:
    edge = AUDIO.stft.window_samples
    signal, back = (rows.astype(np.float64)[:, edge:-edge] for rows in (signal, back))
    return float(10 * np.log10(np.square(signal).sum() / max(np.square(signal - back).sum(), 1e-30)))


@pytest.mark.parametrize("keep_dc", [True, False])
def test_complex_spectrograms_give_every_sample_back(keep_dc: bool) -> None:
    codec, stored = codec_of(COMPLEX, keep_dc=keep_dc), tones(3, AUDIO.window_samples)
    x = codec.encode(torch.from_numpy(stored))
    assert x.shape == (3, *codec.data.shape)
    assert np.abs(codec.decode(x).astype(int) - stored).max() <= 1
    assert signal_to_error_db(stored, codec.decode(x)) > 60


def test_magnitudes_give_the_spectrum_back() -> None:
    """The phase is estimated, so the waveform differs and its magnitudes do not."""
    codec, stored = codec_of(ROOT, mean=0.2), tones(2, 64 * 16)
    x = codec.encode(torch.from_numpy(stored))
    again = codec.encode(torch.from_numpy(codec.decode(x)))
    inside = slice(4, -4)
    error = (codec.unstandardize(again) - codec.unstandardize(x))[..., inside].norm() / codec.unstandardize(x)[
        ..., inside
    ].norm()
    assert error < 0.1
    assert signal_to_error_db(stored, codec.decode(x)) < 20, "or the phase was not estimated"


def test_known_phases_bring_a_magnitude_back_to_the_sample() -> None:
    codec, stored = codec_of(ROOT), tones(1, 64 * 16)
    waveform = torch.from_numpy(stored).float() / 32767
    known = KnownBins(codec.transform.spectrum(waveform), torch.ones(BINS, 1, dtype=torch.bool))
    back = to_int16(codec.waveform(codec.spectrogram(waveform), known=known))
    assert signal_to_error_db(stored, back) > 40


def test_training_examples_have_mean_square_one(either: Made) -> None:
    codec = either.codec
    x = codec.encode(torch.from_numpy(np.array(open_array(either.dataset / Dataset.waveforms("train")))))
    assert x.shape[1:] == either.audio.shape
    spread = x.double().square().mean(dim=(0, 1, 3))
    assert torch.allclose(spread, torch.ones_like(spread), atol=1e-5)
    is_magnitude = isinstance(either.audio.representation, MagnitudeSpectrogram)
    mean = x.double().mean(dim=(0, 1, 3)).abs().max()
    assert mean < (1e-5 if is_magnitude else 0.2), "magnitudes are centred, complex numbers are left alone"


def test_standardize_undoes_unstandardize(either: Made) -> None:
    x = torch.randn(2, *either.audio.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(either.codec.standardize(either.codec.unstandardize(x)), x, rtol=1e-4, atol=1e-5)


def test_clip_leaves_real_examples_alone_and_nothing_beyond(either: Made) -> None:
    codec = either.codec
    x = codec.encode(torch.from_numpy(np.array(open_array(either.dataset / Dataset.waveforms("train")))))
    torch.testing.assert_close(codec.clip(x), x, rtol=1e-6, atol=0)
    clipped = codec.clip(x * 1e6)
    peaks = codec.peak.expand(-1, x.shape[-1])
    assert bool((clipped <= peaks).all())
    assert torch.equal(clipped.amax(dim=(0, 1)), peaks), "audio this loud reaches the limit everywhere"
    lowest = codec.unstandardize(codec.clip(torch.full_like(x, -1e6)))
    if isinstance(either.audio.representation, MagnitudeSpectrogram):
        torch.testing.assert_close(lowest, torch.zeros_like(lowest), atol=1e-7, rtol=0)
    else:
        torch.testing.assert_close(lowest, codec.unstandardize(-peaks).expand_as(lowest))


def test_loud_rows_are_made_softer_as_a_whole_and_soft_ones_not_louder() -> None:
    audio = torch.tensor([[0.5, -0.25, 0.0], [4.0, -2.0, 1.0], [-1.0, 1.0, 0.5], [0.0, 0.0, 0.0]])
    assert to_int16(audio).tolist() == [
        [16384, -8192, 0],
        [32767, -16384, 8192],
        [-32767, 32767, 16384],
        [0, 0, 0],
    ]


def test_decoding_keeps_the_loudness_of_each_row() -> None:
    codec = codec_of(COMPLEX)
    x = codec.encode(torch.from_numpy(tones(1, AUDIO.window_samples, peak=0.25)))
    rows = codec.decode(torch.cat([x, 2 * x, 100 * x]))
    assert [int(np.abs(row.astype(int)).max()) for row in rows[:2]] == [8192, 16384]
    assert np.abs(rows[2].astype(int)).max() == 32767
    assert np.corrcoef(rows[0], rows[2])[0, 1] > 0.9999, "softer as a whole: not cut off at full scale"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("representation", [COMPLEX, ROOT], ids=["complex", "magnitude"])
def test_what_is_not_finite_is_refused(representation: Representation, bad: float) -> None:
    codec = codec_of(representation)
    x = torch.zeros(2, *codec.data.shape)
    x[1, 0, 3, 4] = bad
    with pytest.raises(NotFiniteError, match="the model made infinite or undefined audio: set clip_x0 = true"):
        codec.decode(x)


def test_longer_spectrograms_make_longer_audio() -> None:
    codec = codec_of(COMPLEX)
    for frames in (16, 17, 50):
        assert codec.decode(torch.zeros(1, 2, BINS, frames)).shape == (1, (frames - 1) * 16)


def test_a_row_does_not_depend_on_its_batch(either: Made) -> None:
    """To the last bit: else stored and computed spectrograms would train different networks."""
    codec = either.codec
    waveforms = torch.from_numpy(np.array(open_array(either.dataset / Dataset.waveforms("train"))[:6]))
    together = codec.encode(waveforms)
    apart: Tensor = torch.cat([codec.encode(row[None]) for row in waveforms])
    assert torch.equal(together, apart)
    assert np.array_equal(codec.decode(together[:2]), np.concatenate([codec.decode(x[None]) for x in together[:2]]))


def test_previews_are_spectrograms(either: Made) -> None:
    stored = np.array(open_array(either.dataset / Dataset.waveforms("test"))[:2])
    images = either.codec.preview(stored)
    assert images.dtype == np.uint8
    assert images.shape == (2, 128, 320, 3)
    assert not np.array_equal(images[0], images[1])
