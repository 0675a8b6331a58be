"""Which bins and frames are missing, and what is drawn across them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from linnet.inference.degradations.spectrogram_mask import bin_frequencies, interpolate_bins, interpolate_frames
from linnet.inference.restoration import observe
from linnet.modalities.audio_codec import AudioCodec
from linnet.recipe import ComplexSpectrogram, MagnitudeSpectrogram
from linnet.recipe.restore import BandwidthExtension, InpaintBins, InpaintFrames
from support.degradations import CPU, DATA, mask_of, problem_of, statistics_of


def test_bins_are_where_they_sound() -> None:
    assert bin_frequencies(DATA).tolist() == [125.0 * number for number in range(1, 33)]
    with_dc = DATA.model_copy(update={"stft": DATA.stft.model_copy(update={"keep_dc": True})})
    assert bin_frequencies(with_dc).tolist() == [125.0 * number for number in range(33)]


@pytest.mark.parametrize("hz", [500.0, 1000.0, 3000.0])
def test_a_tone_is_loudest_in_its_bin(hz: float) -> None:
    tone = torch.sin(2 * np.pi * hz * torch.arange(DATA.window_samples) / DATA.sample_rate_hz)
    codec = AudioCodec(DATA, statistics_of(32).model_copy(update={"scale": [1.0] * 32}), CPU)
    x = codec.encode(torch.round(tone * 20000).to(torch.int16)[None])
    loudest = int(x.square().sum(dim=(0, 1, 3)).argmax())
    assert bin_frequencies(DATA)[loudest] == hz


def test_a_band_is_missing_between_its_frequencies() -> None:
    degradation = InpaintBins(name="band", kind="inpaint_bins", low_hz=1000.0, high_hz=1500.0, noise_std=0.0)
    found = mask_of(degradation)
    assert found.shape == (1, 32, 1)
    assert bin_frequencies(DATA)[found.flatten()].tolist() == [1000.0, 1125.0, 1250.0, 1375.0]


def test_all_above_a_cutoff_is_missing() -> None:
    degradation = BandwidthExtension(name="narrow", kind="bandwidth_extension", cutoff_hz=3600.0, noise_std=0.0)
    assert bin_frequencies(DATA)[mask_of(degradation).flatten()].tolist() == [3625.0, 3750.0, 3875.0, 4000.0]


def test_frames_are_missing_whose_window_touches_the_gap() -> None:
    """Windows of 8 ms: those of the frames at 8 and 24 ms reach to 12 and from 20 ms."""
    degradation = InpaintFrames(name="gap", kind="inpaint_frames", start_seconds=0.011, gap_seconds=0.01, noise_std=0.0)
    found = mask_of(degradation)
    assert found.shape == (1, 1, 64)
    assert found.flatten().nonzero().flatten().tolist() == list(range(4, 13)), "frames 2 ms apart"


def test_the_observation_holds_what_is_not_missing_and_nothing_else() -> None:
    degradation = InpaintBins(name="band", kind="inpaint_bins", low_hz=1000.0, high_hz=1500.0, noise_std=0.0)
    problem = problem_of(degradation)
    clean = torch.randn(2, *DATA.shape, generator=torch.Generator().manual_seed(0))
    y = observe(problem, clean, seed=0)
    gone = problem.mask.expand_as(clean)
    assert torch.equal(y[~gone], clean[~gone])
    assert not y[gone].any()


def test_magnitudes_have_the_masks_of_complex_spectrograms() -> None:
    magnitude = MagnitudeSpectrogram(kind="magnitude", exponent=1.0, phase_iterations=1)
    codecs = [
        AudioCodec(DATA.model_copy(update={"representation": kind}), statistics_of(32), CPU)
        for kind in (magnitude, ComplexSpectrogram(kind="complex"))
    ]
    degradation = InpaintBins(name="band", kind="inpaint_bins", low_hz=1000.0, high_hz=1500.0, noise_std=0.0)
    assert torch.equal(mask_of(degradation, codecs[0], (1, 32, 64)), mask_of(degradation, codecs[1]))


# --- baselines --------------------------------------------------------------------------------------------------------


def missing(count: int, *places: int) -> Tensor:
    mask = torch.zeros(count, dtype=torch.bool)
    mask[list(places)] = True
    return mask


def test_interpolation_brings_a_straight_line_back() -> None:
    ramp = torch.arange(8).double()[:, None] * torch.tensor([1.0, -2.0, 0.5]).double() + 3  # [F, T]
    hole = ramp.clone()
    mask = missing(8, 1, 2, 3, 6)
    hole[mask] = math.nan
    torch.testing.assert_close(interpolate_bins(hole, mask), ramp)
    torch.testing.assert_close(interpolate_frames(hole.T, mask), ramp.T)


def test_interpolation_holds_what_is_nearest_at_the_edges_and_keeps_what_is_known() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, 7, 3))).float()
    mask = missing(7, 0, 1, 3, 6)
    found = interpolate_bins(x, mask)
    assert torch.equal(found[..., ~mask, :], x[..., ~mask, :])
    for lost, kept in ((0, 2), (1, 2), (6, 5)):
        assert torch.equal(found[..., lost, :], x[..., kept, :])
    torch.testing.assert_close(found[..., 3, :], (x[..., 2, :] + x[..., 4, :]) / 2)
    assert torch.equal(interpolate_frames(x.mT, mask), found.mT)
    assert torch.equal(interpolate_bins(x, missing(7)), x)


def test_interpolation_of_complex_numbers_is_of_both_parts() -> None:
    """Between 1 and i it is (1 + i) / 2, quieter than either; between opposite phases nothing is left."""
    x = torch.tensor([[1, 0, 1j], [1, 0, -1]], dtype=torch.complex64)
    found = interpolate_frames(x, missing(3, 1))
    assert found[:, 1].tolist() == [0.5 + 0.5j, 0]
    assert interpolate_frames(x.abs(), missing(3, 1))[:, 1].tolist() == [1, 1]
    with pytest.raises(AssertionError, match="nothing is known"):
        interpolate_frames(x, missing(3, 0, 1, 2))
